//! Garbage instead of V8's heap, made from pieces that begin as its do: nothing panics, nothing
//! goes on for ever, and what is said stays bounded.

use super::compiled::Finder;
use super::heap::Heap;
use super::known::known_layouts;
use super::positions::{BytecodeSizes, bytecode_at, position_at};
use super::text::text;
use super::*;
use crate::fuzz::fuzz;
use tracer_common::v8::{JS_BUILTIN, JS_COMPILED, JS_INTERPRETED, JsFrame, cookie};

/// "The target": pages at an address that stays.
struct Pages(Box<[u64; 1024]>);

/// Where things lie in it, in bytes.
const SHARED: usize = 0;
const SCOPE: usize = 128;
const SCRIPT: usize = 256;
const BYTECODE: usize = 512;
const TABLE: usize = 704;
const NAME: usize = 768;
const LINES: usize = 832;
const STREAM: usize = 1024;
const CODE: usize = 1088;
const DEOPTIMIZATION: usize = 1280;
const LITERALS: usize = 1472;
const CALLS: usize = 1536;
const SOURCE: usize = 1600;
/// Maps, one for each type.
const MAPS: usize = 2048;
/// Instructions, and what a return address is.
const INSTRUCTIONS: usize = 1056;
const RETURN: usize = 1072;

impl Pages {
    fn new() -> Self {
        Self(Box::new([0; 1024]))
    }

    fn avma(&self, at: usize) -> u64 {
        self.0.as_ptr() as u64 + at as u64
    }

    fn put(&mut self, at: usize, word: u64) {
        self.0[at / 8] = word;
    }

    /// Half a word.
    fn put_half(&mut self, at: usize, half: u32) {
        let shift = 8 * (at % 8);
        let word = &mut self.0[at / 8];
        *word = *word & !(0xffff_ffff << shift) | u64::from(half) << shift;
    }

    fn pointer(&self, at: usize) -> u64 {
        self.avma(at) | 1
    }

    /// An object of that type.
    fn object(&mut self, at: usize, type_number: u16) {
        let map = MAPS + 16 * usize::from(type_number);
        self.put(map + 8, u64::from(type_number) << 32);
        self.put(at, self.pointer(map));
    }

    fn array(&mut self, at: usize, type_number: u16, length: u64) {
        self.object(at, type_number);
        self.put(at + 8, length << 32);
    }

    fn bytes(&self) -> Vec<u8> {
        // Addresses differ from run to run: what is fuzzed are distances.
        let base = self.avma(0);
        let relative = |word: &u64| match word.checked_sub(base) {
            Some(distance) if distance < 8192 => RELATIVE | distance,
            _ => *word,
        };
        self.0.iter().flat_map(|word| relative(word).to_le_bytes()).collect()
    }

    fn fill(&mut self, bytes: &[u8]) {
        let base = self.avma(0);
        for (index, word) in self.0.iter_mut().enumerate() {
            let rest = bytes.get(8 * index..).and_then(|rest| rest.first_chunk());
            let raw = u64::from_le_bytes(rest.copied().unwrap_or_default());
            *word = match raw & RELATIVE_MASK == RELATIVE {
                true => base + (raw & !RELATIVE_MASK),
                false => raw,
            };
        }
    }
}

/// Marks a distance from the first page.
const RELATIVE: u64 = 0x5a5a << 48;
const RELATIVE_MASK: u64 = !0 << 16;

