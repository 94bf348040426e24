//! Reports of a made-up gateway, against golden files (blessed by `OUTLIVE_BLESS=1`).

use super::*;
use crate::capture::{self, DEFAULT_MAX_BYTES, RecordedWarning, Recording, Writer};
use crate::growth::Limits;
use crate::same::Same;
use crate::stack::{Domain, Frame, FrameKind, RawStack, Stack, StackId, WalkEnd};
use crate::tick::{MemorySplit, OverheadReading, SiteReading, Tick};
use std::path::Path;
use tracer_common::counter::Counter;

fn frame(
    kind: FrameKind,
    function: &str,
    file: Option<(&str, u32)>,
    module: Option<&str>,
    offset: u64,
) -> Frame {
    Frame {
        kind,
        function: function.into(),
        file: file.map(|(file, _)| file.into()),
        line: file.map(|(_, line)| line),
        module: module.map(Into::into),
        build_id: module.map(|_| "c0ffee".into()),
        offset: Some(offset),
        generated: None,
        line_is_of_function: false,
    }
}

pub(super) fn stack(id: u64, function: &str, line: u32, offset: u64) -> Stack {
    let python = "/usr/bin/python3.11";
    let frames = [
        frame(FrameKind::Native, "PyBytes_FromStringAndSize", None, Some(python), 0x1234),
        frame(
            FrameKind::Python,
            "JSONEncoder.encode",
            Some(("/usr/lib/python3.11/json/encoder.py", 200)),
            None,
            8,
        ),
        frame(FrameKind::Python, function, Some(("/srv/app/gateway.py", line)), None, offset),
        frame(FrameKind::Python, "Gateway.handle", Some(("/srv/app/gateway.py", 88)), None, 30),
        frame(FrameKind::Native, "main", None, Some(python), 0x99),
    ];
    let frames = frames.map(Same::from).into();
    Stack { id: StackId(id), domain: Domain::Malloc, frames, truncated: None }
}

fn tick(second: u64, leak: bool) -> Tick {
    let site = |stack: u64, allocated: u64, freed: u64, size: u64| SiteReading {
        stack: StackId(stack),
        epoch: 1,
        allocated_bytes: allocated * size,
        allocated_blocks: allocated,
        freed_bytes: freed * size,
        freed_blocks: freed,
        allocated_variance: 0,
        freed_variance: 0,
    };
    let freed = |allocated: u64| if leak { 0 } else { allocated };
    let mut tick = Tick {
        at_ns: second * 1_000_000_000,
        sites: vec![
            site(0xa1, second * 2, freed(second * 2), 600),
            site(0xa2, second, freed(second), 4096),
            site(0xb1, 50 + second * 10, second * 10, 2048),
        ],
        memory: Some(MemorySplit {
            resident_bytes: (100 << 20) + (second << 14),
            ..MemorySplit::default()
        }),
        overhead: Some(OverheadReading {
            hits: second * 1000,
            program_ns_per_hit: 400.0,
            trap_ns_per_hit: 600.0,
        }),
        ..Tick::default()
    };
    tick.counters.kernel[Counter::FreedUnknownBlocks as usize] = second * 3;
    tick.counters.kernel[Counter::NativeWalksBottom as usize] = second * 12;
    tick.counters.kernel[Counter::NativeWalksNoUnwindInfo as usize] = second;
    tick.counters.kernel[Counter::PythonWalksBottom as usize] = second * 12;
    tick.counters.kernel[Counter::PythonWalksAbsent as usize] = second;
    tick
}

pub(super) fn recording(ticks: u64, leak: bool) -> Recording {
    let mut recording = Recording::default();
    let meta = &mut recording.meta;
    meta.outlive_version = "0.0.0".into();
    meta.target.pid = 4242;
    meta.target.exe = "/usr/bin/python3.11".into();
    meta.target.runtime = "python".into();
    meta.window.duration_ns = ticks * 1_000_000_000;
    meta.window.interval_ns = 1_000_000_000;
    (0..ticks).for_each(|second| recording.aggregate.apply(&tick(second, leak)));
    for resolved in [
        stack(0xa1, "_flush_messages", 212, 10),
        stack(0xa2, "_flush_messages", 212, 24),
        stack(0xb1, "LruCache.put", 40, 6),
    ] {
        let raw = RawStack {
            id: resolved.id,
            image: 1,
            domain: Domain::Malloc,
            native: vec![1, 2],
            native_end: WalkEnd::Bottom,
            js: Vec::new(),
            python: Vec::new(),
            python_end: WalkEnd::Bottom,
        };
        recording.raw_stacks.insert(raw.id, raw);
        recording.stacks.insert(resolved.id, resolved);
    }
    recording
}

