//! Node.js in the target: a place-holder until the real one is merged.

use crate::{
    stack::Generated,
    target::{MappedFile, Target, elf::Table},
    warning::Warning,
};
use std::{fmt, path::PathBuf};
use tracer_common::v8::{JsFrame, Span, V8_FRAMES, V8Layout};

/// A version of V8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct V8Version(pub [u32; 4]);

impl fmt::Display for V8Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, build, patch] = self.0;
        write!(f, "{major}.{minor}.{build}.{patch}")
    }
}

/// A Node.js.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRuntime {
    /// Version of its V8.
    pub version: V8Version,
    /// The file that holds it.
    pub module: PathBuf,
    /// How its frames are told.
    pub layout: V8Layout,
}

/// A JavaScript function as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsName {
    /// Its name.
    pub function: String,
    /// Its file.
    pub file: Option<String>,
    /// The line that runs.
    pub line: Option<u32>,
    /// The same in the code that runs.
    pub generated: Option<Generated>,
    /// Whether it is part of V8.
    pub is_builtin: bool,
}

/// Why a frame has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JsFailure {
    /// Memory could not be read.
    Unreadable,
}

impl JsFailure {
    /// All.
    pub const ALL: [JsFailure; 1] = [JsFailure::Unreadable];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        "unreadable"
    }
}

/// Names frames.
#[derive(Debug)]
pub struct JsReader;

impl JsReader {
    /// Of a process.
    pub fn new(_tgid: u32, _runtime: &NodeRuntime) -> Self {
        Self
    }

    /// The functions of a frame, innermost first.
    ///
    /// # Errors
    /// Why it has none.
    pub fn read(&mut self, _frame: &JsFrame, _return_avma: u64) -> Result<Vec<JsName>, JsFailure> {
        Err(JsFailure::Unreadable)
    }
}

/// Looks for one.
pub fn detect(target: &Target) -> (Option<NodeRuntime>, Vec<Warning>) {
    let found = target.files.values().find_map(|file| describe(target, file));
    (found, Vec::new())
}

fn describe(target: &Target, file: &MappedFile) -> Option<NodeRuntime> {
    const PARTS: [&str; 4] = [
        "_ZN2v88internal7Version6major_E",
        "_ZN2v88internal7Version6minor_E",
        "_ZN2v88internal7Version6build_E",
        "_ZN2v88internal7Version6patch_E",
    ];
    if !file.name().contains("node") {
        return None;
    }
    let number = |svma: u64| {
        let bytes = file.elf.bytes_at_svma(svma, 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let mut parts = [0; 4];
    for (part, symbol) in parts.iter_mut().zip(file.elf.find_symbols(&PARTS)) {
        *part = symbol.and_then(|symbol| number(symbol.svma)).unwrap_or(0);
    }
    let mut code = None;
    let mut size = None;
    file.elf.visit_symbols(Table::Full, |name, symbol| match name {
        "v8_Default_embedded_blob_code_" | "v8_Default_embedded_blob_code_data_" => {
            code = Some(symbol.svma);
        }
        "v8_Default_embedded_blob_code_size_" => size = Some(symbol.svma),
        _ => {}
    });
    let (code, size) = (code?, u64::from(number(size?)?));
    let offset = file.elf.file_offset_of(code)?;
    let mut spans = target.mappings.iter().filter_map(|mapping| {
        let is_same = target.file_of(mapping).is_some_and(|found| found.id == file.id);
        let holds =
            offset >= mapping.file_offset && offset - mapping.file_offset < mapping.length_bytes();
        (mapping.executable && is_same && holds).then(|| {
            let start_avma = mapping.start_avma + offset - mapping.file_offset;
            Span { start_avma, end_avma: start_avma + size }
        })
    });
    let builtins = [spans.next().unwrap_or_default(), spans.next().unwrap_or_default()];
    let is_new = parts[0] >= 13;
    Some(NodeRuntime {
        version: V8Version(parts),
        module: file.display_path.clone(),
        layout: V8Layout {
            builtins,
            kind: V8_FRAMES,
            fp_context: -8,
            fp_function: -16,
            fp_bytecode_array: -32,
            fp_bytecode_offset: -40,
            function_shared: if parts[0] >= 12 { 32 } else { 24 },
            shared_name: if is_new { 24 } else { 16 },
            shared_script: if is_new { 40 } else { 32 },
        },
    })
}