/// A function with a script, bytecode and optimised code, as V8 with this layout has them.
fn with_function(pages: &mut Pages, objects: &ObjectLayout, kind: u32) {
    let types = objects.types;
    pages.object(SHARED, types.shared);
    pages.put(SHARED + 8, pages.pointer(BYTECODE));
    pages.put(SHARED + objects.shared_name as usize, pages.pointer(SCOPE));
    pages.put(SHARED + objects.shared_script as usize, pages.pointer(SCRIPT));
    pages.object(SCOPE, types.scope);
    let flags = 0x7004;
    pages.put(SCOPE + 8, if objects.has_fixed_positions { flags } else { flags << 32 });
    pages.put(SCOPE + 32, 3 << 32);
    pages.put(SCOPE + 8 + 8 * objects.scope_variables as usize, pages.pointer(NAME));
    pages.object(NAME, 40);
    pages.put(NAME + 8, 4 << 32);
    pages.put(NAME + 16, u64::from_le_bytes(*b"name\0\0\0\0"));
    pages.object(SCRIPT, types.script);
    pages.put(SCRIPT + 8, pages.pointer(SOURCE));
    pages.put(SCRIPT + 16, pages.pointer(NAME));
    pages.put(SCRIPT + 56, pages.pointer(LINES));
    pages.put(SCRIPT + 64, 7 << 32);
    pages.put(SCRIPT + 72, pages.pointer(SHARED));
    pages.array(LINES, types.fixed_array, 2);
    pages.put(LINES + 16, 9 << 32);
    pages.put(LINES + 24, 99 << 32);
    pages.object(SOURCE, 33);
    pages.put(SOURCE + 8, 8 << 32);
    pages.put(SOURCE + 16, pages.pointer(NAME));
    pages.put(SOURCE + 24, pages.pointer(NAME));
    pages.array(BYTECODE, types.bytecode_array, 8);
    pages.put(BYTECODE + objects.bytecode_positions as usize, pages.pointer(TABLE));
    let bytes = types.trusted_byte_array.max(types.byte_array);
    pages.array(TABLE, bytes, 6);
    pages.put(TABLE + 16, u64::from_le_bytes([2, 40, 7, 8, 9, 10, 0, 0]));
    pages.object(STREAM, types.instruction_stream);
    pages.put(STREAM + 8, pages.pointer(CODE));
    pages.object(CODE, types.code);
    pages.put(CODE + objects.code_start as usize, pages.avma(INSTRUCTIONS));
    let flags = objects.code_flags as usize;
    pages.put_half(CODE + flags, kind);
    pages.put_half(CODE + objects.code_size as usize, 64);
    let data = objects.code_deoptimization as usize;
    let is_baseline = kind == objects.baseline_kind;
    pages.put(CODE + data, pages.pointer(if is_baseline { BYTECODE } else { DEOPTIMIZATION }));
    pages.put(CODE + data + 8, pages.pointer(TABLE));
    pages.array(DEOPTIMIZATION, types.fixed_array, 12);
    let element = |index: u32| DEOPTIMIZATION + 16 + 8 * index as usize;
    pages.put(element(objects.inlined_count), 1 << 32);
    pages.put(element(objects.literals), pages.pointer(LITERALS));
    pages.put(element(objects.function), pages.pointer(SHARED));
    pages.put(element(objects.inlining_positions), pages.pointer(CALLS));
    pages.put(element(objects.inlining_positions + 1), 60 << 32);
    pages.array(LITERALS, types.fixed_array, 1);
    pages.put(LITERALS + 16, pages.pointer(SHARED) | 2);
    pages.array(CALLS, bytes, 16);
    pages.put(CALLS + 16, 14);
}

/// A return address in its code.
fn return_avma(pages: &Pages, objects: &ObjectLayout) -> u64 {
    match objects.types.instruction_stream {
        0 => pages.avma(CODE) + u64::from(objects.code_start) + 16,
        _ => pages.avma(RETURN),
    }
}

fn runtime(version: V8Version, objects: ObjectLayout) -> NodeRuntime {
    let (layout, _) = layout_of(version, &Metadata::default()).unwrap();
    NodeRuntime {
        version,
        module: "node".into(),
        layout,
        objects,
        builtins: None,
        bytecode_sizes: Some(Arc::new(positions::tests::sizes())),
    }
}

fn frame(pages: &Pages, objects: &ObjectLayout, kind: u32) -> JsFrame {
    let word = |offset: u32| pages.0[(SHARED + offset as usize) / 8];
    let cookie = cookie(word(objects.shared_name), word(objects.shared_script));
    let position = objects.bytecode_data as i32 - 1;
    JsFrame { shared_avma: pages.avma(SHARED), cookie, position, kind, native_index: 0 }
}

