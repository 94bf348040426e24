//! The report for people: the answer first, then what it rests on, then what was not seen.

use super::build::total;
use super::focus::label;
use super::model::{Finding, FrameReport, Report, Status};
use super::processes;
use super::v8;
use crate::stack::{FrameKind, WalkEnd};
use crate::units;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Findings that are shown.
const MAX_FINDINGS: usize = 5;
/// Frames of a folded stack that are shown.
const MAX_FRAMES: usize = 8;
/// Characters in a line.
const WIDTH: usize = 100;

/// The report as text, with terminal colours when `color` is set.
pub fn render(report: &Report, color: bool) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, report, color);
    out
}

fn write_all(out: &mut String, report: &Report, color: bool) -> fmt::Result {
    let paint = |code: &str, text: &str| {
        if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let code = match report.verdict.status {
        Status::Growing => "1;31",
        Status::Steady => "1;32",
        Status::Inconclusive => "1;33",
    };
    writeln!(out, "{}", paint(code, &report.verdict.sentence))?;
    for (number, finding) in report.findings.iter().take(MAX_FINDINGS).enumerate() {
        writeln!(out)?;
        let heading = format!("{}. {}", number + 1, label(&finding.application_frame));
        writeln!(out, "{}", paint("1", &heading))?;
        write_finding(out, report, finding)?;
    }
    if report.findings.len() > MAX_FINDINGS {
        writeln!(
            out,
            "\n{} more growing places are in report.json.",
            report.findings.len() - MAX_FINDINGS
        )?;
    }
    if report.findings.is_empty() {
        write_largest(out, report, &paint)?;
    }
    write_pending(out, report, &paint)?;
    processes::write_table(out, report, &paint("1", "Processes"))?;
    v8::write(out, report, &paint("1", "V8"))?;
    writeln!(out, "\n{}", paint("1", "Totals"))?;
    write_totals(out, report)?;
    writeln!(out, "\n{}", paint("1", "Cost"))?;
    write_cost(out, report)?;
    writeln!(out, "\n{}", paint("1", "Not seen"))?;
    write_unseen(out, report)
}

fn write_finding(out: &mut String, report: &Report, finding: &Finding) -> fmt::Result {
    let rate = finding.growth_bytes_per_s;
    writeln!(
        out,
        "   {} = {} (95 %: {} .. {})",
        units::bytes_per_second(rate.estimate),
        units::megabytes_per_hour(rate.estimate),
        units::megabytes_per_hour(rate.low),
        units::megabytes_per_hour(rate.high),
    )?;
    let ended =
        report.sites.iter().filter(|site| site.process_ended && finding.sites.contains(&site.id));
    writeln!(
        out,
        "   holds {} in {} blocks of this window, {} {} ({}){}",
        sampled(finding.live_bytes, finding.live_bytes_error),
        units::count(finding.live_blocks),
        finding.sites.len(),
        if finding.sites.len() == 1 { "stack" } else { "stacks" },
        finding.domains.join(", "),
        of_ended(total(ended, |site| site.live_bytes)),
    )?;
    processes::write_parts(out, report, finding)?;
    if let Some(share) = finding.share_of_resident_growth {
        let whose = match report.processes.len() < 2 {
            true => "",
            false if finding.processes.len() == 1 => " of that process",
            false => " of those processes",
        };
        writeln!(out, "   that is {:.0} % of the growth in resident memory{whose}", 100.0 * share)?;
    }
    let Some(site) =
        finding.sites.first().and_then(|id| report.sites.iter().find(|site| site.id == *id))
    else {
        return Ok(());
    };
    for reason in &site.reasons {
        writeln!(out, "   {}", super::focus::printable(reason))?;
    }
    write_stack(out, &site.frames, site.application_frame, site.truncated)
}

/// The stack folded to what matters: scripted frames where there are any, and the leaf.
pub(super) fn write_stack(
    out: &mut String,
    frames: &[FrameReport],
    application_frame: Option<usize>,
    truncated: Option<&str>,
) -> fmt::Result {
    let scripted = |frame: &FrameReport| matches!(frame.kind, FrameKind::Python | FrameKind::Js);
    let has_scripted = frames.iter().any(scripted);
    let mut hidden = 0;
    let mut shown = 0;
    for (index, frame) in frames.iter().enumerate() {
        let wanted =
            index == 0 || Some(index) == application_frame || !has_scripted || scripted(frame);
        if !wanted || shown >= MAX_FRAMES {
            hidden += 1;
            continue;
        }
        write_hidden(out, &mut hidden)?;
        let mark = if Some(index) == application_frame { '>' } else { ' ' };
        let line = format!("   {mark} {:<6} {}", frame.kind.name(), label(frame));
        writeln!(out, "{}", fitted(&line))?;
        shown += 1;
    }
    write_hidden(out, &mut hidden)?;
    match truncated {
        Some(reason) => writeln!(out, "     outer frames are missing: {reason}"),
        None => Ok(()),
    }
}

fn write_hidden(out: &mut String, hidden: &mut usize) -> fmt::Result {
    if *hidden > 0 {
        writeln!(out, "     ... {hidden} more {}", if *hidden == 1 { "frame" } else { "frames" })?;
    }
    *hidden = 0;
    Ok(())
}

pub(super) fn fitted(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let head: String = line.chars().take(WIDTH - 3).collect();
    head + "..."
}

fn write_largest(
    out: &mut String,
    report: &Report,
    paint: &impl Fn(&str, &str) -> String,
) -> fmt::Result {
    if report.sites.iter().all(|site| site.live_bytes == 0) {
        return Ok(());
    }
    writeln!(out, "\n{}", paint("1", "Largest holders of what was allocated in this window"))?;
    for site in report.sites.iter().filter(|site| site.live_bytes > 0).take(MAX_FINDINGS) {
        let name =
            site.application_frame.map_or("[no frames]".into(), |index| label(&site.frames[index]));
        let blocks = units::count(site.live_blocks);
        let ended = if site.process_ended { ", its process has ended" } else { "" };
        writeln!(
            out,
            "{}",
            fitted(&format!(
                "   {:>10} in {blocks:>9} blocks  {:<6}{ended}  {name}",
                sampled(site.live_bytes, site.live_bytes_error),
                site.domain,
            ))
        )?;
    }
    Ok(())
}

/// Bytes with their error, where they are sampled: `~12.4 MiB ± 1.1 MiB`.
fn sampled(bytes: u64, error: Option<u64>) -> String {
    match error {
        None => units::bytes(bytes),
        Some(error) => format!("~{} ± {}", units::bytes(bytes), units::bytes(error)),
    }
}

/// What grew, and may be garbage.
fn write_pending(
    out: &mut String,
    report: &Report,
    paint: &impl Fn(&str, &str) -> String,
) -> fmt::Result {
    let Some(first) = report.pending.first() else { return Ok(()) };
    writeln!(out, "\n{}", paint("1", "Grew and waits for a garbage collection: not a leak yet"))?;
    for pending in report.pending.iter().take(MAX_FINDINGS) {
        let line = format!(
            "   {:>10} in {:>9} blocks  {}, {}  {}",
            units::bytes(pending.live_bytes),
            units::count(pending.live_blocks),
            pending.domains.join(", "),
            units::bytes_per_second(pending.growth_bytes_per_s.estimate),
            label(&pending.application_frame),
        );
        writeln!(out, "{}", fitted(&line))?;
    }
    if report.pending.len() > MAX_FINDINGS {
        writeln!(out, "   {} more are in report.json", report.pending.len() - MAX_FINDINGS)?;
    }
    let site = first.sites.first();
    let site = site.and_then(|id| report.sites.iter().find(|site| site.id == *id));
    for reason in site.iter().flat_map(|site| &site.reasons) {
        writeln!(out, "   {}", super::focus::printable(reason))?;
    }
    writeln!(out, "   watch until V8 collects, or have it collect at the end with --force-gc")
}

/// Which process, of what kind, and in which container or control group.
fn target(report: &Report) -> String {
    let target = &report.target;
    let mut text = format!("PID {}, {}", target.pid, target.exe);
    if let Some(version) = &target.runtime_version {
        text += &format!(" ({} {version})", target.runtime);
    }
    if let Some(container) = &target.container {
        text += &format!(", container {}", container.chars().take(12).collect::<String>());
    } else if let Some(cgroup) = target.cgroup.as_deref().filter(|cgroup| *cgroup != "/") {
        text += &format!(", control group {cgroup}");
    }
    text
}

/// What of the live bytes is no longer there; nothing where all of it is.
fn of_ended(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        bytes => format!(", of which {} in processes that have ended", units::bytes(bytes)),
    }
}

