//! The doctor's findings for people and for scripts.

use super::{Check, Health, worst};
use crate::printable::printable_lines;
use serde::Serialize;
use std::fmt::Write;

/// Version of [`HealthView`].
const SCHEMA_VERSION: u32 = 1;

/// The checks as text, one a line, advice below.
pub fn render_text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        // They may name files of the target.
        let (detail, advice) = (printable_lines(&check.detail), printable_lines(&check.advice));
        let _ = writeln!(text, "{:<4}  {:<width$}  {detail}", check.status.name(), check.name);
        if !advice.is_empty() {
            let _ = writeln!(text, "{:width$}        -> {advice}", "");
        }
    }
    let summary = match worst(checks) {
        Health::Ok => "Everything outlive needs is here.",
        Health::Warn => "Outlive works here, with the limits named above.",
        Health::Fail => "Outlive cannot work here until what failed is put right.",
    };
    let _ = writeln!(text, "{summary}");
    text
}

/// The checks as `outlive doctor --json` prints them.
#[derive(Debug, Serialize)]
pub struct HealthView<'a> {
    /// Version of this layout.
    pub schema_version: u32,
    /// The worst of all.
    pub status: &'static str,
    /// One for each thing that was looked at.
    pub checks: Vec<CheckView<'a>>,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct CheckView<'a> {
    /// What was looked at.
    pub name: &'a str,
    /// `ok`, `warn` or `fail`.
    pub status: &'static str,
    /// What was found.
    pub detail: &'a str,
    /// What to do; empty when nothing needs to be done.
    pub advice: &'a str,
}

/// The checks as data for scripts.
pub fn view(checks: &[Check]) -> HealthView<'_> {
    HealthView {
        schema_version: SCHEMA_VERSION,
        status: worst(checks).name(),
        checks: checks.iter().map(check_view).collect(),
    }
}

fn check_view(check: &Check) -> CheckView<'_> {
    CheckView {
        name: check.name,
        status: check.status.name(),
        detail: &check.detail,
        advice: &check.advice,
    }
}
