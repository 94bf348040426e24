//! What is said in words, wherever it is shown.

use super::judge::Pattern;
use super::model::{Check, CheckFinding, Disposition, Status, Unit};
use crate::printable::printable;
use crate::report::{Nature, label};
use crate::units;

/// What each cycle leaves behind.
pub(super) fn pattern(pattern: &Pattern) -> String {
    let bytes = units::count(pattern.bytes.estimate.max(0.0).round() as u64);
    match (pattern.exact, pattern.blocks.round() as i64) {
        (true, 0) => format!("{bytes} bytes more, every cycle, in blocks that get larger"),
        (true, 1) => format!("1 block, {bytes} bytes, every cycle"),
        (true, blocks) => {
            format!("{} blocks, {bytes} bytes, every cycle", units::count(blocks.max(0) as u64))
        }
        (false, blocks) => format!(
            "about {} blocks, {} a cycle (95 %: {} .. {})",
            units::count(blocks.max(0) as u64),
            amount(pattern.bytes.estimate),
            amount(pattern.bytes.low),
            amount(pattern.bytes.high),
        ),
    }
}

/// Bytes that may be a fraction, and are never shown as less than none.
pub(super) fn amount(bytes: f64) -> String {
    units::bytes(bytes.max(0.0).round() as u64)
}

/// Bytes by cycle or hour.
pub(super) fn per(bytes: f64, unit: Unit) -> String {
    format!("{}{}", amount(bytes), unit.suffix())
}

/// Where a finding is, in one line.
pub(super) fn place(finding: &CheckFinding) -> String {
    let place = match finding.place() {
        Some(frame) => label(frame),
        None => printable(&finding.key),
    };
    match finding.containers.first() {
        // What grows is named, whatever place the memory for it has.
        Some(container) if !place.contains(&printable(&container.name)) => {
            format!("{place}, filled by {}", printable(&container.name))
        }
        _ => place,
    }
}

/// The answer in one sentence.
pub(super) fn sentence(check: &Check) -> String {
    let unit = check.unit;
    let over = match check.cycles {
        Some(cycles) => format!("{} cycles", cycles.measured),
        None => units::duration(check.duration_ns),
    };
    let counts: Vec<&CheckFinding> =
        check.findings.iter().filter(|found| found.disposition.counts()).collect();
    let tolerated = check.findings.iter().filter(|finding| {
        matches!(
            finding.disposition,
            Disposition::InBaseline | Disposition::Suppressed | Disposition::WithinSiteBudget
        )
    });
    let tolerated = match tolerated.count() {
        0 => String::new(),
        1 => "; 1 known place is tolerated".to_owned(),
        count => format!("; {count} known places are tolerated"),
    };
    match (check.status, counts.first()) {
        (Status::Growth, Some(first)) => {
            let others = match counts.len() - 1 {
                0 => String::new(),
                1 => ", and 1 more place".to_owned(),
                others => format!(", and {others} more places"),
            };
            format!(
                "GROWTH: {} {} {}{others}: {} over the budget of {}{tolerated}.",
                first.pattern,
                Nature::verb(first.nature),
                place(first),
                per(check.counted_bytes - check.budget_bytes as f64, unit),
                per(check.budget_bytes as f64, unit),
            )
        }
        (Status::Clean, Some(first)) => format!(
            "CLEAN: {} in {over}, within the budget of {}; the most since {}{tolerated}.",
            per(check.counted_bytes, unit),
            per(check.budget_bytes as f64, unit),
            place(first),
        ),
        (Status::Clean, None) if check.cycles.is_some() => {
            format!("CLEAN: nothing is left behind by each of {over}{tolerated}.")
        }
        (Status::Clean, None) => format!("CLEAN: nothing grows in {over}{tolerated}."),
        (Status::Growth, None) => "GROWTH.".to_owned(),
        (Status::CouldNotRun, _) => format!("COULD NOT RUN: {}", problem(check)),
        (Status::Inconclusive, _) => format!("INCONCLUSIVE: {}", problem(check)),
    }
}

fn problem(check: &Check) -> &str {
    check.problems.first().map_or("", String::as_str)
}
