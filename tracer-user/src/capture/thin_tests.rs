//! Captures that are thinned tell the same sums over the same span, in coarser steps.

use super::*;
use crate::stack::{Domain, RawStack, StackId, WalkEnd};
use crate::tick::{MemorySplit, SiteReading, Tick};
use std::path::Path;
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;

/// A second of a session in which `changing` of `stacks` stacks change, in turn; each stack has
/// an epoch of birth for each hour.
fn tick(second: u64, stacks: u64, changing: u64) -> Tick {
    let site = |index: u64| {
        let stack = (second * changing + index) % stacks;
        // Of those that went before, every 3rd block was freed.
        let blocks = second + 1;
        SiteReading {
            stack: StackId(stack + 1),
            epoch: (second / 3600) as u32 + 1,
            allocated_bytes: blocks * 64,
            allocated_blocks: blocks,
            freed_bytes: blocks / 3 * 64,
            freed_blocks: blocks / 3,
            allocated_variance: 0,
            freed_variance: 0,
        }
    };
    let memory = MemorySplit { resident_bytes: (second + 1) << 12, ..MemorySplit::default() };
    let mut tick = Tick {
        at_ns: second * SECOND,
        sites: (0..changing).map(site).collect(),
        memory: Some(memory),
        ..Tick::default()
    };
    tick.counters.kernel[0] = second;
    tick.counters.user.insert("unknown_records".into(), second / 1000);
    tick
}

fn raw_stack(id: u64) -> RawStack {
    RawStack {
        id: StackId(id),
        image: 1,
        domain: Domain::Malloc,
        native: (0..20).map(|frame| id << 16 | frame).collect(),
        native_end: WalkEnd::Bottom,
        js: Vec::new(),
        python: Vec::new(),
        python_end: WalkEnd::Absent,
    }
}

/// What became of a session that was recorded and held in memory.
struct Outcome {
    live: Recording,
    replayed: Recording,
    stride: u64,
    file_bytes: u64,
    /// The longest time that a tick took to record.
    longest: Duration,
    /// Ticks behind which a copy was under way.
    rewriting_ticks: u64,
    read: Duration,
}

