//! The ledger: what resident memory is for, and where it went in a window. Pure: texts of /proc
//! and numbers go in, sums and sentences come out. Reading is `session`'s business.

mod account;
mod advice;
mod classify;
pub mod limit;
mod reconcile;
mod smaps;

pub use account::{Account, Kind, Row};
pub use advice::{Advice, Inside, advice};
pub use classify::{Known, Sums, classify};
pub use reconcile::{Live, Window, chunk_overhead_bytes, reconcile};
pub use smaps::{Region, read};

/// What a piece of the target's memory is for, told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// glibc's main heap, which grows by brk.
    MallocHeap,
    /// Heaps of glibc's other arenas, at multiples of 64 MiB.
    MallocArenas,
    /// Large blocks that glibc maps one by one.
    MallocMapped,
    /// Arenas of CPython's allocator, from the interpreter's own list of them.
    PythonArenas,
    /// Pages of V8's heap and the code that it compiles.
    V8Heap,
    /// Stacks of threads other than the first.
    ThreadStacks,
    /// Stack of the first thread.
    MainStack,
    /// Pages of mapped files as they are on disk.
    Files,
    /// Private pages of mapped files that were written to, and variables that began as zero.
    FileData,
    /// Shared memory: memfd, System V, /dev/shm and other files of tmpfs, shared anonymous memory.
    Shared,
    /// Anonymous mappings that the program made itself under outlive's eyes.
    Direct,
    /// Other anonymous memory: mapped before outlive came, or by an allocator other than glibc's.
    Anonymous,
    /// The kernel's own ([vdso], [uprobes]).
    Special,
}

impl Class {
    /// All classes.
    pub const ALL: [Class; 13] = [
        Class::MallocHeap,
        Class::MallocArenas,
        Class::MallocMapped,
        Class::PythonArenas,
        Class::V8Heap,
        Class::ThreadStacks,
        Class::MainStack,
        Class::Files,
        Class::FileData,
        Class::Shared,
        Class::Direct,
        Class::Anonymous,
        Class::Special,
    ];

    /// Name in captures.
    pub const fn name(self) -> &'static str {
        match self {
            Class::MallocHeap => "malloc-heap",
            Class::MallocArenas => "malloc-arenas",
            Class::MallocMapped => "malloc-mapped",
            Class::PythonArenas => "python-arenas",
            Class::V8Heap => "v8-heap",
            Class::ThreadStacks => "thread-stacks",
            Class::MainStack => "main-stack",
            Class::Files => "files",
            Class::FileData => "file-data",
            Class::Shared => "shared",
            Class::Direct => "direct-mappings",
            Class::Anonymous => "anonymous",
            Class::Special => "special",
        }
    }
}
