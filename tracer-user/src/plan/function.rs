//! The functions that are probed, as data: by which names they go, and what is read at entry.

use super::Function;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What is known of a symbol's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What the function does.
    pub function: Function,
    /// Place in the order of names; the best-known have the lowest.
    pub rank: usize,
    /// Whether it is one of C's own names, which anything may define for a purpose of its own.
    pub plain: bool,
    /// Whether it is a C++ operator, which libraries define on top of another's malloc.
    pub operator: bool,
}

/// Names that allocators share, behind each of [`PREFIXES`].
const SHARED: &[(&str, Function)] = &[
    ("malloc", Function::Malloc),
    ("calloc", Function::Calloc),
    ("realloc", Function::Realloc),
    ("reallocarray", Function::Reallocarray),
    ("reallocf", Function::Reallocf),
    ("free", Function::Free),
    ("cfree", Function::Free),
    ("free_sized", Function::Free),
    ("free_aligned_sized", Function::Free),
    ("posix_memalign", Function::PosixMemalign),
    ("aligned_alloc", Function::AlignedAlloc),
    ("memalign", Function::AlignedAlloc),
    ("valloc", Function::Valloc),
    ("pvalloc", Function::Valloc),
    // jemalloc's own interface; the trailing flags change neither size nor block.
    ("mallocx", Function::Malloc),
    ("rallocx", Function::Realloc),
    ("xallocx", Function::Xallocx),
    ("dallocx", Function::Free),
    ("sdallocx", Function::Free),
];

/// What allocators put before their names: nothing, jemalloc's usual prefix, the one of Rust's
/// jemalloc crates, tcmalloc's, mimalloc's, and the one under which glibc's are aliased.
pub const PREFIXES: [&str; 6] = ["", "je_", "_rjem_", "tc_", "mi_", "__libc_"];

/// Names of one allocator only.
const OWN: &[(&str, Function)] = &[
    ("__posix_memalign", Function::PosixMemalign),
    // mimalloc: sizes come first, alignments behind.
    ("mi_malloc_small", Function::Malloc),
    ("mi_zalloc", Function::Malloc),
    ("mi_zalloc_small", Function::Malloc),
    ("mi_mallocn", Function::Calloc),
    ("mi_reallocn", Function::Reallocarray),
    ("mi_rezalloc", Function::Realloc),
    ("mi_recalloc", Function::Reallocarray),
    ("mi_malloc_aligned", Function::Malloc),
    ("mi_malloc_aligned_at", Function::Malloc),
    ("mi_zalloc_aligned", Function::Malloc),
    ("mi_zalloc_aligned_at", Function::Malloc),
    ("mi_calloc_aligned", Function::Calloc),
    ("mi_calloc_aligned_at", Function::Calloc),
    ("mi_realloc_aligned", Function::Realloc),
    ("mi_realloc_aligned_at", Function::Realloc),
    ("mi_rezalloc_aligned", Function::Realloc),
    ("mi_rezalloc_aligned_at", Function::Realloc),
    ("mi_recalloc_aligned", Function::Reallocarray),
    ("mi_recalloc_aligned_at", Function::Reallocarray),
    ("mi_free_size", Function::Free),
    ("mi_free_size_aligned", Function::Free),
    ("mi_free_aligned", Function::Free),
    ("mi_heap_malloc", Function::HeapMalloc),
    ("mi_heap_malloc_small", Function::HeapMalloc),
    ("mi_heap_zalloc", Function::HeapMalloc),
    ("mi_heap_malloc_aligned", Function::HeapMalloc),
    ("mi_heap_malloc_aligned_at", Function::HeapMalloc),
    ("mi_heap_zalloc_aligned", Function::HeapMalloc),
    ("mi_heap_zalloc_aligned_at", Function::HeapMalloc),
    ("mi_heap_calloc", Function::HeapCalloc),
    ("mi_heap_mallocn", Function::HeapCalloc),
    ("mi_heap_calloc_aligned", Function::HeapCalloc),
    ("mi_heap_realloc", Function::HeapRealloc),
    ("mi_heap_rezalloc", Function::HeapRealloc),
    ("mi_heap_realloc_aligned", Function::HeapRealloc),
    ("mi_heap_rezalloc_aligned", Function::HeapRealloc),
    // tcmalloc.
    ("tc_malloc_skip_new_handler", Function::Malloc),
];

