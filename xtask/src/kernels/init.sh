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
mount -t tmpfs tmp /tmp

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

# programs OUTLIVE TARGET: attaches once, and says how many instructions the verifier went
# through for each program that outlive then holds (Linux 5.16 and later count them).
programs() {
    sleep 600 | "$2" 1 64 >/dev/null &
    target=$!
    "$1" attach "$target" --out /tmp/programs >/dev/null 2>/tmp/programs.err &
    tracer=$!
    until grep -q "attached to PID $target" /tmp/programs.err; do
        if ! kill -0 "$tracer" 2>/dev/null; then
            cat /tmp/programs.err
            return 1
        fi
        sleep 0.1
    done
    for info in /proc/"$tracer"/fdinfo/*; do
        # Links name a program too, but have nothing to say of it.
        awk '/^prog_id:/ { id = $2 } /^verified_insns:/ { count = $2 }
            END { if (count) print id, count }' "$info"
    done | sort -u | while read -r id count; do
        name=$(bpftool prog show id "$id" | sed -n '1s/.* name \([^ ]*\) .*/\1/p')
        say "program ${name:-$id} $count"
    done
    kill -INT "$tracer"
    wait "$tracer"
    ended=$?
    kill "$target"
    cat /tmp/programs.err
    # 3: too short a time to judge growth.
    [ "$ended" = 0 ] || [ "$ended" = 3 ]
}

# What the kernel says of itself when something broke in it. A soft lockup only says that the
# host was busy.
kernel_log() {
    ! dmesg | grep -v 'soft lockup' | grep -E 'WARNING:|BUG:|Oops|general protection|KASAN'
}

