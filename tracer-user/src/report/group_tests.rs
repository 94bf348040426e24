//! Many sites in one report: what belongs together, and what chance and old blocks make of it.

use super::tests::stack;
use super::*;
use crate::capture::{JsHeapMeta, NodeMeta, Recording};
use crate::growth::Limits;
use crate::stack::{Domain, Frame, FrameKind, Stack, StackId};
use crate::tick::{SiteReading, Tick};
use std::collections::HashMap;
use tracer_common::counter::Counter;

const SECOND: u64 = 1_000_000_000;

/// A session of a tick and an epoch a second.
struct Session {
    ticks: u64,
    recording: Recording,
    /// Cumulative, by stack and epoch: bytes and blocks born, bytes and blocks freed.
    counters: HashMap<(u64, u64), [u64; 4]>,
    readings: Vec<Vec<SiteReading>>,
}

impl Session {
    fn new(ticks: u64) -> Self {
        let mut recording = Recording::default();
        recording.meta.window.duration_ns = (ticks - 1) * SECOND;
        recording.meta.window.interval_ns = SECOND;
        let readings = (0..ticks).map(|_| Vec::new()).collect();
        Self { ticks, recording, counters: HashMap::new(), readings }
    }

    /// A stack that ends in a line of a function.
    fn stack(&mut self, id: u64, function: &str, line: u32) {
        self.recording.stacks.insert(StackId(id), stack(id, function, line, 10));
    }

    /// At each tick `born` bytes in blocks of a hundredth, of which those born before are freed but
    /// for `kept` bytes.
    fn site(&mut self, id: u64, born: impl Fn(u64) -> u64, kept: u64) {
        for tick in 0..self.ticks {
            let born = born(tick);
            *self.counters.entry((id, tick)).or_default() = [born, born / 100, 0, 0];
            self.read(id, tick, tick);
            if let Some(before) = tick.checked_sub(1) {
                let counters = self.counters.entry((id, before)).or_default();
                let freed = counters[0].saturating_sub(kept);
                (counters[2], counters[3]) = (freed, freed / 100);
                self.read(id, before, tick);
            }
        }
    }

    fn read(&mut self, id: u64, epoch: u64, tick: u64) {
        let [allocated_bytes, allocated_blocks, freed_bytes, freed_blocks] =
            self.counters[&(id, epoch)];
        self.readings[tick as usize].push(SiteReading {
            stack: StackId(id),
            epoch: epoch as u32 + 1,
            allocated_bytes,
            allocated_blocks,
            freed_bytes,
            freed_blocks,
            allocated_variance: 0,
            freed_variance: 0,
        });
    }

    /// `unknown` is what has been freed by a tick of what had been allocated unseen: bytes, blocks.
    fn report(mut self, unknown: impl Fn(u64) -> (u64, u64)) -> Report {
        for (tick, sites) in (0..).zip(self.readings) {
            let mut tick = Tick { at_ns: tick * SECOND, sites, ..Tick::default() };
            let (bytes, blocks) = unknown(tick.at_ns / SECOND);
            tick.counters.kernel[Counter::FreedUnknownBlocks as usize] = blocks;
            let named = |counter: &&Counter| counter.name() == "freed_unknown_bytes";
            match Counter::ALL.iter().position(|counter| named(&counter)) {
                Some(index) => tick.counters.kernel[index] = bytes,
                None => assert_eq!(bytes, 0, "not counted"),
            }
            self.recording.aggregate.apply(&tick);
        }
        build(&self.recording, &Limits::default())
    }
}

