//! Code objects of the live target: function, file, line table. Every pointer is followed only
//! after the object's type has been checked, and every length has a bound.

use super::line_deltas::{line_by_deltas, line_by_ranges};
use super::location::line_at;
use super::objects::{LineForm, ObjectLayout};
use super::{PythonRuntime, TypeAddresses};
use crate::runtime::memory::{read_vec, u32_in, u64_in};
use std::collections::HashMap;
use std::sync::Arc;

/// Longest name or path that is read, in characters.
const MAX_TEXT_CHARACTERS: u64 = 4096;
/// Longest line table that is read, in bytes; longer ones (generated code) give no lines.
const MAX_TABLE_BYTES: u64 = 64 << 10;
/// Code objects that are remembered: how many, and how many bytes of their texts and tables.
const MAX_CACHED: usize = 100_000;
const MAX_CACHED_BYTES: usize = 256 << 20;

/// What a code object says about its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeObject {
    /// Qualified name: `Session._flush_messages`.
    pub qualname: String,
    /// Source file.
    pub filename: String,
    /// Line of the `def`.
    pub first_line: u32,
    /// Made by the interpreter for itself (the clean-up behind an inlined `__init__`): Python
    /// never shows it.
    pub is_internal: bool,
    line_table: Vec<u8>,
    lines: LineForm,
}

impl CodeObject {
    /// Bytes of its texts and its table.
    fn held_bytes(&self) -> usize {
        self.qualname.len() + self.filename.len() + self.line_table.len()
    }

    /// Byte offset in the bytecode, from what a record says of the instruction; `None` when the
    /// frame has not started.
    pub fn bytecode_offset(&self, instr: i32) -> Option<u64> {
        let offset = match self.lines {
            LineForm::Deltas => i64::from(instr),
            LineForm::Ranges => 2 * i64::from(instr),
            LineForm::Locations { bytecode } => i64::from(instr) - bytecode,
        };
        u64::try_from(offset).ok()
    }

    /// The line that is executing at a record's instruction; the `def` line when the frame has not
    /// started or the table gives none.
    pub fn line(&self, instr: i32) -> Option<u32> {
        let (table, first) = (self.line_table.as_slice(), self.first_line);
        let exact = self.bytecode_offset(instr).and_then(|offset| match self.lines {
            LineForm::Deltas => line_by_deltas(table, first, offset),
            LineForm::Ranges => line_by_ranges(table, first, offset),
            LineForm::Locations { .. } => line_at(table, first, offset),
        });
        exact.or(Some(first)).filter(|line| *line > 0)
    }
}

/// Reads code objects of one process, and remembers them.
#[derive(Debug)]
pub struct CodeReader {
    tgid: u32,
    objects: ObjectLayout,
    types: TypeAddresses,
    cache: HashMap<u64, (Fingerprint, Arc<CodeObject>)>,
    /// Bytes of texts and tables in it.
    cached_bytes: usize,
    /// What was read of the batch at hand.
    batch: HashMap<u64, Option<Arc<CodeObject>>>,
}

/// What tells a code object from a later one at the same address: its pointers and first line.
type Fingerprint = (u64, u64, u64, u32);

impl CodeReader {
    /// For process `tgid`, which runs `runtime`.
    pub fn new(tgid: u32, runtime: &PythonRuntime) -> Self {
        Self::of_objects(tgid, runtime.objects, runtime.types)
    }

    /// For process `tgid`, whose objects are laid out so.
    pub(super) fn of_objects(tgid: u32, objects: ObjectLayout, types: TypeAddresses) -> Self {
        let (cache, batch) = (HashMap::new(), HashMap::new());
        Self { tgid, objects, types, cache, cached_bytes: 0, batch }
    }

    /// Reads the code objects of a batch of stacks, each once, before anything else is done with
    /// them: some live for a moment only. Until the next batch [`Self::read`] answers from here.
    /// A batch holds no more bytes than the cache; what is beyond is read when it is asked for.
    pub fn read_batch(&mut self, code_avmas: impl Iterator<Item = u64>) {
        self.batch.clear();
        let mut bytes = 0;
        for code_avma in code_avmas {
            if bytes > MAX_CACHED_BYTES {
                break;
            }
            if !self.batch.contains_key(&code_avma) {
                let object = self.read_now(code_avma);
                bytes += object.as_ref().map_or(0, |object| object.held_bytes());
                self.batch.insert(code_avma, object);
            }
        }
    }

