//! Several processes in one report: each with its own numbers, and sites with the same stack as one.

use super::build::{Judged, memory, rate};
use super::evidence;
use super::focus::{base_name, printable};
use super::frames::Frames;
use super::groups::Level;
use super::model::*;
use super::profiles::Profiles;
use super::regimes;
use crate::aggregate::{Series, Totals};
use crate::capture::{ProcessEnd, Recording};
use crate::growth::{Evidence, Limits, Verdict};
use crate::same::Same;
use crate::stack::StackId;
use crate::units;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

/// Processes that are shown in text.
const MAX_SHOWN: usize = 16;
/// Processes of a finding that are named in text.
const MAX_NAMED: usize = 6;

/// Whose stacks are whose.
pub(super) struct Owners<'a> {
    recording: &'a Recording,
    of_images: HashMap<u32, usize>,
    /// When the last one ended, nanoseconds since the session began; `None` where one still runs.
    all_ended_ns: Option<u64>,
}

impl<'a> Owners<'a> {
    pub(super) fn of(recording: &'a Recording) -> Self {
        let processes = recording.meta.processes.iter().enumerate();
        let of_images = processes
            .flat_map(|(number, process)| process.images.iter().map(move |image| (*image, number)))
            .collect();
        let ends = recording.meta.processes.iter().map(|process| process.ended_ns);
        let all_ended_ns =
            ends.collect::<Option<Vec<u64>>>().and_then(|ends| ends.into_iter().max());
        Self { recording, of_images, all_ended_ns }
    }

    /// Place in the table of processes; `None` for what has no stack, and in old captures.
    pub(super) fn of_stack(&self, stack: StackId) -> Option<usize> {
        self.of_images.get(&self.recording.raw_stacks.get(&stack)?.image).copied()
    }

    /// When its probes were in place; nothing of a series before then is about it.
    pub(super) fn attached_ns(&self, process: Option<usize>) -> u64 {
        process.map_or(0, |process| self.recording.meta.processes[process].attached_ns)
    }

    /// When a process ended and took with it what it held; `None` where it was there to the end.
    /// With the end of the last one the session ends, and what that held is what there is to tell.
    pub(super) fn gone_ns(&self, process: Option<usize>) -> Option<u64> {
        let ended_ns = self.recording.meta.processes[process?].ended_ns?;
        self.all_ended_ns.is_none_or(|all_ended_ns| ended_ns < all_ended_ns).then_some(ended_ns)
    }

    pub(super) fn pid(&self, process: usize) -> u32 {
        self.recording.meta.processes[process].pid
    }

    /// The process with that ID whose heap was looked at: of several the last.
    pub(super) fn of_pid(&self, pid: u32) -> Option<usize> {
        self.recording.meta.processes.iter().rposition(|process| process.pid == pid)
    }

    /// Path of its program; the target's where the process is not known.
    pub(super) fn exe(&self, process: Option<usize>) -> &str {
        process.map_or(&self.recording.meta.target.exe, |process| {
            &self.recording.meta.processes[process].exe
        })
    }
}

fn sums(totals: Totals) -> Sums {
    Sums {
        live_bytes: totals.live_bytes(),
        live_blocks: totals.live_blocks(),
        allocated_bytes: totals.allocated_bytes,
        allocated_blocks: totals.allocated_blocks,
        freed_bytes: totals.freed_bytes,
        freed_blocks: totals.freed_blocks,
    }
}

/// Without what has gone with its process.
fn sums_now(part: &Judged) -> Sums {
    match part.site.process_ended {
        true => Sums { live_bytes: 0, live_blocks: 0, ..sums(part.totals) },
        false => sums(part.totals),
    }
}

fn added(a: Sums, b: Sums) -> Sums {
    Sums {
        live_bytes: a.live_bytes.saturating_add(b.live_bytes),
        live_blocks: a.live_blocks.saturating_add(b.live_blocks),
        allocated_bytes: a.allocated_bytes.saturating_add(b.allocated_bytes),
        allocated_blocks: a.allocated_blocks.saturating_add(b.allocated_blocks),
        freed_bytes: a.freed_bytes.saturating_add(b.freed_bytes),
        freed_blocks: a.freed_blocks.saturating_add(b.freed_blocks),
    }
}

