//! Load-time constants. They live in read-only memory that the verifier knows, so branches on
//! what is switched off cost nothing at run time.

use core::ptr::read_volatile;
use tracer_common::config::{Config, KernelLayout};

/// Replaced by user space before the object is loaded.
#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    follow: 0,
    verbose: 0,
    max_slots: 0,
    pid_namespace: 0,
    kernel: KernelLayout {
        task_fsbase: 0,
        task_mm: 0,
        mm_brk: 0,
        task_tgid: 0,
        task_utask: 0,
        utask_return_instances: 0,
        return_instance_address: 0,
        return_instance_stack: 0,
        return_instance_next: 0,
        task_signal: 0,
        signal_tgid: 0,
        pid_level: 0,
        pid_numbers: 0,
        namespace_inum: 0,
        task_pid: 0,
        task_sighand: 0,
        sighand_action: 0,
        reserved: 0,
    },
};

/// A field of the configuration. Volatile, so that the compiler does not fold the zeros above.
macro_rules! config {
    ($($field:ident).+) => {
        // SAFETY: a valid, aligned field of a static that nobody writes.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::configuration::get()).$($field).+) }
    };
}
pub(crate) use config;

/// Where the configuration is.
#[inline(always)]
pub fn get() -> *const Config {
    &raw const CONFIG
}

/// Version of the records and maps of this object, compared by user space before loading.
#[unsafe(no_mangle)]
static ABI: u32 = tracer_common::ABI_VERSION;

/// Keeps [`ABI`] in the object.
#[inline(always)]
pub fn abi() -> u32 {
    // SAFETY: a valid, aligned static that nobody writes.
    unsafe { read_volatile(&raw const ABI) }
}
