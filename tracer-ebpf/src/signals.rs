//! The kernel's table of signal handlers. /proc says only which signals a process handles, not by
//! which function; an iterator over tasks tells, without any thread of that process taking part.

use crate::{
    configuration::config,
    process::{pointer, tgid_of, word},
};
use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use core::ffi::c_void;
use tracer_common::{
    config::SIGNAL_ACTION_BYTES,
    signals::{SIGNALS, SignalHandlers},
};

/// What the kernel hands to an iterator over tasks (`struct bpf_iter__task`).
#[repr(C)]
struct TaskContext {
    meta: *const Meta,
    /// Null behind the last one.
    task: u64,
}

/// `struct bpf_iter_meta`, its beginning.
#[repr(C)]
struct Meta {
    sequence: *mut seq_file,
}

/// Writes the handlers of every process that user space can see, once each: at its first thread.
/// Runs in the thread that reads the iterator's file, and only then.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub fn signal_table(ctx: *const c_void) -> i32 {
    let ctx = ctx.cast::<TaskContext>();
    // SAFETY: the kernel's structure, as above.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if task == 0 {
        return 0;
    }
    let first = word(task, config!(kernel.task_tgid));
    if first.is_none() || first != word(task, config!(kernel.task_pid)) {
        return 0;
    }
    let Some(tgid) = tgid_of(task) else { return 0 };
    // A process that ends has none.
    let Some(actions) = pointer(task, config!(kernel.task_sighand)) else { return 0 };
    let actions = actions + u64::from(config!(kernel.sighand_action));
    let mut answer = SignalHandlers { tgid, reserved: 0, handlers: [0; SIGNALS] };
    for (index, handler) in answer.handlers.iter_mut().enumerate() {
        // Each failure ends it: the verifier follows every way out of a read.
        let Some(found) = pointer(actions + index as u64 * SIGNAL_ACTION_BYTES, 0) else {
            return 0;
        };
        *handler = found;
    }
    // SAFETY: the file that is being read, and a structure of our own without padding.
    unsafe {
        let data = (&raw const answer).cast::<aya_ebpf::cty::c_void>();
        bpf_seq_write((*meta).sequence, data, size_of::<SignalHandlers>() as u32);
    }
    0
}
