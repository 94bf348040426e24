//! The signal handlers of a process, as the kernel side reads them.

/// Signals whose handlers are told: those of POSIX, 1 to 31.
pub const SIGNALS: usize = 31;

/// The handlers of one process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalHandlers {
    /// Thread-group ID, in the PID namespace of user space.
    pub tgid: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// `sa_handler` of signal 1, 2, ...: an address in the process, or 0 (the default action), or 1
    /// (ignored).
    pub handlers: [u64; SIGNALS],
}
const _: () = assert!(size_of::<SignalHandlers>() == 8 + 8 * SIGNALS);
