//! From a recording to a report: equal stacks merged, every site judged, the answer phrased.

use super::evidence::{self, Evidence};
use super::findings::findings;
use super::focus::application_frame;
use super::frames::Frames;
use super::groups;
use super::heap;
use super::javascript;
use super::ledger;
use super::loss::losses;
use super::model::*;
use super::processes::{self, Owners, while_alive};
use super::profiles::Profiles;
use super::regimes;
use super::resident;
use super::source_lines;
use super::summary::summary;
use super::v8;
use crate::aggregate::{Series, Totals};
use crate::capture::{PythonObjects, Recording};
use crate::growth::{Interval, Judgement, Limits, Verdict, judge};
use crate::same::Same;
use crate::stack::{Domain, Frame, FrameKind, Stack, StackId, WalkEnd};
use crate::symbol::ARENA_FRAME;
use crate::tick::{Counters, MemorySplit};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use tracer_common::counter::Counter;
use tracer_common::slot::UNATTRIBUTED_STACK;

/// Builds the report of a recording.
pub fn build(recording: &Recording, limits: &Limits) -> Report {
    let aggregate = &recording.aggregate;
    let owners = Owners::of(recording);
    let profiles = Profiles::of(recording);
    let (mut judged, seen_inside) = judged_sites(recording, &owners, &profiles, limits);
    let mut containers = heap::judge(recording, limits);
    let beside = containers.iter().filter_map(|container| container.judgement.p_value);
    let groups = groups::judge(recording, &profiles, &mut judged, limits, beside);
    let watched_ns = recording.meta.window.duration_ns;
    containers.iter_mut().for_each(|container| container.hold(&groups.level, watched_ns));
    let growing = findings(recording, &judged, &groups.growing);
    let growing = heap::join(recording, &owners, growing, &containers);
    let pending = heap::answer(recording, findings(recording, &judged, &groups.pending));
    let processes = processes::rows(recording, &judged, &profiles, limits);
    let merged_sites = processes::merged_sites(&owners, &judged, &profiles, limits, &groups.level);
    let mut sites: Vec<Site> = judged.into_iter().map(|judged| judged.site).collect();
    sites.sort_by(in_order);
    let losses = losses(aggregate.counters());
    let nothing = profiles.stretch.within(aggregate.series(StackId(0)));
    let too_short = judge(&nothing, limits).verdict == Verdict::NotEnoughData;
    let totals = aggregate.totals() - seen_inside;
    let ended_live_bytes =
        total(sites.iter().filter(|site| site.process_ended), |site| site.live_bytes);
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        outlive_version: recording.meta.outlive_version.clone(),
        verdict: Summary { status: Status::Steady, sentence: String::new() },
        target: recording.meta.target.clone(),
        host: recording.meta.host.clone(),
        window: recording.meta.window.clone(),
        end: recording.meta.end,
        settings: recording.meta.settings.clone(),
        totals: TotalsReport {
            live_bytes: totals.live_bytes(),
            live_blocks: totals.live_blocks(),
            ended_live_bytes,
            allocated_bytes: totals.allocated_bytes,
            allocated_blocks: totals.allocated_blocks,
            freed_bytes: totals.freed_bytes,
            freed_blocks: totals.freed_blocks,
            freed_unknown_blocks: aggregate.counters().get(Counter::FreedUnknownBlocks),
            freed_not_followed_blocks: aggregate.counters().get(Counter::FreedNotFollowedBlocks),
            live_bytes_error: regimes::error_bytes(
                recording,
                totals.live_bytes(),
                totals.live_variance(),
            ),
            allocated_bytes_error: regimes::error_bytes(
                recording,
                totals.allocated_bytes,
                totals.allocated_variance,
            ),
        },
        regimes: recording.meta.regimes.clone(),
        sampling: regimes::report(recording, &profiles.stretch),
        ledger: ledger::ledger(recording, &owners),
        limit: ledger::limit(recording, &growing),
        findings: growing,
        pending,
        sites_left_out: SitesLeftOut::of(&sites),
        sites,
        losses: losses.all,
        lossy: losses.lossy,
        traffic: losses.traffic,
        overhead: overhead(recording),
        governor: recording.meta.governor.clone(),
        walks: walks(recording),
        memory: aggregate.memory().map(memory),
        tracer: recording.meta.tracer,
        processes,
        children_missed: recording.meta.children_missed,
        merged_sites,
        lane: recording.meta.lane.clone(),
        python_objects: None,
        node: recording.meta.node.clone(),
        v8_heaps: v8::heaps(recording, limits),
        heaps: recording.meta.heaps.clone(),
        warnings: recording
            .warnings
            .iter()
            .map(|w| WarningReport {
                code: w.code.clone(),
                message: w.message.clone(),
                advice: w.advice.clone(),
            })
            .collect(),
    };
    report.python_objects = python_objects(recording, &report.sites);
    source_lines::fill(&mut report.findings, &recording.meta.source_lines);
    source_lines::fill(&mut report.pending, &recording.meta.source_lines);
    report.verdict = summary(&report, too_short);
    report
}

