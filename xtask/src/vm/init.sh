#!/bin/sh
# The first process of a virtual machine that has no distribution.
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mkdir -p /dev/pts
busybox mount -t devpts dev /dev/pts
busybox mount -t tmpfs tmp /tmp
busybox mount -t tmpfs run /run
busybox mount -t cgroup2 none /sys/fs/cgroup
busybox mount -t bpf bpf /sys/fs/bpf
busybox mount -t securityfs security /sys/kernel/security
busybox ip link set lo up
. /tell
