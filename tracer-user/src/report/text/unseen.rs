//! What was not seen.

use super::share;
use crate::report::focus::printable;
use crate::report::javascript;
use crate::report::model::Report;
use crate::stack::WalkEnd;
use crate::units;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Losses by name, walks by their ends, and warnings.
pub(super) fn write_unseen(out: &mut String, report: &Report) -> fmt::Result {
    for (name, value) in &report.losses {
        writeln!(out, "   {name:<26} {:>12}", units::count(*value))?;
    }
    let walks = &report.walks;
    let native = by_reason(&walks.native_walks, walks.native_whole_share);
    let python = by_reason(&walks.python_walks, walks.python_whole_share);
    writeln!(out, "   native stacks: {native}")?;
    writeln!(out, "   python stacks: {python}")?;
    if let Some(names) = javascript::in_words(walks) {
        writeln!(out, "   javascript stacks: {names}")?;
    }
    let floor = report.settings.min_size_bytes;
    if floor > 0 {
        writeln!(out, "   blocks below {} were not followed", units::bytes(floor))?;
    }
    writeln!(out, "   blocks allocated before attach are not in these numbers")?;
    if let Some(python) = &report.python_objects {
        writeln!(
            out,
            "   Python objects are followed by way of {}: {}",
            python.way, python.covers
        )?;
        if let Some(bytes) = python.unattributed_bytes {
            writeln!(
                out,
                "   {} of memory for Python objects of up to 512 bytes exist that this run cannot attribute to a line",
                units::bytes(bytes)
            )?;
        }
    }
    for warning in &report.warnings {
        let text = format!("   warning [{}]: {} {}", warning.code, warning.message, warning.advice);
        writeln!(out, "{}", printable(text.trim_end()))?;
    }
    Ok(())
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