fn session(max_bytes: u64, seconds: u64, stacks: u64, changing: u64, pinned: &[u64]) -> Outcome {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture.outlive");
    let mut writer = Writer::create(&path, max_bytes).expect("create");
    let mut live = Recording::default();
    let mut longest = Duration::ZERO;
    let beside = folder.path().join("capture.outlive.partial.thinned");
    let mut rewriting_ticks = 0;
    for id in 1..=stacks {
        writer.stack(&raw_stack(id)).expect("stack");
        live.raw_stacks.insert(StackId(id), raw_stack(id));
    }
    for second in 0..seconds {
        let tick = tick(second, stacks, changing);
        live.aggregate.apply(&tick);
        let began = Instant::now();
        writer.tick(&tick).expect("tick");
        longest = longest.max(began.elapsed());
        rewriting_ticks += u64::from(beside.exists());
        if pinned.contains(&second) {
            live.aggregate.pin_latest();
            writer.pin_latest().expect("pin");
        }
    }
    writer.end_ticks().expect("rest");
    let stride = writer.stride();
    assert_eq!(writer.refused_bytes(), 0);
    writer.finish().expect("finish");
    assert_eq!(names_in(folder.path()), ["capture.outlive"]);
    let file_bytes = std::fs::metadata(&path).expect("size").len();
    let began = Instant::now();
    let replayed = read(&path).expect("read");
    let read = began.elapsed();
    Outcome { live, replayed, stride, file_bytes, longest, rewriting_ticks, read }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("folder").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// All that is not a matter of steps.
fn assert_same_sums(outcome: &Outcome) {
    let (live, replayed) = (&outcome.live.aggregate, &outcome.replayed.aggregate);
    assert_eq!(replayed.stacks().collect::<Vec<_>>(), live.stacks().collect::<Vec<_>>());
    assert_eq!(replayed.totals(), live.totals());
    assert_eq!(replayed.counters(), live.counters());
    assert_eq!(replayed.memory(), live.memory());
    assert_eq!(replayed.latest_ns(), live.latest_ns());
    assert_eq!(replayed.tick_count(), live.tick_count());
    assert_eq!(outcome.replayed.raw_stacks, outcome.live.raw_stacks);
}

#[test]
fn a_day_of_many_stacks_is_a_small_file_that_is_read_in_seconds() {
    const DAY_S: u64 = 86_400;
    let outcome = session(DEFAULT_MAX_BYTES, DAY_S, 3000, 50, &[]);
    assert!(outcome.stride > 1);
    // Sixty-four MiB are no single tick's work.
    assert!(outcome.rewriting_ticks >= 8, "{}", outcome.rewriting_ticks);
    assert!(outcome.file_bytes < 72 << 20, "{} bytes", outcome.file_bytes);
    assert_same_sums(&outcome);
    assert_steps_are_true(&outcome, &[1, 1500, 3000].map(StackId));
    let steps = outcome.replayed.aggregate.series(StackId(1)).samples.len();
    assert!(steps >= 250, "{steps}");
    eprintln!(
        "a day: {} bytes, stride {}, read in {:?}, longest tick {:?}",
        outcome.file_bytes, outcome.stride, outcome.read, outcome.longest
    );
    assert!(outcome.read < Duration::from_secs(20), "{:?}", outcome.read);
}

#[test]
fn a_full_file_is_thinned_as_far_as_it_must_and_pinned_ticks_stay() {
    const MAX_BYTES: u64 = 200_000;
    let pinned = [1, 77, 500, 501, 2999];
    let outcome = session(MAX_BYTES, 3001, 60, 20, &pinned);
    assert!(outcome.file_bytes <= MAX_BYTES, "{} bytes", outcome.file_bytes);
    assert!(outcome.stride > 1);
    assert_same_sums(&outcome);
    let series = outcome.replayed.aggregate.series(StackId(1));
    let times: Vec<u64> = series.samples.iter().map(|sample| sample.at_ns / SECOND).collect();
    for second in pinned {
        assert!(times.contains(&second), "{second} is gone: {times:?}");
    }
    assert_eq!((times.first(), times.last()), (Some(&0), Some(&3000)));
    assert_steps_are_true(&outcome, &[StackId(1)]);
}

/// What a step says was true at its time, as far as that is known otherwise.
fn assert_steps_are_true(outcome: &Outcome, stacks: &[StackId]) {
    for stack in stacks {
        let live = outcome.live.aggregate.series(*stack);
        let replayed = outcome.replayed.aggregate.series(*stack);
        let mut common = 0;
        for sample in &replayed.samples {
            if let Some(same) = live.samples.iter().find(|known| known.at_ns == sample.at_ns) {
                let values =
                    |s: &crate::aggregate::Sample| (s.live_bytes, s.live_blocks, s.allocated_bytes);
                assert_eq!(values(same), values(sample), "at {}", sample.at_ns);
                common += 1;
            }
        }
        assert!(common >= replayed.samples.len().min(live.samples.len()) / 2, "{common}");
        assert_eq!(replayed.cohorts.len(), live.cohorts.len());
    }
}

/// Stacks that come while nothing waits make room for themselves, and lose no tick.
#[test]
fn stacks_that_come_late_thin_the_ticks_before_them() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture.outlive");
    let mut writer = Writer::create(&path, 200_000).expect("create");
    let mut live = Recording::default();
    for second in 0..100 {
        live.aggregate.apply(&tick(second, 60, 20));
        writer.tick(&tick(second, 60, 20)).expect("tick");
    }
    let before = writer.stride();
    (0..150).for_each(|id| writer.stack(&raw_stack(id)).expect("stack"));
    assert!(writer.stride() > before);
    writer.finish().expect("finish");
    let replayed = read(&path).expect("read");
    assert_eq!(replayed.aggregate.totals(), live.aggregate.totals());
    assert_eq!(replayed.aggregate.counters(), live.aggregate.counters());
    assert_eq!(replayed.aggregate.latest_ns(), live.aggregate.latest_ns());
    assert_eq!(replayed.raw_stacks.len(), 150);
}

#[test]
fn a_moment_of_a_thinned_capture_is_its_latest_step() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("capture.outlive");
    let mut writer = Writer::create(&path, 200_000).expect("create");
    (0..3001).for_each(|second| writer.tick(&tick(second, 60, 20)).expect("tick"));
    let stride = writer.stride();
    assert!(stride > 1);
    writer.finish().expect("finish");
    let then = read_until(&path, 1000 * SECOND).expect("read");
    assert_eq!(then.aggregate.latest_ns(), 1000 / stride * stride * SECOND);
}

#[test]
fn a_capture_that_lies_about_merged_ticks_does_no_harm() {
    let mut bytes = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
    let mut encoded = bytes::BytesMut::new();
    for second in 0..5000 {
        encoded.clear();
        encode::tick(&tick(second, 3, 3), &mut encoded);
        for ticks in [0, u64::MAX] {
            thin::write_record(&mut bytes, kind::MERGED, &ticks.to_le_bytes()).expect("memory");
        }
        thin::write_record(&mut bytes, kind::TICK, &encoded).expect("memory");
    }
    thin::write_record(&mut bytes, kind::END, &[0; 16]).expect("memory");
    let recording = read_from(bytes.as_slice()).expect("read");
    assert_eq!(recording.aggregate.latest_ns(), 4999 * SECOND);
    assert_eq!(recording.aggregate.counters().kernel[0], 4999);
    assert!(read_from(&bytes[..bytes.len() - 40]).is_err());
}
