//! CPython in the target: which version, where its frames are, which native code is its
//! interpreter loop. Reading code objects is `code`'s business.

pub mod arenas;
pub mod code;
mod decode;
pub mod location;
#[cfg(test)]
mod location_samples;
pub mod small_objects;

pub use code::CodeReader;

use super::memory::{read_vec, u32_in};
use crate::target::elf::{Symbol, Table};
use crate::target::{MappedFile, Target};
use crate::warning::Warning;
use std::path::PathBuf;
use tracer_common::python::{
    NO_OFFSET, PYTHON_FRAMES, PYTHON_NONE, PythonLayout, TSS_GLIBC, TSS_MUSL,
};

/// Largest pthread key that exists (`PTHREAD_KEYS_MAX` of glibc).
const MAX_KEY: u32 = 1024;

/// Symbols that are looked for, in this order.
const SYMBOLS: [&str; 8] = [
    "_PyRuntime",
    "Py_Version",
    "PyGILState_GetThisThreadState",
    "PyCode_Type",
    "PyUnicode_Type",
    "PyBytes_Type",
    "_PyEval_EvalFrameDefault",
    "_PyEval_EvalFrameDefault.cold",
];

/// A version of CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The 3 of 3.11.7.
    pub major: u8,
    /// The 11 of 3.11.7.
    pub minor: u8,
    /// The 7 of 3.11.7; 0 where only the file's name told the version.
    pub micro: u8,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// Addresses, in the target, of the types that objects are checked against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeAddresses {
    /// `PyCode_Type`.
    pub code_avma: u64,
    /// `PyUnicode_Type`.
    pub text_avma: u64,
    /// `PyBytes_Type`.
    pub bytes_avma: u64,
}

/// The CPython inside a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonRuntime {
    /// Its version.
    pub version: Version,
    /// File that holds the interpreter (libpython, or the program), as the target sees it.
    pub module: PathBuf,
    /// How the kernel side walks its frames; `kind` is `PYTHON_NONE` when it cannot.
    pub layout: PythonLayout,
    /// Native code of the interpreter loop, `[start_avma, end_avma)`, cold part included.
    pub eval_ranges: Vec<(u64, u64)>,
    /// For checking objects.
    pub types: TypeAddresses,
}

impl PythonRuntime {
    /// Whether Python frames are recorded for it.
    pub fn is_walked(&self) -> bool {
        self.layout.kind != PYTHON_NONE
    }

    /// Whether frames entered from C are place-holders that stand for no Python function (3.12).
    pub fn has_entry_shims(&self) -> bool {
        self.version >= Version { major: 3, minor: 12, micro: 0 }
    }
}

/// Finds CPython among the target's files. A version whose frames are not known is reported with
/// a layout of kind `PYTHON_NONE`, and a warning.
///
/// # Cost
/// Reads the symbols of the target's files, and a few words of its memory.
pub fn detect(target: &Target) -> (Option<PythonRuntime>, Vec<Warning>) {
    for file in target.files.values() {
        let symbols = find(file);
        let (Some(runtime), Some(bias)) = (symbols[0], target.bias_of(file)) else { continue };
        let mut warnings = Vec::new();
        let found = describe(target, file, bias, runtime, &symbols, &mut warnings);
        return (Some(found), warnings);
    }
    (None, Vec::new())
}

/// [`SYMBOLS`] in `file`; the full table is read only when the dynamic one shows an interpreter,
/// or when the file is a program that may hide one.
fn find(file: &MappedFile) -> Vec<Option<Symbol>> {
    let mut is_python = false;
    file.elf.visit_symbols(Table::Dynamic, |name, _| is_python |= name == SYMBOLS[0]);
    if is_python || file.name().starts_with("python") {
        file.elf.find_symbols(&SYMBOLS)
    } else {
        vec![None; SYMBOLS.len()]
    }
}

fn describe(
    target: &Target,
    file: &MappedFile,
    bias: u64,
    runtime: Symbol,
    symbols: &[Option<Symbol>],
    warnings: &mut Vec<Warning>,
) -> PythonRuntime {
    let avma =
        |index: usize| symbols[index].map_or(0, |symbol: Symbol| symbol.svma.wrapping_add(bias));
    let version = version_of(file, symbols[1]);
    let mut found = PythonRuntime {
        version,
        module: file.display_path.clone(),
        layout: PythonLayout::default(),
        eval_ranges: eval_ranges(file, bias, symbols[6], symbols[7]),
        types: TypeAddresses { code_avma: avma(3), text_avma: avma(4), bytes_avma: avma(5) },
    };
    let unknown = |reason: String| {
        Warning::new(
            "python-unknown",
            format!(
                "The target runs CPython {version}, {reason}; it is traced natively, without Python frames."
            ),
            "CPython 3.11 and 3.12 are walked by this version of outlive.",
        )
    };
    let Some(mut layout) = layout_of(version) else {
        warnings.push(unknown("whose frames are not known here".to_owned()));
        return found;
    };
    if symbols[3..6].iter().any(Option::is_none) {
        warnings.push(unknown("but its object types are not exported".to_owned()));
        return found;
    }
    match key_address(target, file, bias, runtime, symbols[2]) {
        Some(tss_avma) => {
            let musl = target.files.values().any(|file| file.name().starts_with("ld-musl"));
            layout.tss_avma = tss_avma;
            layout.how = if musl { TSS_MUSL } else { TSS_GLIBC };
            found.layout = layout;
        }
        None => warnings.push(unknown("but the key of its thread state was not found".to_owned())),
    }
    found
}

