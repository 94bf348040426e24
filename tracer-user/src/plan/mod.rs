//! The probe plan: what would be probed, where and why. Pure data made from what `target`
//! found; nothing is attached here.

mod allocator;
mod code_range;
pub mod entry;
pub mod exits;
pub mod function;
pub mod jump;
pub mod lane;
pub mod loader;
mod python_objects;
mod render;
mod v8_gc;

pub use code_range::code_ranges;
pub use loader::LoaderHook;
pub use render::{PlanView, render_text, view};
pub use v8_gc::point_of as collection_point;

use crate::runtime::Runtimes;
use crate::runtime::node::{self, NodeRuntime};
use crate::runtime::python::{self, PythonRuntime};
use crate::target::kernel::Release;
use crate::target::{PlannedRange, Target};
use crate::warning::Warning;
use std::path::PathBuf;
use tracer_common::python::PythonLayout;
use tracer_common::v8::V8Layout;

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
    /// reallocf: frees the block where it cannot be resized.
    Reallocf,
    /// xallocx: (block, size, extra): resizes in place, returns the real size.
    Xallocx,
    /// operator new: (size); throws where it fails.
    New,
    /// mi_new_n: (count, size); throws where it fails.
    NewArray,
    /// Raises an exception, which ends the calls that it passes.
    Throw,
    /// mi_heap_malloc: (heap, size).
    HeapMalloc,
    /// mi_heap_calloc: (heap, count, size).
    HeapCalloc,
    /// mi_heap_realloc: (heap, block, size).
    HeapRealloc,
    /// CPython's _PyObject_Malloc: (context, size).
    PyMalloc,
    /// _PyObject_Calloc: (context, count, size).
    PyCalloc,
    /// _PyObject_Realloc: (context, block, size).
    PyRealloc,
    /// _PyObject_Free: (context, block).
    PyFree,
    /// V8's full garbage collection: (nothing).
    FullCollection,
    /// Where the fast lane's library says that a drawn block is born.
    LaneBirth,
    /// Where it says that one dies, or is about to be reallocated.
    LaneDeath,
    /// Where it says what became of the latter.
    LaneSettle,
    Mmap,
    Munmap,
    Mremap,
    Brk,
    Sbrk,
}

impl Function {
    /// Whether the probe needs the function's result.
    pub const fn has_return_probe(self) -> bool {
        !self.is_throwing()
            && !matches!(
                self,
                Function::Free
                    | Function::PyFree
                    | Function::Throw
                    | Function::FullCollection
                    | Function::LaneBirth
                    | Function::LaneDeath
                    | Function::LaneSettle
                    | Function::Munmap
            )
    }

    /// Whether it may throw, which a return probe would turn into a crash.
    pub const fn is_throwing(self) -> bool {
        matches!(self, Function::New | Function::NewArray)
    }

    /// Whether it maps memory directly, outside the allocator.
    pub const fn is_mapping(self) -> bool {
        matches!(
            self,
            Function::Mmap | Function::Munmap | Function::Mremap | Function::Brk | Function::Sbrk
        )
    }
}

/// One probe: a function at an address of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePoint {
    /// What it does.
    pub function: Function,
    /// Whether it is glibc's own, so that headers of blocks are laid out as glibc does.
    pub is_glibc: bool,
    /// All names that this address has, the best-known first (`["free", "cfree"]`).
    pub symbols: Vec<String>,
    /// Path that the kernel can open as long as the target's files are held open
    /// ([`crate::target::MappedFile::open_path`]).
    pub file: PathBuf,
    /// The path as the target sees it.
    pub display_path: PathBuf,
    /// File offset of the function's first byte.
    pub function_offset: u64,
    /// File offset of the instruction that carries the entry probe (>= `function_offset`).
    pub probe_offset: u64,
    /// File offsets of the return instructions that carry probes, of functions that may throw.
    pub exits: Vec<u64>,
    /// The instruction there, disassembled, and why it was chosen.
    pub instruction: String,
    /// Whether the kernel emulates that instruction (cheap) or must single-step it (dear).
    pub emulated: bool,
}

impl ProbePoint {
    /// File offset where the return probe goes. rsp still points at the return address there, and
    /// one breakpoint then serves both probes; at `function_offset` a second one would cost a
    /// second trap, often a single-stepped one.
    pub const fn return_offset(&self) -> u64 {
        self.probe_offset
    }
}

