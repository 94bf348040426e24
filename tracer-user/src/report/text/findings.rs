//! What grows, one finding after the other.

use super::stack::write_stack;
use super::{of_ended, sampled};
use crate::report::build::total;
use crate::report::focus::printable;
use crate::report::model::{Finding, Report};
use crate::report::processes;
use crate::units;
use std::fmt::{self, Write};

/// What is told of one finding below its heading.
pub(super) fn write_finding(out: &mut String, report: &Report, finding: &Finding) -> fmt::Result {
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
        writeln!(out, "   {}", printable(reason))?;
    }
    write_stack(out, &site.frames, site.application_frame, site.truncated)
}
