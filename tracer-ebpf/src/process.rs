//! Process tracepoints: exec forgets the old image's blocks, a thread's end frees its state.
//!
//! Raw tracepoints, because they need no tracefs. They run for every process of the machine, so
//! the first thing they do is look whether it is the target.

use crate::{
    atomic,
    configuration::{abi, config},
    counters::count,
    maps::{CONTROL, EVENTS, THREADS},
};
use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use tracer_common::{
    counter::Counter,
    record::{self, Header, Process, process_op},
};

#[inline(always)]
fn target_tid() -> Option<u32> {
    let pid_tgid = bpf_get_current_pid_tgid();
    ((pid_tgid >> 32) as u32 == config!(target_tgid)).then_some(pid_tgid as u32)
}

/// sched_process_exec.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(ctx: RawTracePointContext) -> i32 {
    let Some(tid) = target_tid() else { return 0 };
    let _ = THREADS.remove(tid);
    let Some(control) = CONTROL.get_ptr_mut(0) else { return 0 };
    // SAFETY: an aligned u32 inside entry 0 of the map.
    let generation = unsafe { atomic::take_next(&raw mut (*control).generation) }.wrapping_add(1);
    if config!(verbose) == 1 {
        debug!(
            &ctx,
            "the target calls exec; image generation {} begins (ABI {})",
            generation,
            abi()
        );
    }
    send(tid, process_op::EXEC, generation);
    0
}

/// sched_process_exit: of any thread.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn thread_exit(ctx: RawTracePointContext) -> i32 {
    let Some(tid) = target_tid() else { return 0 };
    if config!(verbose) == 1 {
        debug!(&ctx, "thread {} of the target ends", tid);
    }
    let _ = THREADS.remove(tid);
    0
}

#[inline(always)]
fn send(tid: u32, op: u32, generation: u32) {
    let event = Process {
        header: Header { kind: record::kind::PROCESS, tid },
        op,
        other_tgid: 0,
        generation,
        reserved: 0,
    };
    if EVENTS.output::<Process>(&event, 0).is_err() {
        count(Counter::ProcessEventsLost);
    }
}
