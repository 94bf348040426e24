//! CPython in the target: which version, where its frames are, which native code is its
//! interpreter loop. Reading code objects is `code`'s business.

pub mod arenas;
pub mod code;
mod debug_offsets;
mod decode;
pub mod eval_loop;
pub mod layout;
mod line_deltas;
#[cfg(test)]
mod line_samples;
pub mod location;
#[cfg(test)]
mod location_samples;
pub mod objects;
pub mod small_objects;
mod thread_state;
mod thread_word;
mod type_members;
mod version;

pub use code::CodeReader;
pub use eval_loop::EvalCode;
pub use layout::LayoutSource;
pub use version::Version;

use crate::target::elf::{Symbol, Table};
use crate::target::{MappedFile, Target};
use crate::warning::Warning;
use layout::{KNOWN_MINORS, Landmarks, layout_of};
use objects::ObjectLayout;
use std::path::PathBuf;
use thread_state::{Finder, Getters};
use tracer_common::python::{PYTHON_NONE, PythonLayout};

/// Symbols that are looked for; `index` gives the place of one.
const SYMBOLS: [&str; 14] = [
    "_PyRuntime",
    "PyEval_EvalFrameEx",
    "Py_Version",
    "PyType_Type",
    "PyCode_Type",
    "PyUnicode_Type",
    "PyBytes_Type",
    "PyFrame_Type",
    "PyGILState_GetThisThreadState",
    "_PyThreadState_UncheckedGet",
    "PyThreadState_GetUnchecked",
    "_PyThreadState_GetCurrent",
    "_PyEval_EvalFrameDefault",
    "_PyEval_EvalFrameDefault.cold",
];

/// What was found of [`SYMBOLS`].
struct Symbols(Vec<Option<Symbol>>);

impl Symbols {
    fn get(&self, name: &str) -> Option<Symbol> {
        let index = SYMBOLS.iter().position(|symbol| *symbol == name)?;
        self.0.get(index).copied().flatten()
    }
}

/// Addresses, in the target, of the types that objects are checked against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeAddresses {
    /// `PyType_Type`.
    pub type_avma: u64,
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
    /// Where its objects keep what.
    pub objects: ObjectLayout,
    /// Who said so.
    pub layout_source: LayoutSource,
    /// Built without the GIL.
    pub free_threaded: bool,
    /// Native code of the interpreter loop.
    pub eval: EvalCode,
    /// For checking objects.
    pub types: TypeAddresses,
    /// Where `_PyRuntime` is; 0 where it was not found.
    pub runtime_avma: u64,
}

impl PythonRuntime {
    /// Whether Python frames are recorded for it.
    pub fn is_walked(&self) -> bool {
        self.layout.kind != PYTHON_NONE
    }

    /// Whether frames entered from C are place-holders that stand for no Python function (3.12).
    pub fn has_entry_shims(&self) -> bool {
        (self.version.major, self.version.minor) >= (3, 12)
    }

    /// Whether looking again, once the dynamic linker is done, can tell nothing more.
    pub fn is_settled(&self) -> bool {
        let has_thread_words = self.layout.tls_module != 0 || self.layout.tls_offset != 0;
        let needs_them = (self.version.major, self.version.minor) >= (3, 12);
        self.layout_source != LayoutSource::Tables && (has_thread_words || !needs_them)
    }

    /// What it is and how it is read, for people.
    pub fn describe(&self) -> String {
        let gil = if self.free_threaded { " without the GIL" } else { "" };
        let calls = if self.eval.handlers.is_empty() { "" } else { ", dispatched by tail calls" };
        let mut text = format!("CPython {}{gil} in {}", self.version, self.module.display());
        if self.is_walked() {
            text += &format!(", laid out by {}{calls}", self.layout_source.text());
        }
        text
    }
}