/// Growing ones first, then those that wait for a collection, the fastest first; then by live
/// bytes, and where nothing is left alive by what was allocated: a report that cannot have all
/// sites has those that did the most.
fn in_order(a: &Site, b: &Site) -> Ordering {
    let rank = |site: &Site| match site.verdict {
        verdict if verdict == Verdict::Growing.name() => 0,
        verdict if verdict == Verdict::PendingGc.name() => 1,
        _ => 2,
    };
    let by_rate = match rank(a) {
        2 => Ordering::Equal,
        _ => estimate(b).total_cmp(&estimate(a)),
    };
    let size = |site: &Site| (site.live_bytes, site.allocated_bytes);
    rank(a).cmp(&rank(b)).then(by_rate).then(size(b).cmp(&size(a))).then(a.id.cmp(&b.id))
}

/// Bytes per second that a site grows by.
pub(super) fn estimate(site: &Site) -> f64 {
    site.growth_bytes_per_s.map_or(0.0, |rate| rate.estimate)
}

/// Where the interpreter's own list of arenas could not be read, those that were mapped in the
/// window are the least that there is.
fn python_objects(recording: &Recording, sites: &[Site]) -> Option<PythonObjects> {
    let mut found = recording.meta.python_objects.clone()?;
    if found.way == PythonObjects::ARENAS && found.unattributed_bytes.is_none() {
        let is_arena =
            |site: &&Site| site.frames.first().is_some_and(|frame| frame.function == ARENA_FRAME);
        let arenas = sites.iter().filter(is_arena).filter(|site| !site.process_ended);
        let live_bytes = total(arenas, |site| site.live_bytes);
        found.unattributed_bytes = (live_bytes > 0).then_some(live_bytes);
    }
    Some(found)
}

/// Stacks that are one site.
struct Group {
    /// The first of them.
    id: StackId,
    /// All of them.
    stacks: Vec<StackId>,
    /// Its frames.
    frames: Vec<Same<FrameReport>>,
    totals: Totals,
}

/// What makes two stacks of a process one site: all that people read, without offsets, and without
/// what says how V8 ran a function.
type SiteKey = (Domain, Option<WalkEnd>, Vec<Same<FrameReport>>);

/// A site with all that it was judged by.
pub(super) struct Judged {
    pub(super) site: Site,
    /// The stacks that it is.
    pub(super) stacks: Vec<StackId>,
    pub(super) judgement: Judgement,
    /// Place in the table of processes.
    pub(super) process: Option<usize>,
    /// When that was attached to, nanoseconds since the session began.
    pub(super) attached_ns: u64,
    pub(super) evidence: Evidence,
    pub(super) totals: Totals,
}

/// What these stacks did together, over the whole window.
fn series(recording: &Recording, stacks: &[StackId]) -> Series {
    let mut sum = Series::default();
    stacks.iter().for_each(|id| sum.add(&recording.aggregate.series(*id)));
    sum
}

impl Judged {
    /// What it did over the whole window: a value for each tick, so it is not kept for each site.
    pub(super) fn series(&self, recording: &Recording) -> Series {
        series(recording, &self.stacks)
    }

    /// Says this of the site.
    pub(super) fn take(&mut self, judgement: Judgement) {
        let site = &mut self.site;
        site.verdict = judgement.verdict.name();
        site.growth_bytes_per_s = judgement.rate.map(rate);
        site.confidence = judgement.confidence;
        site.survival = judgement.survival;
        site.bound_bytes = judgement.bound_bytes;
        site.period_ns = judgement.period_ns;
        site.needs_ns = judgement.needs_ns;
        site.reasons.clone_from(&judgement.reasons);
        self.judgement = judgement;
    }
}

