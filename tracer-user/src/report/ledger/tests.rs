//! The ledger of the made-up gateway.

use super::super::tests::recording;
use super::*;
use crate::aggregate::Aggregate;
use crate::capture::{MemoryLimit, Residency};
use crate::ledger::Class;
use crate::stack::Frame;
use crate::tick::{MemorySplit, Tick};

const M: u64 = 1 << 20;
const SECOND: u64 = 1_000_000_000;

fn reading(second: u64, classes: &[(Class, u64)]) -> Residency {
    let classes: std::collections::BTreeMap<String, u64> =
        classes.iter().map(|(class, bytes)| (class.name().to_owned(), *bytes)).collect();
    Residency { at_ns: second * SECOND, mapped: classes.clone(), classes, ..Residency::default() }
}

#[test]
fn live_blocks_are_those_of_the_moments_of_the_readings() {
    let mut recording = recording(60, true);
    // The made-up gateway has (2 * 600 + 4096) bytes a second in 3 blocks, and a full cache.
    recording.meta.residency = vec![
        reading(10, &[(Class::MallocHeap, 10 * M)]),
        reading(50, &[(Class::MallocHeap, 14 * M)]),
    ];
    let report = super::super::build(&recording, &crate::growth::Limits::default());
    let ledger = report.ledger.expect("two readings");
    assert_eq!((ledger.from_ns, ledger.to_ns), (10 * SECOND, 50 * SECOND));
    let row = |kind: &str| ledger.rows.iter().find(|row| row.kind == kind).unwrap().change_bytes;
    assert_eq!(row("live-malloc"), 40 * (2 * 600 + 4096));
    // Chunks of 608 and 4,112 bytes.
    assert_eq!(row("allocator-overhead"), 40 * (2 * 8 + 16));
    let sum: i64 = ledger.rows.iter().map(|row| row.change_bytes).sum();
    assert_eq!(sum, 4 << 20);
    assert_eq!(ledger.explained_share, Some(1.0));
    assert_eq!(ledger.advice[0].code, "retention");
}

#[test]
fn one_reading_or_none_is_no_ledger() {
    let mut recording = recording(60, false);
    let owners = Owners::of(&recording);
    assert_eq!(ledger(&recording, &owners), None);
    recording.meta.residency = vec![reading(10, &[])];
    assert_eq!(ledger(&recording, &Owners::of(&recording)), None);
    // A capture may put them in any order.
    recording.meta.residency = vec![reading(10, &[]), reading(5, &[])];
    assert_eq!(ledger(&recording, &Owners::of(&recording)), None);
}

#[test]
fn python_arenas_are_known_by_their_frame_where_there_is_no_list() {
    let mut recording = recording(60, true);
    recording.raw_stacks.get_mut(&StackId(0xb1)).unwrap().domain = Domain::Mmap;
    let stack = recording.stacks.get_mut(&StackId(0xb1)).unwrap();
    stack.domain = Domain::Mmap;
    stack.frames = vec![Frame::bare(crate::stack::FrameKind::Native, ARENA_FRAME).into()];
    let [live, _] = live(&recording, &Owners::of(&recording), [10 * SECOND, 20 * SECOND]);
    assert_eq!(live.arena_mapping_bytes, 50 * 2048);
    assert_eq!(live.malloc_bytes, 10 * (2 * 600 + 4096));
}

fn grown(bytes_per_tick: u64, ticks: u64) -> Recording {
    let mut recording = recording(3, false);
    recording.aggregate = Aggregate::new();
    for second in 0..ticks {
        let resident_bytes = 100 * M + second * bytes_per_tick;
        let memory = Some(MemorySplit { resident_bytes, ..MemorySplit::default() });
        recording.aggregate.apply(&Tick { at_ns: second * SECOND, memory, ..Tick::default() });
    }
    recording.meta.memory_limits = vec![
        MemoryLimit {
            kind: "cgroup".into(),
            name: "/service".into(),
            limit_bytes: 1000 * M,
            used_bytes: 400 * M,
        },
        MemoryLimit {
            kind: "machine".into(),
            name: String::new(),
            limit_bytes: 8000 * M,
            used_bytes: 5000 * M,
        },
    ];
    recording
}

#[test]
fn a_limit_is_reached_at_the_rate_of_resident_memory() {
    let limit = limit(&grown(M, 60), &[]).expect("it grows");
    assert_eq!((limit.kind.as_str(), limit.name.as_str()), ("cgroup", "/service"));
    assert!((limit.seconds - 600.0).abs() < 1e-6, "{limit:?}");
    assert!(limit.earliest_seconds <= 600.0 && limit.latest_seconds.unwrap() >= 600.0);
}

#[test]
fn what_does_not_grow_reaches_nothing() {
    assert_eq!(limit(&grown(0, 60), &[]), None);
    // Too short to tell growth from the start of a program.
    assert_eq!(limit(&grown(M, 5), &[]), None);
}

#[test]
fn the_text_names_the_whole_its_rows_and_advice() {
    let mut recording = grown(M, 60);
    recording.meta.residency = vec![
        reading(0, &[(Class::Shared, M)]),
        reading(59, &[(Class::Shared, 80 * M), (Class::Files, M), (Class::MainStack, 8192)]),
    ];
    let report = super::super::build(&recording, &crate::growth::Limits::default());
    let text = super::super::text(&report, false, super::super::Detail::Folded);
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    for part in [
        "+80.0 MiB resident memory of PID 4242, 1.0 MiB at first and 81.0 MiB at the end",
        "+79.0 MiB shared memory",
        "+1.0 MiB pages of mapped files",
        "79.0 MiB of the growth are shared memory (memfd, System V, /dev/shm)",
        "memory reaches the 1000.0 MiB limit of control group /service in about 10 min",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.contains("stack of the main thread"), "{text}");
}

#[test]
fn a_limit_beyond_the_season_is_none() {
    let mut recording = grown(20_000, 60);
    assert!(limit(&recording, &[]).is_some());
    recording.meta.memory_limits = vec![MemoryLimit {
        kind: "machine".into(),
        name: String::new(),
        limit_bytes: 1 << 50,
        used_bytes: 1 << 40,
    }];
    assert_eq!(limit(&recording, &[]), None);
    // Next to nothing grows.
    assert_eq!(limit(&grown(10_000, 60), &[]), None);
}
