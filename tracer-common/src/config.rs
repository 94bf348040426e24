//! Load-time configuration: constants of the kernel object, set before it is loaded, so that the
//! verifier removes what is off.

/// Set as the read-only global `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Blocks smaller than this many bytes are not followed; 0 follows all.
    pub min_size_bytes: u64,
    /// Process that is traced, in the initial PID namespace; used by the process tracepoints.
    pub target_tgid: u32,
    /// 1 when debug messages are wanted (aya-log).
    pub verbose: u32,
    /// Length of the slot array; the map's own limit cannot be asked for from a program.
    pub max_slots: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// Where the kernel keeps things (from BTF).
    pub kernel: KernelLayout,
    /// Where CPython keeps things; `kind` 0 when the target is none.
    pub python: PythonLayout,
}
const _: () =
    assert!(size_of::<Config>() == 8 + 16 + size_of::<KernelLayout>() + size_of::<PythonLayout>());

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
    /// Reserved, zero.
    pub reserved: u32,
}

/// [`PythonLayout::kind`]: the target is no CPython that is known.
pub const PYTHON_NONE: u32 = 0;
/// [`PythonLayout::kind`]: thread state from the thread-specific-storage key, frames through
/// `cframe` (3.11, 3.12).
pub const PYTHON_TSS_CFRAME: u32 = 1;
/// [`PythonLayout::how`] of pthread keys: glibc x86-64.
pub const TSS_GLIBC: u32 = 0;
/// [`PythonLayout::how`] of pthread keys: musl x86-64.
pub const TSS_MUSL: u32 = 1;

/// How to find and walk the frames of one CPython; offsets in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PythonLayout {
    /// Address, in the target, of the `Py_tss_t` that holds the thread-state key
    /// (`{int is_initialized; int key}`).
    pub tss_avma: u64,
    /// One of the `PYTHON_*` constants.
    pub kind: u32,
    /// One of the `TSS_*` constants.
    pub how: u32,
    /// `PyThreadState.cframe` (3.11, 3.12).
    pub tstate_cframe: u32,
    /// `_PyCFrame.current_frame`.
    pub cframe_frame: u32,
    /// `_PyInterpreterFrame.f_code`.
    pub frame_code: u32,
    /// `_PyInterpreterFrame.previous`.
    pub frame_previous: u32,
    /// `_PyInterpreterFrame.prev_instr`.
    pub frame_instr: u32,
    /// The byte that marks a frame entered from C: `is_entry` (3.11) or `owner` (3.12).
    pub frame_entry: u32,
    /// Value of that byte in a frame entered from C.
    pub frame_entry_value: u32,
    /// Reserved, zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<PythonLayout>() == 48);
