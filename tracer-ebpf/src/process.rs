//! The process table, and the tracepoints that keep it true: exec begins an image, fork announces a
//! child, a thread's end frees its state.
//!
//! Raw tracepoints, because they need no tracefs. They run for every process of the machine, so
//! the first thing they do is look whether it is a traced one.

use crate::{
    atomic,
    configuration::{abi, config},
    counters::count,
    maps::{CONTROL, EVENTS, MEMORIES, PROCESSES, TGIDS, THREADS},
    thread::current_tid,
};
use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns, bpf_probe_read_kernel,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use tracer_common::{
    counter::Counter,
    process::ProcessEntry,
    record::{self, Header, Process, process_op},
};

/// PID namespaces inside one another that are looked through; the kernel allows 32.
const MAX_PID_NAMESPACES: u32 = 33;

/// Entry `index` of the process table.
#[inline(always)]
pub fn entry(index: u32) -> Option<&'static ProcessEntry> {
    // SAFETY: an entry of the map; its fields change under us, but each is one aligned word.
    PROCESSES.get_ptr(index).map(|entry| unsafe { &*entry })
}

/// The current process: its index in the process table, and its entry. A child that shares the
/// memory of a traced process (vfork) is that process.
#[inline(always)]
pub fn current() -> Option<(u32, &'static ProcessEntry)> {
    find(current_tgid()?)
}

/// Process `tgid`: as [`current`].
#[inline(always)]
pub fn find(tgid: u32) -> Option<(u32, &'static ProcessEntry)> {
    // SAFETY: a u32 of the map, copied at once.
    let index = unsafe { TGIDS.get(tgid) }.copied()?;
    let entry = entry(index)?;
    (entry.image != 0).then_some((index, entry))
}

/// Thread-group ID of the current process, as user space numbers it.
#[inline(always)]
pub fn current_tgid() -> Option<u32> {
    if config!(pid_namespace) == 0 {
        return Some((bpf_get_current_pid_tgid() >> 32) as u32);
    }
    // SAFETY: returns the current task, which is alive.
    tgid_of(unsafe { bpf_get_current_task() })
}

/// Thread-group ID of a task, as user space numbers it: in its own PID namespace or, seen from
/// that, an outer one. `None` for a process that user space cannot see.
#[inline(always)]
pub fn tgid_of(task: u64) -> Option<u32> {
    let namespace = config!(pid_namespace);
    if namespace == 0 {
        return word(task, config!(kernel.task_tgid));
    }
    let signal = pointer(task, config!(kernel.task_signal))?;
    let pid = pointer(signal, config!(kernel.signal_tgid))?;
    let level = word(pid, config!(kernel.pid_level))?;
    for depth in 0..MAX_PID_NAMESPACES {
        if depth > level {
            return None;
        }
        // An element is the number and a pointer to the namespace in which it is one.
        let number = pid + u64::from(config!(kernel.pid_numbers)) + u64::from(depth) * 16;
        if word(pointer(number, 8)?, config!(kernel.namespace_inum))? == namespace {
            return word(number, 0);
        }
    }
    None
}

