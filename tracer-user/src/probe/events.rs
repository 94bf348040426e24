//! Decodes what crosses the ring buffer.

use crate::stack::{Domain, RawStack, StackId, WalkEnd};
use bytes::Buf as _;
use tracer_common::{
    limits::{MAX_NATIVE_FRAMES, MAX_PYTHON_FRAMES},
    record::{Mapping, NEW_STACK_PREFIX_BYTES, Process, PythonFrame, domain, kind, process_op},
    v8::{HAS_JS, JsFrame},
};

/// A rare event, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A stack never seen before.
    NewStack(RawStack),
    /// A traced process has changed a mapping itself.
    Mapping(Mapping),
    /// A traced process has replaced its image.
    Exec {
        /// The process.
        tgid: u32,
        /// Number of its new image.
        image: u32,
        /// A thread other than the first did it: the probes placed so far no longer fire.
        by_thread: bool,
    },
    /// The loader of a process has changed its list of libraries, and the process is stopped.
    Libraries {
        /// The process.
        tgid: u32,
    },
    /// A traced process has a child with memory of its own.
    Fork {
        /// The parent.
        tgid: u32,
        /// The child.
        child: u32,
        /// When (CLOCK_MONOTONIC).
        at_ns: u64,
    },
}

/// Decodes one record; `None` when it is of an unknown kind or too short.
pub fn decode(mut bytes: &[u8]) -> Option<Event> {
    if bytes.len() < 8 {
        return None;
    }
    let kind = bytes.get_u32_le();
    let tid = bytes.get_u32_le();
    match kind {
        kind::NEW_STACK => new_stack(bytes),
        kind::MAPPING => mapping(bytes, tid),
        kind::PROCESS => process(bytes),
        _ => None,
    }
}

fn new_stack(mut bytes: &[u8]) -> Option<Event> {
    if bytes.len() < NEW_STACK_PREFIX_BYTES - 8 {
        return None;
    }
    let id = StackId(bytes.get_u64_le());
    let domain = match bytes.get_u32_le() {
        domain::MALLOC => Domain::Malloc,
        domain::MMAP => Domain::Mmap,
        domain::PYTHON => Domain::Python,
        _ => return None,
    };
    let native_count = bytes.get_u32_le() as usize;
    let python_count = bytes.get_u32_le() as usize;
    let native_end = WalkEnd::from_number(bytes.get_u32_le());
    let python_end = WalkEnd::from_number(bytes.get_u32_le());
    let image = bytes.get_u32_le();
    if native_count > MAX_NATIVE_FRAMES || python_count > MAX_PYTHON_FRAMES {
        return None;
    }
    let (mut native, mut js) = (Vec::with_capacity(native_count), Vec::new());
    for index in 0..native_count as u32 {
        let word = bytes.try_get_u64_le().ok()?;
        if word & HAS_JS != 0 {
            let words = [bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?];
            js.push(JsFrame::from_words(words, index));
        }
        native.push(word & !HAS_JS);
    }
    if bytes.len() < 16 * python_count {
        return None;
    }
    let python = (0..python_count)
        .map(|_| PythonFrame {
            code_avma: bytes.get_u64_le(),
            instr_offset: bytes.get_i32_le(),
            is_entry: bytes.get_u32_le(),
        })
        .collect();
    let stack = RawStack { id, image, domain, native, native_end, js, python, python_end };
    Some(Event::NewStack(stack))
}

fn mapping(mut bytes: &[u8], tid: u32) -> Option<Event> {
    if bytes.len() < size_of::<Mapping>() - 8 {
        return None;
    }
    let mut mapping = Mapping { stack_hash: bytes.get_u64_le(), ..Mapping::default() };
    mapping.header.kind = kind::MAPPING;
    mapping.header.tid = tid;
    mapping.op = bytes.get_u32_le();
    mapping.prot = bytes.get_u32_le();
    mapping.address = bytes.get_u64_le();
    mapping.length_bytes = bytes.get_u64_le();
    mapping.old_address = bytes.get_u64_le();
    mapping.old_length_bytes = bytes.get_u64_le();
    mapping.image = bytes.get_u32_le();
    mapping.flags = bytes.get_u32_le();
    Some(Event::Mapping(mapping))
}

