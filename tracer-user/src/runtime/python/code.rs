//! Code objects of the live target: function, file, line table. Every pointer is followed only
//! after the object's type has been checked, and every length has a bound.

use super::location::line_at;
use super::{PythonRuntime, TypeAddresses, Version};
use crate::runtime::memory::{read_vec, u32_in, u64_in};
use std::collections::HashMap;
use std::sync::Arc;

/// Longest name or path that is read, in characters.
const MAX_TEXT_CHARACTERS: u64 = 4096;
/// Longest line table that is read, in bytes; longer ones (generated code) give no lines.
const MAX_TABLE_BYTES: u64 = 64 << 10;
/// Code objects that are remembered.
const MAX_CACHED: usize = 100_000;
/// Bytes of a code object that are read: all fields up to the line table.
const HEADER_BYTES: usize = 144;

/// Where CPython keeps things in code, text and bytes objects; 3.11 and 3.12.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    first_line: usize,
    filename: usize,
    qualname: usize,
    line_table: usize,
    bytecode: i64,
    ascii_data: u64,
    wide_data: u64,
}

impl Offsets {
    fn of(version: Version) -> Self {
        let old = Self {
            first_line: 72,
            filename: 112,
            qualname: 128,
            line_table: 136,
            bytecode: 184,
            ascii_data: 48,
            wide_data: 72,
        };
        if version >= (Version { major: 3, minor: 12, micro: 0 }) {
            Self { first_line: 68, bytecode: 192, ascii_data: 40, wide_data: 56, ..old }
        } else {
            old
        }
    }
}

/// What a code object says about its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeObject {
    /// Qualified name: `Session._flush_messages`.
    pub qualname: String,
    /// Source file.
    pub filename: String,
    /// Line of the `def`.
    pub first_line: u32,
    line_table: Vec<u8>,
    bytecode: i64,
}

impl CodeObject {
    /// Byte offset in the bytecode, from a record's offset in the code object; `None` when the
    /// frame has not started.
    pub fn bytecode_offset(&self, instr_offset: i32) -> Option<u64> {
        u64::try_from(i64::from(instr_offset) - self.bytecode).ok()
    }

    /// The line that is executing at a record's offset; the `def` line when the frame has not
    /// started or the table gives none.
    pub fn line(&self, instr_offset: i32) -> Option<u32> {
        let exact = self
            .bytecode_offset(instr_offset)
            .and_then(|offset| line_at(&self.line_table, self.first_line, offset));
        exact.or(Some(self.first_line)).filter(|line| *line > 0)
    }
}

/// Reads code objects of one process, and remembers them.
#[derive(Debug)]
pub struct CodeReader {
    tgid: u32,
    offsets: Offsets,
    types: TypeAddresses,
    cache: HashMap<u64, (Fingerprint, Arc<CodeObject>)>,
}

/// What tells a code object from a later one at the same address: its pointers and first line.
type Fingerprint = (u64, u64, u64, u32);

impl CodeReader {
    /// For process `tgid`, which runs `runtime`.
    pub fn new(tgid: u32, runtime: &PythonRuntime) -> Self {
        Self {
            tgid,
            offsets: Offsets::of(runtime.version),
            types: runtime.types,
            cache: HashMap::new(),
        }
    }

    /// The code object at `code_avma`; `None` when there is none (any more).
    ///
    /// # Cost
    /// One read of the target when it is known (to notice that the address was used again), four
    /// to seven when it is not.
    pub fn read(&mut self, code_avma: u64) -> Option<Arc<CodeObject>> {
        let header = read_vec(self.tgid, code_avma, HEADER_BYTES)?;
        if u64_in(&header, 8)? != self.types.code_avma {
            return None;
        }
        let filename = u64_in(&header, self.offsets.filename)?;
        let qualname = u64_in(&header, self.offsets.qualname)?;
        let line_table = u64_in(&header, self.offsets.line_table)?;
        let first_line = u32_in(&header, self.offsets.first_line)?;
        let fingerprint = (filename, qualname, line_table, first_line);
        if let Some((known, object)) = self.cache.get(&code_avma)
            && *known == fingerprint
        {
            return Some(Arc::clone(object));
        }
        let object = Arc::new(CodeObject {
            qualname: self.text(qualname)?,
            filename: self.text(filename)?,
            first_line: if first_line <= i32::MAX as u32 { first_line } else { 0 },
            line_table: self.bytes(line_table).unwrap_or_default(),
            bytecode: self.offsets.bytecode,
        });
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(code_avma, (fingerprint, Arc::clone(&object)));
        Some(object)
    }

