//! Garbage in the interpreter's place: whatever its memory, its tables and its code say, readers
//! come to an end, and what they return is within bounds.

use super::code::CodeReader;
use super::layout::{KNOWN_MINORS, Landmarks, layout_of};
use super::line_deltas::{line_by_deltas, line_by_ranges};
use super::line_samples::{DELTAS, RANGES, Sample};
use super::location::line_at;
use super::location_samples::SAMPLES;
use super::*;
use crate::fuzz::fuzz;
use tracer_common::python::{INSTR_LASTI, NO_OFFSET};

/// A page of "the target", at an address that stays.
struct Page(Box<[u64; 512]>);

/// Where things lie in it, in bytes.
const CODE: usize = 0;
const FILENAME: usize = 1024;
const NAME: usize = 1536;
const LINES: usize = 2048;
const TYPE: usize = 2560;
const MEMBERS: usize = 3072;
const MEMBER_NAME: usize = 3840;

impl Page {
    fn new() -> Self {
        Self(Box::new([0; 512]))
    }

    fn avma(&self, at: usize) -> u64 {
        self.0.as_ptr() as u64 + at as u64
    }

    fn put(&mut self, at: usize, word: u64) {
        self.0[at / 8] = word;
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn fill(&mut self, bytes: &[u8]) {
        for (index, word) in self.0.iter_mut().enumerate() {
            let mut eight = [0; 8];
            let rest = bytes.get(8 * index..).unwrap_or_default();
            let count = rest.len().min(8);
            eight[..count].copy_from_slice(&rest[..count]);
            *word = u64::from_le_bytes(eight);
        }
    }
}

const TYPES: TypeAddresses =
    TypeAddresses { type_avma: 0, code_avma: 0x1000, text_avma: 0x2000, bytes_avma: 3 };

/// A code object, its texts and its line table, as interpreters of `objects` have them.
fn with_code(page: &mut Page, objects: &ObjectLayout) {
    page.put(CODE + objects.kind, TYPES.code_avma);
    for (field, text) in [(objects.filename, FILENAME), (objects.name, NAME)] {
        page.put(CODE + field, page.avma(text));
        page.put(text + objects.kind, TYPES.text_avma);
        page.put(text + objects.text_length, 8);
        page.put(text + objects.text_state, 0xe4);
        page.put(text + objects.ascii_data, u64::from_le_bytes(*b"a_name_8"));
    }
    page.put(CODE + objects.line_table, page.avma(LINES));
    page.put(LINES + objects.kind, TYPES.bytes_avma);
    page.put(LINES + objects.bytes_length, 8);
    page.put(LINES + objects.bytes_data, u64::from_le_bytes([2, 1, 4, 2, 0x80, 0, 0xd8, 8]));
}

#[test]
fn code_objects_of_garbage_are_refused_or_bounded() {
    let mut page = Page::new();
    let own = std::process::id();
    let layouts: Vec<ObjectLayout> = KNOWN_MINORS
        .map(|minor| {
            let version = Version { major: 3, minor, micro: 0 };
            layout_of(own, version, Landmarks::default()).unwrap().objects
        })
        .collect();
    let mut inputs = Vec::new();
    for objects in &layouts {
        page.fill(&[]);
        with_code(&mut page, objects);
        inputs.push(page.bytes());
        let object = CodeReader::of_objects(own, *objects, TYPES).read(page.avma(CODE)).unwrap();
        assert_eq!(object.qualname, "a_name_8");
    }
    fuzz("code objects", &inputs, |bytes| {
        page.fill(bytes);
        for objects in &layouts {
            let mut reader = CodeReader::of_objects(own, *objects, TYPES);
            let Some(object) = reader.read(page.avma(CODE)) else { continue };
            assert!(object.qualname.chars().count() <= 4096);
            for instr in [i32::MIN, -1, 0, 7, 210, i32::MAX] {
                assert!(object.line(instr).is_none_or(|line| line > 0));
            }
        }
    });
}

#[test]
fn layouts_of_garbage_are_ones_the_kernel_side_can_walk() {
    let mut page = Page::new();
    let mut inputs = vec![debug_offsets::tests::sample()];
    for (index, name) in
        [b"co_filen", b"co_name\0", b"co_lnota", b"co_linet", b"co_first", b"f_back\0\0"]
            .into_iter()
            .enumerate()
    {
        page.put(MEMBERS + 40 * index, page.avma(MEMBER_NAME + 16 * index));
        page.put(MEMBERS + 40 * index + 16, 8 * index as u64);
        page.put(MEMBER_NAME + 16 * index, u64::from_le_bytes(*name));
    }
    page.put(TYPE + 240, page.avma(MEMBERS));
    page.put(TYPE + 32, 200);
    inputs.push(page.bytes());
    fuzz("layouts", &inputs, |bytes| {
        page.fill(bytes);
        let landmarks = Landmarks {
            runtime_avma: page.avma(0),
            code_type_avma: page.avma(TYPE),
            frame_type_avma: page.avma(TYPE),
        };
        for minor in KNOWN_MINORS {
            let version = Version { major: 3, minor, micro: 0 };
            let layout = layout_of(std::process::id(), version, landmarks).unwrap();
            let walk = layout.walk;
            let limit = if walk.instr_form == INSTR_LASTI { 112 } else { 80 };
            assert!(walk.frame_code < limit && walk.frame_previous < limit);
            assert!(walk.frame_instr < limit && walk.tstate_frame <= 4096);
            assert!(walk.frame_entry < limit || walk.frame_entry == NO_OFFSET);
            assert!(layout.objects.code_bytes() <= 512);
        }
    });
}

#[test]
fn line_tables_of_garbage_give_lines_or_none() {
    let tables = |samples: &[Sample]| -> Vec<Vec<u8>> {
        samples.iter().map(|(_, _, table, _)| table.to_vec()).collect()
    };
    let inputs = [tables(DELTAS), tables(RANGES), tables(SAMPLES)].concat();
    fuzz("line tables", &inputs, |table| {
        for line_of in [line_by_deltas, line_by_ranges, line_at] {
            for (first_line, offset) in [(1, 0), (7, 10), (u32::MAX, 200), (0, u64::MAX)] {
                assert!(line_of(table, first_line, offset).is_none_or(|line| line > 0));
            }
        }
    });
}

#[test]
fn code_of_garbage_is_decoded_to_an_end() {
    let inputs = [
        vec![0x48, 0x8b, 0x05, 9, 0, 0, 0, 0x48, 0x8d, 0xb8, 0x50, 2, 0, 0, 0xe9, 0, 0, 0, 0],
        vec![0x64, 0x48, 0x8b, 0x04, 0x25, 0xe8, 0xff, 0xff, 0xff, 0x74, 0xf0, 0xeb, 0xee, 0xc3],
        vec![0x48, 0x8d, 0x3d, 0, 1, 0, 0, 0xe8, 0, 0, 0, 0, 0x48, 0x8b, 0, 0xff, 0x24, 0xc5],
    ];
    fuzz("code", &inputs, |code| {
        let _ = decode::key_svma(code, 0x1000, 0x8000);
        let _ = thread_word::thread_local(code, 0x1000);
        let _ = thread_word::word_of_runtime(code, u64::MAX - 4, 0x8000..0x9000);
        assert!(decode::constants(code, u64::MAX - 8).len() <= 4 * code.len());
        let _ = decode::jumps_out(code, 0x1000);
    });
}