/// The CPython in `target`, if there is one, and what is wrong with it. A CPython that is not
/// understood is named in a warning, and native frames are all there is.
///
/// # Cost
/// Reads the symbols of the target's files, and a few words of its memory.
pub fn detect(target: &Target) -> (Option<PythonRuntime>, Vec<Warning>) {
    for file in target.files.values() {
        let Some(symbols) = find(file) else { continue };
        let Some(bias) = target.bias_of(file) else { continue };
        let mut warnings = Vec::new();
        let found = describe(target, file, bias, &symbols, &mut warnings);
        return (Some(found), warnings);
    }
    (None, Vec::new())
}

/// [`SYMBOLS`] in `file`, if it is an interpreter; the full table is read only when the dynamic
/// one shows one, or when the file is a program that may hide one.
fn find(file: &MappedFile) -> Option<Symbols> {
    let mut is_python = file.name().starts_with("python");
    // Both are exported by every CPython since 2.0, and defined by nothing else.
    file.elf.visit_symbols(Table::Dynamic, |name, _| is_python |= SYMBOLS[..2].contains(&name));
    let symbols = Symbols(if is_python { file.elf.find_symbols(&SYMBOLS) } else { Vec::new() });
    symbols.get("PyEval_EvalFrameEx").or(symbols.get("_PyRuntime")).map(|_| symbols)
}

fn describe(
    target: &Target,
    file: &MappedFile,
    bias: u64,
    symbols: &Symbols,
    warnings: &mut Vec<Warning>,
) -> PythonRuntime {
    let avma = |name: &str| symbols.get(name).map_or(0, |symbol| symbol.svma.wrapping_add(bias));
    let version = version::of(target, file, symbols.get("Py_Version"));
    let landmarks = Landmarks {
        runtime_avma: avma("_PyRuntime"),
        code_type_avma: avma("PyCode_Type"),
        frame_type_avma: avma("PyFrame_Type"),
    };
    let layout = layout_of(target.tgid, version, landmarks);
    let types = TypeAddresses {
        type_avma: avma("PyType_Type"),
        code_avma: landmarks.code_type_avma,
        text_avma: avma("PyUnicode_Type"),
        bytes_avma: avma("PyBytes_Type"),
    };
    let eval = eval_loop::find(
        target.tgid,
        &file.elf,
        bias,
        symbols.get("_PyEval_EvalFrameDefault"),
        symbols.get("_PyEval_EvalFrameDefault.cold"),
    );
    let mut found = PythonRuntime {
        version,
        module: file.display_path.clone(),
        layout: PythonLayout::default(),
        objects: layout.map(|layout| layout.objects).unwrap_or_default(),
        layout_source: layout.map_or(LayoutSource::Tables, |layout| layout.source),
        free_threaded: layout.is_some_and(|layout| layout.free_threaded),
        eval,
        types,
        runtime_avma: landmarks.runtime_avma,
    };
    let unknown = |reason: &str| {
        Warning::new(
            "python-unknown",
            format!(
                "The target runs CPython {version}, {reason}; it is traced natively, without Python frames."
            ),
            format!(
                "CPython 3.{} to 3.{} are walked by this version of outlive.",
                KNOWN_MINORS.start(),
                KNOWN_MINORS.end()
            ),
        )
    };
    let (Some(mut walk), Some(runtime)) =
        (layout.map(|layout| layout.walk), symbols.get("_PyRuntime"))
    else {
        warnings.push(unknown("whose frames are not known here"));
        return found;
    };
    if [types.code_avma, types.text_avma, types.bytes_avma].contains(&0) {
        warnings.push(unknown("but its object types are not exported"));
        return found;
    }
    let getters = Getters {
        own: symbols.get("PyGILState_GetThisThreadState"),
        holder: symbols.get("_PyThreadState_UncheckedGet").filter(|_| version.minor < 12),
        current: symbols
            .get("PyThreadState_GetUnchecked")
            .or(symbols.get("_PyThreadState_GetCurrent"))
            .filter(|_| version.minor >= 12),
    };
    if (Finder { target, file, bias, runtime }).find(&getters, &mut walk) {
        found.layout = walk;
    } else {
        warnings.push(unknown("but where it keeps its thread states was not found"));
    }
    found
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;
