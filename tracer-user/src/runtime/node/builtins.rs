//! The code that is part of V8: where it lies in its file, where that is mapped, and what its
//! functions are called.

use super::metadata::{BLOB_CODE, BLOB_CODE_DATA, BLOB_CODE_SIZE, Metadata};
use crate::target::function_table::FunctionTable;
use crate::target::mapping::FileId;
use crate::target::{MappedFile, Target};
use std::ops::Range;

/// Lengths of the built-in code that are believed, in bytes: those seen have 1.2 to 1.8 MB. In
/// files without symbols it is the longest piece of code without unwind information.
const LENGTHS: std::ops::RangeInclusive<u64> = 512 << 10..=32 << 20;
/// Longest name of a built-in function that is kept, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The built-in code of one V8, in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltinCode {
    /// The file.
    pub file: FileId,
    /// Where it begins in the file, in bytes.
    pub file_offset: u64,
    /// Its length, in bytes; a few bytes of a neighbour may be among them where there are no
    /// symbols.
    pub length_bytes: u64,
    /// Functions: offset in it, and name, sorted. Empty where there are no symbols.
    functions: Vec<(u32, Box<str>)>,
}

impl BuiltinCode {
    /// Finds it in `file`; `None` where nothing tells.
    ///
    /// # Cost
    /// Without symbols the unwind table is read whole.
    pub(super) fn find(file: &MappedFile, metadata: &Metadata) -> Option<Self> {
        let (svma, length_bytes) = by_symbols(file, metadata).or_else(|| by_gap(file))?;
        let mut functions: Vec<_> = metadata
            .builtins()
            .filter(|(_, name)| name.len() <= MAX_NAME_BYTES)
            .filter_map(|(at, name)| {
                let offset = at.checked_sub(svma).filter(|offset| *offset < length_bytes)?;
                Some((u32::try_from(offset).ok()?, name.into()))
            })
            .collect();
        functions.sort_unstable();
        let file_offset = file.elf.file_offset_of(svma)?;
        Some(Self { file: file.id, file_offset, length_bytes, functions })
    }

    /// Where it is mapped, in the order of the target's mappings. V8 maps it once more for each of
    /// its heaps (that of each worker thread too), next to the code that it compiles, so this is to
    /// be asked again when mappings have changed.
    ///
    /// # Cost
    /// None but a look at each mapping that is known.
    pub fn spans(&self, target: &Target) -> Vec<Range<u64>> {
        let mut spans: Vec<Range<u64>> = Vec::new();
        let end = self.file_offset.saturating_add(self.length_bytes);
        let places = target.mappings.iter().filter_map(|mapping| {
            if mapping.file != Some(self.file) || !mapping.executable {
                return None;
            }
            let mapped_end = mapping.file_offset.saturating_add(mapping.length_bytes());
            let (first, last) = (self.file_offset.max(mapping.file_offset), end.min(mapped_end));
            let at = |offset: u64| mapping.start_avma.checked_add(offset - mapping.file_offset);
            (first < last).then(|| Some(at(first)?..at(last)?)).flatten()
        });
        for place in places {
            match spans.last_mut() {
                // Changed protections cut a mapping into pieces.
                Some(last) if last.end == place.start => last.end = place.end,
                _ => spans.push(place),
            }
        }
        spans
    }

    /// The name of the built-in function at `offset` bytes in it.
    pub(super) fn function_at(&self, offset: u64) -> Option<&str> {
        let behind = self.functions.partition_point(|(start, _)| u64::from(*start) <= offset);
        self.functions[..behind].last().map(|(_, name)| &**name)
    }
}

fn by_symbols(file: &MappedFile, metadata: &Metadata) -> Option<(u64, u64)> {
    let code = metadata.symbol(BLOB_CODE_DATA).or_else(|| metadata.symbol(BLOB_CODE))?;
    let length_bytes = u64::try_from(metadata.value(BLOB_CODE_SIZE)?).ok()?;
    (file.elf.code_svmas().contains(&code.svma) && LENGTHS.contains(&length_bytes))
        .then_some((code.svma, length_bytes))
}

fn by_gap(file: &MappedFile) -> Option<(u64, u64)> {
    let text = file.elf.section(".text")?;
    let end = text.svma.checked_add(text.length_bytes)?;
    let (start, length_bytes) = FunctionTable::read(&file.elf).longest_gap(text.svma..end)?;
    LENGTHS.contains(&length_bytes).then_some((start, length_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_offset() {
        let file = FileId { major: 0, minor: 1, inode: 2 };
        let functions = vec![(0, "A".into()), (64, "B".into())];
        let code = BuiltinCode { file, file_offset: 0, length_bytes: 128, functions };
        assert_eq!(code.function_at(0), Some("A"));
        assert_eq!(code.function_at(63), Some("A"));
        assert_eq!(code.function_at(u64::MAX), Some("B"));
        let none = BuiltinCode { functions: Vec::new(), ..code };
        assert_eq!(none.function_at(0), None);
    }
}
