//! From a recording to a report: equal stacks merged, every site judged, the answer phrased.

use super::focus::{application_frame, label};
use super::javascript;
use super::loss::losses;
use super::model::*;
use super::processes::{self, Owners, while_alive};
use super::resident;
use crate::aggregate::{Series, Totals};
use crate::capture::{PythonObjects, Recording};
use crate::growth::{Interval, Limits, Verdict, judge};
use crate::stack::{Domain, Frame, FrameKind, Stack, StackId, WalkEnd};
use crate::symbol::ARENA_FRAME;
use crate::tick::{Counters, MemorySplit};
use crate::units;
use std::collections::BTreeMap;
use tracer_common::counter::Counter;
use tracer_common::slot::UNATTRIBUTED_STACK;

/// Builds the report of a recording.
pub fn build(recording: &Recording, limits: &Limits) -> Report {
    let aggregate = &recording.aggregate;
    let owners = Owners::of(recording);
    let judged = judged_sites(recording, &owners, limits);
    let findings = findings(recording, &judged, limits);
    let processes = processes::rows(recording, &judged, limits);
    let merged_sites = processes::merged_sites(&owners, &judged, limits);
    let mut sites: Vec<Site> = judged.into_iter().map(|judged| judged.site).collect();
    sites.sort_by(|a, b| {
        let growing = |site: &Site| site.verdict == Verdict::Growing.name();
        growing(b).cmp(&growing(a)).then(b.live_bytes.cmp(&a.live_bytes)).then(a.id.cmp(&b.id))
    });
    let losses = losses(aggregate.counters());
    let too_short = judge(&aggregate.series(StackId(0)), limits).verdict == Verdict::NotEnoughData;
    let totals = aggregate.totals();
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
        },
        findings,
        sites,
        losses: losses.all,
        lossy: losses.lossy,
        traffic: losses.traffic,
        overhead: overhead(recording),
        walks: walks(recording),
        memory: aggregate.memory().map(memory),
        tracer: recording.meta.tracer,
        processes,
        children_missed: recording.meta.children_missed,
        merged_sites,
        python_objects: None,
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
    report.verdict = summary(&report, too_short);
    report
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

/// What makes two stacks of a process one site: all that people read, without offsets.
type SiteKey = (Domain, Option<WalkEnd>, Vec<FrameReport>);

/// A site with all that it was judged by.
pub(super) struct Judged {
    pub(super) site: Site,
    /// Place in the table of processes.
    pub(super) process: Option<usize>,
    /// When that was attached to, nanoseconds since the session began.
    attached_ns: u64,
    pub(super) totals: Totals,
    /// Over the whole window.
    pub(super) series: Series,
}

fn judged_sites(recording: &Recording, owners: &Owners<'_>, limits: &Limits) -> Vec<Judged> {
    let mut groups: BTreeMap<(Option<usize>, SiteKey), (StackId, Totals, Series)> = BTreeMap::new();
    for (id, totals) in recording.aggregate.stacks() {
        let fallback;
        let stack = match recording.stacks.get(&id) {
            Some(stack) => stack,
            None => {
                fallback = unresolved(recording, id);
                &fallback
            }
        };
        let frames = stack
            .frames
            .iter()
            .map(|frame| FrameReport { offset: None, ..frame_report(frame) })
            .collect();
        let key = (stack.domain, stack.truncated, frames);
        let group = groups.entry((owners.of_stack(id), key)).or_insert((
            id,
            Totals::default(),
            Series::default(),
        ));
        group.1 = group.1 + totals;
        group.2.add(&recording.aggregate.series(id));
    }
    let mut judged = Vec::with_capacity(groups.len());
    for ((process, (domain, truncated, mut frames)), (id, totals, series)) in groups {
        // The offsets of the first of the merged stacks.
        if let Some(stack) = recording.stacks.get(&id) {
            frames
                .iter_mut()
                .zip(&stack.frames)
                .for_each(|(merged, frame)| merged.offset = frame.offset);
        }
        let attached_ns = owners.attached_ns(process);
        // Until then it is zero, and a leak in a worker that came late would be a step.
        let judgement = judge(&while_alive(series.clone(), attached_ns, None), limits);
        let site = Site {
            id: format!("{:016x}", id.0),
            pid: process.map(|process| owners.pid(process)),
            process_ended: owners.gone_ns(process).is_some(),
            domain: domain.name(),
            verdict: judgement.verdict.name(),
            live_bytes: totals.live_bytes(),
            live_blocks: totals.live_blocks(),
            allocated_bytes: totals.allocated_bytes,
            allocated_blocks: totals.allocated_blocks,
            freed_bytes: totals.freed_bytes,
            freed_blocks: totals.freed_blocks,
            share_of_resident_growth: resident::share(recording, totals.live_bytes(), [process]),
            growth_bytes_per_s: judgement.rate.map(rate),
            followed_ns: recording.meta.window.duration_ns.saturating_sub(attached_ns),
            reasons: judgement.reasons,
            truncated: truncated.map(WalkEnd::name),
            application_frame: application_frame(&frames, owners.exe(process)),
            frames,
        };
        judged.push(Judged { site, process, attached_ns, totals, series });
    }
    judged
}

