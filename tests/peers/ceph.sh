#!/bin/bash
# A Ceph object gateway with one monitor and one disk, on loopback, in the new directory DIR.
# usage: ceph.sh DIR MONITOR_PORT GATEWAY_PORT     prints "ready", and ends when its standard input does
# Debian packages: ceph-mon ceph-osd ceph-mgr radosgw ceph-common
set -euo pipefail
dir=$1 monitor_port=$2 gateway_port=$3
mkdir -p "$dir"/{mon,osd,gateway}
daemons=()
stop() {
    for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
        kill "${daemons[i]}" 2>/dev/null || true
        for _ in $(seq 50); do kill -0 "${daemons[i]}" 2>/dev/null || break; sleep 0.1; done
        kill -9 "${daemons[i]}" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap stop EXIT
cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v1:127.0.0.1:$monitor_port]
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = $dir
admin socket = $dir/\$name.asok
log file = $dir/\$name.log
[mon.a]
mon data = $dir/mon
[osd.0]
osd data = $dir/osd
osd objectstore = bluestore
bluestore block size = 2147483648
bluestore block create = true
osd_memory_target = 939524096
[client.gateway]
rgw frontends = beast endpoint=127.0.0.1:$gateway_port
rgw data = $dir/gateway
rgw dns name = 127.0.0.1
CONF
conf=(-c "$dir/ceph.conf")
{
    fsid=$(sed -n 's/^fsid = //p' "$dir/ceph.conf")
    monmaptool --create --addv a "[v1:127.0.0.1:$monitor_port]" --fsid "$fsid" "$dir/monmap"
    ceph-mon "${conf[@]}" --mkfs -i a --monmap "$dir/monmap"
    ceph-mon "${conf[@]}" -i a -f </dev/null & daemons+=($!)
    sleep 2
    disk=$(cat /proc/sys/kernel/random/uuid)
    timeout 60 ceph "${conf[@]}" osd new "$disk"
    ceph-osd "${conf[@]}" -i 0 --mkfs --osd-uuid "$disk"
    timeout 60 ceph "${conf[@]}" osd crush add osd.0 1.0 root=default host=localhost
    ceph-osd "${conf[@]}" -i 0 -f </dev/null & daemons+=($!)
    sleep 4
    radosgw "${conf[@]}" -n client.gateway -f </dev/null & daemons+=($!)
    for _ in $(seq 180); do
        (exec 3<>"/dev/tcp/127.0.0.1/$gateway_port") 2>/dev/null && break
        sleep 0.5
    done
    timeout 120 radosgw-admin "${conf[@]}" -n client.gateway user create --uid=tester \
        --display-name=tester --access-key=tester --secret-key=tester-secret
} >"$dir/start.log" 2>&1 || { cat "$dir/start.log" >&2; exit 1; }
echo ready
cat >/dev/null
