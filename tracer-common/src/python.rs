//! How the kernel side finds and walks the frames of a CPython.

/// [`PythonLayout::kind`]: the target is no CPython that is known.
pub const PYTHON_NONE: u32 = 0;
/// [`PythonLayout::kind`]: frames are walked.
pub const PYTHON_FRAMES: u32 = 1;

/// [`PythonLayout::how`] of pthread keys: glibc x86-64.
pub const TSS_GLIBC: u32 = 0;
/// [`PythonLayout::how`] of pthread keys: musl x86-64.
pub const TSS_MUSL: u32 = 1;

/// [`PythonLayout::instr_form`]: a pointer into the code object (3.11 and later); recorded as the
/// distance from it.
pub const INSTR_POINTER: u32 = 0;
/// [`PythonLayout::instr_form`]: `f_lasti`, a 32-bit index (bytes up to 3.9, units of two bytes in
/// 3.10), recorded as it is.
pub const INSTR_LASTI: u32 = 1;

/// An offset that does not exist in this version.
pub const NO_OFFSET: u32 = u32::MAX;

/// Where one CPython keeps its thread states and frames; offsets in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PythonLayout {
    /// Address, in the target, of the `Py_tss_t` that holds the thread-state key
    /// (`{int is_initialized; int key}`); 0 where there is none.
    pub tss_avma: u64,
    /// Where `_Py_tss_tstate` lies relative to the thread pointer (3.12 and later), 0 where it does
    /// not: the thread state of whoever holds the GIL, else null. Relative to the block of
    /// `tls_module` where there is one.
    pub tls_offset: i64,
    /// The same of the thread's own state, valid without the GIL too (3.15), 0 where it does not.
    pub gilstate_tls_offset: i64,
    /// Address, in the target, of the word that holds the thread state of whoever holds the GIL,
    /// which may be another thread (3.11 and earlier); 0 where there is none.
    pub current_avma: u64,
    /// One of the `PYTHON_*` constants.
    pub kind: u32,
    /// One of the `TSS_*` constants: of pthread keys, and of thread-local blocks.
    pub how: u32,
    /// `PyThreadState.thread_id`, which equals the thread pointer; [`NO_OFFSET`]: not checked.
    pub tstate_thread_id: u32,
    /// `PyThreadState.cframe` (3.11, 3.12), else its pointer to the innermost frame.
    pub tstate_frame: u32,
    /// `_PyCFrame.current_frame`; [`NO_OFFSET`] where thread states point to frames themselves.
    pub cframe_frame: u32,
    /// The frame's code object, perhaps with tags in its low three bits.
    pub frame_code: u32,
    /// The frame's caller.
    pub frame_previous: u32,
    /// The frame's instruction; see `instr_form`.
    pub frame_instr: u32,
    /// One of the `INSTR_*` constants.
    pub instr_form: u32,
    /// The byte that marks a frame entered from C: `is_entry` (3.11) or `owner` (3.12 and later);
    /// [`NO_OFFSET`]: each frame is (up to 3.10).
    pub frame_entry: u32,
    /// Value of that byte in a frame entered from C.
    pub frame_entry_value: u32,
    /// Module (of the dynamic linker's counting, from 1) whose thread-local block the offsets are
    /// relative to; 0: to the thread pointer.
    pub tls_module: u32,
}
const _: () = assert!(size_of::<PythonLayout>() == 80);
