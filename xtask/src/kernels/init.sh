#!/bin/busybox sh
# The guest's first process: mounts what the tests need, runs the steps that xtask appends below,
# and powers off. Every line for the host begins with "outlive-guest:" (see verdict.rs).

/bin/busybox mkdir -p /proc /sys /dev /tmp /root
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
# A test that skips itself is a failure here.
export CI=1
# Emulation is slow, and two guests share the host with whatever else runs there.
export OUTLIVE_SLOWNESS=5
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tracefs trace /sys/kernel/tracing
# The root is memory already; a mount on /tmp would hide a workspace that lies there.
chmod 1777 /tmp

# The line before may not have ended.
say() {
    printf '\noutlive-guest: %s\n' "$*"
}

# step NAME COMMAND ARG...: runs it and says how it ended.
step() {
    step_name=$1
    shift
    say "begin $step_name"
    "$@" </dev/null 2>&1
    say "end $step_name $?"
}

# What the kernel says of itself when something broke in it. A soft lockup only says that the
# host was busy.
kernel_log() {
    ! dmesg | grep -v 'soft lockup' | grep -E 'WARNING:|BUG:|Oops|general protection|KASAN'
}