/// C++ operators, by their mangled names and by those of allocators. The throwing ones may not
/// carry a return probe.
const OPERATORS: &[(&str, Function)] = &[
    ("_Znwm", Function::New),
    ("_Znam", Function::New),
    ("_ZnwmSt11align_val_t", Function::New),
    ("_ZnamSt11align_val_t", Function::New),
    ("_ZnwmRKSt9nothrow_t", Function::Malloc),
    ("_ZnamRKSt9nothrow_t", Function::Malloc),
    ("_ZnwmSt11align_val_tRKSt9nothrow_t", Function::Malloc),
    ("_ZnamSt11align_val_tRKSt9nothrow_t", Function::Malloc),
    ("_ZdlPv", Function::Free),
    ("_ZdaPv", Function::Free),
    ("_ZdlPvm", Function::Free),
    ("_ZdaPvm", Function::Free),
    ("_ZdlPvRKSt9nothrow_t", Function::Free),
    ("_ZdaPvRKSt9nothrow_t", Function::Free),
    ("_ZdlPvSt11align_val_t", Function::Free),
    ("_ZdaPvSt11align_val_t", Function::Free),
    ("_ZdlPvmSt11align_val_t", Function::Free),
    ("_ZdaPvmSt11align_val_t", Function::Free),
    ("_ZdlPvSt11align_val_tRKSt9nothrow_t", Function::Free),
    ("_ZdaPvSt11align_val_tRKSt9nothrow_t", Function::Free),
    ("mi_new", Function::New),
    ("mi_new_aligned", Function::New),
    ("mi_new_n", Function::NewArray),
    ("mi_new_nothrow", Function::Malloc),
    ("mi_new_aligned_nothrow", Function::Malloc),
    ("tc_new", Function::New),
    ("tc_newarray", Function::New),
    ("tc_new_aligned", Function::New),
    ("tc_newarray_aligned", Function::New),
    ("tc_new_nothrow", Function::Malloc),
    ("tc_newarray_nothrow", Function::Malloc),
    ("tc_new_aligned_nothrow", Function::Malloc),
    ("tc_newarray_aligned_nothrow", Function::Malloc),
    ("tc_delete", Function::Free),
    ("tc_deletearray", Function::Free),
    ("tc_delete_sized", Function::Free),
    ("tc_deletearray_sized", Function::Free),
    ("tc_delete_nothrow", Function::Free),
    ("tc_deletearray_nothrow", Function::Free),
    ("tc_delete_aligned", Function::Free),
    ("tc_deletearray_aligned", Function::Free),
    ("tc_delete_sized_aligned", Function::Free),
    ("tc_deletearray_sized_aligned", Function::Free),
    ("tc_delete_aligned_nothrow", Function::Free),
    ("tc_deletearray_aligned_nothrow", Function::Free),
];

/// What a libc exports to map memory directly.
const MAPPING: &[(&str, Function)] = &[
    ("mmap", Function::Mmap),
    ("mmap64", Function::Mmap),
    ("munmap", Function::Munmap),
    ("mremap", Function::Mremap),
    ("brk", Function::Brk),
    ("sbrk", Function::Sbrk),
];

/// Where exceptions are raised, and threads are unwound to their end.
pub const THROWING: [&str; 3] =
    ["_Unwind_RaiseException", "_Unwind_Resume_or_Rethrow", "_Unwind_ForcedUnwind"];

/// A symbol by which a libc is known from other libraries that export `mmap`.
pub const LIBC_MARK: &str = "__libc_start_main";

/// Symbols by which a libc is known to be glibc: what a shared one exports, and what a static
/// program has of its allocator, unless another one took that's place.
pub const GLIBC_MARK: &str = "gnu_get_libc_version";
/// See [`GLIBC_MARK`].
pub const GLIBC_STATIC_MARK: &str = "_int_free";

