//! Captures there and back, cut short, damaged, foreign.

use super::frames::Frames;
use super::*;
use crate::aggregate::Totals;
use crate::stack::{Domain, Frame, FrameKind, Generated, WalkEnd};
use crate::tick::{MemorySplit, OverheadReading, ProcessReading, SiteReading, Tick, V8Reading};
use std::path::Path;
use tracer_common::record::PythonFrame;
use tracer_common::v8::JsFrame;

fn tick(second: u64) -> Tick {
    let site = SiteReading {
        stack: StackId(77),
        epoch: 1,
        allocated_bytes: second * 1000,
        allocated_blocks: second,
        freed_bytes: 0,
        freed_blocks: 0,
        allocated_variance: 7 + second,
        freed_variance: second,
    };
    let mut tick = Tick { at_ns: second * 1_000_000_000, sites: vec![site], ..Tick::default() };
    tick.counters.kernel[0] = second;
    tick.counters.user.insert("unknown_records".into(), 0);
    tick.memory = Some(MemorySplit { resident_bytes: 1 << 20, ..MemorySplit::default() });
    tick.processes = vec![ProcessReading { process: 0, memory: MemorySplit::default() }];
    // The size of a heap is not read at every tick.
    tick.v8 = vec![V8Reading {
        process: 0,
        heap_bytes: (!second.is_multiple_of(3)).then_some(second << 20),
        full_collections: Some(second / 10),
    }];
    tick.overhead =
        Some(OverheadReading { hits: second, program_ns_per_hit: 1.5, trap_ns_per_hit: 0.5 });
    tick
}

/// The same session, live and written to `path`.
fn record(path: &Path, max_bytes: u64, ticks: u64) -> Recording {
    let mut writer = Writer::create(path, max_bytes).expect("create");
    let mut live = Recording::default();
    live.meta.target.exe = "/usr/bin/gateway".into();
    let raw = RawStack {
        id: StackId(77),
        image: 1,
        domain: Domain::Malloc,
        native: vec![0x1000, 0x2000],
        native_end: WalkEnd::Bottom,
        js: vec![JsFrame { shared_avma: 8, cookie: 7, position: -3, kind: 1, native_index: 1 }],
        python: vec![PythonFrame { code_avma: 9, instr_offset: -2, is_entry: 1 }],
        python_end: WalkEnd::Unknown(99),
    };
    writer.stack(&raw).expect("raw stack");
    live.raw_stacks.insert(raw.id, raw);
    for second in 0..ticks {
        writer.tick(&tick(second)).expect("tick");
        live.aggregate.apply(&tick(second));
    }
    let frame = Frame {
        kind: FrameKind::Python,
        function: "Cache.put".into(),
        file: Some("cache.py".into()),
        line: Some(12),
        module: None,
        build_id: None,
        offset: Some(4),
        generated: Some(Generated { file: "bundle.js".into(), line: 7 }),
        line_is_of_function: true,
    };
    let stack = Stack {
        id: StackId(77),
        domain: Domain::Malloc,
        frames: vec![frame.clone().into(), frame.into()],
        truncated: Some(WalkEnd::TooDeep),
    };
    writer.resolved(&stack).expect("stack");
    live.stacks.insert(stack.id, stack);
    let warning = RecordedWarning {
        code: "python-unknown".into(),
        message: "What.".into(),
        advice: "Do.".into(),
    };
    writer.warning(&warning).expect("warning");
    live.warnings.push(warning);
    live.mappings = vec![MappedFile {
        path: "/usr/bin/gateway".into(),
        build_id: Some("ab".into()),
        ..MappedFile::default()
    }];
    writer.end_ticks().expect("last ticks");
    writer.mappings(&live.mappings).expect("mappings");
    writer.meta(&live.meta).expect("meta");
    if writer.refused_bytes() > 0 {
        live.aggregate.note_loss("capture_bytes_refused", writer.refused_bytes());
    }
    writer.finish().expect("finish");
    live
}

fn bytes_of_a_capture() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture.outlive");
    record(&path, DEFAULT_MAX_BYTES, 3);
    std::fs::read(path).expect("bytes")
}

#[test]
fn a_replayed_capture_is_the_live_recording() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture.outlive");
    let live = record(&path, DEFAULT_MAX_BYTES, 40);
    assert_eq!(read(&path).expect("read"), live);
}

