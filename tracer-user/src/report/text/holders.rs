//! What does not grow for certain: the largest holders, and what waits for a garbage collection.

use super::{MAX_FINDINGS, Paint, fitted, sampled};
use crate::report::focus::{label, printable};
use crate::report::model::Report;
use crate::units;
use std::fmt::{self, Write};

/// The sites with the most live bytes.
pub(super) fn write_largest(out: &mut String, report: &Report, paint: Paint) -> fmt::Result {
    if report.sites.iter().all(|site| site.live_bytes == 0) {
        return Ok(());
    }
    writeln!(out, "\n{}", paint.bold("Largest holders of what was allocated in this window"))?;
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

/// What grew, and may be garbage.
pub(super) fn write_pending(out: &mut String, report: &Report, paint: Paint) -> fmt::Result {
    let Some(first) = report.pending.first() else { return Ok(()) };
    writeln!(out, "\n{}", paint.bold("Grew and waits for a garbage collection: not a leak yet"))?;
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
        writeln!(out, "   {}", printable(reason))?;
    }
    writeln!(out, "   watch until V8 collects, or have it collect at the end with --force-gc")
}
