//! Where there are no cycles: the findings of the report, by the hour.

use super::build::Rules;
use super::model::{CheckFinding, Disposition};
use crate::capture::Recording;
use crate::printable::printable;
use crate::report::{self, Finding, Rate, Report};
use crate::units;

const SECONDS: f64 = 3600.0;

pub(super) fn findings(recording: &Recording, report: &Report, rules: &Rules) -> Vec<CheckFinding> {
    let growing = report.findings.iter().map(|finding| (finding, Disposition::New));
    let pending = report.pending.iter().map(|finding| (finding, Disposition::Pending));
    let exe = &recording.meta.target.exe;
    let found = growing.chain(pending);
    found.map(|(found, disposition)| finding(report, found, disposition, exe, rules)).collect()
}

fn finding(
    report: &Report,
    found: &Finding,
    disposition: Disposition,
    exe: &str,
    rules: &Rules,
) -> CheckFinding {
    let site = report.sites.iter().find(|site| found.sites.contains(&site.id));
    let frames = site.map(|site| site.frames.clone()).unwrap_or_default();
    let suppression = rules.suppressions.iter().find(|one| one.matches(&frames));
    let rate = found.growth_bytes_per_s;
    CheckFinding {
        disposition,
        key: printable(&report::place_name(&found.application_frame, exe)).trim().to_owned(),
        domains: found.domains.clone(),
        bytes: Rate {
            estimate: rate.estimate * SECONDS,
            low: rate.low * SECONDS,
            high: rate.high * SECONDS,
        },
        blocks: None,
        exact: false,
        pattern: format!(
            "{} (95 %: {} .. {})",
            units::megabytes_per_hour(rate.estimate),
            units::megabytes_per_hour(rate.low),
            units::megabytes_per_hour(rate.high),
        ),
        allowed_bytes: None,
        suppressed_by: suppression.map(|one| one.pattern.clone()),
        changes_bytes: Vec::new(),
        changes_blocks: Vec::new(),
        stacks: found.sites.len(),
        application_frame: site.and_then(|site| site.application_frame),
        truncated: site.and_then(|site| site.truncated),
        frames,
    }
}
