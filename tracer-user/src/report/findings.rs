//! What there is to be told first: places in the application where something grows.

use super::build::{Judged, estimate, rate, total};
use super::groups::Group;
use super::heap::ByStack;
use super::model::*;
use super::processes;
use super::resident;
use crate::capture::Recording;
use crate::growth::Interval;
use std::collections::BTreeSet;

/// The groups, fastest first.
pub(super) fn findings(recording: &Recording, judged: &[Judged], groups: &[Group]) -> Vec<ByStack> {
    let mut findings: Vec<ByStack> =
        groups.iter().filter_map(|group| finding(recording, judged, group)).collect();
    let estimate = |part: &ByStack| part.finding.growth_bytes_per_s.estimate;
    findings.sort_by(|a, b| estimate(b).total_cmp(&estimate(a)));
    let all: f64 = findings.iter().map(estimate).sum();
    for part in &mut findings {
        part.finding.share_of_growth = part.finding.growth_bytes_per_s.estimate / all;
    }
    findings
}

fn finding(recording: &Recording, judged: &[Judged], group: &Group) -> Option<ByStack> {
    let all: Vec<&Judged> = group.sites.iter().map(|index| &judged[*index]).collect();
    // Beside sites that grow by themselves the others are there for the rate alone.
    let grow = |part: &&Judged| part.judgement.verdict == group.judgement.verdict;
    let parts: Vec<&Judged> = match all.iter().any(grow) {
        true => all.iter().copied().filter(grow).collect(),
        false => all.clone(),
    };
    let mut sites: Vec<&Site> = parts.iter().map(|part| &part.site).collect();
    sites.sort_by(|a, b| estimate(b).total_cmp(&estimate(a)));
    let fastest = sites.first()?;
    let application_frame = fastest.frames.get(fastest.application_frame?)?;
    let live_bytes = total(sites.iter().copied(), |site| site.live_bytes);
    let domains: BTreeSet<&str> = sites.iter().map(|site| site.domain).collect();
    let judgement = &group.judgement;
    let stacks = parts.iter().flat_map(|part| part.stacks.iter().copied()).collect();
    let finding = Finding {
        application_frame: FrameReport { offset: None, ..FrameReport::clone(application_frame) },
        source_line: None,
        verdict: judgement.verdict.name(),
        confidence: judgement.confidence,
        survival: judgement.survival,
        share_of_growth: 0.0,
        reasons: judgement.reasons.clone(),
        growth_bytes_per_s: rate(with_sampling_errors(judgement.rate?, &all)),
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
        heap: HeapAnswers::default(),
    };
    Some(ByStack { finding, stacks })
}

/// Errors that do not depend on each other.
fn together(errors: impl Iterator<Item = u64>) -> Option<u64> {
    errors.map(|error| error as f64).reduce(f64::hypot).map(|error| error.round() as u64)
}

/// The rate of a sum, with the errors of those of its parts that are sampled; where all are, it has
/// them already.
fn with_sampling_errors(sum: Interval, parts: &[&Judged]) -> Interval {
    let is_sampled = |part: &&&Judged| part.evidence.sampling.is_some();
    if parts.iter().all(|part| is_sampled(&part)) {
        return sum;
    }
    let sampled = parts.iter().filter(is_sampled);
    sampled.filter_map(|part| part.site.growth_bytes_per_s).fold(sum, |sum, part| Interval {
        estimate: sum.estimate,
        low: sum.estimate - (sum.estimate - sum.low).hypot(part.estimate - part.low),
        high: sum.estimate + (sum.high - sum.estimate).hypot(part.high - part.estimate),
    })
}