fn write_totals(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "   target     {}", super::focus::printable(&target(report)))?;
    let totals = report.totals;
    let mut line = |name: &str, bytes: u64, blocks: u64, ended: &str| {
        writeln!(
            out,
            "   {name:<10} {:>10} in {} blocks{ended}",
            units::bytes(bytes),
            units::count(blocks)
        )
    };
    line("live", totals.live_bytes, totals.live_blocks, &of_ended(totals.ended_live_bytes))?;
    line("allocated", totals.allocated_bytes, totals.allocated_blocks, "")?;
    line("freed", totals.freed_bytes, totals.freed_blocks, "")?;
    writeln!(
        out,
        "   {} more freed blocks were from before attach or below the size floor",
        units::count(totals.freed_unknown_blocks)
    )?;
    if let Some(memory) = report.memory {
        let (first, last) = (memory.first.resident_bytes, memory.last.resident_bytes);
        writeln!(
            out,
            "   resident   {:>10} at first, {} at last{}",
            units::bytes(first),
            units::bytes(last),
            // A sum would count the pages that processes share once for each.
            match report.processes.len() < 2 {
                true => String::new(),
                false => format!(", of PID {} alone", report.target.pid),
            },
        )?;
    }
    Ok(())
}

fn write_cost(out: &mut String, report: &Report) -> fmt::Result {
    match report.overhead {
        Some(cost) => writeln!(
            out,
            "   {} probe hits/s, {:.0} ns in our programs and {:.0} ns for the trap each: {:.2} % of one core",
            units::count(cost.hits_per_s.round() as u64),
            cost.program_ns_per_hit,
            cost.trap_ns_per_hit,
            cost.share_of_one_core * 100.0,
        )?,
        None => writeln!(
            out,
            "   not measured: no probe was hit while outlive timed its programs (200 ms in every 5 s)"
        )?,
    }
    if let Some(tracer) = report.tracer {
        let (own, maps) =
            (units::bytes(tracer.resident_bytes), units::bytes(tracer.kernel_map_bytes));
        writeln!(out, "   outlive took {own}, its kernel maps {maps}")?;
    }
    Ok(())
}

