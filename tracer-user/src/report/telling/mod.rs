//! What a report tells people, and in which words: which findings, reasons, frames and lines there
//! are. How that looks is the business of `text` and `markdown`.

mod finding;
mod governor;
mod heap;
mod others;
mod stack;
mod totals;
mod unseen;
mod v8_heap;
mod words;

pub(super) use finding::facts;
pub(super) use governor::mostly_paused;
pub(super) use heap::{filled_by, heaps, reach_and_holders};
pub(super) use others::{largest, others};
pub(super) use stack::{Fold, folded};
pub(super) use totals::{cost, totals};
pub(super) use unseen::{losses, unseen};
pub(super) use words::{limit, share, sure};

use super::model::{Finding, Report};

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// What matters.
    #[default]
    Folded,
    /// All findings, all reasons, all frames, and each loss by its name.
    Full,
}

impl Detail {
    /// All of a list, or the first few that are told of it.
    fn at_most(self, few: usize) -> usize {
        match self {
            Detail::Folded => few,
            Detail::Full => usize::MAX,
        }
    }
}

/// Findings that are told, and lines of a list.
const FEW: usize = 5;

/// The findings that are told, and how many are left out.
pub(super) fn findings(findings: &[Finding], detail: Detail) -> (&[Finding], usize) {
    let shown = findings.len().min(detail.at_most(FEW));
    (&findings[..shown], findings.len() - shown)
}

/// Where to find what is left out.
pub(super) fn left_out(count: usize, what: &str) -> String {
    let (noun, verb) =
        if count == 1 { (what.to_owned(), "is") } else { (format!("{what}s"), "are") };
    format!("{count} more {noun} {verb} shown by --full, and in report.json")
}

/// What of the live bytes is no longer there; nothing where all of it is.
fn of_ended(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        bytes => format!(", of which {} in processes that have ended", crate::units::bytes(bytes)),
    }
}

/// Bytes with their error, where they are sampled: `~12.4 MiB ± 1.1 MiB`.
fn sampled(bytes: u64, error: Option<u64>) -> String {
    match error {
        None => crate::units::bytes(bytes),
        Some(error) => {
            format!("~{} ± {}", crate::units::bytes(bytes), crate::units::bytes(error))
        }
    }
}

/// The same of several processes: which of them, where there is more than one.
fn whose(report: &Report, finding: &Finding) -> &'static str {
    match report.processes.len() < 2 {
        true => "",
        false if finding.processes.len() == 1 => " of that process",
        false => " of those processes",
    }
}