/// As version 1 wrote it: without processes in ticks and images in stacks.
#[test]
fn a_capture_of_version_1_is_read() {
    let whole = bytes_of_a_capture();
    let mut old = [MAGIC.as_slice(), &1u32.to_le_bytes()].concat();
    let mut rest = &whole[12..];
    while let Some((header, behind)) = rest.split_at_checked(12) {
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four"));
        let (kind, length) = (number(0), number(4) as usize);
        let (payload, behind) = behind.split_at(length);
        rest = behind;
        let added = match kind {
            kind::TICK => 4 + 36 + 4 + 22 + 4 + 20,
            kind::RAW_STACK => 4 + 4 + 24,
            kind::STACK => 4 + 2 * 12,
            _ => 0,
        };
        let payload = &payload[..length - added];
        old.extend(kind.to_le_bytes());
        old.extend((payload.len() as u32).to_le_bytes());
        old.extend(crc::checksum(kind, payload).to_le_bytes());
        old.extend(payload);
    }
    let (new, old) = (read_from(whole.as_slice()).expect("new"), read_from(&*old).expect("old"));
    let exact = Totals { allocated_variance: 0, freed_variance: 0, ..new.aggregate.totals() };
    assert_eq!(old.aggregate.totals(), exact);
    assert!(new.aggregate.totals().live_variance() > 0);
    assert_eq!(old.aggregate.process_memory(0), None);
    assert!(new.aggregate.process_memory(0).is_some());
    assert_eq!(old.aggregate.v8(0), None);
    assert!(new.aggregate.v8(0).is_some_and(|v8| v8.sizes().len() == 2));
    assert_eq!((old.raw_stacks[&StackId(77)].image, new.raw_stacks[&StackId(77)].image), (0, 1));
    assert!(old.raw_stacks[&StackId(77)].js.is_empty());
    let mut stacks = new.stacks;
    stacks.values_mut().flat_map(|stack| &mut stack.frames).for_each(|frame| {
        assert!(frame.generated.take().is_some());
    });
    assert_eq!(old.stacks, stacks);
}

#[test]
fn every_truncation_is_an_error_that_says_so() {
    let whole = bytes_of_a_capture();
    for length in 0..whole.len() {
        let error = read_from(&whole[..length]).expect_err("truncated");
        match error {
            CaptureError::Foreign => assert_eq!(length, 0),
            CaptureError::Truncated { .. } => {
                assert!(error.to_string().contains("truncated after"))
            }
            other => panic!("{length}: {other}"),
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    let whole = bytes_of_a_capture();
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read_from(damaged.as_slice()).is_err(), "bit {bit}");
    }
}

#[test]
fn records_with_a_right_checksum_and_a_wrong_content_are_errors() {
    let mut state = 1u64;
    for kind in 1..=8u32 {
        for length in 0..200u32 {
            let payload: Vec<u8> = (0..length)
                .map(|_| {
                    state =
                        state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    if state >> 62 == 0 { (state >> 33) as u8 } else { (state >> 60) as u8 & 1 }
                })
                .collect();
            let mut file = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
            file.extend(kind.to_le_bytes());
            file.extend(length.to_le_bytes());
            file.extend(crc::checksum(kind, &payload).to_le_bytes());
            file.extend(payload);
            // Without an end it is never whole; what matters is that it returns.
            assert!(read_from(file.as_slice()).is_err() || kind == 8);
        }
    }
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    let mut file = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
    file.extend(2u32.to_le_bytes());
    file.extend(u32::MAX.to_le_bytes());
    file.extend([0; 4]);
    assert!(matches!(
        read_from(file.as_slice()),
        Err(CaptureError::Damaged { ticks: 0, at_bytes: 12 })
    ));
}

/// A record and its header.
fn sealed(kind: u32, payload: &[u8]) -> Vec<u8> {
    let mut record = kind.to_le_bytes().to_vec();
    record.extend((payload.len() as u32).to_le_bytes());
    record.extend(crc::checksum(kind, payload).to_le_bytes());
    record.extend(payload);
    record
}

/// A capture of one text, and of one stack whose `frame_count` frames all have it for a name.
fn capture_that_repeats(text_bytes: usize, frame_count: u32) -> Vec<u8> {
    let mut file = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
    file.extend(sealed(kind::TEXT, &vec![b'x'; text_bytes]));
    file.extend(sealed(kind::STACK, &stack_of_first_text(frame_count)));
    file.extend(sealed(kind::END, &[0; 16]));
    file
}

fn stack_of_first_text(frame_count: u32) -> Vec<u8> {
    let mut payload = vec![0; 8 + 4 + 1 + 4];
    payload.extend(frame_count.to_le_bytes());
    for _ in 0..frame_count {
        payload.push(0);
        payload.extend(0u32.to_le_bytes());
        payload.extend([0xff; 12]);
        payload.extend([0; 13]);
    }
    payload.extend(0u32.to_le_bytes());
    payload
}

