//! V8 in the target, as Node has it: which version, where its frames and its built-in code are.
//! Naming frames is `reader`'s business, its heap `inspector`'s.

mod builtins;
mod compiled;
mod file_maps;
mod function;
mod heap;
pub mod inspector;
mod known;
mod known_maps;
pub mod layout;
mod learning;
mod metadata;
pub mod name;
pub mod objects;
mod path;
mod positions;
mod reader;
mod remembered;
mod scope;
mod script;
pub mod sigusr1;
mod source_file;
mod source_map;
mod source_mappings;
#[cfg(test)]
mod targets;
mod text;
mod version;
#[cfg(test)]
mod walk_by_ptrace;

pub use builtins::BuiltinCode;
pub use file_maps::FileMaps;
pub use name::{JsFailure, JsName};
pub use objects::ObjectLayout;
pub use path::display_path;
pub use positions::BytecodeSizes;
pub use reader::JsReader;
pub use source_map::Original;
pub use version::V8Version;

use crate::target::mapping::FileId;
use crate::target::{MappedFile, Target};
use crate::warning::Warning;
use known::KNOWN_NODES;
use layout::layout_of;
use metadata::{BYTECODE_SIZES, Metadata};
use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use tracer_common::v8::{V8_NONE, V8Layout};

/// Longest table of bytecodes' lengths, in bytes.
const MAX_SIZES_BYTES: u64 = 3 * 256;
/// Read-only data that is searched for it, in bytes: Node's has 54 MB.
const MAX_DATA_BYTES: u64 = 128 << 20;

/// The V8 inside a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRuntime {
    /// Its version.
    pub version: V8Version,
    /// File that holds it (libnode, or the program), as the target sees it.
    pub module: PathBuf,
    /// How the kernel side finds its frames; `kind` is `V8_NONE` when it cannot.
    pub layout: V8Layout,
    /// Where its objects keep what.
    pub objects: ObjectLayout,
    /// The code that is part of it.
    pub builtins: Option<Arc<BuiltinCode>>,
    /// How long its bytecodes are; without, places in baseline code cannot be told.
    pub bytecode_sizes: Option<Arc<BytecodeSizes>>,
}

impl NodeRuntime {
    /// Whether JavaScript frames are recorded for it.
    pub fn is_walked(&self) -> bool {
        self.layout.kind != V8_NONE
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        format!("V8 {} in {}", self.version, self.module.display())
    }

    /// Where its built-in code is mapped now; see [`BuiltinCode::spans`].
    pub fn builtin_spans(&self, target: &Target) -> Vec<Range<u64>> {
        self.builtins.as_ref().map(|code| code.spans(target)).unwrap_or_default()
    }
}

/// Files of a process that have been looked at and need not be again: those without V8, and those
/// whose V8 is not understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled(HashSet<FileId>);

/// The V8 in `target`, if there is one, and what is wrong with it. A V8 that is not understood is
/// named in a warning, and native frames are all there is. `settled` files are left out, and grow.
///
/// # Cost
/// Reads the symbols of the other files (node's in 20 ms), and some words of the target's memory.
pub fn detect(target: &Target, settled: &mut Settled) -> (Option<NodeRuntime>, Vec<Warning>) {
    // A number is given to another file only when nobody holds the first one.
    settled.0.retain(|id| target.files.contains_key(id));
    for (id, file) in &target.files {
        if settled.0.contains(id) {
            continue;
        }
        // Its code is not mapped.
        let Some(bias) = target.bias_of(file) else { continue };
        let Some(metadata) = Metadata::read(target.tgid, file, bias) else {
            settled.0.insert(*id);
            continue;
        };
        // The program is being loaded, and its variables are not there yet.
        if version::of(&metadata) == V8Version::default() {
            continue;
        }
        let mut warnings = Vec::new();
        let found = describe(target, file, &metadata, &mut warnings);
        if !found.is_walked() {
            settled.0.insert(*id);
        }
        return (Some(found), warnings);
    }
    (None, Vec::new())
}

fn describe(
    target: &Target,
    file: &MappedFile,
    metadata: &Metadata,
    warnings: &mut Vec<Warning>,
) -> NodeRuntime {
    let version = version::of(metadata);
    let layout = layout_of(version, metadata);
    let (layout, objects) = layout.unwrap_or_default();
    let mut found = NodeRuntime {
        version,
        module: file.display_path.clone(),
        layout,
        objects,
        builtins: BuiltinCode::find(file, metadata).map(Arc::new),
        bytecode_sizes: bytecode_sizes(file, metadata).map(Arc::new),
    };
    let reason = if !found.is_walked() {
        "whose frames are not known here"
    } else if found.builtin_spans(target).is_empty() {
        found.layout.kind = V8_NONE;
        "but where its interpreter lies was not found"
    } else {
        return found;
    };
    warnings.push(Warning::new(
        "node-unknown",
        format!(
            "The target runs V8 {version}, {reason}; its JavaScript frames are shown without names."
        ),
        format!("The V8 of Node {KNOWN_NODES} is understood by this version of outlive."),
    ));
    found
}

/// How long bytecodes are: by its symbol, else what looks like it among read-only data.
fn bytecode_sizes(file: &MappedFile, metadata: &Metadata) -> Option<BytecodeSizes> {
    if let Some(symbol) = metadata.symbol(BYTECODE_SIZES)
        && symbol.length_bytes <= MAX_SIZES_BYTES
    {
        return BytecodeSizes::of(file.elf.bytes_at_svma(symbol.svma, symbol.length_bytes)?);
    }
    let section = file.elf.section(".rodata").filter(|data| data.length_bytes <= MAX_DATA_BYTES)?;
    BytecodeSizes::search(&file.elf.section_bytes(section)?)
}

#[cfg(test)]
mod detect_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod naming_tests;
#[cfg(test)]
mod source_map_tests;