/// Every site, and what was left out: where V8's heap was looked into, the pages that it lies in are
/// no sites besides.
pub(super) fn judged_sites(
    recording: &Recording,
    owners: &Owners<'_>,
    profiles: &Profiles,
    limits: &Limits,
) -> (Vec<Judged>, Totals) {
    let mut seen_inside = Totals::default();
    let is_seen_inside = v8::is_seen_inside(recording);
    let mut groups: BTreeMap<(Option<usize>, SiteKey), Group> = BTreeMap::new();
    let mut known = Frames::default();
    for (id, totals) in recording.aggregate.stacks() {
        let fallback;
        let stack = match recording.stacks.get(&id) {
            Some(stack) => stack,
            None => {
                fallback = unresolved(recording, id);
                &fallback
            }
        };
        let shown: Vec<_> = stack.frames.iter().map(|frame| known.shown(frame)).collect();
        let mut frames: Vec<_> = shown.iter().map(|frame| known.nowhere(frame)).collect();
        let mut truncated = stack.truncated;
        if v8::are_of_heap_page(&frames) {
            if is_seen_inside && stack.domain == Domain::Mmap {
                seen_inside = seen_inside + totals;
                continue;
            }
            (frames, truncated) = (v8::page_frames(&frames), None);
        }
        let key = (stack.domain, truncated, v8::without_tiers(&frames));
        let group = groups.entry((owners.of_stack(id), key)).or_insert_with(|| {
            // Offsets, and what says how V8 ran them, are those of the first of the merged stacks.
            if !v8::are_page_frames(&frames) {
                frames = shown;
            }
            Group { id, stacks: Vec::new(), frames, totals: Totals::default() }
        });
        group.stacks.push(id);
        group.totals = group.totals + totals;
    }
    let mut judged = Vec::with_capacity(groups.len());
    for ((process, (domain, truncated, _)), group) in groups {
        let Group { id, stacks, frames, totals } = group;
        let attached_ns = owners.attached_ns(process);
        // Until then it is zero, and a leak in a worker that came late would be a step.
        let evidence = evidence::of(recording, process, domain, &frames, totals);
        let alive = while_alive(series(recording, &stacks), attached_ns, None);
        let judgement = profiles.judge(alive, limits, &evidence);
        let judgement = match domain {
            Domain::Malloc if v8::are_page_frames(&frames) => v8::not_by_itself(judgement),
            _ => judgement,
        };
        let live_bytes = totals.live_bytes();
        let site = Site {
            id: format!("{:016x}", id.0),
            pid: process.map(|process| owners.pid(process)),
            process_ended: owners.gone_ns(process).is_some(),
            domain: domain.name(),
            verdict: judgement.verdict.name(),
            live_bytes,
            live_bytes_error: evidence::error_bytes(&evidence, &totals),
            live_blocks: totals.live_blocks(),
            allocated_bytes: totals.allocated_bytes,
            allocated_blocks: totals.allocated_blocks,
            freed_bytes: totals.freed_bytes,
            freed_blocks: totals.freed_blocks,
            share_of_resident_growth: resident::share(recording, live_bytes, [process]),
            growth_bytes_per_s: None,
            followed_ns: recording.meta.window.duration_ns.saturating_sub(attached_ns),
            confidence: None,
            survival: None,
            bound_bytes: None,
            period_ns: None,
            needs_ns: None,
            reasons: Vec::new(),
            truncated: truncated.map(WalkEnd::name),
            application_frame: application_frame(&frames, owners.exe(process)),
            frames,
        };
        let unjudged = Judgement::plain(judgement.verdict, None, Vec::new());
        let mut part =
            Judged { site, stacks, judgement: unjudged, process, attached_ns, evidence, totals };
        part.take(judgement);
        judged.push(part);
    }
    (judged, seen_inside)
}

