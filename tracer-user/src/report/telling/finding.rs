//! What is told of one finding.

use super::{Detail, heap, of_ended, sampled, whose, words};
use crate::report::build::total;
use crate::report::focus::printable;
use crate::report::model::{Finding, FrameReport, Report, Site, Subject};
use crate::report::processes;
use crate::units;

/// Reasons that are told unless all are asked for.
const FEW_REASONS: usize = 5;

/// A finding in words, each safe to print.
#[derive(Clone, Debug)]
pub(in crate::report) struct Facts<'a> {
    /// Whole path and line, where known.
    pub(in crate::report) place: Option<String>,
    /// What stands there.
    pub(in crate::report) source_line: Option<String>,
    /// `+19.1 MB/h`
    pub(in crate::report) rate: String,
    /// `18.9 .. 19.3`, in the same unit.
    pub(in crate::report) interval: String,
    pub(in crate::report) sure: Option<String>,
    /// `86 % of all growth`
    pub(in crate::report) share: String,
    /// Bytes, with their error where they are sampled.
    pub(in crate::report) holds: String,
    /// The rest, a sentence each.
    pub(in crate::report) evidence: Vec<String>,
    /// The site whose stack is shown.
    pub(in crate::report) site: Option<&'a Site>,
}

/// What is told of a finding.
pub(in crate::report) fn facts<'a>(
    report: &'a Report,
    finding: &Finding,
    detail: Detail,
) -> Facts<'a> {
    let rate = finding.growth_bytes_per_s;
    let per_hour = |bytes_per_s: f64| units::unsigned(bytes_per_s * 3600.0 / 1e6);
    let site = finding.sites.first().and_then(|id| report.sites.iter().find(|site| site.id == *id));
    Facts {
        place: place(&finding.application_frame),
        source_line: (finding.heap.subject == Subject::Stack)
            .then(|| finding.source_line.as_deref().map(printable))
            .flatten(),
        rate: units::megabytes_per_hour(rate.estimate),
        interval: format!("{} .. {}", per_hour(rate.low), per_hour(rate.high)),
        sure: finding.confidence.map(words::sure),
        share: format!("{} of all growth", rounded(finding.share_of_growth)),
        holds: sampled(finding.live_bytes, finding.live_bytes_error),
        evidence: evidence(report, finding, site, detail),
        site,
    }
}

/// The whole path, since that can be opened.
fn place(frame: &FrameReport) -> Option<String> {
    let file = frame.file.as_deref()?;
    Some(printable(&match frame.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    }))
}

/// A share in whole percent.
fn rounded(share: f64) -> String {
    if share.is_finite() { format!("{:.0} %", 100.0 * share) } else { "?".to_owned() }
}

fn evidence(
    report: &Report,
    finding: &Finding,
    site: Option<&Site>,
    detail: Detail,
) -> Vec<String> {
    let ended =
        report.sites.iter().filter(|site| site.process_ended && finding.sites.contains(&site.id));
    let mut told = vec![match &finding.heap.container {
        Some(container) => heap::container(container, finding),
        None => format!(
            "holds {} in {} blocks of this window, {} {} ({}){}",
            sampled(finding.live_bytes, finding.live_bytes_error),
            units::count(finding.live_blocks),
            finding.sites.len(),
            if finding.sites.len() == 1 { "stack" } else { "stacks" },
            finding.domains.join(", "),
            of_ended(total(ended, |site| site.live_bytes)),
        ),
    }];
    told.extend(heap::answers(finding, detail));
    told.extend(processes::parts_in_words(report, finding));
    if let Some(share) = finding.share_of_resident_growth {
        told.push(format!(
            "that is {} of the growth in resident memory{}",
            rounded(share),
            whose(report, finding)
        ));
    }
    told.extend(finding.survival.map(words::survival));
    let reasons = match (&finding.reasons, site) {
        (reasons, Some(site)) if reasons.is_empty() => &site.reasons,
        (reasons, _) => reasons,
    };
    let few = detail.at_most(FEW_REASONS);
    told.extend(reasons.iter().take(few).map(|reason| printable(reason)));
    told
}
