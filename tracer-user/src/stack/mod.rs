//! Stacks: as the kernel side recorded them ([`RawStack`]) and as people read them ([`Stack`]).
//! How the one becomes the other is `symbol`'s business.

use crate::same::Same;

/// Identity of a stack within one session: a 64-bit hash over domain and frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(pub u64);

/// What kind of memory a stack asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// A block of the allocator.
    Malloc,
    /// A mapping made by the program itself (mmap, brk, sbrk).
    Mmap,
    /// An object of Python's own allocator.
    Python,
    /// Objects of V8's heap, as its sampling profiler sees them.
    V8,
}

impl Domain {
    /// Name in reports: `malloc`, `mmap`, `python`, `v8`.
    pub const fn name(self) -> &'static str {
        match self {
            Domain::Malloc => "malloc",
            Domain::Mmap => "mmap",
            Domain::Python => "python",
            Domain::V8 => "v8",
        }
    }
}

/// Why a walk ended; see `tracer_common::record::walk_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalkEnd {
    /// At the outermost frame: the stack is complete.
    Bottom,
    /// The next frame's code keeps no frame pointers.
    NoFramePointer,
    /// The frame pointer is not plausible.
    BadFramePointer,
    /// Memory could not be read.
    Unreadable,
    /// The return address lies in no executable range that is known.
    UnknownCode,
    /// As many frames as fit were taken.
    TooDeep,
    /// There was nothing to walk.
    Absent,
    /// The unwind information says nothing about this code.
    NoUnwindInfo,
    /// The unwind information asks for what is not walked.
    UnsupportedRule,
    /// The caller's stack pointer is not plausible.
    BadStackPointer,
    /// A pending return probe hides the return address.
    Trampoline,
    /// The interpreter's state contradicts itself.
    BadInterpreterState,
    /// A number from a newer kernel side or capture.
    Unknown(u32),
}

impl WalkEnd {
    /// All named ways a walk can end, in the order of their numbers.
    pub const ALL: [WalkEnd; 12] = [
        WalkEnd::Bottom,
        WalkEnd::NoFramePointer,
        WalkEnd::BadFramePointer,
        WalkEnd::Unreadable,
        WalkEnd::UnknownCode,
        WalkEnd::TooDeep,
        WalkEnd::Absent,
        WalkEnd::NoUnwindInfo,
        WalkEnd::UnsupportedRule,
        WalkEnd::BadStackPointer,
        WalkEnd::Trampoline,
        WalkEnd::BadInterpreterState,
    ];

    /// From its number in records and captures.
    pub fn from_number(number: u32) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or(WalkEnd::Unknown(number))
    }

    /// Its number in records and captures.
    pub fn number(self) -> u32 {
        match self {
            WalkEnd::Unknown(number) => number,
            named => Self::ALL.iter().position(|end| *end == named).unwrap_or(0) as u32,
        }
    }

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            WalkEnd::Bottom => "bottom",
            WalkEnd::NoFramePointer => "no_frame_pointer",
            WalkEnd::BadFramePointer => "bad_frame_pointer",
            WalkEnd::Unreadable => "unreadable",
            WalkEnd::UnknownCode => "unknown_code",
            WalkEnd::TooDeep => "too_deep",
            WalkEnd::Absent => "absent",
            WalkEnd::NoUnwindInfo => "no_unwind_info",
            WalkEnd::UnsupportedRule => "unsupported_rule",
            WalkEnd::BadStackPointer => "bad_stack_pointer",
            WalkEnd::Trampoline => "trampoline",
            WalkEnd::BadInterpreterState => "bad_interpreter_state",
            WalkEnd::Unknown(_) => "unknown",
        }
    }

    /// Whether the walk reached all there was.
    pub fn is_complete(self) -> bool {
        matches!(self, WalkEnd::Bottom | WalkEnd::Absent)
    }
}

/// A stack as the kernel side recorded it: addresses in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// Identity.
    pub id: StackId,
    /// Number of the image of the process that it belongs to; 0 where that was not recorded.
    pub image: u32,
    /// What was asked for.
    pub domain: Domain,
    /// Return addresses, the allocator's caller first.
    pub native: Vec<u64>,
    /// How the native walk ended.
    pub native_end: WalkEnd,
    /// JavaScript frames, innermost first; each stands in the place of a native frame.
    pub js: Vec<tracer_common::v8::JsFrame>,
    /// Python frames, innermost first.
    pub python: Vec<tracer_common::record::PythonFrame>,
    /// How the Python walk ended.
    pub python_end: WalkEnd,
}

/// Language of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameKind {
    /// Machine code of the program or a library.
    Native,
    /// A Python function.
    Python,
    /// A JavaScript function.
    Js,
    /// The kernel.
    Kernel,
}

impl FrameKind {
    /// Name in reports: `native`, `python`, `js`, `kernel`.
    pub const fn name(self) -> &'static str {
        match self {
            FrameKind::Native => "native",
            FrameKind::Python => "python",
            FrameKind::Js => "js",
            FrameKind::Kernel => "kernel",
        }
    }
}

/// One frame as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Language.
    pub kind: FrameKind,
    /// Function (qualified, demangled); `[unknown]` or `module+0x1234` where there is no name.
    pub function: String,
    /// Source file, where known.
    pub file: Option<String>,
    /// Line that was executing, 1-based, where known.
    pub line: Option<u32>,
    /// File that holds the machine code, where known.
    pub module: Option<String>,
    /// Build ID of the module, lower-case hex, where known.
    pub build_id: Option<String>,
    /// Offset in the module file (native), or bytecode offset (Python).
    pub offset: Option<u64>,
    /// Where the code that runs has it, when a source map led from there to `file` and `line`.
    pub generated: Option<Generated>,
    /// Whether `line` is the one at which the function begins: V8 told no other for this call, and
    /// functions that its optimiser put into this one are then not told apart from it.
    pub line_is_of_function: bool,
}

/// A place in code that a compiler wrote (TypeScript's output, a bundle).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generated {
    /// Its file.
    pub file: String,
    /// Line, 1-based.
    pub line: u32,
}

impl Frame {
    /// One of which nothing is known but what it is called.
    pub fn bare(kind: FrameKind, function: impl Into<String>) -> Self {
        Self {
            kind,
            function: function.into(),
            file: None,
            line: None,
            module: None,
            build_id: None,
            offset: None,
            generated: None,
            line_is_of_function: false,
        }
    }
}

/// A stack as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Identity.
    pub id: StackId,
    /// What was asked for.
    pub domain: Domain,
    /// Leaf (allocating function) first.
    pub frames: Vec<Same<Frame>>,
    /// Why frames are missing at the outer end; `None` when the stack is whole.
    pub truncated: Option<WalkEnd>,
}