fn write_unseen(out: &mut String, report: &Report) -> fmt::Result {
    for (name, value) in &report.losses {
        writeln!(out, "   {name:<26} {:>12}", units::count(*value))?;
    }
    let walks = &report.walks;
    let native = by_reason(&walks.native_walks, walks.native_whole_share);
    let python = by_reason(&walks.python_walks, walks.python_whole_share);
    writeln!(out, "   native stacks: {native}")?;
    writeln!(out, "   python stacks: {python}")?;
    if let Some(names) = super::javascript::in_words(walks) {
        writeln!(out, "   javascript stacks: {names}")?;
    }
    let floor = report.settings.min_size_bytes;
    if floor > 0 {
        writeln!(out, "   blocks below {} were not followed", units::bytes(floor))?;
    }
    writeln!(out, "   blocks allocated before attach are not in these numbers")?;
    if let Some(python) = &report.python_objects {
        writeln!(
            out,
            "   Python objects are followed by way of {}: {}",
            python.way, python.covers
        )?;
        if let Some(bytes) = python.unattributed_bytes {
            writeln!(
                out,
                "   {} of memory for Python objects of up to 512 bytes exist that this run cannot attribute to a line",
                units::bytes(bytes)
            )?;
        }
    }
    for warning in &report.warnings {
        let text = format!("   warning [{}]: {} {}", warning.code, warning.message, warning.advice);
        writeln!(out, "{}", super::focus::printable(text.trim_end()))?;
    }
    Ok(())
}

/// The share of walks that reached the outermost frame, and the shares of the others by reason.
fn by_reason(walks: &BTreeMap<&'static str, u64>, whole: Option<f64>) -> String {
    let Some(whole) = whole else { return "none was walked".into() };
    let is_cut =
        |name: &str| WalkEnd::ALL.iter().any(|end| end.name() == name && !end.is_complete());
    let mut cut: Vec<_> =
        walks.iter().filter(|(name, count)| **count > 0 && is_cut(name)).collect();
    cut.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let bottom = walks.get(WalkEnd::Bottom.name()).copied().unwrap_or(0);
    let all = cut.iter().fold(bottom, |all, (_, count)| all.saturating_add(**count));
    let reasons: Vec<_> = cut
        .iter()
        .map(|(name, count)| {
            format!("{name} {} ({})", units::count(**count), share(**count as f64 / all as f64))
        })
        .collect();
    let reasons = if reasons.is_empty() { "0".into() } else { reasons.join(", ") };
    format!("{} of {} walks are whole; cut: {reasons}", share(whole), units::count(all))
}

/// A share in percent, rounded towards the middle: 100 % is all, 0 % is nothing.
pub(super) fn share(part: f64) -> String {
    if part >= 1.0 || part <= 0.0 {
        return format!("{:.0} %", part * 100.0);
    }
    format!("{:.2} %", (part * 100.0).clamp(0.01, 99.99))
}
