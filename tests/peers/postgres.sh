#!/bin/bash
# A PostgreSQL server on loopback in the new directory DIR, with TLS by a certificate authority of its
# own, whose certificate is DIR/root.crt.
# usage: postgres.sh DIR PORT BIN     prints "ready", and ends when its standard input does
set -euo pipefail
dir=$1 port=$2 bin=$3
server=
stop() {
    if [ -n "$server" ]; then
        kill -INT "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap stop EXIT
mkdir -p "$dir"
as=()
# The server refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    chmod 755 "$dir"
fi
{
    mkdir "$dir/data" "$dir/tls"
    cd "$dir/tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -subj /CN=tests -keyout root.key -out root.crt
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
        -keyout server.key -out server.csr
    printf 'subjectAltName=DNS:localhost\n' >san
    openssl x509 -req -in server.csr -CA root.crt -CAkey root.key -CAcreateserial -days 2 \
        -extfile san -out server.crt
    chmod 600 server.key
    cp root.crt ..
    printf 'tester-secret' >password
    cd "$dir"
    if [ ${#as[@]} -gt 0 ]; then chown -R 65534:65534 "$dir"; fi
    "${as[@]}" "$bin/initdb" -D data -U tester --auth=scram-sha-256 --pwfile=tls/password
    "${as[@]}" "$bin/postgres" -D data -p "$port" -c listen_addresses=localhost \
        -c unix_socket_directories= -c ssl=on -c ssl_cert_file="$dir/tls/server.crt" \
        -c ssl_key_file="$dir/tls/server.key" </dev/null & server=$!
    for _ in $(seq 120); do
        "$bin/pg_isready" -h 127.0.0.1 -p "$port" && break
        sleep 0.25
    done
    "$bin/pg_isready" -h 127.0.0.1 -p "$port"
} >"$dir/start.log" 2>&1 || { cat "$dir/start.log" >&2; exit 1; }
echo ready
cat >/dev/null
