//! A capture that is read up to a moment is the one that would have been made had the session ended
//! there.

use super::*;
use crate::stack::{Domain, RawStack, Stack, StackId, WalkEnd};
use crate::tick::{MemorySplit, ProcessReading, SiteReading, Tick};
use std::path::Path;

const SECOND: u64 = 1_000_000_000;

/// A tick a second. The second stack comes at 5 s, a second process at 6 s.
fn tick(second: u64) -> Tick {
    let site = |stack: u64, blocks: u64| SiteReading {
        stack: StackId(stack),
        epoch: 1,
        allocated_bytes: blocks * 4096,
        allocated_blocks: blocks,
        freed_bytes: 0,
        freed_blocks: 0,
        allocated_variance: 0,
        freed_variance: 0,
    };
    let memory = MemorySplit { resident_bytes: second << 20, ..MemorySplit::default() };
    let mut tick = Tick {
        // A little late, as ticks are.
        at_ns: second * SECOND + 3_000_000,
        sites: vec![site(1, second)],
        memory: Some(memory),
        processes: vec![ProcessReading { process: 0, memory }],
        ..Tick::default()
    };
    if second >= 5 {
        tick.sites.push(site(2, second));
    }
    tick.counters.user.insert("stacks_not_looked_at".into(), second);
    tick
}

/// A session of so many seconds.
fn write(path: &Path, seconds: u64) {
    let mut writer = Writer::create(path, DEFAULT_MAX_BYTES).expect("create");
    for id in (1..=2).filter(|id| *id == 1 || seconds >= 5) {
        let raw = RawStack {
            id: StackId(id),
            image: 1,
            domain: Domain::Malloc,
            native: vec![id],
            native_end: WalkEnd::Bottom,
            js: Vec::new(),
            python: Vec::new(),
            python_end: WalkEnd::Absent,
        };
        writer.stack(&raw).expect("raw");
        let frames = Vec::new();
        let stack = Stack { id: raw.id, domain: Domain::Malloc, frames, truncated: None };
        writer.resolved(&stack).expect("stack");
    }
    (0..=seconds).for_each(|second| writer.tick(&tick(second)).expect("tick"));
    let process = |pid, attached_s: u64, ended_s: Option<u64>| ProcessMeta {
        pid,
        attached_ns: attached_s * SECOND,
        ended_ns: ended_s.filter(|ended_s| *ended_s <= seconds).map(|ended_s| ended_s * SECOND),
        end: match ended_s.is_some_and(|ended_s| ended_s <= seconds) {
            true => ProcessEnd::Exited,
            false => ProcessEnd::Running,
        },
        ..ProcessMeta::default()
    };
    let mut meta = Meta { end: EndReason::Duration, ..Meta::default() };
    meta.window.interval_ns = SECOND;
    meta.window.duration_ns = seconds * SECOND + 3_000_000;
    meta.processes = vec![process(1, 0, None), process(2, 2, Some(7))];
    meta.processes.extend((seconds >= 6).then(|| process(3, 6, None)));
    meta.marks = (1..=seconds)
        .map(|second| Mark { at_ns: second * SECOND, kind: Mark::CYCLE.into(), cycle: 0 })
        .collect();
    meta.residency = (0..=seconds)
        .map(|second| Residency { at_ns: second * SECOND, ..Residency::default() })
        .collect();
    writer.meta(&meta).expect("meta");
    let warning = RecordedWarning { code: "x".into(), ..RecordedWarning::default() };
    writer.warning(&warning).expect("warning");
    writer.finish().expect("finish");
}

#[test]
fn a_capture_read_up_to_a_moment_is_the_shorter_capture() {
    let folder = tempfile::tempdir().expect("folder");
    let (long, short) = (folder.path().join("long"), folder.path().join("short"));
    write(&long, 10);
    for seconds in [3, 4, 5, 6, 9] {
        write(&short, seconds);
        let cut = read_until(&long, seconds * SECOND + SECOND / 10).expect("read");
        assert_eq!(cut, read(&short).expect("read"), "{seconds} s");
    }
    let whole = read(&long).expect("read");
    assert_eq!(read_until(&long, u64::MAX).expect("read"), whole);
    assert_eq!(whole.meta.processes.len(), 3);
}

#[test]
fn what_only_the_end_tells_is_not_told_of_an_earlier_moment() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture");
    let mut writer = Writer::create(&path, DEFAULT_MAX_BYTES).expect("create");
    (0..=10).for_each(|second| writer.tick(&tick(second)).expect("tick"));
    let mut meta = Meta::default();
    meta.window.duration_ns = 10 * SECOND;
    meta.end = EndReason::TargetExited;
    meta.python_objects =
        Some(PythonObjects { unattributed_bytes: Some(1), ..PythonObjects::default() });
    meta.node = Some(NodeMeta {
        spaces: vec![HeapSpace::default()],
        external_bytes: Some(1),
        ..NodeMeta::default()
    });
    // 10 MiB were resident at the end, and 4 MiB at 4 s; others share the limit.
    let limit =
        MemoryLimit { limit_bytes: 1 << 30, used_bytes: 50 << 20, ..MemoryLimit::default() };
    meta.memory_limits = vec![limit.clone()];
    let heap = |at_ns| HeapMeta {
        readings: vec![HeapReading { at_ns, ..HeapReading::default() }],
        ..HeapMeta::default()
    };
    meta.heaps = vec![heap(10 * SECOND), heap(3 * SECOND)];
    writer.meta(&meta).expect("meta");
    writer.finish().expect("finish");
    let cut = read_until(&path, 4 * SECOND + SECOND / 10).expect("read").meta;
    assert_eq!(cut.end, EndReason::Duration);
    assert_eq!(cut.python_objects.expect("python").unattributed_bytes, None);
    let node = cut.node.expect("node");
    assert_eq!((node.spaces.len(), node.external_bytes), (0, None));
    assert_eq!(cut.memory_limits, [MemoryLimit { used_bytes: 44 << 20, ..limit }]);
    assert_eq!(cut.heaps, [heap(3 * SECOND)]);
}
