//! The answer in one sentence.

use super::focus::label;
use super::model::*;
use crate::growth::Verdict;
use crate::units;

pub(super) fn summary(report: &Report, too_short: bool) -> Summary {
    let grew = report.findings.first().map(|top| {
        let rate = top.growth_bytes_per_s;
        let per_hour = |bytes_per_s: f64| units::unsigned(bytes_per_s * 3600.0 / 1e6);
        format!(
            "{} ({}..{}) held since {}{}",
            units::megabytes_per_hour(rate.estimate),
            per_hour(rate.low),
            per_hour(rate.high),
            label(&top.application_frame),
            others(report.findings.len()),
        )
    });
    let watched = units::duration(report.window.duration_ns);
    let (status, sentence) = match (report.lossy.as_slice(), grew) {
        ([], Some(grew)) => (Status::Growing, format!("GROWING: {grew}.")),
        ([], None) if too_short => (
            Status::Inconclusive,
            format!("INCONCLUSIVE: {watched} gave too few ticks to judge; watch for longer."),
        ),
        ([], None) => match pending(report).or_else(|| unseen_heap(report)) {
            Some(doubt) => (Status::Inconclusive, format!("INCONCLUSIVE: {doubt}.")),
            None => (Status::Steady, format!("STEADY: nothing kept growing in {watched}.")),
        },
        (lost, grew) => {
            let but =
                grew.map_or("nothing was seen to grow".to_owned(), |grew| format!("still, {grew}"));
            (
                Status::Inconclusive,
                format!("INCONCLUSIVE: the numbers are incomplete ({}); {but}.", lost.join(", ")),
            )
        }
    };
    Summary { status, sentence }
}

fn others(findings: usize) -> String {
    match findings - 1 {
        0 => String::new(),
        1 => ", and 1 more place".into(),
        more => format!(", and {more} more places"),
    }
}

/// What grew and waits for a garbage collection.
fn pending(report: &Report) -> Option<String> {
    let top = report.pending.first()?;
    Some(format!(
        "{} since {}{}, but no garbage collection has passed since that could have freed it; not a leak yet (--force-gc asks for one)",
        units::megabytes_per_hour(top.growth_bytes_per_s.estimate),
        label(&top.application_frame),
        others(report.pending.len()),
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
