//! The probe plan: what would be probed, where and why. Pure data made from what `target`
//! found; nothing is attached here.

use std::path::PathBuf;

/// What a probed function does; decides which kernel program it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Function {
    Malloc,
    Calloc,
    Realloc,
    Reallocarray,
    Free,
    PosixMemalign,
    /// aligned_alloc, memalign: (alignment, size).
    AlignedAlloc,
    /// valloc, pvalloc: (size).
    Valloc,
    Mmap,
    Munmap,
    Mremap,
    Brk,
    Sbrk,
}

impl Function {
    /// Whether the probe needs the function's result.
    pub const fn has_return_probe(self) -> bool {
        !matches!(self, Function::Free | Function::Munmap)
    }
}

/// One probe: a function at an address of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePoint {
    /// What it does.
    pub function: Function,
    /// All names that this address has (`["aligned_alloc", "memalign"]`).
    pub symbols: Vec<String>,
    /// Path that the kernel can open: /proc/PID/root/... or /proc/PID/map_files/...
    pub file: PathBuf,
    /// The path as the target sees it.
    pub display_path: PathBuf,
    /// File offset of the function's first byte: where the return probe goes.
    pub function_offset: u64,
    /// File offset of the instruction that carries the entry probe (>= `function_offset`).
    pub probe_offset: u64,
    /// The instruction there, disassembled, and why it was chosen.
    pub instruction: String,
    /// Whether the kernel emulates that instruction (cheap) or must single-step it (dear).
    pub emulated: bool,
}

/// Everything that will be probed, and how the target's stacks will be walked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbePlan {
    /// Probes, without two at one address.
    pub points: Vec<ProbePoint>,
    /// Executable ranges of the target, sorted by address, not overlapping.
    pub code_ranges: Vec<tracer_common::slot::CodeRange>,
    /// How to walk its Python frames; `kind` is `PYTHON_NONE` when there are none.
    pub python: tracer_common::config::PythonLayout,
}