#[test]
fn a_small_file_cannot_ask_for_much_memory() {
    let refused = |text_bytes, frame_count| match read_from(
        capture_that_repeats(text_bytes, frame_count).as_slice(),
    ) {
        Ok(recording) => Ok(recording.stacks[&StackId(0)].frames.len()),
        Err(CaptureError::Malformed { source, .. }) => Err(source),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(refused(MAX_TEXT_BYTES, 10), Ok(10));
    assert_eq!(refused(10, MAX_FRAMES as u32), Ok(MAX_FRAMES));
    assert_eq!(refused(30 << 20, 1_000_000), Err(DecodeError::LongText(30 << 20)));
    assert_eq!(refused(MAX_TEXT_BYTES + 1, 1), Err(DecodeError::LongText(MAX_TEXT_BYTES + 1)));
    assert_eq!(refused(10, 1_000_000), Err(DecodeError::Frames(1_000_000)));
    // Each stack is small, all of them are not.
    let mut known = Frames::within(25_000);
    known.add_text("x".repeat(1000));
    let frames = stack_of_first_text(10);
    assert_eq!(decode::stack(&frames, VERSION, &mut known).expect("first").frames.len(), 10);
    assert!(decode::stack(&frames, VERSION, &mut known).is_ok());
    assert_eq!(decode::stack(&frames, VERSION, &mut known), Err(DecodeError::Texts));
}

#[test]
fn what_is_written_can_be_read_however_long_its_texts_are() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture.outlive");
    let mut writer = Writer::create(&path, DEFAULT_MAX_BYTES).expect("create");
    let frame = Frame {
        kind: FrameKind::Native,
        function: "ä".repeat(MAX_TEXT_BYTES) + "b",
        file: None,
        line: None,
        module: None,
        build_id: None,
        offset: None,
        generated: None,
        line_is_of_function: false,
    };
    let stack = |id, depth| Stack {
        id: StackId(id),
        domain: Domain::Malloc,
        frames: vec![frame.clone().into(); depth],
        truncated: None,
    };
    writer.resolved(&stack(1, 2)).expect("stack");
    let deep = Frame { function: "f".into(), ..frame.clone() };
    writer
        .resolved(&Stack { frames: vec![deep.into(); MAX_FRAMES + 1], ..stack(2, 0) })
        .expect("deep stack");
    assert!(writer.refused_bytes() > 0);
    writer.finish().expect("finish");
    let recording = read(&path).expect("read");
    assert_eq!(recording.stacks[&StackId(1)].frames[1].function, "ä".repeat(MAX_TEXT_BYTES / 2));
    assert_eq!(recording.stacks.len(), 1);
}

#[test]
fn foreign_and_newer_files_are_named_as_such() {
    assert!(matches!(read_from(b"\x7fELF and so on".as_slice()), Err(CaptureError::Foreign)));
    let newer = [MAGIC.as_slice(), &9u32.to_le_bytes()].concat();
    assert!(matches!(read_from(newer.as_slice()), Err(CaptureError::Newer(9))));
    assert!(matches!(read(Path::new("/nonexistent/capture")), Err(CaptureError::Io(_))));
}

#[test]
fn what_does_not_fit_is_refused_counted_and_the_rest_is_readable() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture.outlive");
    let live = record(&path, 1400, 200);
    assert!(std::fs::metadata(&path).expect("size").len() < 1500);
    let replayed = read(&path).expect("read");
    assert!(replayed.aggregate.tick_count() < 200);
    assert!(replayed.aggregate.counters().user["capture_bytes_refused"] > 0);
    assert_eq!(replayed.aggregate.counters().user, live.aggregate.counters().user);
    assert_eq!(replayed.stacks, live.stacks);
}

#[test]
fn an_unfinished_writer_leaves_no_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture.outlive");
    let writer = Writer::create(&path, DEFAULT_MAX_BYTES).expect("create");
    let partial = folder.path().join("capture.outlive.partial");
    assert_eq!(std::fs::metadata(&partial).expect("partial").permissions().mode() & 0o777, 0o600);
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
}

/// Damage behind the checksums: each record is mutated and then sealed again.
#[test]
fn captures_that_lie_are_refused_or_reported_without_harm() {
    let whole = bytes_of_a_capture();
    crate::fuzz::fuzz("capture", &[whole[12..].to_vec()], |records| {
        let mut bytes = whole[..12].to_vec();
        let mut rest = records;
        while rest.len() >= 12 {
            let kind = u32::from_le_bytes(rest[..4].try_into().unwrap());
            let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            let payload = &rest[12..12 + length.min(rest.len() - 12)];
            bytes.extend(kind.to_le_bytes());
            bytes.extend((payload.len() as u32).to_le_bytes());
            bytes.extend(crate::capture::crc::checksum(kind, payload).to_le_bytes());
            bytes.extend(payload);
            rest = &rest[12 + payload.len()..];
        }
        if let Ok(recording) = read_from(bytes.as_slice()) {
            let report = crate::report::build(&recording, &crate::growth::Limits::default());
            let _ = (
                crate::report::text(&report, true, crate::report::Detail::Full),
                crate::report::folded(&report, crate::report::View::Live),
                crate::report::json(&report),
                crate::report::svg(&report, crate::report::View::Growth),
            );
        }
    });
}