fn process(mut bytes: &[u8]) -> Option<Event> {
    if bytes.len() < size_of::<Process>() - 8 {
        return None;
    }
    let op = bytes.get_u32_le();
    let other = bytes.get_u32_le();
    let image = bytes.get_u32_le();
    let tgid = bytes.get_u32_le();
    let at_ns = bytes.get_u64_le();
    match op {
        process_op::EXEC => Some(Event::Exec { tgid, image, by_thread: other != 0 }),
        process_op::FORK => Some(Event::Fork { tgid, child: other, at_ns }),
        process_op::LIBRARIES => Some(Event::Libraries { tgid }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::v8::{JS_BUILTIN, JS_COMPILED, JS_INTERPRETED};

    fn stack_record(native_count: u32, python_count: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(kind::NEW_STACK.to_le_bytes());
        bytes.extend(7_u32.to_le_bytes());
        bytes.extend(0xabcd_u64.to_le_bytes());
        for word in [domain::MALLOC, native_count, python_count, 0, 0, 3] {
            bytes.extend(word.to_le_bytes());
        }
        for address in 0..u64::from(native_count) {
            bytes.extend((0x1000 + address).to_le_bytes());
        }
        for index in 0..python_count {
            bytes.extend((0x9000 + u64::from(index)).to_le_bytes());
            bytes.extend(16_i32.to_le_bytes());
            bytes.extend(1_u32.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_stack_keeps_only_its_used_frames() {
        let Some(Event::NewStack(stack)) = decode(&stack_record(2, 1)) else {
            panic!("not decoded")
        };
        assert_eq!((stack.native, stack.image), (vec![0x1000, 0x1001], 3));
        assert_eq!(stack.python[0].code_avma, 0x9000);
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = stack_record(2, 2);
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "length {length}");
        }
    }

    /// A record of these words, and no Python.
    fn record_of(native_count: u32, words: &[u64]) -> Vec<u8> {
        let mut bytes = stack_record(0, 0);
        bytes[20..24].copy_from_slice(&native_count.to_le_bytes());
        words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes
    }

    #[test]
    fn javascript_frames_stand_behind_their_return_addresses() {
        let js = |native_index, kind, position| JsFrame {
            shared_avma: 0x7f12_3456_7890,
            cookie: 0xfeed_beef,
            position,
            kind,
            native_index,
        };
        let check = |claim: &str, frames: &[(u64, Option<JsFrame>)]| {
            let mut words = Vec::new();
            for (address, frame) in frames {
                words.push(address | if frame.is_some() { HAS_JS } else { 0 });
                words.extend(frame.iter().flat_map(|frame| frame.to_words()));
            }
            let record = record_of(frames.len() as u32, &words);
            let Some(Event::NewStack(stack)) = decode(&record) else {
                panic!("{claim}: not decoded")
            };
            let native: Vec<u64> = frames.iter().map(|(address, _)| *address).collect();
            let js: Vec<JsFrame> = frames.iter().filter_map(|(_, frame)| *frame).collect();
            assert_eq!((stack.native, stack.js), (native, js), "{claim}");
            for length in 0..record.len() {
                assert_eq!(decode(&record[..length]), None, "{claim}: cut to {length}");
            }
        };
        check("none", &[(0x10, None), (0x20, None)]);
        check("the innermost", &[(0x10, Some(js(0, JS_COMPILED, 0))), (0x20, None)]);
        check("the outermost", &[(0x10, None), (0x20, Some(js(1, JS_BUILTIN, 0)))]);
        check(
            "one behind the other",
            &[
                (0x10, None),
                (0x7fff_ffff_f000, Some(js(1, JS_INTERPRETED, 77))),
                (0x30, Some(js(2, JS_INTERPRETED, -1))),
                (0x40, None),
            ],
        );
    }

    #[test]
    fn counts_beyond_the_bounds_are_refused() {
        assert_eq!(decode(&stack_record(MAX_NATIVE_FRAMES as u32 + 1, 0)), None);
    }
}
