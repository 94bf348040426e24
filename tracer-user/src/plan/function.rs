//! The functions that are probed, as data: by which names they go, and what is read at entry.

use super::Function;

/// A name under which a function is exported.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The symbol.
    pub symbol: &'static str,
    /// What it does.
    pub function: Function,
}

/// What an allocator exports.
pub const ALLOCATOR: &[Name] = &[
    Name { symbol: "malloc", function: Function::Malloc },
    Name { symbol: "calloc", function: Function::Calloc },
    Name { symbol: "realloc", function: Function::Realloc },
    Name { symbol: "reallocarray", function: Function::Reallocarray },
    Name { symbol: "free", function: Function::Free },
    Name { symbol: "cfree", function: Function::Free },
    Name { symbol: "posix_memalign", function: Function::PosixMemalign },
    Name { symbol: "aligned_alloc", function: Function::AlignedAlloc },
    Name { symbol: "memalign", function: Function::AlignedAlloc },
    Name { symbol: "valloc", function: Function::Valloc },
    Name { symbol: "pvalloc", function: Function::Valloc },
];

/// What a libc exports to map memory directly.
pub const MAPPING: &[Name] = &[
    Name { symbol: "mmap", function: Function::Mmap },
    Name { symbol: "mmap64", function: Function::Mmap },
    Name { symbol: "munmap", function: Function::Munmap },
    Name { symbol: "mremap", function: Function::Mremap },
    Name { symbol: "brk", function: Function::Brk },
    Name { symbol: "sbrk", function: Function::Sbrk },
];

/// A symbol by which a libc is known from other libraries that export `mmap`.
pub const LIBC_MARK: &str = "__libc_start_main";

/// `operator new(size_t)`: where an allocator defines it itself, C++ code may bypass its malloc.
pub const OPERATOR_NEW: &str = "_Znwm";

impl Function {
    /// How many argument registers (rdi, rsi, rdx, rcx, r8) the entry probe reads.
    pub const fn argument_count(self) -> usize {
        match self {
            Function::Malloc
            | Function::Free
            | Function::Valloc
            | Function::Brk
            | Function::Sbrk => 1,
            Function::Calloc | Function::Realloc | Function::AlignedAlloc | Function::Munmap => 2,
            Function::Reallocarray | Function::PosixMemalign => 3,
            Function::Mmap => 4,
            Function::Mremap => 5,
        }
    }

    /// Name in plans and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Function::Malloc => "malloc",
            Function::Calloc => "calloc",
            Function::Realloc => "realloc",
            Function::Reallocarray => "reallocarray",
            Function::Free => "free",
            Function::PosixMemalign => "posix_memalign",
            Function::AlignedAlloc => "aligned_alloc",
            Function::Valloc => "valloc",
            Function::Mmap => "mmap",
            Function::Munmap => "munmap",
            Function::Mremap => "mremap",
            Function::Brk => "brk",
            Function::Sbrk => "sbrk",
        }
    }
}
