//! Reports of several processes, one of which comes or ends in the middle of the window.

use super::tests::stack;
use super::*;
use crate::capture::{ProcessEnd, ProcessMeta, PythonObjects, Recording};
use crate::growth::Limits;
use crate::stack::{Domain, RawStack, StackId, WalkEnd};
use crate::symbol::ARENA_FRAME;
use crate::tick::{MemorySplit, ProcessReading, SiteReading, Tick};

const SECOND: u64 = 1_000_000_000;
const TICKS: u64 = 60;

/// A process in a made-up session of a minute that bears blocks of 1 KiB at one line.
struct Worker {
    attached_s: u64,
    ended_s: Option<u64>,
    /// Blocks a second.
    pace: u64,
    /// Resident bytes at first, and bytes a second from then on.
    resident: (u64, u64),
}

impl Worker {
    fn lives(&self, second: u64) -> bool {
        second >= self.attached_s && self.ended_s.is_none_or(|ended_s| second <= ended_s)
    }

    /// Seconds that it has lived.
    fn age(&self, second: u64) -> u64 {
        second.min(self.ended_s.unwrap_or(second)).saturating_sub(self.attached_s)
    }
}

fn id(number: usize) -> StackId {
    StackId(0xa0 + number as u64)
}

fn pid(number: usize) -> u32 {
    100 + number as u32
}

