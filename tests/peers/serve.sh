#!/bin/bash
# Runs a server, and stops it when standard input ends: when the tests are gone, however they went.
# usage: serve.sh DIR PORT COMMAND…     prints "ready" when the port answers
set -euo pipefail
dir=$1 port=$2
shift 2
mkdir -p "$dir"
cd "$dir"
server=
stop() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
    rm -rf "$dir"
}
trap stop EXIT
"$@" </dev/null >"$dir/server.log" 2>&1 & server=$!
for _ in $(seq 240); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo ready
        cat >/dev/null
        exit 0
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.25
done
cat "$dir/server.log" >&2
exit 1