static KNOWN: LazyLock<HashMap<String, Known>> = LazyLock::new(|| {
    let mut names: Vec<(String, Function, bool, bool)> = Vec::new();
    for prefix in PREFIXES {
        for (name, function) in SHARED {
            names.push((format!("{prefix}{name}"), *function, prefix.is_empty(), false));
        }
    }
    names.extend(OWN.iter().map(|(name, function)| ((*name).into(), *function, false, false)));
    names.extend(MAPPING.iter().map(|(name, function)| ((*name).into(), *function, true, false)));
    names.extend(OPERATORS.iter().map(|(name, function)| ((*name).into(), *function, false, true)));
    let mut known = HashMap::new();
    for (rank, (name, function, plain, operator)) in names.into_iter().enumerate() {
        known.entry(name).or_insert(Known { function, rank, plain, operator });
    }
    known
});

/// What is known of a symbol of that name; versions (`malloc@@GLIBC_2.2.5`) do not matter.
pub fn known(symbol: &str) -> Option<Known> {
    let name = symbol.split_once('@').map_or(symbol, |(name, _)| name);
    KNOWN.get(name).copied()
}

impl Function {
    /// How many argument registers (rdi, rsi, rdx, rcx, r8) the entry probe reads.
    pub const fn argument_count(self) -> usize {
        match self {
            Function::Throw | Function::FullCollection => 0,
            Function::LaneSettle => 1,
            Function::LaneDeath => 2,
            Function::LaneBirth => 5,
            Function::Malloc
            | Function::Free
            | Function::Valloc
            | Function::New
            | Function::Brk
            | Function::Sbrk => 1,
            Function::Calloc
            | Function::Realloc
            | Function::Reallocf
            | Function::AlignedAlloc
            | Function::NewArray
            | Function::HeapMalloc
            | Function::PyMalloc
            | Function::PyFree
            | Function::Munmap => 2,
            Function::Reallocarray
            | Function::PosixMemalign
            | Function::Xallocx
            | Function::HeapCalloc
            | Function::HeapRealloc
            | Function::PyCalloc
            | Function::PyRealloc => 3,
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
            Function::Reallocf => "reallocf",
            Function::Xallocx => "xallocx",
            Function::Free => "free",
            Function::PosixMemalign => "posix_memalign",
            Function::AlignedAlloc => "aligned_alloc",
            Function::Valloc => "valloc",
            Function::New => "operator_new",
            Function::NewArray => "operator_new_n",
            Function::Throw => "throw",
            Function::HeapMalloc => "heap_malloc",
            Function::HeapCalloc => "heap_calloc",
            Function::HeapRealloc => "heap_realloc",
            Function::PyMalloc => "python_malloc",
            Function::PyCalloc => "python_calloc",
            Function::PyRealloc => "python_realloc",
            Function::PyFree => "python_free",
            Function::FullCollection => "v8_full_collection",
            Function::LaneBirth => "lane_birth",
            Function::LaneDeath => "lane_death",
            Function::LaneSettle => "lane_settle",
            Function::Mmap => "mmap",
            Function::Munmap => "munmap",
            Function::Mremap => "mremap",
            Function::Brk => "brk",
            Function::Sbrk => "sbrk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_with_and_without_prefix_and_version() {
        for (name, expected) in [
            ("malloc", Some(Function::Malloc)),
            ("malloc@@GLIBC_2.2.5", Some(Function::Malloc)),
            ("_rjem_sdallocx", Some(Function::Free)),
            ("je_xallocx", Some(Function::Xallocx)),
            ("mi_zalloc_aligned", Some(Function::Malloc)),
            ("tc_free_sized", Some(Function::Free)),
            ("free_aligned_sized", Some(Function::Free)),
            ("_Znwm", Some(Function::New)),
            ("_ZnwmRKSt9nothrow_t", Some(Function::Malloc)),
            ("my_malloc", None),
            ("nallocx", None),
            ("", None),
        ] {
            assert_eq!(known(name).map(|known| known.function), expected, "{name}");
        }
        assert!(known("malloc").unwrap().rank < known("_Znwm").unwrap().rank);
    }
}