/// For every V8: optimised code, and a frame in it.
fn with_optimised_code(check: impl Fn(&mut Pages, &ObjectLayout, &NodeRuntime, JsFrame, u64)) {
    let mut pages = Pages::new();
    for (version, objects) in known_layouts() {
        pages.fill(&[]);
        with_function(&mut pages, &objects, objects.baseline_kind + 1);
        let frame = frame(&pages, &objects, JS_COMPILED);
        let return_avma = return_avma(&pages, &objects);
        check(&mut pages, &objects, &runtime(version, objects), frame, return_avma);
    }
}

#[test]
fn what_is_new_needs_time_and_what_is_known_does_not() {
    let own = std::process::id();
    with_optimised_code(|_, _, runtime, frame, return_avma| {
        let mut reader = JsReader::new(own, runtime);
        reader.set_has_time(false);
        assert_eq!(reader.read(&frame, return_avma), Err(JsFailure::NoTime));
        assert_eq!(reader.learning_time(), std::time::Duration::ZERO);
        reader.set_has_time(true);
        let names = reader.read(&frame, return_avma);
        assert!(names.is_ok() && !reader.learning_time().is_zero());
        reader.set_has_time(false);
        assert_eq!(reader.read(&frame, return_avma), names);
        assert_eq!(reader.learning_time(), std::time::Duration::ZERO);
    });
}

#[test]
fn code_names_a_function_that_was_not_seen_only_if_it_is_the_same() {
    let own = std::process::id();
    with_optimised_code(|_, _, runtime, frame, return_avma| {
        let read = |mut reader: JsReader, frame| reader.read(&frame, return_avma);
        let elsewhere = JsFrame { shared_avma: frame.shared_avma + 128, ..frame };
        let names = read(JsReader::new(own, runtime), elsewhere).unwrap();
        assert_eq!(names, read(JsReader::new(own, runtime), frame).unwrap());
        let other = JsFrame { cookie: frame.cookie ^ 1, ..elsewhere };
        assert!(read(JsReader::new(own, runtime), other).is_err());
        assert!(read(JsReader::of_parent(own, runtime), elsewhere).is_err());
        assert!(read(JsReader::of_parent(own, runtime), frame).is_ok());
    });
}

#[test]
fn lines_of_a_function_that_was_moved_are_found_again() {
    let own = std::process::id();
    with_optimised_code(|pages, objects, runtime, frame, return_avma| {
        // At the first instruction, which has a place.
        let return_avma = return_avma - 15;
        let mut reader = JsReader::new(own, runtime);
        let before = reader.read(&frame, return_avma).unwrap();
        // As the garbage collector does it: the code object itself stays as it is.
        let moved = 7680;
        pages.0.copy_within(SHARED / 8..SHARED / 8 + 16, moved / 8);
        pages.0[SHARED / 8..SHARED / 8 + 16].fill(0);
        let pointer = pages.pointer(moved);
        pages.put(DEOPTIMIZATION + 16 + 8 * objects.function as usize, pointer);
        pages.put(LITERALS + 16, pointer | 2);
        let frame = JsFrame { shared_avma: pages.avma(moved), ..frame };
        assert_eq!(reader.read(&frame, return_avma).unwrap(), before);
        assert!(before[0].is_exact, "{before:?}");
    });
}

#[test]
fn a_function_whose_place_another_has_taken_gets_no_table_of_that() {
    let own = std::process::id();
    with_optimised_code(|pages, objects, runtime, frame, return_avma| {
        let mut reader = JsReader::new(own, runtime);
        let interpreted = JsFrame { kind: JS_INTERPRETED, ..frame };
        let builtin = JsFrame { kind: JS_BUILTIN, ..frame };
        assert!(reader.read(&interpreted, return_avma).unwrap()[0].is_exact);
        let mut reader = JsReader::new(own, runtime);
        reader.read(&builtin, return_avma).unwrap();
        pages.put(SHARED + objects.shared_name as usize, 0);
        let names = reader.read(&interpreted, return_avma).unwrap();
        assert_eq!((names[0].function.as_str(), names[0].is_exact), ("name", false));
    });
}

