//! The answer in one sentence: what grows, how fast, since where, how sure that is, and when memory
//! runs out; where nothing grows, what it is instead.

use super::focus::{label, printable};
use super::model::*;
use super::regimes;
use super::telling::{Detail, limit, others, sure};
use crate::growth::Verdict;
use crate::units;

pub(super) fn summary(report: &Report, too_short: bool) -> Summary {
    let (status, text) = match (report.lossy.as_slice(), grown(report)) {
        ([], Some(grown)) => (Status::Growing, format!("GROWING: {grown}")),
        ([], None) => match doubt(report, too_short) {
            Some(doubt) => (Status::Inconclusive, format!("INCONCLUSIVE: {doubt}")),
            None => {
                let watched = units::duration(report.window.duration_ns);
                let text = format!("STEADY: nothing kept growing in {watched}");
                (Status::Steady, format!("{text}{}", instead(report)))
            }
        },
        (lost, grown) => {
            let but = grown
                .map_or("nothing was seen to grow".to_owned(), |grown| format!("still, {grown}"));
            let lost = printable(&lost.join(", "));
            let text = format!("INCONCLUSIVE: the numbers are incomplete ({lost}); {but}");
            (Status::Inconclusive, text)
        }
    };
    let runs_out = report.limit.as_ref().map_or(String::new(), |reached| {
        format!("; at this rate memory reaches {}", limit(reached))
    });
    Summary { status, sentence: format!("{text}{runs_out}{}.", regimes::clause(report)) }
}

/// What grows fastest, and how many other places do.
fn grown(report: &Report) -> Option<String> {
    let top = report.findings.first()?;
    let rate = top.growth_bytes_per_s;
    let per_hour = |bytes_per_s: f64| units::unsigned(bytes_per_s * 3600.0 / 1e6);
    let sure = top.confidence.map_or(String::new(), |confidence| format!(", {}", sure(confidence)));
    Some(format!(
        "{} ({} .. {}) {} {}{sure}{}",
        units::megabytes_per_hour(rate.estimate),
        per_hour(rate.low),
        per_hour(rate.high),
        verb(top),
        label(&top.application_frame),
        more(report.findings.len()),
    ))
}

/// What a finding's place has to do with its memory.
fn verb(finding: &Finding) -> &'static str {
    match (finding.heap.subject, finding.heap.nature) {
        (Subject::Container, _) => "held by",
        (Subject::Type, _) => "in objects of type",
        (Subject::Stack, nature) => Nature::verb(nature),
    }
}

fn more(findings: usize) -> String {
    match findings.saturating_sub(1) {
        0 => String::new(),
        1 => ", and 1 more place".into(),
        more => format!(", and {} more places", units::count(more as u64)),
    }
}

/// Why nothing can be said, where that is so.
fn doubt(report: &Report, too_short: bool) -> Option<String> {
    if too_short {
        let watched = units::duration(report.window.duration_ns);
        let needs_ns = report.sites.iter().filter_map(|site| site.needs_ns).max();
        let longer = match needs_ns {
            Some(needs_ns) if needs_ns > 0 => format!("{} longer", units::duration(needs_ns)),
            _ => "for longer".to_owned(),
        };
        return Some(format!("{watched} gave too few ticks to judge; watch {longer}"));
    }
    pending(report).or_else(|| unseen_heap(report))
}

/// What grew and waits for a garbage collection.
fn pending(report: &Report) -> Option<String> {
    let top = report.pending.first()?;
    Some(format!(
        "{} since {}{}, but no garbage collection has passed since that could have freed it; not a leak yet (--force-gc asks for one)",
        units::megabytes_per_hour(top.growth_bytes_per_s.estimate),
        label(&top.application_frame),
        more(report.pending.len()),
    ))
}

/// A heap that grew through collections, and was not looked into.
fn unseen_heap(report: &Report) -> Option<String> {
    let is_growing = |heap: &&V8HeapReport| heap.verdict == Verdict::Growing.name();
    let heap = report.v8_heaps.iter().filter(|heap| !heap.seen_inside).find(is_growing)?;
    Some(format!(
        "nothing that was seen kept growing, but V8's heap did, by about {} (told by its mappings); --js-heap shows which functions",
        units::megabytes_per_hour(heap.growth_bytes_per_s?.estimate),
    ))
}

/// What it is, if nothing leaks: memory that the ledger has a name for, or else the largest place
/// that fills, rises and falls, or rose once. Nothing where all is quiet.
fn instead(report: &Report) -> String {
    let advice = report.ledger.iter().flat_map(|ledger| &ledger.advice);
    if let Some(advice) = advice.max_by_key(|advice| advice.bytes) {
        return format!("; {}", printable(advice.sentence.trim_end_matches('.')));
    }
    others(report, Detail::Folded)
        .first()
        .map_or(String::new(), |other| format!("; {}", other.clause()))
}