/// `Py_Version` is `0xMMmmppLS` since 3.11; older ones are told by the file's name.
fn version_of(file: &MappedFile, symbol: Option<Symbol>) -> Version {
    let word = symbol
        .and_then(|symbol| file.elf.bytes_at_svma(symbol.svma, 4))
        .and_then(|bytes| u32_in(&bytes, 0));
    if let Some(word) = word.filter(|word| *word != 0) {
        let [major, minor, micro, _] = word.to_be_bytes();
        return Version { major, minor, micro };
    }
    version_in_name(&file.name()).unwrap_or(Version { major: 3, minor: 0, micro: 0 })
}

fn version_in_name(name: &str) -> Option<Version> {
    let (_, rest) = name.split_once("python")?;
    let mut numbers = rest.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    Some(Version { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()?, micro: 0 })
}

/// Offsets in the structures of a version; the address of its key is not among them.
///
/// # Sources
/// CPython's Include/cpython/pystate.h and Include/internal/pycore_frame.h of the version.
fn layout_of(version: Version) -> Option<PythonLayout> {
    let common = PythonLayout {
        kind: PYTHON_FRAMES,
        tstate_thread_id: NO_OFFSET,
        tstate_frame: 56,
        frame_instr: 56,
        ..PythonLayout::default()
    };
    match (version.major, version.minor) {
        (3, 11) => Some(PythonLayout {
            cframe_frame: 8,
            frame_code: 32,
            frame_previous: 48,
            frame_entry: 68,
            frame_entry_value: 1,
            ..common
        }),
        (3, 12) => Some(PythonLayout {
            cframe_frame: 0,
            frame_code: 0,
            frame_previous: 8,
            frame_entry: 70,
            frame_entry_value: 3,
            ..common
        }),
        _ => None,
    }
}

/// Address, in the target, of the key of the thread state: `{int is_initialized; int key}`.
fn key_address(
    target: &Target,
    file: &MappedFile,
    bias: u64,
    runtime: Symbol,
    function: Option<Symbol>,
) -> Option<u64> {
    let function = function?;
    let length = if function.length_bytes == 0 { 128 } else { function.length_bytes.min(256) };
    let code = file.elf.bytes_at_svma(function.svma, length)?;
    let svma = decode::key_svma(&code, function.svma, runtime.svma)?;
    // The key is a member of _PyRuntime: anything else is a misread.
    let inside = svma.checked_sub(runtime.svma)?;
    if inside + 8 > runtime.length_bytes.max(8) {
        return None;
    }
    let avma = svma.wrapping_add(bias);
    // A runtime that has not started yet has no key; one with a wild key is none.
    let live = read_vec(target.tgid, avma, 8)?;
    let (initialized, key) = (u32_in(&live, 0)?, u32_in(&live, 4)?);
    (initialized <= 1 && (initialized == 0 || key < MAX_KEY)).then_some(avma)
}

/// The interpreter loop's native code. Where the cold part has no name (stripped files), it is the
/// function that the loop jumps into from many places.
fn eval_ranges(
    file: &MappedFile,
    bias: u64,
    eval: Option<Symbol>,
    cold: Option<Symbol>,
) -> Vec<(u64, u64)> {
    let Some(eval) = eval.filter(|eval| eval.length_bytes > 0) else { return Vec::new() };
    let mut ranges = vec![(eval.svma, eval.svma.saturating_add(eval.length_bytes))];
    let jumps = || {
        let code =
            file.elf.bytes_at_svma(eval.svma, eval.length_bytes.min(4 << 20)).unwrap_or_default();
        decode::jumps_out(&code, eval.svma)
    };
    // A named cold part may have grown no symbol size; its unwind table has one.
    match cold {
        Some(cold) if cold.length_bytes > 0 => {
            ranges.push((cold.svma, cold.svma.saturating_add(cold.length_bytes)))
        }
        _ => {
            let holding = crate::target::code_range::functions_holding(&file.elf, &jumps());
            // Tail calls reach other functions once or twice each, at their first instruction.
            ranges.extend(
                holding.into_iter().filter(|(_, count)| *count >= 8).map(|(range, _)| range),
            );
        }
    }
    ranges.sort_unstable();
    ranges.dedup();
    ranges.iter().map(|(start, end)| (start.wrapping_add(bias), end.wrapping_add(bias))).collect()
}

#[cfg(test)]
mod tests;
