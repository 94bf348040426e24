//! `_Py_DebugOffsets`: what an interpreter of 3.13 or later says of its own structures, at the
//! beginning of `_PyRuntime`. Its fields are an array of 64-bit words whose order is fixed within
//! a minor version. It lies in the target's memory, so everything is checked.
//!
//! # Sources
//! CPython 3.13 Include/internal/pycore_runtime.h; 3.14, 3.15
//! Include/internal/pycore_debug_offsets.h.

use super::Version;
use super::layout::{Layout, LayoutSource};
use super::objects::{FREE_THREADED_HEADER_BYTES, HEADER_BYTES, LineForm};
use crate::runtime::memory::{read_vec, u64_in};

/// What it begins with.
const COOKIE: &[u8; 8] = b"xdebugpy";
/// Words that are read: all up to the object header in every known version.
const WORDS: usize = 64;
/// No field of a thread state that matters lies behind this, in bytes.
const MAX_STATE_OFFSET: u64 = 4096;
/// Bytes of a frame that the kernel side reads.
const MAX_FRAME_OFFSET: u64 = 80;
/// No field of a code object that matters lies behind this, in bytes.
const MAX_CODE_OFFSET: u64 = 504;

/// Which word says what, in one minor version.
struct Schema {
    current_frame: usize,
    thread_id: usize,
    frame_previous: usize,
    frame_executable: usize,
    frame_instr: usize,
    frame_owner: usize,
    code_filename: usize,
    code_qualname: usize,
    code_line_table: usize,
    code_first_line: usize,
    code_bytecode: usize,
    object_bytes: usize,
    object_type: usize,
}

const fn schema_of(minor: u8) -> Option<Schema> {
    // The words of each group keep their order; groups move as others grow.
    let (current_frame, thread_id, frame, owner, code, object) = match minor {
        13 => (23, 24, 28, 33, 34, 44),
        14 => (26, 27, 31, 36, 39, 50),
        15 => (26, 30, 39, 44, 47, 58),
        _ => return None,
    };
    Some(Schema {
        current_frame,
        thread_id,
        frame_previous: frame + 1,
        frame_executable: frame + 2,
        frame_instr: frame + 3,
        frame_owner: owner,
        code_filename: code + 1,
        code_qualname: code + 3,
        code_line_table: code + 4,
        code_first_line: code + 5,
        code_bytecode: code + 9,
        object_bytes: object,
        object_type: object + 1,
    })
}

/// What was said, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugOffsets {
    minor: u8,
    free_threaded: bool,
    current_frame: u32,
    thread_id: u32,
    frame_previous: u32,
    frame_executable: u32,
    frame_instr: u32,
    frame_owner: u32,
    filename: usize,
    qualname: usize,
    line_table: usize,
    first_line: usize,
    bytecode: i64,
}

/// The offsets at `runtime_avma` of process `tgid`; `None` where there are none, or none that can
/// be believed.
pub fn read(tgid: u32, runtime_avma: u64, version: Version) -> Option<DebugOffsets> {
    if runtime_avma == 0 {
        return None;
    }
    parse(&read_vec(tgid, runtime_avma, 8 * WORDS)?, version)
}