/// A stack that was never resolved, or that stands for those that the kernel could not take.
pub(super) fn unresolved(recording: &Recording, id: StackId) -> Stack {
    let named =
        |function: String, offset| Frame { offset, ..Frame::bare(FrameKind::Native, function) };
    let raw = recording.raw_stacks.get(&id);
    let frames: Vec<Frame> = match raw {
        Some(raw) => {
            raw.native.iter().map(|avma| named(format!("{avma:#x}"), Some(*avma))).collect()
        }
        None if id.0 == UNATTRIBUTED_STACK => vec![named("[stack not recorded]".into(), None)],
        None => vec![named("[unknown]".into(), None)],
    };
    let truncated = raw.map(|raw| raw.native_end).filter(|end| !end.is_complete());
    let frames = frames.into_iter().map(Same::from).collect();
    Stack { id, domain: raw.map_or(Domain::Malloc, |raw| raw.domain), frames, truncated }
}

pub(super) fn frame_report(frame: &Frame) -> FrameReport {
    FrameReport {
        kind: frame.kind,
        function: frame.function.clone(),
        file: frame.file.clone(),
        line: frame.line,
        module: frame.module.clone(),
        build_id: frame.build_id.clone(),
        offset: frame.offset,
        generated: frame.generated.as_ref().map(|generated| GeneratedReport {
            file: generated.file.clone(),
            line: generated.line,
        }),
        line_is_of_function: frame.line_is_of_function,
    }
}

pub(super) fn rate(interval: Interval) -> Rate {
    Rate { estimate: interval.estimate, low: interval.low, high: interval.high }
}

/// A sum that no capture can make overflow.
pub(super) fn total<'a>(
    sites: impl IntoIterator<Item = &'a Site>,
    amount: impl Fn(&Site) -> u64,
) -> u64 {
    sites.into_iter().fold(0, |sum, site| sum.saturating_add(amount(site)))
}

fn overhead(recording: &Recording) -> Option<Overhead> {
    let reading = recording.aggregate.overhead()?;
    let seconds = recording.meta.window.duration_ns as f64 / 1e9;
    let hits_per_s = if seconds > 0.0 { reading.hits as f64 / seconds } else { 0.0 };
    Some(Overhead {
        hits: reading.hits,
        hits_per_s,
        program_ns_per_hit: reading.program_ns_per_hit,
        trap_ns_per_hit: reading.trap_ns_per_hit,
        share_of_one_core: hits_per_s * (reading.program_ns_per_hit + reading.trap_ns_per_hit)
            / 1e9,
    })
}

fn walks(recording: &Recording) -> Walks {
    let zeros = || WalkEnd::ALL.iter().map(|end| (end.name(), 0)).collect::<BTreeMap<_, _>>();
    let (mut native, mut python) = (zeros(), zeros());
    for stack in recording.raw_stacks.values() {
        *native.entry(stack.native_end.name()).or_default() += 1;
        *python.entry(stack.python_end.name()).or_default() += 1;
    }
    let counters = recording.aggregate.counters();
    let native_walks = walks_by_end(counters, Counter::NativeWalksBottom);
    let python_walks = walks_by_end(counters, Counter::PythonWalksBottom);
    Walks {
        native,
        python,
        native_whole_share: whole_share(&native_walks),
        python_whole_share: whole_share(&python_walks),
        native_walks,
        python_walks,
        js_frames: javascript::frames(recording),
        js_whole_share: javascript::whole_share(recording),
    }
}

/// The counters of walks that begin with `bottom`, by the names of the ends.
fn walks_by_end(counters: &Counters, bottom: Counter) -> BTreeMap<&'static str, u64> {
    let first = bottom as usize;
    let value = |end: &WalkEnd| counters.kernel.get(first + end.number() as usize).copied();
    WalkEnd::ALL.iter().map(|end| (end.name(), value(end).unwrap_or(0))).collect()
}

fn whole_share(walks: &BTreeMap<&'static str, u64>) -> Option<f64> {
    let count = |end: WalkEnd| walks.get(end.name()).copied().unwrap_or(0);
    let walked = walks.iter().filter(|(name, _)| **name != WalkEnd::Absent.name());
    // A capture may hold any numbers.
    let all = walked.fold(0_u64, |all, (_, count)| all.saturating_add(*count));
    (all > 0).then(|| count(WalkEnd::Bottom) as f64 / all as f64)
}

pub(super) fn memory((first, last): (MemorySplit, MemorySplit)) -> Memory {
    let kinds = |split: MemorySplit| MemoryReport {
        resident_bytes: split.resident_bytes,
        anonymous_bytes: split.anonymous_bytes,
        file_bytes: split.file_bytes,
        shared_bytes: split.shared_bytes,
    };
    Memory { first: kinds(first), last: kinds(last) }
}
