//! The target's code: which executable ranges there are, and how each can be walked.

use super::elf::Elf;
use super::mapping::{FileId, Mapping};
use super::{MappedFile, Target};
use crate::warning::Warning;
use std::path::Path;
use tracer_common::limits::MAX_CODE_RANGES;
use tracer_common::slot::walk;

/// How the paths of memory begin that the kernel keeps as a file (memfd_create, shared anonymous).
const SHARED_MEMORY: [&str; 2] = ["/memfd:", "/dev/zero"];

/// Whose unwind table serves a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKey {
    /// A mapped file's.
    File(FileId),
    /// That of the kernel's own code, which is the same in every process.
    Vdso,
}

/// An executable range of the target, and how it can be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedRange {
    /// First address.
    pub start_avma: u64,
    /// First address behind it.
    pub end_avma: u64,
    /// One of [`walk`].
    pub walk: u32,
    /// Whose table, for `walk::TABLE`.
    pub table: Option<TableKey>,
    /// What must be added (wrapping) to an address in the file's own numbering to get one in this
    /// range. A file can be mapped at several places (V8 maps its built-in code twice).
    pub bias: u64,
}

/// Executable ranges of `target`, sorted, not overlapping, each with the way to walk it;
/// neighbours that are walked alike are one range. They may be more than the kernel side takes
/// ([`fitting`]).
///
/// # Cost
/// Microseconds: no file is read.
pub fn code_ranges(target: &Target) -> Vec<PlannedRange> {
    let mut ranges: Vec<PlannedRange> = Vec::new();
    for mapping in target.mappings.iter().filter(|mapping| mapping.executable) {
        let (walk, source) = how(target, mapping);
        let (table, bias) = source.unzip();
        let range = PlannedRange {
            start_avma: mapping.start_avma,
            end_avma: mapping.end_avma,
            walk,
            table,
            bias: bias.unwrap_or(0),
        };
        match ranges.last_mut() {
            Some(last)
                if last.end_avma == range.start_avma
                    && (last.walk, last.table, last.bias) == (walk, table, range.bias) =>
            {
                last.end_avma = range.end_avma;
            }
            _ => ranges.push(range),
        }
    }
    ranges
}

/// Those of `ranges` that the kernel side takes of one process, sorted by address; a warning where
/// these are not all.
pub fn fitting(mut ranges: Vec<PlannedRange>) -> (Vec<PlannedRange>, Option<Warning>) {
    if ranges.len() <= MAX_CODE_RANGES {
        return (ranges, None);
    }
    let warning = Warning::new(
        "too-many-code-ranges",
        format!(
            "The process has {} executable ranges and {MAX_CODE_RANGES} are followed; stacks through the others end early.",
            ranges.len()
        ),
        "",
    );
    keep_most_useful(&mut ranges, MAX_CODE_RANGES, |range| (range.walk, range.start_avma));
    (ranges, Some(warning))
}

/// Leaves `count` of the ranges, sorted by address. Files are kept first: the ranges of a JIT are
/// the many and the short-lived. `key`: a range's [`walk`] and first address.
pub fn keep_most_useful<T>(ranges: &mut Vec<T>, count: usize, key: impl Fn(&T) -> (u32, u64)) {
    if ranges.len() > count {
        ranges.sort_by_key(|range| {
            let (walk, start_avma) = key(range);
            (walk == walk::FRAME_POINTER, start_avma)
        });
        ranges.truncate(count);
        ranges.sort_by_key(|range| key(range).1);
    }
}

/// How the code of a mapping is walked, and by whose table with which bias.
fn how(target: &Target, mapping: &Mapping) -> (u32, Option<(TableKey, u64)>) {
    let by_table = |key, elf: &Elf| {
        let svma = elf.code_svma_of(mapping.file_offset)?;
        Some((key, mapping.start_avma.wrapping_sub(svma)))
    };
    if let Some(file) = target.file_of(mapping) {
        return match file_walk(file) {
            walk::TABLE => match by_table(TableKey::File(file.id), &file.elf) {
                Some(source) => (walk::TABLE, Some(source)),
                None => (walk::NONE, None),
            },
            other => (other, None),
        };
    }
    if mapping.file.is_some() {
        // A JIT that maps its code twice, to write it and to run it, keeps it in a file without a
        // name. Of other files that are no ELF nothing is known.
        let is_memory = SHARED_MEMORY
            .iter()
            .any(|name| mapping.path.as_os_str().as_encoded_bytes().starts_with(name.as_bytes()));
        return (if is_memory { walk::FRAME_POINTER } else { walk::NONE }, None);
    }
    if mapping.path == Path::new("[vdso]") {
        return match target.vdso.as_deref().and_then(|elf| by_table(TableKey::Vdso, elf)) {
            Some(source) => (walk::TABLE, Some(source)),
            None => (walk::NONE, None),
        };
    }
    if mapping.path == Path::new("[uprobes]") {
        return (walk::TRAMPOLINE, None);
    }
    // The heap, a stack or named anonymous memory can be executable too. Of the kernel's own only
    // [vsyscall] is left, which calls nothing.
    if mapping.path == Path::new("[vsyscall]") {
        return (walk::NONE, None);
    }
    // Code of a JIT: those in use (V8, HotSpot, LuaJIT's exits) keep frame pointers.
    (walk::FRAME_POINTER, None)
}

/// How a file's code is walked.
fn file_walk(file: &MappedFile) -> u32 {
    if file.elf.section(".eh_frame").is_some() {
        walk::TABLE
    } else if file.elf.section(".gopclntab").is_some() {
        // Go's compiler keeps frame pointers, hand-written assembly does not.
        walk::FRAME_POINTER
    } else {
        walk::NONE
    }
}
