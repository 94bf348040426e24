//! The answer for people: first in a sentence, then place by place, then what is worth knowing.

use super::model::{Check, CheckFinding, Disposition, Status, Unit};
use super::words::{amount, per, place};
use crate::printable::printable;
use crate::report::{Detail, write_stack};
use crate::units;
use std::fmt::{self, Write};

/// Places that are shown with their stacks, and others in a line.
const MAX_SHOWN: usize = 10;
/// Cycles whose changes are listed.
const MAX_CHANGES: usize = 12;

/// The answer as text, with terminal colours when `color` is set; `detail` is that of stacks.
pub fn render(check: &Check, color: bool, detail: Detail) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, check, color, detail);
    out
}

fn write_all(out: &mut String, check: &Check, color: bool, detail: Detail) -> fmt::Result {
    let paint = |code: &str, text: &str| {
        if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let code = match check.status {
        Status::Growth => "1;31",
        Status::Clean => "1;32",
        Status::CouldNotRun | Status::Inconclusive => "1;33",
    };
    writeln!(out, "{}", paint(code, &check.sentence))?;
    for problem in check.problems.iter().skip(1) {
        writeln!(out, "   {}", printable(problem))?;
    }
    let full = |finding: &&CheckFinding| {
        finding.disposition.counts() || finding.disposition == Disposition::Pending
    };
    for (number, finding) in check.findings.iter().filter(full).take(MAX_SHOWN).enumerate() {
        let heading = format!("{}. {}", number + 1, place(finding));
        writeln!(out, "\n{}", paint("1", &heading))?;
        write_finding(out, check, finding, detail)?;
    }
    let hidden = check.findings.iter().filter(full).count().saturating_sub(MAX_SHOWN);
    if hidden > 0 {
        writeln!(out, "\n{hidden} more places are in the JSON (--format json).")?;
    }
    write_lines(out, check, "Tolerated", &paint, |disposition| {
        matches!(
            disposition,
            Disposition::InBaseline | Disposition::Suppressed | Disposition::WithinSiteBudget
        )
    })?;
    write_lines(out, check, "Rose, but that is not counted", &paint, |disposition| {
        disposition == Disposition::Doubtful
    })?;
    write_rest(out, check, &paint)
}

fn write_finding(
    out: &mut String,
    check: &Check,
    finding: &CheckFinding,
    detail: Detail,
) -> fmt::Result {
    writeln!(out, "   {}", finding.pattern)?;
    let allowed = match finding.allowed_bytes {
        Some(bytes) => format!("; the baseline allows {}", per(bytes as f64, check.unit)),
        None => String::new(),
    };
    writeln!(
        out,
        "   {}{allowed}, {} {} ({})",
        finding.disposition.in_words(),
        finding.stacks,
        if finding.stacks == 1 { "stack" } else { "stacks" },
        finding.domains.join(", "),
    )?;
    if !finding.exact && !finding.changes_bytes.is_empty() {
        let changes = &finding.changes_bytes;
        let shown: Vec<String> =
            changes.iter().take(MAX_CHANGES).map(|change| units::signed_bytes(*change)).collect();
        let more = if changes.len() > MAX_CHANGES { "..." } else { "" };
        writeln!(out, "   cycle by cycle: {}{more}", shown.join(", "))?;
    }
    finding.held_by.iter().try_for_each(|line| writeln!(out, "   {line}"))?;
    write_stack(out, &finding.frames, finding.application_frame, finding.truncated, detail)
}

fn write_lines(
    out: &mut String,
    check: &Check,
    title: &str,
    paint: &impl Fn(&str, &str) -> String,
    wanted: impl Fn(Disposition) -> bool,
) -> fmt::Result {
    let lines: Vec<&CheckFinding> =
        check.findings.iter().filter(|finding| wanted(finding.disposition)).collect();
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", paint("1", title))?;
    for finding in lines.iter().take(MAX_SHOWN) {
        let why = match (&finding.suppressed_by, finding.disposition) {
            (Some(pattern), _) => format!("suppressed by leak:{}", printable(pattern)),
            (None, Disposition::Doubtful) => finding.pattern.clone(),
            (None, disposition) => disposition.in_words().to_owned(),
        };
        writeln!(
            out,
            "   {:>16}  {}: {why}",
            per(finding.bytes.estimate, check.unit),
            place(finding)
        )?;
    }
    match lines.len().saturating_sub(MAX_SHOWN) {
        0 => Ok(()),
        hidden => writeln!(out, "   and {hidden} more"),
    }
}

fn write_rest(
    out: &mut String,
    check: &Check,
    paint: &impl Fn(&str, &str) -> String,
) -> fmt::Result {
    writeln!(out, "\n{}", paint("1", "How"))?;
    match check.cycles {
        Some(cycles) => writeln!(
            out,
            "   {} cycles in {}, after {} of warm-up; {} had not settled",
            cycles.measured,
            units::duration(check.duration_ns),
            cycles.warm_up,
            cycles.unsettled,
        )?,
        None => writeln!(out, "   watched for {}", units::duration(check.duration_ns))?,
    }
    let of_place = match (check.site_budget_bytes, check.unit) {
        (Some(bytes), unit) => format!(", and {} of a place", per(bytes as f64, unit)),
        (None, Unit::Cycle | Unit::Hour) => String::new(),
    };
    writeln!(
        out,
        "   {} counts, of a budget of {}{of_place}",
        amount(check.counted_bytes),
        per(check.budget_bytes as f64, check.unit),
    )?;
    for key in &check.unseen_baseline {
        writeln!(out, "   no longer seen: {}; --update-baseline removes it", printable(key))?;
    }
    for pattern in &check.unused_suppressions {
        writeln!(out, "   suppressed nothing: leak:{pattern}")?;
    }
    for note in &check.notes {
        writeln!(out, "   {}", printable(note))?;
    }
    for warning in check.warnings.iter().filter(|w| w.code != "children-not-followed") {
        let text = format!("   warning [{}]: {} {}", warning.code, warning.message, warning.advice);
        writeln!(out, "{}", printable(text.trim_end()))?;
    }
    Ok(())
}