/// The same from bytes.
pub fn parse(bytes: &[u8], version: Version) -> Option<DebugOffsets> {
    if bytes.get(..8)? != COOKIE {
        return None;
    }
    // 0xMMmmppLS
    let [_, _, _, _, major, minor, _, _] = u64_in(bytes, 8)?.to_be_bytes();
    if (major, minor) != (version.major, version.minor) {
        return None;
    }
    let schema = schema_of(minor)?;
    let word = |index: usize| u64_in(bytes, 8 * index);
    let bounded = |index: usize, limit: u64| {
        word(index).filter(|offset| *offset < limit).and_then(|offset| u32::try_from(offset).ok())
    };
    let pointer =
        |index, limit: u64| bounded(index, limit - 7).filter(|offset| offset.is_multiple_of(8));
    let free_threaded = match word(2)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let header = if free_threaded { FREE_THREADED_HEADER_BYTES } else { HEADER_BYTES };
    if word(schema.object_bytes)? != header as u64 || word(schema.object_type)? != header as u64 - 8
    {
        return None;
    }
    let code = |index| pointer(index, MAX_CODE_OFFSET).map(|offset| offset as usize);
    Some(DebugOffsets {
        minor,
        free_threaded,
        current_frame: pointer(schema.current_frame, MAX_STATE_OFFSET)?,
        thread_id: pointer(schema.thread_id, MAX_STATE_OFFSET)?,
        frame_previous: pointer(schema.frame_previous, MAX_FRAME_OFFSET)?,
        frame_executable: pointer(schema.frame_executable, MAX_FRAME_OFFSET)?,
        frame_instr: pointer(schema.frame_instr, MAX_FRAME_OFFSET)?,
        frame_owner: bounded(schema.frame_owner, MAX_FRAME_OFFSET)?,
        filename: code(schema.code_filename)?,
        qualname: code(schema.code_qualname)?,
        line_table: code(schema.code_line_table)?,
        first_line: bounded(schema.code_first_line, MAX_CODE_OFFSET - 4)? as usize,
        bytecode: i64::from(bounded(schema.code_bytecode, MAX_CODE_OFFSET)?),
    })
}

impl DebugOffsets {
    /// Puts what was said into the layout of the version.
    pub(super) fn apply(&self, layout: &mut Layout) {
        layout.source = LayoutSource::DebugOffsets;
        if self.free_threaded {
            layout.without_gil(self.minor);
        }
        let walk = &mut layout.walk;
        walk.tstate_frame = self.current_frame;
        walk.tstate_thread_id = self.thread_id;
        walk.frame_previous = self.frame_previous;
        walk.frame_code = self.frame_executable;
        walk.frame_instr = self.frame_instr;
        walk.frame_entry = self.frame_owner;
        let objects = &mut layout.objects;
        objects.filename = self.filename;
        objects.name = self.qualname;
        objects.line_table = self.line_table;
        objects.first_line = self.first_line;
        objects.lines = LineForm::Locations { bytecode: self.bytecode };
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::runtime::python) const V3_14: Version =
        Version { major: 3, minor: 14, micro: 10 };

    /// The first 60 words of CPython 3.14.10 as its own process shows them.
    pub(in crate::runtime::python) fn sample() -> Vec<u8> {
        let words: [u64; 57] = [
            316616, 784, 808, 225864, 7280, 7272, 7344, 7360, 7408, 7688, 7672, 7680, 16, 7784, 0,
            7800, 7792, 7992, 0, 832, 0, 8, 16, 72, 152, 160, 232, 32, 88, 8, 0, 56, 80, 74, 64, 0,
            216, 112, 120, 128, 136, 68, 52, 96, 104, 208, 0, 16, 8, 416, 24, 88, 168, 40, 32, 16,
            40,
        ];
        let mut bytes = COOKIE.to_vec();
        for word in [0x030e_0af0, 0].into_iter().chain(words) {
            bytes.extend(u64::to_le_bytes(word));
        }
        bytes
    }

    #[test]
    fn what_an_interpreter_says_is_understood() {
        let said = parse(&sample(), V3_14).unwrap();
        let expected = DebugOffsets {
            minor: 14,
            free_threaded: false,
            current_frame: 72,
            thread_id: 152,
            frame_previous: 8,
            frame_executable: 0,
            frame_instr: 56,
            frame_owner: 74,
            filename: 112,
            qualname: 128,
            line_table: 136,
            first_line: 68,
            bytecode: 208,
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let whole = sample();
        let needed = 52 * 8;
        for length in 0..needed {
            assert_eq!(parse(&whole[..length], V3_14), None, "{length} bytes");
        }
        let older = Version { minor: 13, ..V3_14 };
        assert_eq!(parse(&whole, older), None, "another version");
        for (word, value) in [(2, 2), (26, 73), (27, 1 << 40), (32, 80), (36, 200), (51, 24)] {
            let mut wild = whole.clone();
            wild[8 * word..8 * word + 8].copy_from_slice(&u64::to_le_bytes(value));
            assert_eq!(parse(&wild, V3_14), None, "word {word} is {value}");
        }
    }
}