/// The first one is the target.
fn recording(workers: &[Worker]) -> Recording {
    let mut recording = Recording::default();
    recording.meta.target.pid = pid(0);
    recording.meta.window.duration_ns = (TICKS - 1) * SECOND;
    recording.meta.window.interval_ns = SECOND;
    for (number, worker) in workers.iter().enumerate() {
        recording.meta.processes.push(ProcessMeta {
            pid: pid(number),
            images: vec![number as u32 + 1],
            attached_ns: worker.attached_s * SECOND,
            ended_ns: worker.ended_s.map(|ended_s| ended_s * SECOND),
            end: worker.ended_s.map_or(ProcessEnd::Running, |_| ProcessEnd::Exited),
            ..ProcessMeta::default()
        });
        let resolved = stack(id(number).0, "hold", 7, 10);
        let raw = RawStack {
            id: id(number),
            image: number as u32 + 1,
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
    (0..TICKS).for_each(|second| recording.aggregate.apply(&tick(workers, second)));
    recording
}

fn tick(workers: &[Worker], second: u64) -> Tick {
    let mut tick = Tick { at_ns: second * SECOND, ..Tick::default() };
    for (number, worker) in workers.iter().enumerate() {
        let born = worker.pace * worker.age(second);
        tick.sites.push(SiteReading {
            stack: id(number),
            epoch: 1,
            allocated_bytes: born << 10,
            allocated_blocks: born,
            freed_bytes: 0,
            freed_blocks: 0,
            allocated_variance: 0,
            freed_variance: 0,
        });
        if !worker.lives(second) {
            continue;
        }
        let (at_first, pace) = worker.resident;
        let resident_bytes = at_first + pace * worker.age(second);
        let memory = MemorySplit { resident_bytes, ..MemorySplit::default() };
        if number == 0 {
            tick.memory = Some(memory);
        }
        tick.processes.push(ProcessReading { process: number as u32, memory });
    }
    tick
}

fn report(workers: &[Worker]) -> Report {
    build(&recording(workers), &Limits::default())
}

fn site(report: &Report, number: usize) -> &Site {
    report.sites.iter().find(|site| site.pid == Some(pid(number))).expect("a site")
}

fn assert_near(found: Option<f64>, expected: f64) {
    assert!(found.is_some_and(|found| (found - expected).abs() < 1e-6), "{found:?}, {expected}");
}

#[test]
fn a_share_is_of_the_growth_of_the_processes_that_hold_it() {
    let worker = |pace, resident| Worker { attached_s: 0, ended_s: None, pace, resident };
    // The target itself hardly grows.
    let workers =
        [worker(0, (50 << 20, 64)), worker(4, (10 << 20, 8 << 10)), worker(2, (10 << 20, 8 << 10))];
    let found = report(&workers);
    assert_near(site(&found, 1).share_of_resident_growth, 0.5);
    assert_near(site(&found, 2).share_of_resident_growth, 0.25);
    assert_eq!(found.findings.len(), 1);
    // 6 KiB of the 16 KiB a second by which the two grow.
    assert_near(found.findings[0].share_of_resident_growth, 0.375);
    let text = text(&found, false, Detail::Folded);
    assert!(text.contains("38 % of the growth in resident memory of those processes"), "{text}");
    assert!(text.contains("50.0 MiB at last, of PID 100 alone"), "{text}");
}

#[test]
fn a_share_of_what_did_not_grow_is_not_told() {
    let worker = |pace, resident| Worker { attached_s: 0, ended_s: None, pace, resident };
    let found = report(&[worker(0, (50 << 20, 1 << 20)), worker(4, (10 << 20, 0))]);
    assert_eq!(site(&found, 1).share_of_resident_growth, None);
    assert_eq!(found.findings.len(), 1);
    assert_eq!(found.findings[0].share_of_resident_growth, None);
}

#[test]
fn a_leak_in_a_worker_that_came_in_the_middle_is_growth_at_its_own_rate() {
    let worker = |attached_s, ended_s, pace| Worker {
        attached_s,
        ended_s,
        pace,
        resident: (10 << 20, pace << 10),
    };
    // The second is replaced by the third.
    let workers = [worker(0, None, 0), worker(0, Some(30), 8), worker(40, None, 8)];
    let found = report(&workers);
    let late = site(&found, 2);
    assert_eq!(late.verdict, "growing", "{:?}", late.reasons);
    assert_near(late.growth_bytes_per_s.map(|rate| rate.estimate), 8192.0);
    assert_eq!(site(&found, 1).verdict, "one-off");
    assert_eq!(found.findings.len(), 1);
    assert_near(Some(found.findings[0].growth_bytes_per_s.estimate), 8192.0);
    assert_eq!(found.verdict.status, Status::Growing);
    assert!(found.verdict.sentence.contains("+29.5 MB/h"), "{}", found.verdict.sentence);
    // 8 KiB a second in its 19 seconds.
    let gained = folded(&found, View::Growth);
    assert!(gained.ends_with(&format!(" {}\n", 8192 * 19)), "{gained}");
}

#[test]
fn the_rate_of_a_finding_is_that_of_all_who_leak_by_now() {
    let worker = |attached_s| Worker { attached_s, ended_s: None, pace: 8, resident: (1, 1) };
    let found = report(&[worker(0), worker(0), worker(40)]);
    assert_eq!(found.findings.len(), 1);
    assert_eq!(found.findings[0].sites.len(), 3);
    assert_near(Some(found.findings[0].growth_bytes_per_s.estimate), 3.0 * 8192.0);
    assert_eq!(found.merged_sites[0].verdict, "growing");
}

#[test]
fn a_merged_site_is_judged_from_when_its_first_process_came() {
    let worker = |attached_s, pace| Worker { attached_s, ended_s: None, pace, resident: (1, 1) };
    let mut recording = recording(&[worker(0, 0), worker(40, 8)]);
    // The target has been there all along, and has nothing to do with it.
    recording.stacks.get_mut(&id(0)).expect("a stack").frames.clear();
    let found = build(&recording, &Limits::default());
    let of_worker = |site: &&MergedSite| site.processes.iter().all(|part| part.pid == pid(1));
    let late = found.merged_sites.iter().find(of_worker).expect("a site");
    assert_eq!(late.verdict, "growing");
    assert_near(late.growth_bytes_per_s.map(|rate| rate.estimate), 8192.0);
}

#[test]
fn what_a_process_held_is_gone_with_it() {
    let worker = |ended_s, pace| Worker { attached_s: 0, ended_s, pace, resident: (1, 1) };
    let found = report(&[worker(None, 2), worker(Some(30), 8)]);
    let (held, gone) = ((59 * 2) << 10, (30 * 8) << 10);
    assert_eq!(site(&found, 1).live_bytes, gone);
    assert!(site(&found, 1).process_ended && !site(&found, 0).process_ended);
    assert_eq!(found.totals.live_bytes, held + gone);
    assert_eq!(found.totals.ended_live_bytes, gone);
    assert_eq!(found.processes[1].sums.live_bytes, gone);
    assert_eq!(found.merged_sites.len(), 1);
    let merged = &found.merged_sites[0];
    assert_eq!((merged.sums.live_bytes, merged.sums.live_blocks), (held, 59 * 2));
    assert_eq!(merged.sums.allocated_bytes, held + gone);
    assert_eq!((merged.processes[0].pid, merged.processes[0].sums.live_bytes), (pid(0), held));
    assert_eq!((merged.processes[1].pid, merged.processes[1].sums.live_bytes), (pid(1), 0));
    let text = text(&found, false, Detail::Folded);
    assert!(text.contains(", of which 240.0 KiB in processes that have ended"), "{text}");
    let live = folded(&found, View::Live);
    assert!(live.ends_with(&format!(" {held}\n")) && live.lines().count() == 1, "{live}");
    let allocated = folded(&found, View::Allocated);
    assert!(allocated.ends_with(&format!(" {}\n", held + gone)), "{allocated}");
}

#[test]
fn what_was_held_when_the_last_process_ended_is_what_there_is_to_tell() {
    let worker = |ended_s, pace| Worker { attached_s: 0, ended_s, pace, resident: (1, 1) };
    let found = report(&[worker(Some(58), 2), worker(Some(30), 8)]);
    let held = (58 * 2) << 10;
    assert_eq!(found.totals.ended_live_bytes, (30 * 8) << 10);
    assert_eq!(found.merged_sites[0].sums.live_bytes, held);
    let live = folded(&found, View::Live);
    assert!(live.ends_with(&format!(" {held}\n")) && live.lines().count() == 1, "{live}");
}

#[test]
fn forged_numbers_do_not_overflow() {
    let worker = |pace| Worker { attached_s: 0, ended_s: None, pace, resident: (1, 1) };
    let mut forged = recording(&[worker(8), worker(8), worker(0)]);
    // Two more stacks of the last process: their arenas and their blocks are more than there can be.
    for more in 3..5 {
        let mut resolved = stack(id(more).0, "hold", more as u32, 10);
        resolved.frames[0].function = ARENA_FRAME.into();
        let raw = RawStack { id: id(more), ..forged.raw_stacks[&id(2)].clone() };
        forged.raw_stacks.insert(raw.id, raw);
        forged.stacks.insert(resolved.id, resolved);
    }
    forged.meta.python_objects =
        Some(PythonObjects { way: PythonObjects::ARENAS.into(), ..PythonObjects::default() });
    for second in TICKS..2 * TICKS {
        let held = u64::MAX - ((2 * TICKS - second) << 40);
        let site = |number| SiteReading {
            stack: id(number),
            epoch: second as u32,
            allocated_bytes: held,
            allocated_blocks: held,
            freed_bytes: 0,
            freed_blocks: 0,
            allocated_variance: 0,
            freed_variance: 0,
        };
        let huge = MemorySplit { resident_bytes: u64::MAX, ..MemorySplit::default() };
        let readings = (0..3).map(|process| ProcessReading { process, memory: huge });
        forged.aggregate.apply(&Tick {
            at_ns: second * SECOND,
            sites: (0..5).map(site).collect(),
            memory: Some(huge),
            processes: readings.collect(),
            ..Tick::default()
        });
    }
    for ended_ns in [None, Some(0), Some(u64::MAX)] {
        forged.meta.processes[2].ended_ns = ended_ns;
        forged.meta.processes[2].attached_ns = ended_ns.unwrap_or(0);
        let found = build(&forged, &Limits::default());
        assert_eq!(found.totals.live_bytes, u64::MAX);
        assert_eq!(
            found.merged_sites.iter().map(|site| site.sums.live_bytes).max(),
            Some(u64::MAX)
        );
        let arenas = found.python_objects.as_ref().and_then(|python| python.unattributed_bytes);
        assert_eq!(arenas, ended_ns.is_none().then_some(u64::MAX));
        assert!(json(&found).contains("18446744073709551615"));
        assert!(text(&found, false, Detail::Folded).contains("16.0 EiB"));
        for view in View::ALL {
            assert!(svg(&found, view).is_ok_and(|svg| !svg.is_empty()), "{view:?}");
        }
    }
}

#[test]
fn parts_of_a_finding_do_not_overflow() {
    let found = report(&[Worker { attached_s: 0, ended_s: None, pace: 8, resident: (1, 1) }]);
    let huge = Site { live_bytes: u64::MAX, live_blocks: u64::MAX, ..found.sites[0].clone() };
    let part = super::processes::parts_of_finding(&[&huge, &huge])[0];
    assert_eq!((part.live_bytes, part.live_blocks), (u64::MAX, u64::MAX));
}