/// A stack that was never resolved, or that stands for those that the kernel could not take.
pub(super) fn unresolved(recording: &Recording, id: StackId) -> Stack {
    let named = |function: String, offset| Frame {
        kind: FrameKind::Native,
        function,
        file: None,
        line: None,
        module: None,
        build_id: None,
        offset,
        generated: None,
    };
    let raw = recording.raw_stacks.get(&id);
    let frames = match raw {
        Some(raw) => {
            raw.native.iter().map(|avma| named(format!("{avma:#x}"), Some(*avma))).collect()
        }
        None if id.0 == UNATTRIBUTED_STACK => vec![named("[stack not recorded]".into(), None)],
        None => vec![named("[unknown]".into(), None)],
    };
    let truncated = raw.map(|raw| raw.native_end).filter(|end| !end.is_complete());
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
    }
}

pub(super) fn rate(interval: Interval) -> Rate {
    Rate { estimate: interval.estimate, low: interval.low, high: interval.high }
}

fn findings(recording: &Recording, judged: &[Judged], limits: &Limits) -> Vec<Finding> {
    let mut groups: BTreeMap<FrameReport, (Vec<&Judged>, Series)> = BTreeMap::new();
    for part in judged {
        let Judged { site, series, .. } = part;
        let Some(index) = site.application_frame else { continue };
        if site.verdict != Verdict::Growing.name() {
            continue;
        }
        let frame = FrameReport { offset: None, ..site.frames[index].clone() };
        let group = groups.entry(frame).or_default();
        group.0.push(part);
        group.1.add(series);
    }
    let estimate = |site: &Site| site.growth_bytes_per_s.map_or(0.0, |rate| rate.estimate);
    let mut findings: Vec<Finding> = groups
        .into_iter()
        .filter_map(|(application_frame, (parts, series))| {
            let mut sites: Vec<&Site> = parts.iter().map(|part| &part.site).collect();
            sites.sort_by(|a, b| estimate(b).total_cmp(&estimate(a)));
            let live_bytes = total(sites.iter().copied(), |site| site.live_bytes);
            // In which all of them were followed: before, the sum grew more slowly.
            let from_ns = parts.iter().map(|part| part.attached_ns).max().unwrap_or(0);
            let judgement = judge(&while_alive(series, from_ns, None), limits);
            let owners = parts.iter().map(|part| part.process);
            Some(Finding {
                application_frame,
                growth_bytes_per_s: rate(judgement.rate?),
                live_bytes,
                live_blocks: total(sites.iter().copied(), |site| site.live_blocks),
                share_of_resident_growth: resident::share(recording, live_bytes, owners),
                sites: sites.iter().map(|site| site.id.clone()).collect(),
                processes: processes::parts_of_finding(&sites),
            })
        })
        .collect();
    findings
        .sort_by(|a, b| b.growth_bytes_per_s.estimate.total_cmp(&a.growth_bytes_per_s.estimate));
    findings
}

/// A sum that no capture can make overflow.
pub(super) fn total<'a>(
    sites: impl IntoIterator<Item = &'a Site>,
    amount: impl Fn(&Site) -> u64,
) -> u64 {
    sites.into_iter().fold(0, |sum, site| sum.saturating_add(amount(site)))
}

fn summary(report: &Report, too_short: bool) -> Summary {
    let grew = report.findings.first().map(|top| {
        let rate = top.growth_bytes_per_s;
        let per_hour = |bytes_per_s: f64| units::unsigned(bytes_per_s * 3600.0 / 1e6);
        let others = match report.findings.len() - 1 {
            0 => String::new(),
            1 => ", and 1 more place".into(),
            more => format!(", and {more} more places"),
        };
        format!(
            "{} ({}..{}) held since {}{others}",
            units::megabytes_per_hour(rate.estimate),
            per_hour(rate.low),
            per_hour(rate.high),
            label(&top.application_frame),
        )
    });
    let watched = units::duration(report.window.duration_ns);
    let (status, sentence) = match (report.lossy.as_slice(), grew) {
        ([], Some(grew)) => (Status::Growing, format!("GROWING: {grew}.")),
        ([], None) if too_short => (
            Status::Inconclusive,
            format!("INCONCLUSIVE: {watched} gave too few ticks to judge; watch for longer."),
        ),
        ([], None) => (Status::Steady, format!("STEADY: nothing kept growing in {watched}.")),
        (lost, grew) => {
            let but =
                grew.map_or("nothing was seen to grow".to_owned(), |grew| format!("still, {grew}"));
            (
                Status::Inconclusive,
                format!("INCONCLUSIVE: the numbers are incomplete ({}); {but}.", lost.join(", ")),
            )
        }
    };
    Summary { status, sentence }
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