    /// The code object at `code_avma`; `None` when there is none (any more).
    ///
    /// # Cost
    /// One read of the target when it is known (to notice that the address was used again), four
    /// to seven when it is not.
    pub fn read(&mut self, code_avma: u64) -> Option<Arc<CodeObject>> {
        match self.batch.get(&code_avma) {
            Some(object) => object.clone(),
            None => self.read_now(code_avma),
        }
    }

    fn read_now(&mut self, code_avma: u64) -> Option<Arc<CodeObject>> {
        let objects = self.objects;
        let header = read_vec(self.tgid, code_avma, objects.code_bytes())?;
        if u64_in(&header, objects.kind)? != self.types.code_avma {
            return None;
        }
        let filename = u64_in(&header, objects.filename)?;
        let qualname = u64_in(&header, objects.name)?;
        let line_table = u64_in(&header, objects.line_table)?;
        let first_line = u32_in(&header, objects.first_line)?;
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
            // Only the interpreter gives its own code one word for both.
            is_internal: filename == qualname,
            line_table: self.bytes(line_table).unwrap_or_default(),
            lines: objects.lines,
        });
        self.remember(code_avma, fingerprint, &object);
        Some(object)
    }

    fn remember(&mut self, code_avma: u64, fingerprint: Fingerprint, object: &Arc<CodeObject>) {
        let bytes = object.held_bytes();
        if let Some((_, before)) = self.cache.remove(&code_avma) {
            self.cached_bytes -= before.held_bytes();
        }
        let is_full = self.cached_bytes + bytes > MAX_CACHED_BYTES;
        if is_full || self.cache.len() >= MAX_CACHED {
            self.cache.clear();
            self.cached_bytes = 0;
        }
        self.cached_bytes += bytes;
        self.cache.insert(code_avma, (fingerprint, Arc::clone(object)));
    }

    /// A `str` object, in any of its compact forms.
    fn text(&self, avma: u64) -> Option<String> {
        let objects = self.objects;
        let header = read_vec(self.tgid, avma, objects.text_state + 8)?;
        if u64_in(&header, objects.kind)? != self.types.text_avma {
            return None;
        }
        let length = u64_in(&header, objects.text_length)?.min(MAX_TEXT_CHARACTERS);
        let form = TextForm::of(u32_in(&header, objects.text_state)?)?;
        let data =
            avma.checked_add(
                if form.is_ascii { objects.ascii_data } else { objects.wide_data } as u64
            )?;
        let bytes =
            read_vec(self.tgid, data, usize::try_from(length * u64::from(form.width)).ok()?)?;
        decode_text(&bytes, form.width)
    }

    /// A `bytes` object.
    fn bytes(&self, avma: u64) -> Option<Vec<u8>> {
        let objects = self.objects;
        let header = read_vec(self.tgid, avma, objects.bytes_length + 8)?;
        let length = u64_in(&header, objects.bytes_length)?;
        if u64_in(&header, objects.kind)? != self.types.bytes_avma || length > MAX_TABLE_BYTES {
            return None;
        }
        let data = avma.checked_add(objects.bytes_data as u64)?;
        read_vec(self.tgid, data, usize::try_from(length).ok()?)
    }
}

/// How a text keeps its characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TextForm {
    /// Bytes of a character.
    width: u32,
    is_ascii: bool,
}

