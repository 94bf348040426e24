//! The report for people: the answer first, then what it rests on, then what was not seen.

mod findings;
mod holders;
mod stack;
mod totals;
mod unseen;

pub(super) use stack::write_stack;

use super::focus::label;
use super::model::{Report, Status};
use super::processes;
use super::v8;
use crate::units;
use std::fmt::{self, Write};

/// Findings that are shown.
const MAX_FINDINGS: usize = 5;
/// Characters in a line.
const WIDTH: usize = 100;

/// Colours, where the reader is a terminal.
#[derive(Clone, Copy, Debug)]
struct Paint {
    color: bool,
}

impl Paint {
    /// In the terminal's colour of this number.
    fn with(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
}

/// The report as text, with terminal colours when `color` is set.
pub fn render(report: &Report, color: bool) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, report, Paint { color });
    out
}

fn write_all(out: &mut String, report: &Report, paint: Paint) -> fmt::Result {
    let code = match report.verdict.status {
        Status::Growing => "1;31",
        Status::Steady => "1;32",
        Status::Inconclusive => "1;33",
    };
    writeln!(out, "{}", paint.with(code, &report.verdict.sentence))?;
    for (number, finding) in report.findings.iter().take(MAX_FINDINGS).enumerate() {
        writeln!(out)?;
        let heading = format!("{}. {}", number + 1, label(&finding.application_frame));
        writeln!(out, "{}", paint.bold(&heading))?;
        findings::write_finding(out, report, finding)?;
    }
    if report.findings.len() > MAX_FINDINGS {
        writeln!(
            out,
            "\n{} more growing places are in report.json.",
            report.findings.len() - MAX_FINDINGS
        )?;
    }
    if report.findings.is_empty() {
        holders::write_largest(out, report, paint)?;
    }
    holders::write_pending(out, report, paint)?;
    processes::write_table(out, report, &paint.bold("Processes"))?;
    v8::write(out, report, &paint.bold("V8"))?;
    writeln!(out, "\n{}", paint.bold("Totals"))?;
    totals::write_totals(out, report)?;
    writeln!(out, "\n{}", paint.bold("Cost"))?;
    totals::write_cost(out, report)?;
    writeln!(out, "\n{}", paint.bold("Not seen"))?;
    unseen::write_unseen(out, report)
}

/// A line cut to the width of the report.
pub(in crate::report) fn fitted(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let head: String = line.chars().take(WIDTH - 3).collect();
    head + "..."
}

/// Bytes with their error, where they are sampled: `~12.4 MiB ± 1.1 MiB`.
fn sampled(bytes: u64, error: Option<u64>) -> String {
    match error {
        None => units::bytes(bytes),
        Some(error) => format!("~{} ± {}", units::bytes(bytes), units::bytes(error)),
    }
}

/// What of the live bytes is no longer there; nothing where all of it is.
fn of_ended(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        bytes => format!(", of which {} in processes that have ended", units::bytes(bytes)),
    }
}

/// A share in percent, rounded towards the middle: 100 % is all, 0 % is nothing.
pub(in crate::report) fn share(part: f64) -> String {
    if part >= 1.0 || part <= 0.0 {
        return format!("{:.0} %", part * 100.0);
    }
    format!("{:.2} %", (part * 100.0).clamp(0.01, 99.99))
}
