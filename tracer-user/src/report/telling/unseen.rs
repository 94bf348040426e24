//! What was not seen.

use super::{Detail, words::share};
use crate::report::focus::printable;
use crate::report::heap::is_counted;
use crate::report::javascript;
use crate::report::model::Report;
use crate::report::regimes;
use crate::stack::WalkEnd;
use crate::units;
use std::collections::BTreeMap;

/// Losses by name, and in a sentence how many more counters are zero. A loss that is zero is told
/// too: by its name where all is asked for, and in that sentence otherwise.
pub(in crate::report) fn losses(
    report: &Report,
    detail: Detail,
) -> (Vec<(String, String)>, Option<String>) {
    let is_told = |value: u64| value > 0 || detail == Detail::Full;
    let told: Vec<(String, String)> = report
        .losses
        .iter()
        .filter(|(_, value)| is_told(**value))
        .map(|(name, value)| (printable(name), units::count(*value)))
        .collect();
    let zeros = report.losses.len() - told.len();
    let sentence = match (zeros, told.len()) {
        (0, _) => None,
        (zeros, 0) => Some(format!("nothing was lost ({zeros} counters, all zero)")),
        (zeros, _) => Some(format!("{zeros} more counters of losses are all zero")),
    };
    (told, sentence)
}

/// The rest, a sentence each: walks by their ends, what was not followed, warnings.
pub(in crate::report) fn unseen(report: &Report, detail: Detail) -> Vec<String> {
    let mut told = Vec::new();
    let walks = &report.walks;
    let walked = [
        ("native", &walks.native_walks, walks.native_whole_share),
        ("python", &walks.python_walks, walks.python_whole_share),
    ];
    let any = walked.iter().any(|(_, _, whole)| whole.is_some());
    for (kind, counts, whole) in walked {
        // That there was no Python is no news.
        if whole.is_some() || !any || detail == Detail::Full {
            told.push(format!("{kind} stacks: {}", by_reason(counts, whole)));
        }
    }
    told.extend(javascript::in_words(walks).map(|names| format!("javascript stacks: {names}")));
    told.extend(regimes::in_words(report));
    let floor = report.settings.min_size_bytes;
    if floor > 0 {
        told.push(format!("blocks below {} were not followed", units::bytes(floor)));
    }
    told.push("blocks allocated before attach are not in these numbers".to_owned());
    if let Some(python) = &report.python_objects {
        // What a census has counted is seen, by type and holder if not by line.
        let is_counted = is_counted(&report.heaps, report.target.pid);
        let counted = match is_counted {
            true => "; all were counted from outside, by type and by who holds them",
            false => "",
        };
        told.push(format!(
            "Python objects are followed by way of {}: {}{counted}",
            python.way, python.covers
        ));
        let unseen = python.unattributed_bytes.filter(|_| !is_counted);
        told.extend(unseen.map(|bytes| {
            format!(
                "{} for Python objects of up to 512 bytes exist that this run cannot attribute to a line",
                units::bytes(bytes)
            )
        }));
    }
    told.extend(report.warnings.iter().map(|warning| {
        format!("warning [{}]: {} {}", warning.code, warning.message, warning.advice)
    }));
    told.iter().map(|line| printable(line.trim_end())).collect()
}

/// The share of walks that reached the outermost frame, and the shares of the others by reason.
fn by_reason(walks: &BTreeMap<&'static str, u64>, whole: Option<f64>) -> String {
    let Some(whole) = whole else { return "none was walked".into() };
    let is_cut =
        |name: &str| WalkEnd::ALL.iter().any(|end| end.name() == name && !end.is_complete());
    let mut cut: Vec<_> =
        walks.iter().filter(|(name, count)| **count > 0 && is_cut(name)).collect();
    cut.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let bottom = walks.get(WalkEnd::Bottom.name()).copied().unwrap_or(0);
    let all = cut.iter().fold(bottom, |all, (_, count)| all.saturating_add(**count));
    let reasons: Vec<_> = cut
        .iter()
        .map(|(name, count)| {
            format!("{name} {} ({})", units::count(**count), share(**count as f64 / all as f64))
        })
        .collect();
    let reasons = if reasons.is_empty() { "0".into() } else { reasons.join(", ") };
    format!("{} of {} walks are whole; cut: {reasons}", share(whole), units::count(all))
}
