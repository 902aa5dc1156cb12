# Runs the tests and switches the machine off. ttyS0 is the kernel's console, ttyS1
# tells the tests' results.
export PATH=/bin HOME=/ TMPDIR=/tmp

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
    echo "@first $(busybox cat /proc/1/comm)"
    . /tests 2>/dev/console
    echo "@exit $?"
    [ -e "$PORTREEVE_TEST_NOTES" ] && busybox cat "$PORTREEVE_TEST_NOTES"
    echo "@end"
) >/dev/ttyS1
busybox poweroff -f