/// sched_process_exec (task, its former thread ID, ...), in the process that has just replaced its
/// image.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(ctx: RawTracePointContext) -> i32 {
    let Some(tgid) = current_tgid() else { return 0 };
    let Some((index, entry)) = find(tgid) else { return 0 };
    let tid = current_tid();
    // A thread that calls exec takes the first one's number.
    let former: u64 = ctx.arg(1);
    let former = former as u32;
    forget_thread(tid);
    forget_thread(former);
    if entry.tgid != tgid {
        // It shared its parent's memory until now.
        let _ = TGIDS.remove(tgid);
        announce(tid, entry.tgid, tgid);
        return 0;
    }
    let Some(control) = CONTROL.get_ptr_mut(0) else { return 0 };
    // SAFETY: an aligned u32 inside entry 0 of the map.
    let image = unsafe { atomic::take_next(&raw mut (*control).images_used) }.wrapping_add(1);
    if image > u32::from(u16::MAX) {
        // All image numbers are used up: a new image must not pass for an old one.
        let _ = TGIDS.remove(tgid);
        count(Counter::UnknownProcess);
        return 0;
    }
    if let Some(entry) = PROCESSES.get_ptr_mut(index) {
        // SAFETY: aligned fields of an entry of the map. Until user space has looked at the new
        // image nothing of it is known.
        unsafe {
            // Rules of the old image, in the cache, must not serve the new one.
            let salt = (*entry).cache_salt ^ u64::from(image).wrapping_mul(0xff51_afd7_ed55_8ccd);
            (&raw mut (*entry).cache_salt).write_volatile(salt);
            (&raw mut (*entry).python.kind).write_volatile(0);
            (&raw mut (*entry).v8.kind).write_volatile(0);
            (&raw mut (*entry).code_ranges_count).write_volatile(0);
            (&raw mut (*entry).loader_state_avma).write_volatile(0);
            (&raw mut (*entry).lane_control_avma).write_volatile(0);
            (&raw mut (*entry).image).write_volatile(image);
        }
    }
    if config!(verbose) == 1 {
        debug!(&ctx, "process {} calls exec; image {} begins (ABI {})", tgid, image, abi());
    }
    send(tid, process_op::EXEC, tgid, u32::from(former != tid), image);
    0
}

/// sched_process_fork (parent, child), in the parent: also of threads.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(ctx: RawTracePointContext) -> i32 {
    let Some(tgid) = current_tgid() else { return 0 };
    let Some((index, _)) = find(tgid) else { return 0 };
    let (parent, child): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let Some(child_tgid) = tgid_of(child) else { return 0 };
    if child_tgid == tgid {
        return 0;
    }
    let mm = |task| pointer(task, config!(kernel.task_mm));
    if mm(parent).is_some() && mm(parent) == mm(child) {
        // What it allocates it allocates in its parent's memory.
        if TGIDS.insert(child_tgid, index, u64::from(BPF_ANY)).is_err() {
            count(Counter::UnknownProcess);
        }
        return 0;
    }
    announce(current_tid(), tgid, child_tgid);
    0
}

/// sched_process_exit: of any thread.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn thread_exit(_ctx: RawTracePointContext) -> i32 {
    let Some(tgid) = current_tgid() else { return 0 };
    // Also of a process that has left the table: whoever gets the number next is another thread.
    forget_thread(current_tid());
    let Some((_, entry)) = find(tgid) else { return 0 };
    if entry.tgid != tgid {
        let _ = TGIDS.remove(tgid);
    }
    0
}

/// Nothing is known of a thread any more.
#[inline(always)]
fn forget_thread(tid: u32) {
    let _ = THREADS.remove(tid);
    let _ = MEMORIES.remove(tid);
}

/// Tells user space of a child with memory of its own, where it wants to know.
#[inline(always)]
fn announce(tid: u32, tgid: u32, child_tgid: u32) {
    if config!(follow) == 1 {
        send(tid, process_op::FORK, tgid, child_tgid, 0);
    } else {
        count(Counter::ChildrenNotFollowed);
    }
}

/// A half-word of the kernel's memory, as [`pointer`].
#[inline(always)]
pub fn word(structure: u64, offset: u32) -> Option<u32> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((structure + u64::from(offset)) as *const u32) }.ok()
}

/// A word of the kernel's memory, at an offset in one of its structures.
#[inline(always)]
pub fn pointer(structure: u64, offset: u32) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((structure + u64::from(offset)) as *const u64) }.ok()
}

#[inline(always)]
fn send(tid: u32, op: u32, tgid: u32, other_tgid: u32, image: u32) {
    let event = Process {
        header: Header { kind: record::kind::PROCESS, tid },
        op,
        other_tgid,
        image,
        tgid,
        // SAFETY: takes nothing, returns a number.
        at_ns: unsafe { bpf_ktime_get_ns() },
    };
    if EVENTS.output::<Process>(&event, 0).is_err() {
        count(Counter::ProcessEventsLost);
    }
}
