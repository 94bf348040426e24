//! `outlive check`: what outlives each cycle of a program's work, judged against budgets, a baseline
//! and suppressions, and told to people and to CI systems. Reads no clock and no files.

mod annotations;
mod baseline;
mod build;
mod cycles;
mod judge;
#[cfg(test)]
mod judge_tests;
mod junit;
mod markdown;
mod model;
mod over_time;
mod sarif;
mod student;
mod suppression;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use annotations::{CiSystem, render as annotations};
pub use baseline::{Baseline, BaselineError, MAX_BYTES as MAX_BASELINE_BYTES};
pub use build::{Course, Rules, build, not_run};
pub use judge::FEWEST_CYCLES;
pub use junit::render as junit;
pub use markdown::render as markdown;
pub use model::*;
pub use sarif::render as sarif;
pub use suppression::{
    MAX_BYTES as MAX_SUPPRESSION_BYTES, Suppression, SuppressionError, parse as suppressions,
};
pub use text::render as text;

/// The answer as JSON, described in docs/check-schema.md.
pub fn json(check: &Check) -> String {
    // Only maps with keys that are no strings can fail, and there are none.
    let mut text = serde_json::to_string_pretty(check).unwrap_or_default();
    text.push('\n');
    text
}

/// The baseline that accepts what was found, apart from what is suppressed.
pub fn accepted(check: &Check, baseline: &Baseline) -> Baseline {
    let is_known = |finding: &&CheckFinding| match finding.disposition {
        Disposition::New | Disposition::Grew | Disposition::InBaseline => true,
        Disposition::Pending
        | Disposition::WithinSiteBudget
        | Disposition::Suppressed
        | Disposition::Doubtful => false,
    };
    let found = check.findings.iter().filter(is_known);
    let found: Vec<(String, f64)> =
        found.map(|finding| (finding.key.clone(), finding.bytes.estimate)).collect();
    baseline.updated(check.unit, &found)
}
