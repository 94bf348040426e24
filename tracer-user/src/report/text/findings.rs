//! What grows, one finding after the other, and what waits for a garbage collection.

use super::layout::{Paint, fitted, write_sentence};
use super::stack::write_stack;
use crate::report::focus::{label, printable};
use crate::report::model::{Finding, Report};
use crate::report::telling::{self, Detail, facts};
use crate::units;
use std::fmt::{self, Write};

/// All findings that are told.
pub(super) fn write_findings(
    out: &mut String,
    report: &Report,
    detail: Detail,
    paint: Paint,
) -> fmt::Result {
    let (shown, left_out) = telling::findings(&report.findings, detail);
    for (number, finding) in shown.iter().enumerate() {
        let heading = format!("{}. {}", number + 1, label(&finding.application_frame));
        writeln!(out, "\n{}", paint.bold(&fitted(&heading)))?;
        write_finding(out, report, finding, detail)?;
    }
    match left_out {
        0 => Ok(()),
        count => writeln!(out, "\n{}", telling::left_out(count, "growing place")),
    }
}

/// What is told of one finding below its heading.
fn write_finding(
    out: &mut String,
    report: &Report,
    finding: &Finding,
    detail: Detail,
) -> fmt::Result {
    let facts = facts(report, finding, detail);
    if let Some(place) = &facts.place {
        write_sentence(out, &format!("at {place}"))?;
    }
    if let Some(line) = &facts.source_line {
        writeln!(out, "{}", fitted(&format!("     {line}")))?;
    }
    let sure = facts.sure.map_or(String::new(), |sure| format!(", {sure}"));
    let (rate, interval, share) = (&facts.rate, &facts.interval, &facts.share);
    write_sentence(out, &format!("{rate} (95 %: {interval}){sure}, {share}"))?;
    for sentence in &facts.evidence {
        write_sentence(out, sentence)?;
    }
    match facts.site {
        Some(site) => {
            write_stack(out, &site.frames, site.application_frame, site.truncated, detail)
        }
        None => Ok(()),
    }
}

/// What grew, and may be garbage.
pub(super) fn write_pending(
    out: &mut String,
    report: &Report,
    detail: Detail,
    paint: Paint,
) -> fmt::Result {
    let Some(first) = report.pending.first() else { return Ok(()) };
    writeln!(out, "\n{}", paint.bold("Grew and waits for a garbage collection: not a leak yet"))?;
    let (shown, left_out) = telling::findings(&report.pending, detail);
    for pending in shown {
        let line = format!(
            "   {:>10} in {:>9} blocks  {}, {}  {}",
            units::bytes(pending.live_bytes),
            units::count(pending.live_blocks),
            pending.domains.join(", "),
            units::megabytes_per_hour(pending.growth_bytes_per_s.estimate),
            label(&pending.application_frame),
        );
        writeln!(out, "{}", fitted(&line))?;
    }
    if left_out > 0 {
        writeln!(out, "   {}", telling::left_out(left_out, "such place"))?;
    }
    let site = first.sites.first();
    let site = site.and_then(|id| report.sites.iter().find(|site| site.id == *id));
    for reason in site.iter().flat_map(|site| &site.reasons) {
        write_sentence(out, &printable(reason))?;
    }
    write_sentence(out, "watch until V8 collects, or have it collect at the end with --force-gc")
}
