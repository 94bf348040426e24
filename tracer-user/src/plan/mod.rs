//! The probe plan: what would be probed, where and why. Pure data made from what `target`
//! found; nothing is attached here.

pub mod entry;
pub mod function;
pub mod loader;
mod render;

pub use loader::LoaderHook;
pub use render::{PlanView, render_text, view};

use crate::runtime::python::{self, PythonRuntime};
use crate::target::elf::{Symbol, Table};
use crate::target::kernel::Release;
use crate::target::{MappedFile, PlannedRange, Target, code_ranges};
use crate::warning::Warning;
use function::{ALLOCATOR, LIBC_MARK, MAPPING, Name, OPERATOR_NEW};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tracer_common::python::PythonLayout;

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
}

impl ProbePlan {
    /// How to walk its Python frames; `kind` is `PYTHON_NONE` when there are none.
    pub fn python_layout(&self) -> PythonLayout {
        self.python.as_ref().map(|runtime| runtime.layout).unwrap_or_default()
    }
}

/// Why nothing can be probed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No malloc anywhere.
    #[error(
        "{exe} has no allocator that can be probed: neither the program nor a library it maps defines malloc and free by name. It is a static program without symbols, or brings an allocator under other names. Use a build that is not stripped (keep .symtab), or link libc dynamically."
    )]
    NoAllocator {
        /// The program.
        exe: String,
    },
    /// Return probes would kill the target.
    #[error(
        "Process {pid} runs under a seccomp filter and this kernel ({release}) makes return probes a system call that such filters kill: probing would crash the process. Use Linux 6.14 or later (or 6.10 or earlier), or run the service without its filter (systemd: SystemCallFilter=) for the time of the measurement."
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
    refuse_hazards(target, Release::running())?;
    let mut warnings = Vec::new();
    let mut points = Vec::new();
    for file in target.files.values() {
        points.extend(points_of(file, mappings, &mut warnings));
    }
    if !points.iter().any(|point| point.function == Function::Malloc) {
        return Err(PlanError::NoAllocator { exe: target.exe.display().to_string() });
    }
    points.sort_by(|a, b| {
        (&a.display_path, a.function, a.function_offset).cmp(&(
            &b.display_path,
            b.function,
            b.function_offset,
        ))
    });
    let (code_ranges, range_warnings) = code_ranges(target);
    warnings.extend(range_warnings);
    let (python, python_warnings) = python::detect(target);
    warnings.extend(python_warnings);
    Ok((ProbePlan { points, code_ranges, python }, warnings))
}

fn refuse_hazards(target: &Target, running: Option<(Release, String)>) -> Result<(), PlanError> {
    match running {
        Some((release, text))
            if target.seccomp_mode != 0 && release.seccomp_kills_return_probes() =>
        {
            Err(PlanError::SeccompKills { pid: target.tgid, release: text })
        }
        _ => Ok(()),
    }
}

/// The probes of one file; none when it defines no allocator.
fn points_of(file: &MappedFile, mappings: bool, warnings: &mut Vec<Warning>) -> Vec<ProbePoint> {
    if is_dynamic_loader(&file.name()) {
        return Vec::new();
    }
    let names: Vec<&Name> = ALLOCATOR.iter().chain(MAPPING).collect();
    let mut found: BTreeMap<u64, (Function, Vec<String>, u64)> = BTreeMap::new();
    let (mut is_libc, mut has_operator_new) = (false, false);
    let mut indirect = Vec::new();
    let mut take = |symbol_name: &str, symbol: Symbol| {
        is_libc |= symbol_name == LIBC_MARK;
        has_operator_new |= symbol_name == OPERATOR_NEW;
        let Some(name) = names.iter().find(|name| name.symbol == symbol_name) else { return };
        if symbol.kind == object::elf::STT_GNU_IFUNC.0 {
            indirect.push(symbol_name.to_owned());
        } else if symbol.global
            && matches!(symbol.kind, kind if kind == object::elf::STT_FUNC.0 || kind == object::elf::STT_NOTYPE.0)
        {
            let entry = found
                .entry(symbol.svma)
                .or_insert_with(|| (name.function, Vec::new(), symbol.length_bytes));
            if !entry.1.iter().any(|known| known == symbol_name) {
                entry.1.push(symbol_name.to_owned());
            }
        }
    };
    file.elf.visit_symbols(Table::Dynamic, &mut take);
    // Only a static program is called through names that the dynamic linker does not see.
    if !file.elf.has_interpreter {
        file.elf.visit_symbols(Table::Full, &mut take);
    }
    let defines = |function: Function| found.values().any(|(own, ..)| *own == function);
    if !(defines(Function::Malloc) && defines(Function::Free)) {
        return Vec::new();
    }
    for name in indirect {
        warnings.push(Warning::new(
            "indirect-function",
            format!(
                "{name} in {} is chosen at load time (IFUNC); calls of it are not seen.",
                file.display_path.display()
            ),
            "",
        ));
    }
    if has_operator_new && !is_libc {
        warnings.push(Warning::new(
            "operator-new-unseen",
            format!("{} brings its own C++ operator new, which may bypass its malloc; what C++ code allocates through it may be missing.", file.display_path.display()),
            "Compare with a run without that allocator (LD_PRELOAD).",
        ));
    }
    let wanted = |function: Function| !function.is_mapping() || (mappings && is_libc);
    found
        .into_iter()
        .filter(|(_, (function, ..))| wanted(*function))
        .filter_map(|(svma, (function, symbols, length))| {
            point(file, svma, function, symbols, length)
        })
        .collect()
}

fn point(
    file: &MappedFile,
    svma: u64,
    function: Function,
    mut symbols: Vec<String>,
    length_bytes: u64,
) -> Option<ProbePoint> {
    let length_bytes =
        if length_bytes == 0 { 64 } else { length_bytes.min(entry::MAX_FUNCTION_BYTES) };
    let code = file.elf.bytes_at_svma(svma, length_bytes)?;
    let place = entry::choose(&code, svma, function.argument_count());
    let function_offset = file.elf.file_offset_of(svma)?;
    // The best-known name first: `free, cfree`.
    symbols.sort_by_key(|symbol| {
        ALLOCATOR.iter().chain(MAPPING).position(|name| name.symbol == symbol.as_str())
    });
    Some(ProbePoint {
        function,
        symbols,
        file: file.open_path.clone(),
        display_path: file.display_path.clone(),
        function_offset,
        probe_offset: function_offset + place.offset,
        instruction: format!("{} ({})", place.instruction, place.reason),
        emulated: place.emulated,
    })
}

/// glibc's loader, whose own malloc serves start-up only. musl's (`ld-musl-*`) is its libc.
fn is_dynamic_loader(name: &str) -> bool {
    name.starts_with("ld-linux")
        || name
            .strip_prefix("ld-")
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
