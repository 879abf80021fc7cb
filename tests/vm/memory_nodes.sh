# Two processors, each with memory of its own: who hashes has its buffers where it runs. Sixteen files in turn have a mebibyte of them.
mkdir /tmp/shards
for number in $(seq 32); do
    head -c 4000000 /bin/weighbridge > /tmp/shards/$number
done

# most COMMAND…: the most pages of its own that it had on each node while it ran, as `node0 node1`.
most() {
    "$@" > /dev/null &
    # Of a process that has ended there is nothing to read.
    while awk '/anon=/ { for (at = 1; at <= NF; at++) if (split($at, part, "=") == 2 && part[1] ~ /^N[01]$/) sum[part[1]] += part[2] }
        END { if (NR == 0) exit 1; print sum["N0"] + 0, sum["N1"] + 0 }' "/proc/$!/numa_maps" 2> /dev/null; do
        :
    done | awk '{ if ($1 > n0) n0 = $1; if ($2 > n1) n1 = $2 } END { print n0 + 0, n1 + 0 }'
    wait
}

# on WHAT NODES: do they fit?
on() {
    echo "$2" | awk "{ exit !($1) }" || { echo "pages on each node: $2"; return 1; }
}

hash='weighbridge hash --quiet /tmp/shards'
check 'the machine has two memory nodes' 0 -- test -d /sys/devices/system/node/node1
check 'two threads, both nodes' 0 -- on '$1 > 256 && $2 > 256' "$(most $hash --jobs 2)"
check 'bound to the first processor' 0 -- on '$1 > 256 && $2 < $1 / 4' "$(most taskset 1 $hash)"
check 'bound to the second processor' 0 -- on '$2 > 256 && $1 < $2 / 4' "$(most taskset 2 $hash)"
rm -r /tmp/shards