/// Everything that will be probed, and how the target's stacks will be walked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbePlan {
    /// Probes, without two at one address.
    pub points: Vec<ProbePoint>,
    /// Executable ranges of the target, sorted by address, not overlapping.
    pub code_ranges: Vec<PlannedRange>,
    /// The CPython in it, whose frames are walked where its layout is known.
    pub python: Option<PythonRuntime>,
    /// The Node.js in it, whose JavaScript frames are told where its V8 is known.
    pub node: Option<NodeRuntime>,
    /// Where the control of the fast lane's library is, where that draws the sample.
    pub lane_control_avma: Option<u64>,
    /// Files that need not be looked at again for one.
    pub files_without_node: node::Settled,
}

impl ProbePlan {
    /// How to walk its Python frames; `kind` is `PYTHON_NONE` when there are none.
    pub fn python_layout(&self) -> PythonLayout {
        self.python.as_ref().map(|runtime| runtime.layout).unwrap_or_default()
    }

    /// How to tell its JavaScript frames; `kind` is `V8_NONE` when there are none.
    pub fn v8_layout(&self) -> V8Layout {
        self.node.as_ref().map(|runtime| runtime.layout).unwrap_or_default()
    }

    /// The language runtimes in it.
    pub fn runtimes(&self) -> Runtimes {
        Runtimes { python: self.python.clone(), node: self.node.clone() }
    }
}

/// Why nothing can be probed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No malloc anywhere.
    #[error(
        "{exe} has no allocator that can be probed: neither the program nor a library it maps defines malloc and free by name. Looked for: these names and those of jemalloc, mimalloc and tcmalloc, plain and behind {prefixes}, in the symbol tables of {files}. It is a static program without symbols, or brings an allocator under other names. Use a build that is not stripped (keep .symtab), or link libc dynamically.",
        prefixes = function::PREFIXES[1..].join(" "),
        files = files_in_words(.files)
    )]
    NoAllocator {
        /// The program.
        exe: String,
        /// Names of the files that were searched.
        files: Vec<String>,
    },
    /// Return probes would kill the target.
    #[error(
        "Process {pid} runs under a seccomp filter and this kernel ({release}) makes probes a system call that such filters kill: probing would crash the process. Use another kernel (Linux 6.14 or later), or run the service without its filter (systemd: SystemCallFilter=) for the time of the measurement."
    )]
    SeccompKills {
        /// The process.
        pid: u32,
        /// The kernel.
        release: String,
    },
}

/// What would be probed in `target`; `mappings` asks for mmap and its kin too. Attaches nothing.
///
/// # Errors
/// [`PlanError`]: there is nothing to probe, or probing would do harm.
pub fn make(target: &Target, mappings: bool) -> Result<(ProbePlan, Vec<Warning>), PlanError> {
    refuse_hazards(target)?;
    let mut warnings = Vec::new();
    let mut points = Vec::new();
    for file in target.files.values() {
        points.extend(allocator::points_of(file, mappings, &mut warnings));
    }
    if !points.iter().any(|point| point.function.has_return_probe()) {
        return Err(PlanError::NoAllocator {
            exe: target.exe.display().to_string(),
            files: target.files.values().map(|file| file.name()).collect(),
        });
    }
    if points.iter().any(|point| point.function.is_throwing()) {
        points.extend(target.files.values().flat_map(|file| allocator::throw_points_of(file)));
    }
    let mut files_without_node = node::Settled::default();
    let (node, node_warnings) = node::detect(target, &mut files_without_node);
    warnings.extend(node_warnings);
    if let Some(node) = &node {
        points.extend(v8_gc::point_of(target, node, &mut warnings));
    }
    points.sort_by(|a, b| {
        (&a.display_path, a.function, a.function_offset).cmp(&(
            &b.display_path,
            b.function,
            b.function_offset,
        ))
    });
    let (python, python_warnings) = python::detect(target);
    warnings.extend(python_warnings);
    let (code_ranges, range_warnings) = code_ranges(target, node.as_ref());
    warnings.extend(range_warnings);
    let plan = ProbePlan {
        points,
        code_ranges,
        python,
        node,
        lane_control_avma: None,
        files_without_node,
    };
    Ok((plan, warnings))
}

fn refuse_hazards(target: &Target) -> Result<(), PlanError> {
    if target.seccomp_stops_probes {
        let release = Release::running().map(|(_, text)| text).unwrap_or_default();
        return Err(PlanError::SeccompKills { pid: target.tgid, release });
    }
    Ok(())
}

/// Names of files for a sentence, not too many of them.
fn files_in_words(names: &[String]) -> String {
    const MOST: usize = 6;
    match names.len() {
        0 => "no file (none that it maps as code could be opened)".into(),
        count if count <= MOST => names.join(", "),
        count => format!("{} and {} more files", names[..MOST].join(", "), count - MOST),
    }
}

#[cfg(test)]
mod tests;
