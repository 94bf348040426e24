//! Where there are no cycles: the findings of the report, by the hour.

use super::build::{Rules, is_arena};
use super::model::{CheckFinding, Disposition};
use crate::capture::Recording;
use crate::printable::printable;
use crate::report::{self, Finding, Rate, Report, Subject};
use crate::units;

const SECONDS: f64 = 3600.0;

pub(super) fn findings(recording: &Recording, report: &Report, rules: &Rules) -> Vec<CheckFinding> {
    let growing = report.findings.iter().map(|finding| (finding, Disposition::New));
    let pending = report.pending.iter().map(|finding| (finding, Disposition::Pending));
    let found = growing.chain(pending);
    found
        .map(|(found, disposition)| finding(recording, report, found, disposition, rules))
        .collect()
}

fn finding(
    recording: &Recording,
    report: &Report,
    found: &Finding,
    disposition: Disposition,
    rules: &Rules,
) -> CheckFinding {
    let exe = &recording.meta.target.exe;
    let site = report.sites.iter().find(|site| found.sites.contains(&site.id));
    let mut frames = site.map(|site| site.frames.clone()).unwrap_or_default();
    let is_by_stack = found.heap.subject == Subject::Stack && found.heap.container.is_none();
    if !is_by_stack || site.is_none() {
        frames.insert(0, found.application_frame.clone().into());
    }
    let suppression = rules.suppressions.iter().find(|one| one.matches(&frames));
    let rate = found.growth_bytes_per_s;
    let (containers, mut held_by) = match &found.heap.container {
        None if is_arena(frames.first().map(|frame| &**frame)) => {
            let containers = report::grown_containers(recording);
            let told = report::filled_by_these(&containers);
            (containers, told)
        }
        own => (own.iter().cloned().collect(), Vec::new()),
    };
    held_by.extend(report::held_by_of(found));
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
        held_by,
        nature: found.heap.nature,
        containers,
        stacks: found.sites.len(),
        // A container or a type is told by its own name, whoever fills it.
        application_frame: match site {
            Some(site) if is_by_stack => site.application_frame,
            _ => Some(0),
        },
        truncated: site.and_then(|site| site.truncated),
        frames,
    }
}