/// The table of processes.
pub(super) fn rows(
    recording: &Recording,
    judged: &[Judged],
    profiles: &Profiles,
    limits: &Limits,
) -> Vec<ProcessReport> {
    let evidence = Evidence { drawn: regimes::drawn(recording), ..Evidence::default() };
    let processes = &recording.meta.processes;
    let mut wholes = vec![(Totals::default(), Series::default()); processes.len()];
    for part in judged {
        if let Some(process) = part.process {
            wholes[process].0 = wholes[process].0 + part.totals;
            wholes[process].1.add(&part.series(recording));
        }
    }
    let row = |(number, (totals, series)): (usize, (Totals, Series))| {
        let process = &processes[number];
        let alive = while_alive(series, process.attached_ns, process.ended_ns);
        let judgement = profiles.judge(alive, limits, &evidence);
        ProcessReport {
            pid: process.pid,
            parent_pid: (process.parent_pid != 0).then_some(process.parent_pid),
            exe: process.exe.clone(),
            cmdline: process.cmdline.clone(),
            container: process.container.clone(),
            attached_ns: process.attached_ns,
            followed_from_ns: process.followed_from_ns,
            ended_ns: process.ended_ns,
            end: process.end,
            verdict: of_process(judgement.verdict, number, judged).name(),
            growth_bytes_per_s: judgement.rate.map(rate),
            sums: sums(totals),
            memory: recording.aggregate.process_memory(number as u32).map(memory),
        }
    };
    wholes.into_iter().enumerate().map(row).collect()
}

/// What is said of a process whose stacks together are judged so: where nothing in it grows but
/// what waits for a garbage collection, it waits too.
fn of_process(verdict: Verdict, process: usize, judged: &[Judged]) -> Verdict {
    let any = |verdict: Verdict| {
        let mut parts = judged.iter().filter(|part| part.process == Some(process));
        parts.any(|part| part.site.verdict == verdict.name())
    };
    match verdict {
        Verdict::Growing if !any(Verdict::Growing) && any(Verdict::PendingGc) => Verdict::PendingGc,
        verdict => verdict,
    }
}

/// The part of a series in which its process was followed.
pub(super) fn while_alive(mut series: Series, from_ns: u64, to_ns: Option<u64>) -> Series {
    series.samples.retain(|sample| {
        sample.at_ns >= from_ns && to_ns.is_none_or(|ended_ns| sample.at_ns <= ended_ns)
    });
    series
}

/// A series whose memory goes with its process.
pub(super) fn gone_with(mut series: Series, ended_ns: Option<u64>) -> Series {
    let Some(ended_ns) = ended_ns else { return series };
    for sample in series.samples.iter_mut().filter(|sample| sample.at_ns > ended_ns) {
        (sample.live_bytes, sample.live_blocks) = (0, 0);
    }
    series.cohorts.values_mut().for_each(|cohort| cohort.live_bytes = 0);
    series
}

/// Sites with the same stack in several processes, as one; those of a single process too, so that
/// the list is whole. Empty where only one process was followed.
pub(super) fn merged_sites(
    owners: &Owners<'_>,
    judged: &[Judged],
    profiles: &Profiles,
    limits: &Limits,
    level: &Level,
) -> Vec<MergedSite> {
    if owners.recording.meta.processes.len() < 2 {
        return Vec::new();
    }
    type Key = (&'static str, Option<&'static str>, Vec<Same<FrameReport>>);
    let mut groups: BTreeMap<Key, Vec<&Judged>> = BTreeMap::new();
    let mut known = Frames::default();
    for part in judged.iter().filter(|part| part.process.is_some()) {
        let site = &part.site;
        let frames: Vec<_> = site.frames.iter().map(|frame| known.nowhere(frame)).collect();
        let frames = super::v8::without_tiers(&frames);
        groups.entry((site.domain, site.truncated, frames)).or_default().push(part);
    }
    let merge = |((domain, _, frames), mut parts): (Key, Vec<&Judged>)| {
        parts.sort_by_key(|part| std::cmp::Reverse(sums_now(part).live_bytes));
        let mut sums = Sums::default();
        let mut series = Series::default();
        for part in &parts {
            sums = added(sums, sums_now(part));
            series.add(&gone_with(part.series(owners.recording), owners.gone_ns(part.process)));
        }
        // Before the first of them came there was nothing to judge.
        let attached = |part: &&Judged| owners.attached_ns(part.process);
        let from_ns = parts.iter().map(attached).min().unwrap_or(0);
        let evidence = evidence::together(&parts);
        let judgement = profiles.judge(while_alive(series, from_ns, None), limits, &evidence);
        let judgement = level.hold(judgement, owners.recording.meta.window.duration_ns);
        let part_of = |part: &&Judged| SitePart {
            pid: part.site.pid.unwrap_or(0),
            site: part.site.id.clone(),
            sums: sums_now(part),
        };
        MergedSite {
            domain,
            verdict: judgement.verdict.name(),
            growth_bytes_per_s: judgement.rate.map(rate),
            sums,
            processes: parts.iter().map(part_of).collect(),
            application_frame: parts.first().and_then(|part| part.site.application_frame),
            frames,
        }
    };
    let mut merged: Vec<MergedSite> = groups.into_iter().map(merge).collect();
    let is_growing = |site: &MergedSite| site.verdict == Verdict::Growing.name();
    merged.sort_by(|a, b| {
        (is_growing(b), b.sums.live_bytes).cmp(&(is_growing(a), a.sums.live_bytes))
    });
    merged
}

