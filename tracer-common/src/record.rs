//! Records that cross the ring buffer: rare things only.
//!
//! Each record begins with a [`Header`]. An unknown kind is counted and skipped.

use crate::limits::{MAX_NATIVE_FRAMES, MAX_PYTHON_FRAMES};

/// Kinds of records. Never reused.
pub mod kind {
    /// [`super::NewStack`].
    pub const NEW_STACK: u32 = 1;
    /// [`super::Mapping`].
    pub const MAPPING: u32 = 2;
    /// [`super::Process`].
    pub const PROCESS: u32 = 3;
}

/// What every record begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// Thread that caused it, in the initial PID namespace.
    pub tid: u32,
}

/// Why a walk ended. Numbers are part of the ABI and of captures.
pub mod walk_end {
    /// At the outermost frame.
    pub const BOTTOM: u32 = 0;
    /// The code that the next frame belongs to keeps no frame pointers.
    pub const NO_FRAME_POINTER: u32 = 1;
    /// The frame pointer is not plausible.
    pub const BAD_FRAME_POINTER: u32 = 2;
    /// Memory could not be read.
    pub const UNREADABLE: u32 = 3;
    /// The return address lies in no executable range that is known.
    pub const UNKNOWN_CODE: u32 = 4;
    /// As many frames as fit were taken.
    pub const TOO_DEEP: u32 = 5;
    /// There was nothing to walk (no interpreter, or none on this thread).
    pub const ABSENT: u32 = 6;
    /// The unwind information says nothing about this code.
    pub const NO_UNWIND_INFO: u32 = 7;
    /// The unwind information asks for what is not walked (other registers, other expressions).
    pub const UNSUPPORTED_RULE: u32 = 8;
    /// The caller's stack pointer came out below this frame's, or far above.
    pub const BAD_STACK_POINTER: u32 = 9;
    /// A return probe is pending on this frame, and the return address it replaced was not found.
    pub const TRAMPOLINE: u32 = 10;
    /// The interpreter's state contradicts itself.
    pub const BAD_INTERPRETER_STATE: u32 = 11;
}

/// Domain of a stack: what kind of memory it asked for.
pub mod domain {
    /// A block of the allocator.
    pub const MALLOC: u32 = 0;
    /// A mapping made by the program itself (mmap, brk, sbrk).
    pub const MMAP: u32 = 1;
    /// An object of Python's own allocator.
    pub const PYTHON: u32 = 2;
    /// Objects of V8's heap, as its sampling profiler sees them. Never from the kernel side.
    pub const V8: u32 = 3;
}

/// A Python frame as the kernel side saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PythonFrame {
    /// Address of the code object.
    pub code_avma: u64,
    /// Instruction pointer minus code object, in bytes; may be nonsense in a frame that has not
    /// started.
    pub instr_offset: i32,
    /// 1 when C code entered the interpreter with this frame.
    pub is_entry: u32,
}

/// Words that frames take in a record: one each native frame, two more where JavaScript runs in it,
/// two each Python frame. A power of two, so that an index is bounded by a mask. A stack that is
/// deep in both languages loses the outermost of its Python frames.
pub const STACK_WORDS: usize = 512;
const _: () = assert!(MAX_NATIVE_FRAMES + 2 * MAX_PYTHON_FRAMES <= STACK_WORDS);
const _: () = assert!(3 * MAX_NATIVE_FRAMES <= STACK_WORDS);

/// A stack that was never seen before. Only the words that are used are sent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NewStack {
    /// Common beginning.
    pub header: Header,
    /// Identity: a 64-bit hash over domain and frames, never 0 or 1.
    pub stack_hash: u64,
    /// One of [`domain`].
    pub domain: u32,
    /// Number of native frames.
    pub native_count: u32,
    /// Number of Python frames.
    pub python_count: u32,
    /// How the native walk ended: one of [`walk_end`].
    pub native_end: u32,
    /// How the Python walk ended: one of [`walk_end`].
    pub python_end: u32,
    /// Number of the process's image.
    pub image: u32,
    /// Return addresses, the allocator's caller first, those with [`HAS_JS`](crate::v8::HAS_JS)
    /// set followed by what [`JsFrame::to_words`](crate::v8::JsFrame::to_words) yields; behind them
    /// the Python frames, innermost first, as [`PythonFrame::to_words`] has them.
    pub words: [u64; STACK_WORDS],
}
/// Bytes of [`NewStack`] before its words.
pub const NEW_STACK_PREFIX_BYTES: usize = 40;
const _: () = assert!(size_of::<NewStack>() == NEW_STACK_PREFIX_BYTES + 8 * STACK_WORDS);

impl PythonFrame {
    /// As it lies in a record.
    #[inline(always)]
    pub const fn to_words(self) -> [u64; 2] {
        [self.code_avma, self.instr_offset as u32 as u64 | (self.is_entry as u64) << 32]
    }
}

/// Operations on mappings.
pub mod mapping_op {
    /// `[address, address + length)` was mapped.
    pub const MAP: u32 = 1;
    /// `[address, address + length)` is being unmapped.
    pub const UNMAP: u32 = 2;
    /// `[old_address, old_address + old_length)` became `[address, address + length)`.
    pub const REMAP: u32 = 3;
    /// The program break moved from `old_address` to `address`.
    pub const BREAK: u32 = 4;
}

/// A mapping call by the target itself, outside its allocator. Accounted in user space, where
/// parts of mappings can be told apart; they are rare.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Common beginning.
    pub header: Header,
    /// Stack that asked for it (0 for unmap).
    pub stack_hash: u64,
    /// One of [`mapping_op`].
    pub op: u32,
    /// `prot` argument of mmap (0 otherwise).
    pub prot: u32,
    /// See [`mapping_op`].
    pub address: u64,
    /// In bytes.
    pub length_bytes: u64,
    /// See [`mapping_op`].
    pub old_address: u64,
    /// In bytes.
    pub old_length_bytes: u64,
    /// Number of the process's image.
    pub image: u32,
    /// `flags` argument of mmap (0 otherwise).
    pub flags: u32,
}
const _: () = assert!(size_of::<Mapping>() == 64);

/// Process events.
pub mod process_op {
    /// A traced process has replaced its image; every block of the old one is gone. `other_tgid` is
    /// 1 when a thread other than the first did it: probes placed before no longer fire then.
    pub const EXEC: u32 = 1;
    /// A traced process' last thread has ended.
    pub const EXIT: u32 = 2;
    /// A traced process has a child with memory of its own; `other_tgid` is the child.
    pub const FORK: u32 = 3;
    /// The dynamic loader has changed its list of libraries; the process is stopped (SIGSTOP) and
    /// waits to be continued.
    pub const LIBRARIES: u32 = 4;
}

/// Something happened to a traced process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Common beginning.
    pub header: Header,
    /// One of [`process_op`].
    pub op: u32,
    /// See [`process_op`].
    pub other_tgid: u32,
    /// EXEC: number of the image that begins with it.
    pub image: u32,
    /// The traced process.
    pub tgid: u32,
    /// When (CLOCK_MONOTONIC).
    pub at_ns: u64,
}
const _: () = assert!(size_of::<Process>() == 32);
