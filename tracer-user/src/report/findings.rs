//! Sites by the application frame that they share: what there is to be told first.

use super::build::{Judged, estimate, rate, total};
use super::evidence;
use super::model::*;
use super::processes::{self, while_alive};
use super::profiles::{self, Profiles};
use super::resident;
use crate::aggregate::Series;
use crate::capture::Recording;
use crate::growth::{Evidence, Interval, Limits, Verdict, judge_with};
use std::collections::{BTreeMap, BTreeSet};

/// The sites with this verdict, by application frame, fastest first.
pub(super) fn findings(
    recording: &Recording,
    judged: &[Judged],
    limits: &Limits,
    verdict: Verdict,
) -> Vec<Finding> {
    let mut groups: BTreeMap<FrameReport, Vec<&Judged>> = BTreeMap::new();
    for part in judged.iter().filter(|part| part.site.verdict == verdict.name()) {
        let Some(index) = part.site.application_frame else { continue };
        let frame = FrameReport { offset: None, ..part.site.frames[index].clone() };
        groups.entry(frame).or_default().push(part);
    }
    let profiles = Profiles::of(recording);
    let mut findings: Vec<Finding> = groups
        .into_iter()
        .filter_map(|(frame, parts)| finding(recording, &profiles, limits, frame, &parts))
        .collect();
    findings
        .sort_by(|a, b| b.growth_bytes_per_s.estimate.total_cmp(&a.growth_bytes_per_s.estimate));
    let all: f64 = findings.iter().map(|finding| finding.growth_bytes_per_s.estimate).sum();
    for finding in &mut findings {
        finding.share_of_growth = finding.growth_bytes_per_s.estimate / all;
    }
    findings
}

fn finding(
    recording: &Recording,
    profiles: &Profiles,
    limits: &Limits,
    application_frame: FrameReport,
    parts: &[&Judged],
) -> Option<Finding> {
    let mut sites: Vec<&Site> = parts.iter().map(|part| &part.site).collect();
    sites.sort_by(|a, b| estimate(b).total_cmp(&estimate(a)));
    let live_bytes = total(sites.iter().copied(), |site| site.live_bytes);
    let mut series = Series::default();
    parts.iter().for_each(|part| series.add(&part.series));
    // In which all of them were followed: before, the sum grew more slowly.
    let from_ns = parts.iter().map(|part| part.attached_ns).max().unwrap_or(0);
    // Of the sampled ones each has its error already, and the others have none.
    let evidence = Evidence { sampling: None, ..evidence::together(parts) };
    let series = while_alive(series, from_ns, None);
    let judgement = match parts.iter().all(|part| part.evidence.sampling.is_some()) {
        true => judge_with(&profiles.only(series), &profiles::limits(limits), &evidence),
        false => judge_with(&series, limits, &evidence),
    };
    let domains: BTreeSet<&str> = sites.iter().map(|site| site.domain).collect();
    Some(Finding {
        application_frame,
        source_line: None,
        verdict: judgement.verdict.name(),
        confidence: judgement.confidence,
        survival: judgement.survival,
        share_of_growth: 0.0,
        reasons: judgement.reasons,
        growth_bytes_per_s: rate(with_sampling_errors(judgement.rate?, parts)),
        live_bytes,
        live_bytes_error: together(sites.iter().filter_map(|site| site.live_bytes_error)),
        live_blocks: total(sites.iter().copied(), |site| site.live_blocks),
        share_of_resident_growth: resident::share(
            recording,
            live_bytes,
            parts.iter().map(|part| part.process),
        ),
        domains: domains.into_iter().collect(),
        sites: sites.iter().map(|site| site.id.clone()).collect(),
        processes: processes::parts_of_finding(&sites),
    })
}

/// Errors that do not depend on each other.
fn together(errors: impl Iterator<Item = u64>) -> Option<u64> {
    errors.map(|error| error as f64).reduce(f64::hypot).map(|error| error.round() as u64)
}

/// The rate of a sum, with the errors of those of its parts that are sampled.
fn with_sampling_errors(sum: Interval, parts: &[&Judged]) -> Interval {
    let sampled = parts.iter().filter(|part| part.evidence.sampling.is_some());
    sampled.filter_map(|part| part.site.growth_bytes_per_s).fold(sum, |sum, part| Interval {
        estimate: sum.estimate,
        low: sum.estimate - (sum.estimate - sum.low).hypot(part.estimate - part.low),
        high: sum.estimate + (sum.high - sum.estimate).hypot(part.high - part.estimate),
    })
}
