//! Return addresses that the kernel has replaced: while a return probe is pending on a frame (of
//! outlive or of any other tracer), the word on the stack leads to the kernel's trampoline, and
//! the true address is with the task.

use crate::configuration::config;
use aya_ebpf::helpers::{bpf_get_current_task, generated::bpf_probe_read_kernel};
use core::ffi::c_void;

/// Pending returns that are looked through, innermost first; the kernel allows 64 to a thread.
const MAX_PENDING: usize = 64;

/// The return address that was at `slot` before a return probe took its place; 0 when none is
/// pending there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn pending_return(slot: u64) -> u64 {
    // SAFETY: returns the current task, which is alive.
    let task = unsafe { bpf_get_current_task() };
    let utask = word(task + u64::from(config!(kernel.task_utask)));
    if utask == 0 {
        return 0;
    }
    let mut instance = word(utask + u64::from(config!(kernel.utask_return_instances)));
    for _ in 0..MAX_PENDING {
        if instance == 0 {
            return 0;
        }
        if word(instance + u64::from(config!(kernel.return_instance_stack))) == slot {
            return word(instance + u64::from(config!(kernel.return_instance_address)));
        }
        instance = word(instance + u64::from(config!(kernel.return_instance_next)));
    }
    0
}

/// A word of the kernel's memory; 0 where it cannot be read. Without a branch: in a loop, older
/// verifiers follow each to the end.
#[inline(always)]
fn word(address: u64) -> u64 {
    let mut word = 0_u64;
    // SAFETY: the helper checks the address, and clears the place when it fails.
    unsafe { bpf_probe_read_kernel((&raw mut word).cast(), 8, address as *const c_void) };
    word
}
