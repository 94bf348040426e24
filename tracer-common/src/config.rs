//! Load-time configuration: constants of the kernel object, set before it is loaded, so that the
//! verifier removes what is off.

/// Set as the read-only global `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// 1 when children of traced processes are to be announced; otherwise they are only counted.
    pub follow: u32,
    /// 1 when debug messages are wanted (aya-log).
    pub verbose: u32,
    /// Length of the slot array; the map's own limit cannot be asked for from a program.
    pub max_slots: u32,
    /// Inode number of user space's PID namespace, in which thread-group IDs are then understood; 0
    /// when it is the initial one.
    pub pid_namespace: u32,
    /// Where the kernel keeps things (from BTF).
    pub kernel: KernelLayout,
}
const _: () = assert!(size_of::<Config>() == 16 + size_of::<KernelLayout>());

/// Offsets inside kernel structures, in bytes, read from BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelLayout {
    /// `task_struct.thread.fsbase`.
    pub task_fsbase: u32,
    /// `task_struct.mm`.
    pub task_mm: u32,
    /// `mm_struct.brk`.
    pub mm_brk: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.utask`.
    pub task_utask: u32,
    /// `uprobe_task.return_instances`.
    pub utask_return_instances: u32,
    /// `return_instance.orig_ret_vaddr`.
    pub return_instance_address: u32,
    /// `return_instance.stack`.
    pub return_instance_stack: u32,
    /// `return_instance.next`.
    pub return_instance_next: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `signal_struct.pids[PIDTYPE_TGID]`.
    pub signal_tgid: u32,
    /// `pid.level`.
    pub pid_level: u32,
    /// `pid.numbers`.
    pub pid_numbers: u32,
    /// `pid_namespace.ns.inum`.
    pub namespace_inum: u32,
    /// `task_struct.pid`.
    pub task_pid: u32,
    /// `task_struct.sighand`.
    pub task_sighand: u32,
    /// `sighand_struct.action`, whose elements are [`SIGNAL_ACTION_BYTES`] long and begin with the
    /// handler's address.
    pub sighand_action: u32,
    /// Reserved, zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<KernelLayout>() == 72);

/// Length of a `struct k_sigaction` of x86-64, bytes: handler, flags, restorer, mask.
pub const SIGNAL_ACTION_BYTES: u64 = 32;
