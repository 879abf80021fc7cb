#!/bin/busybox sh
# Started by the kernel of a virtual machine as its first process. Prints a line for each check of the scripts beside it, and "all
# held" if each one held.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mkdir -p /proc /sys /dev /tmp /disk /root /elsewhere
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
missed=0

# check NAME STATUS [TEXT] -- COMMAND…: it ends with STATUS and prints TEXT.
check() {
    name=$1 status=$2 text=
    shift 2
    [ "$1" = -- ] || { text=$1; shift; }
    shift
    printed=$("$@" 2>&1)
    ended=$?
    if [ "$ended" = "$status" ] && { [ -z "$text" ] || echo "$printed" | grep -q -e "$text"; }; then
        echo "held    $name"
    else
        echo "MISSED  $name: ended with $ended, not $status, or does not say $text:"
        echo "$printed"
        missed=1
    fi
}

. /memory_nodes.sh
. /fs_verity.sh

[ "$missed" = 0 ] && echo "all held"
sync
poweroff -f