    /// A `str` object, in any of its compact forms.
    fn text(&self, avma: u64) -> Option<String> {
        let header = read_vec(self.tgid, avma, 40)?;
        if u64_in(&header, 8)? != self.types.text_avma {
            return None;
        }
        let length = u64_in(&header, 16)?.min(MAX_TEXT_CHARACTERS);
        let state = u32_in(&header, 32)?;
        let (width, is_compact, is_ascii) =
            ((state >> 2) & 7, state & 0x20 != 0, state & 0x40 != 0);
        if !is_compact || !matches!(width, 1 | 2 | 4) || (is_ascii && width != 1) {
            return None;
        }
        let data = avma.checked_add(if is_ascii {
            self.offsets.ascii_data
        } else {
            self.offsets.wide_data
        })?;
        let bytes = read_vec(self.tgid, data, usize::try_from(length * u64::from(width)).ok()?)?;
        decode_text(&bytes, width)
    }

    /// A `bytes` object.
    fn bytes(&self, avma: u64) -> Option<Vec<u8>> {
        let header = read_vec(self.tgid, avma, 24)?;
        let length = u64_in(&header, 16)?;
        if u64_in(&header, 8)? != self.types.bytes_avma || length > MAX_TABLE_BYTES {
            return None;
        }
        read_vec(self.tgid, avma.checked_add(32)?, usize::try_from(length).ok()?)
    }
}

/// Characters of 1, 2 or 4 bytes; `None` where one is none (a lone surrogate is shown as U+FFFD).
fn decode_text(bytes: &[u8], width: u32) -> Option<String> {
    let character = |value: u32| match value {
        0xd800..=0xdfff => Some('\u{fffd}'),
        value => char::from_u32(value),
    };
    match width {
        1 => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        2 => bytes
            .chunks_exact(2)
            .map(|pair| character(u32::from(u16::from_le_bytes([pair[0], pair[1]]))))
            .collect(),
        _ => bytes.chunks_exact(4).map(|four| character(u32_in(four, 0)?)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_of_text_decodes() {
        assert_eq!(decode_text(&[0x66, 0xe4], 1).as_deref(), Some("fä"));
        assert_eq!(decode_text(&[0xac, 0x20, 0x00, 0xd8], 2).as_deref(), Some("€\u{fffd}"));
        assert_eq!(decode_text(&[0x00, 0xf6, 0x01, 0x00], 4).as_deref(), Some("😀"));
        assert_eq!(decode_text(&[0xff, 0xff, 0xff, 0xff], 4), None);
    }

    #[test]
    fn memory_that_is_no_code_object_yields_nothing() {
        let own = std::process::id();
        let types = TypeAddresses { code_avma: 1, text_avma: 2, bytes_avma: 3 };
        let version = Version { major: 3, minor: 11, micro: 0 };
        let mut reader =
            CodeReader { tgid: own, offsets: Offsets::of(version), types, cache: HashMap::new() };
        let zeros = [0u64; 32];
        assert_eq!(reader.read(zeros.as_ptr() as u64), None);
        assert_eq!(reader.read(0), None);
        assert_eq!(reader.read(u64::MAX - 8), None);
        // The right type, wild pointers.
        let mut wild = [u64::MAX / 3; 32];
        wild[1] = types.code_avma;
        assert_eq!(reader.read(wild.as_ptr() as u64), None);
    }

    #[test]
    fn a_frame_that_has_not_started_stands_at_its_def_line() {
        let object = CodeObject {
            qualname: "f".into(),
            filename: "f.py".into(),
            first_line: 7,
            line_table: vec![0x80, 0],
            bytecode: 184,
        };
        assert_eq!(object.bytecode_offset(182), None);
        assert_eq!(object.line(182), Some(7));
        assert_eq!(object.line(i32::MIN), Some(7));
        assert_eq!(object.line(184), Some(7));
    }
}