/// What each process holds of a finding.
pub(super) fn parts_of_finding(sites: &[&Site]) -> Vec<FindingPart> {
    let mut parts: Vec<FindingPart> = Vec::new();
    for site in sites {
        let Some(pid) = site.pid else { continue };
        match parts.iter_mut().find(|part| part.pid == pid) {
            Some(part) => {
                part.live_bytes = part.live_bytes.saturating_add(site.live_bytes);
                part.live_blocks = part.live_blocks.saturating_add(site.live_blocks);
            }
            None => parts.push(FindingPart {
                pid,
                live_bytes: site.live_bytes,
                live_blocks: site.live_blocks,
            }),
        }
    }
    parts.sort_by_key(|part| (std::cmp::Reverse(part.live_bytes), part.pid));
    parts
}

/// `in 4 processes: 1201 12.1 MiB, 1202 11.9 MiB ...`; nothing where only one was followed.
pub(super) fn parts_in_words(report: &Report, finding: &Finding) -> Option<String> {
    if report.processes.len() < 2 || finding.processes.is_empty() {
        return None;
    }
    let mut named: Vec<String> = finding
        .processes
        .iter()
        .take(MAX_NAMED)
        .map(|part| format!("{} {}", part.pid, units::bytes(part.live_bytes)))
        .collect();
    if finding.processes.len() > MAX_NAMED {
        named.push("...".into());
    }
    let processes = if finding.processes.len() == 1 { "process" } else { "processes" };
    Some(format!("in {} {processes}: {}", finding.processes.len(), named.join(", ")))
}

/// The table of processes for people; nothing where only one was followed.
pub(super) fn write_table(out: &mut String, report: &Report, heading: &str) -> fmt::Result {
    if report.processes.len() < 2 {
        return Ok(());
    }
    writeln!(out, "\n{heading}")?;
    let mut rows: Vec<&ProcessReport> = report.processes.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.sums.live_bytes));
    for row in rows.iter().take(MAX_SHOWN) {
        let growth = match row.growth_bytes_per_s {
            Some(rate) if row.verdict == Verdict::Growing.name() => {
                units::megabytes_per_hour(rate.estimate)
            }
            _ => row.verdict.to_owned(),
        };
        let resident = row.memory.map_or("-".into(), |m| units::bytes(m.last.resident_bytes));
        let command = match row.cmdline.is_empty() {
            true => base_name(&row.exe),
            false => &row.cmdline,
        };
        let line = format!(
            "   {:>7} {:>10} live in {:>9} blocks, {growth}, resident {resident}{}  {command}",
            row.pid,
            units::bytes(row.sums.live_bytes),
            units::count(row.sums.live_blocks),
            life(row),
        );
        writeln!(out, "{}", super::text::fitted(&printable(&line)))?;
    }
    if rows.len() > MAX_SHOWN {
        writeln!(out, "   {} more processes are in report.json", rows.len() - MAX_SHOWN)?;
    }
    if report.children_missed > 0 {
        let missed = units::count(report.children_missed);
        writeln!(out, "   {missed} more ended, or could not be traced, before they were followed")?;
    }
    Ok(())
}

/// From when it was followed, and when it ended, where that is not the whole session.
fn life(row: &ProcessReport) -> String {
    let mut life = String::new();
    if let Some(unseen_ns) = row.followed_from_ns {
        let _ = write!(life, ", followed from {} after its fork", units::duration(unseen_ns));
    }
    if let (ProcessEnd::Exited, Some(ended_ns)) = (row.end, row.ended_ns) {
        let _ = write!(life, ", ended at {}", units::duration(ended_ns));
    }
    life
}