impl TextForm {
    /// From the state word; `None` for what is not compact, or no state. The bits begin behind two
    /// of "interned", which is a byte of its own in builds of 3.14 and later without the GIL (and
    /// leaves the bits where others have the width zero).
    fn of(state: u32) -> Option<Self> {
        let bits = if state & 0x1c != 0 { state >> 2 } else { state >> 8 };
        let (width, is_compact, is_ascii) = (bits & 7, bits & 8 != 0, bits & 16 != 0);
        let is_sound = is_compact && matches!(width, 1 | 2 | 4) && (!is_ascii || width == 1);
        is_sound.then_some(Self { width, is_ascii })
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
    use super::super::Version;
    use super::super::layout::{KNOWN_MINORS, Landmarks, layout_of};
    use super::*;

    #[test]
    fn every_width_of_text_decodes() {
        assert_eq!(decode_text(&[0x66, 0xe4], 1).as_deref(), Some("fä"));
        assert_eq!(decode_text(&[0xac, 0x20, 0x00, 0xd8], 2).as_deref(), Some("€\u{fffd}"));
        assert_eq!(decode_text(&[0x00, 0xf6, 0x01, 0x00], 4).as_deref(), Some("😀"));
        assert_eq!(decode_text(&[0xff, 0xff, 0xff, 0xff], 4), None);
    }

    #[test]
    fn forms_of_text_are_told_apart() {
        let form = |width, is_ascii| Some(TextForm { width, is_ascii });
        // States as interpreters of 3.8 to 3.15 have them; the upper bytes are not initialised.
        for (state, expected) in [
            (0x0000_00e5, form(1, true)),
            (0x9150_8be5, form(1, true)),
            (0xffff_ff65, form(1, true)),
            (0x0000_0024, form(1, false)),
            (0xa537_3228, form(2, false)),
            (0x016400b0, form(4, false)),
            (0x0000_1901, form(1, true)),
            (0, None),
            (0x0000_0004, None),
            (0x0000_006c, None),
        ] {
            assert_eq!(TextForm::of(state), expected, "{state:#x}");
        }
    }

    fn reader(minor: u8, types: TypeAddresses) -> CodeReader {
        let version = Version { major: 3, minor, micro: 0 };
        let own = std::process::id();
        let objects = layout_of(own, version, Landmarks::default()).unwrap().objects;
        CodeReader::of_objects(own, objects, types)
    }

    #[test]
    fn memory_that_is_no_code_object_yields_nothing() {
        let types = TypeAddresses { type_avma: 0, code_avma: 1, text_avma: 2, bytes_avma: 3 };
        for minor in KNOWN_MINORS {
            let mut reader = reader(minor, types);
            let zeros = [0u64; 32];
            assert_eq!(reader.read(zeros.as_ptr() as u64), None);
            assert_eq!(reader.read(0), None);
            assert_eq!(reader.read(u64::MAX - 8), None);
            // The right type, wild pointers.
            let mut wild = [u64::MAX / 3; 32];
            wild[1] = types.code_avma;
            assert_eq!(reader.read(wild.as_ptr() as u64), None);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_by_its_bytes() {
        let types = TypeAddresses { type_avma: 0, code_avma: 1, text_avma: 2, bytes_avma: 3 };
        let mut reader = reader(12, types);
        // All share one table, so that the test itself is small; the cache counts each.
        let object = Arc::new(CodeObject {
            qualname: "f".into(),
            filename: "f.py".into(),
            first_line: 1,
            is_internal: false,
            line_table: vec![0; MAX_TABLE_BYTES as usize],
            lines: LineForm::Ranges,
        });
        let fitting = MAX_CACHED_BYTES / object.held_bytes();
        for code_avma in 0..fitting as u64 {
            reader.remember(code_avma, (0, 0, 0, 1), &object);
            // An address that is used again counts once.
            reader.remember(code_avma, (0, 0, 0, 2), &object);
            assert!(reader.cached_bytes <= MAX_CACHED_BYTES);
        }
        assert!(reader.cache.len() >= fitting - 1, "{}", reader.cache.len());
        for code_avma in 0..2 * fitting as u64 {
            reader.remember(code_avma + (1 << 32), (0, 0, 0, 1), &object);
            let sum: usize = reader.cache.values().map(|(_, object)| object.held_bytes()).sum();
            assert_eq!(reader.cached_bytes, sum);
            assert!(sum <= MAX_CACHED_BYTES);
        }
    }

    #[test]
    fn a_frame_that_has_not_started_stands_at_its_def_line() {
        let object = |lines| CodeObject {
            qualname: "f".into(),
            filename: "f.py".into(),
            first_line: 7,
            is_internal: false,
            line_table: vec![0x80, 0],
            lines,
        };
        let later = object(LineForm::Locations { bytecode: 184 });
        assert_eq!(later.bytecode_offset(182), None);
        assert_eq!(later.line(182), Some(7));
        assert_eq!(later.line(i32::MIN), Some(7));
        assert_eq!(later.line(184), Some(7));
        for lines in [LineForm::Deltas, LineForm::Ranges] {
            assert_eq!(object(lines).bytecode_offset(-1), None);
            assert_eq!(object(lines).line(-1), Some(7));
            assert_eq!(object(lines).line(i32::MAX), Some(7));
        }
        assert_eq!(object(LineForm::Ranges).bytecode_offset(3), Some(6));
    }
}
