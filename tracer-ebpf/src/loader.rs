//! The dynamic loader's hook, which it calls before and after it changes its list of libraries: a
//! command that we started is held there until the new libraries can be walked, before any of
//! their code runs.

use crate::{counters::count, maps::EVENTS, process, thread::current_tid};
use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, bpf_probe_read_user, bpf_send_signal},
    macros::uprobe,
    programs::ProbeContext,
};
use tracer_common::{
    counter::Counter,
    record::{self, Header, Process, process_op},
};

const SIGSTOP: u32 = 19;

/// `_dl_debug_state` (nothing).
#[uprobe]
pub fn loader_hook(_ctx: ProbeContext) -> u32 {
    let Some(tgid) = process::current_tgid() else { return 0 };
    let Some((_, entry)) = process::find(tgid) else { return 0 };
    // A child that still shares our process's memory is not ours to stop.
    if entry.tgid != tgid || entry.loader_state_avma == 0 {
        return 0;
    }
    // SAFETY: the helper checks the address. Where nothing can be read it is stopped each time.
    let state = unsafe { bpf_probe_read_user(entry.loader_state_avma as *const u32) };
    if state.unwrap_or(0) != 0 {
        return 0;
    }
    // First the room for the event: a process whose stop nobody hears of would never go on.
    let Some(mut event) = EVENTS.reserve::<Process>(0) else {
        count(Counter::ProcessEventsLost);
        return 0;
    };
    event.write(Process {
        header: Header { kind: record::kind::PROCESS, tid: current_tid() },
        op: process_op::LIBRARIES,
        other_tgid: 0,
        image: entry.image,
        tgid,
        // SAFETY: takes nothing, returns a number.
        at_ns: unsafe { bpf_ktime_get_ns() },
    });
    // Then the signal, then the event: whoever hears of the stop and continues the process comes
    // after it.
    // SAFETY: signals the current process; it stops when it is about to return from the probe.
    if unsafe { bpf_send_signal(SIGSTOP) } == 0 {
        event.submit(0);
    } else {
        event.discard(0);
        count(Counter::ProcessEventsLost);
    }
    0
}