fn report(ticks: u64, leak: bool) -> Report {
    build(&recording(ticks, leak), &Limits::default())
}

pub(super) fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/report").join(name);
    if std::env::var_os("OUTLIVE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(&path, found).expect("bless");
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found, expected, "{name}; bless with OUTLIVE_BLESS=1");
}

#[test]
fn a_leaking_gateway_reads_as_blessed() {
    let report = report(30, true);
    golden("leaking.json", &json(&report));
    golden("leaking.txt", &text(&report, false, Detail::Folded));
    golden("leaking.folded", &folded(&report, View::Growth));
}

#[test]
fn an_innocent_gateway_reads_as_blessed() {
    let report = report(30, false);
    assert_eq!(report.verdict.status, Status::Steady);
    golden("innocent.json", &json(&report));
    golden("innocent.txt", &text(&report, false, Detail::Folded));
    golden(
        "innocent-growth.svg",
        &String::from_utf8(svg(&report, View::Growth).expect("svg")).expect("text"),
    );
}

#[test]
fn stacks_that_differ_in_offsets_only_are_one_site() {
    let report = report(30, true);
    assert_eq!(report.sites.len(), 2);
    assert_eq!(report.sites[0].live_blocks, 29 * 3);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].application_frame.function, "_flush_messages");
}

#[test]
fn the_shell_is_told() {
    assert_eq!(outcome(&report(30, true), false), 0);
    assert_eq!(outcome(&report(30, true), true), 1);
    assert_eq!(outcome(&report(30, false), true), 0);
    assert_eq!(outcome(&report(4, true), true), 3);
    assert_eq!(outcome(&report(0, true), true), 3);
    for counter in [Counter::LiveMapFullBlocks, Counter::StackTableFull] {
        let mut lossy = recording(30, true);
        let mut last = tick(30, true);
        last.counters.kernel[counter as usize] = 5;
        lossy.aggregate.apply(&last);
        let report = build(&lossy, &Limits::default());
        assert_eq!(report.losses[counter.name()], 5);
        let expected = if counter == Counter::StackTableFull { 1 } else { 3 };
        assert_eq!(outcome(&report, true), expected, "{}", report.verdict.sentence);
    }
    let mut lossy = recording(30, false);
    lossy.aggregate.note_loss("unknown_records", 1);
    assert_eq!(outcome(&build(&lossy, &Limits::default()), false), 3);
}

#[test]
fn a_replayed_capture_gives_the_same_report() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture.outlive");
    let mut live = recording(30, true);
    live.warnings.push(RecordedWarning {
        code: "x".into(),
        message: "X.".into(),
        advice: String::new(),
    });
    let mut writer = Writer::create(&path, DEFAULT_MAX_BYTES).expect("create");
    live.raw_stacks.values().for_each(|raw| writer.stack(raw).expect("raw"));
    (0..30).for_each(|second| writer.tick(&tick(second, true)).expect("tick"));
    live.stacks.values().for_each(|stack| writer.resolved(stack).expect("stack"));
    live.warnings.iter().for_each(|warning| writer.warning(warning).expect("warning"));
    writer.meta(&live.meta).expect("meta");
    writer.finish().expect("finish");
    let replayed = capture::read(&path).expect("read");
    assert_eq!(
        json(&build(&replayed, &Limits::default())),
        json(&build(&live, &Limits::default()))
    );
}

#[test]
fn flamegraphs_name_the_function_and_survive_hostile_names() {
    let mut hostile = recording(30, true);
    let names = ["", "# a", "a;b <&> \u{1} \"", "x 12", "\u{202e}evil 3 4"];
    for (stack, name) in hostile.stacks.values_mut().zip(names.iter().cycle()) {
        stack.frames[0].function = (*name).into();
        stack.frames[0].module = None;
    }
    for view in View::ALL {
        for recording in [recording(30, true), hostile.clone()] {
            let svg = svg(&build(&recording, &Limits::default()), view).expect("svg");
            let svg = String::from_utf8(svg).expect("text");
            assert!(svg.contains("_flush_messages (gateway.py:212)"), "{view:?}");
            assert!(!svg.contains('\u{1}'));
        }
    }
}