#[test]
fn functions_of_garbage_have_bounded_names_or_none() {
    let own = std::process::id();
    let mut pages = Pages::new();
    let known: Vec<_> = known_layouts().collect();
    let mut inputs = Vec::new();
    for (version, objects) in &known {
        for code_kind in [objects.baseline_kind, objects.baseline_kind + 1] {
            pages.fill(&[]);
            with_function(&mut pages, objects, code_kind);
            inputs.push(pages.bytes());
            let mut reader = JsReader::new(own, &runtime(*version, *objects));
            for kind in [JS_INTERPRETED, JS_COMPILED, JS_BUILTIN] {
                let frame = frame(&pages, objects, kind);
                let names = reader.read(&frame, return_avma(&pages, objects)).unwrap();
                assert_eq!(names[0].function, "name", "{version} {kind}");
                assert_eq!(names[0].file.as_deref(), Some("name"), "{version} {kind}");
            }
            assert_eq!(reader.code_kinds(), [code_kind].into(), "{version}");
        }
    }
    fuzz("functions", &inputs, |bytes| {
        pages.fill(bytes);
        for (version, objects) in &known {
            let mut reader = JsReader::new(own, &runtime(*version, *objects));
            for kind in [JS_INTERPRETED, JS_COMPILED, JS_BUILTIN, 9] {
                let frame = frame(&pages, objects, kind);
                for _ in 0..2 {
                    let Ok(names) = reader.read(&frame, return_avma(&pages, objects)) else {
                        continue;
                    };
                    assert!((1..=100).contains(&names.len()));
                    for name in names {
                        assert!(name.function.chars().count() <= 2100);
                        assert!(name.line.is_none_or(|line| line > 0));
                    }
                }
            }
        }
    });
}

#[test]
fn code_that_is_not_there_is_not_found() {
    let heap = Heap::new(std::process::id());
    let pages = Pages::new();
    for (_, objects) in known_layouts() {
        let mut finder = Finder::default();
        for return_avma in [0, 1, 7, pages.avma(RETURN), u64::MAX, u64::MAX - 9, 1 << 47] {
            assert_eq!(finder.find(&heap, &objects, return_avma), None);
        }
    }
}

#[test]
fn strings_of_garbage_are_read_to_an_end() {
    let heap = Heap::new(std::process::id());
    let mut pages = Pages::new();
    let mut inputs = Vec::new();
    for (index, type_number) in [40, 32, 41, 33, 43, 42, 45].into_iter().enumerate() {
        pages.object(64 * index, type_number);
        pages.put(64 * index + 8, 6 << 32);
        pages.put(64 * index + 16, pages.pointer(64 * (index / 2)));
        pages.put(64 * index + 24, pages.pointer(64 * (index / 3)));
        inputs.push(pages.bytes());
    }
    fuzz("strings", &inputs, |bytes| {
        pages.fill(bytes);
        for index in 0..7 {
            let found = text(&heap, pages.pointer(64 * index), 4096);
            assert!(found.is_none_or(|found| found.chars().count() <= 4096));
        }
    });
}

#[test]
fn tables_of_garbage_give_places_or_none() {
    let sizes = positions::tests::sizes();
    let inputs = [
        vec![2, 0xac, 8, 7, 0x5c, 0xa, 8, 0x13, 0x1c, 0xe, 0x1c, 0x12, 0x34, 0xf, 0x10],
        vec![10, 4, 6, 8, 2, 12, 11, 1, 0, 11, 1, 0, 12],
        vec![1, 0xe4, 5, 0x10, 0xc, 0x34, 0x1b, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff],
    ];
    fuzz("tables", &inputs, |table| {
        for form in [objects::PositionForm::Signed, objects::PositionForm::Flagged] {
            for offset in [0, 9, u32::MAX] {
                let place = position_at(table, form, offset);
                let _ = place.map(|place| (place.script_offset(), place.inlining()));
            }
        }
        let (lengths, bytecodes) = table.split_at(table.len() / 2);
        for offset in [0, 9, u32::MAX] {
            let _ = bytecode_at(lengths, bytecodes, &sizes, offset);
        }
        let _ = BytecodeSizes::search(table);
    });
}