/// The splitmix64 generator's step.
fn noise(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

fn nothing(_: u64) -> (u64, u64) {
    (0, 0)
}

#[test]
fn one_leak_by_ten_paths_below_the_floor_is_one_finding() {
    let mut session = Session::new(60);
    for path in 0..10_u64 {
        session.stack(path + 1, "Sessions.keep", 40 + path as u32);
        session.site(path + 1, |tick| 20_000 + noise(tick + 100 * path) % 5_000, 100);
    }
    let report = session.report(nothing);
    assert!(report.sites.iter().all(|site| site.verdict != "growing"), "each is below the floor");
    assert_eq!(report.findings.len(), 1);
    let found = &report.findings[0];
    assert_eq!(found.application_frame.function, "Sessions.keep");
    assert!((found.growth_bytes_per_s.estimate / 1000.0 - 1.0).abs() < 0.15, "{found:?}");
    assert!(found.survival.is_some_and(|share| share < 0.05), "{found:?}");
    assert_eq!((found.sites.len(), found.share_of_growth), (10, 1.0));
}

#[test]
fn siblings_neither_hide_a_leak_nor_take_part_in_its_rate() {
    let mut session = Session::new(60);
    session.stack(1, "handle", 10);
    session.stack(2, "handle", 20);
    session.stack(3, "handle", 30);
    session.site(1, |_| 16_700, 16_700);
    session.site(2, |tick| 20_000_000 + noise(tick) % 9_000_000, 0);
    session.site(3, |tick| if tick < 15 { 400_000 } else { 0 }, 400_000);
    let report = session.report(nothing);
    assert_eq!(report.findings.len(), 1);
    let found = &report.findings[0];
    assert_eq!(found.application_frame.line, Some(10));
    assert!((found.growth_bytes_per_s.estimate / 16_700.0 - 1.0).abs() < 0.15, "{found:?}");
    assert_eq!(found.sites.len(), 1);
}

#[test]
fn functions_without_a_name_are_told_apart_by_their_lines() {
    let mut session = Session::new(60);
    for (id, line) in [(1, 10), (2, 20), (3, 20)] {
        session.stack(id, "Gateway.<locals>.<lambda>", line);
        session.site(id, |_| 5_000, 5_000);
    }
    let report = session.report(nothing);
    let lines: Vec<_> = report.findings.iter().map(|found| found.application_frame.line).collect();
    assert_eq!(lines, [Some(20), Some(10)]);
    let shares: f64 = report.findings.iter().map(|found| found.share_of_growth).sum();
    assert!((shares - 1.0).abs() < 1e-9);
}

#[test]
fn one_leak_among_ten_thousand_sites_is_found_in_30_seconds() {
    let mut random = fastrand::Rng::with_seed(4);
    let mut session = Session::new(30);
    for id in 1..=10_000_u64 {
        session.stack(id, &format!("innocent_{id}"), 1);
        let seed = random.u64(..);
        let size = random.u64(1_000..200_000);
        session.site(id, |tick| size + noise(seed.wrapping_add(tick)) % size, 0);
    }
    session.stack(20_000, "leak", 7);
    session.site(20_000, |tick| 1_000_000 + noise(tick) % 300_000, 1_000_000);
    let began = std::time::Instant::now();
    let report = session.report(nothing);
    println!("{} sites in {:?}", report.sites.len(), began.elapsed());
    let found: Vec<_> =
        report.findings.iter().map(|found| found.application_frame.function.as_str()).collect();
    let leak = report.sites.iter().find(|site| site.id.ends_with("4e20")).expect("a site");
    assert_eq!(found, ["leak"], "{:?}", leak.reasons);
    let rate = report.findings[0].growth_bytes_per_s.estimate;
    assert!((rate / 1e6 - 1.0).abs() < 0.15, "{rate}");
}

/// Where the kernel side counts the bytes of what is freed unseen.
#[test]
fn a_full_old_cache_is_in_doubt_and_the_leak_beside_it_is_not() {
    if !Counter::ALL.iter().any(|counter| counter.name() == "freed_unknown_bytes") {
        return;
    }
    let session = || {
        let mut session = Session::new(60);
        session.stack(1, "Cache.put", 10);
        session.site(1, |_| 100_000, 100_000);
        session.stack(2, "Sessions.keep", 20);
        session.site(2, |_| 16_700, 16_700);
        session
    };
    let evicting = session().report(|second| (second * 100_000, second * 1_000));
    let found: Vec<_> =
        evicting.findings.iter().map(|found| found.application_frame.function.as_str()).collect();
    assert_eq!(found, ["Sessions.keep"]);
    let cache = evicting.sites.iter().find(|site| site.id.ends_with("1")).expect("a site");
    assert_eq!(cache.verdict, "not-enough-data");
    assert!(cache.needs_ns.is_some() && cache.reasons[0].contains("turn over"), "{cache:?}");
    let first_only = session().report(|second| (second.min(5) * 1_200_000, second.min(5) * 12_000));
    assert_eq!(first_only.findings.len(), 2);
}

#[test]
fn what_free_lists_may_have_handed_on_beside_a_leak_accuses_nobody() {
    // The smaller one keeps 600 bytes a second, blocks that the leak would have had.
    let report = |leak: u64| {
        let mut session = Session::new(60);
        session.stack(1, "Gateway.copy_messages", 10);
        session.stack(2, "Program.post_turn", 161);
        session.site(1, move |_| leak + 1000, leak);
        session.site(2, |_| 2000, 600);
        session.report(nothing)
    };
    let names = |report: &Report| -> Vec<String> {
        let of = |finding: &Finding| finding.application_frame.function.clone();
        report.findings.iter().map(of).collect()
    };
    let beside = report(500_000);
    assert_eq!(names(&beside), ["Gateway.copy_messages"]);
    let site = beside.sites.iter().find(|site| site.allocated_bytes == 120_000).expect("a site");
    assert_eq!(site.verdict, "not-enough-data");
    assert!(site.reasons[0].contains("free lists"), "{:?}", site.reasons);
    assert_eq!(names(&report(20_000)), ["Gateway.copy_messages", "Program.post_turn"]);
}

#[test]
fn a_leak_whose_function_is_inlined_meanwhile_is_found_at_its_caller() {
    let mut session = Session::new(120);
    let js_heap = JsHeapMeta { sampling_interval_bytes: 16 << 10, ..JsHeapMeta::default() };
    session.recording.meta.node = Some(NodeMeta { js_heap: Some(js_heap), ..NodeMeta::default() });
    // Until the optimiser comes it is `takeSnapshot` that allocates, from then on its caller.
    for (id, functions) in
        [(1, &["takeSnapshot", "begin", "takeTurn"][..]), (2, &["begin", "takeTurn"])]
    {
        let frame = |(line, name): (u32, &&str)| Frame {
            file: Some("/srv/sessions.js".into()),
            line: Some(line),
            ..Frame::bare(FrameKind::Js, *name)
        };
        let frames = (30..).zip(functions).map(|part| frame(part).into()).collect();
        let kept = Stack { id: StackId(id), domain: Domain::V8, frames, truncated: None };
        session.recording.stacks.insert(StackId(id), kept);
    }
    session.site(1, |tick| if tick < 50 { 60_000 } else { 0 }, 50_000);
    session.site(2, |tick| if tick < 50 { 0 } else { 60_000 }, 50_000);
    let report = session.report(nothing);
    assert!(report.sites.iter().all(|site| site.verdict != "growing"), "none to the end");
    assert_eq!(report.findings.len(), 1, "{}", report.verdict.sentence);
    let found = &report.findings[0];
    assert_eq!(found.sites.len(), 2);
    assert!((found.growth_bytes_per_s.estimate / 50_000.0 - 1.0).abs() < 0.15, "{found:?}");
    assert!(found.reasons.iter().any(|reason| reason.contains("inlines")), "{found:?}");
}
