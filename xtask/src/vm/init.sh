#!/bin/sh
# The first process of a virtual machine. ttyS0 is the kernel's console, ttyS1 tells
# the tests' results.
export PATH=/bin HOME=/ TMPDIR=/tmp
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t tmpfs tmp /tmp
busybox mount -t tmpfs run /run
busybox mount -t cgroup2 none /sys/fs/cgroup
busybox mount -t bpf bpf /sys/fs/bpf
busybox mount -t securityfs security /sys/kernel/security
busybox ip link set lo up

# A module that this kernel has built in, or that needs what it lacks, is not an
# error here: the test that needs it says so.
for module in /modules/*.ko; do
    [ -e "$module" ] && busybox insmod "$module" 2>/dev/console
done

# The port may be gone through only once it is closed: that waits until all is sent.
(
    echo "@kernel $(busybox uname -r)"
    echo "@processors $(busybox nproc)"
    echo "@lsm $(busybox cat /sys/kernel/security/lsm)"
    . /tests 2>/dev/console
    echo "@exit $?"
    [ -e "$PORTREEVE_TEST_NOTES" ] && busybox cat "$PORTREEVE_TEST_NOTES"
    echo "@end"
) >/dev/ttyS1
busybox poweroff -f
