//! The comparison for people: the sum first, then the places by the size of their change.

use super::model::{Change, Diff, DiffSite, Part, SideReport};
use crate::report::focus::{label, printable};
use crate::report::telling::Detail;
use crate::report::text::{fitted, write_stack};
use crate::units;
use std::fmt::{self, Write};

/// Places that are shown unless asked otherwise.
const SHOWN: usize = 10;

/// The comparison as text, with terminal colours when `color` is set; at most `limit` places.
pub fn render(diff: &Diff, color: bool, limit: Option<usize>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, diff, color, limit.unwrap_or(SHOWN));
    out
}

fn write_all(out: &mut String, diff: &Diff, color: bool, limit: usize) -> fmt::Result {
    let paint = |code: &str, text: &str| {
        if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    writeln!(out, "{}", paint("1", &sentence(diff)))?;
    writeln!(out, "   before  {}", side(&diff.before))?;
    writeln!(out, "   after   {}", side(&diff.after))?;
    for (number, site) in diff.sites.iter().take(limit).enumerate() {
        let code = match site.change {
            Change::Grown | Change::New => "1;31",
            Change::Shrunk | Change::Gone => "1;32",
        };
        let change = with_error(site.change_bytes, site.change_bytes_error);
        let heading = format!("{}. {change} {}", number + 1, place(site));
        writeln!(out, "\n{}", paint(code, &fitted(&heading)))?;
        write_site(out, site)?;
    }
    let hidden = diff.sites.len().saturating_sub(limit);
    if hidden > 0 {
        writeln!(out, "\n{} more changed; --limit N shows more", places(hidden as u64))?;
    }
    writeln!(out, "\n{}", paint("1", "Totals"))?;
    let totals = &diff.totals;
    let parts = [
        ("grown", totals.grown),
        ("new", totals.new),
        ("shrunk", totals.shrunk),
        ("gone", totals.gone),
        ("unchanged", totals.unchanged),
    ];
    for (name, Part { sites, change_bytes }) in parts {
        writeln!(
            out,
            "   {name:<10} {:>12} in {}",
            units::signed_bytes(change_bytes),
            places(sites)
        )?;
    }
    if !diff.warnings.is_empty() {
        writeln!(out, "\n{}", paint("1", "Beware"))?;
    }
    for warning in &diff.warnings {
        let text = format!("   warning [{}]: {} {}", warning.code, warning.message, warning.advice);
        writeln!(out, "{}", printable(text.trim_end()))?;
    }
    Ok(())
}

fn sentence(diff: &Diff) -> String {
    let totals = &diff.totals;
    format!(
        "{} live: {} in {} blocks before, {} in {} blocks after.",
        with_error(totals.change_bytes, totals.change_bytes_error),
        units::bytes(totals.before.live_bytes),
        units::count(totals.before.live_blocks),
        units::bytes(totals.after.live_bytes),
        units::count(totals.after.live_blocks),
    )
}

/// A change, and its error where a side is sampled: `+12.4 MiB ± 1.1 MiB`.
fn with_error(change_bytes: i64, error: Option<u64>) -> String {
    let change = units::signed_bytes(change_bytes);
    match error {
        None => change,
        Some(error) => format!("{change} ± {}", units::bytes(error)),
    }
}

fn side(side: &SideReport) -> String {
    let line = format!(
        "{} at {} of {}: PID {}, {}",
        side.capture,
        units::duration(side.at_ns),
        units::duration(side.window.duration_ns),
        side.target.pid,
        side.target.exe,
    );
    printable(&line)
}

fn write_site(out: &mut String, site: &DiffSite) -> fmt::Result {
    writeln!(
        out,
        "   {}: {} in {} blocks before, {} in {} blocks after ({})",
        site.change.name(),
        units::bytes(site.before.live_bytes),
        units::count(site.before.live_blocks),
        units::bytes(site.after.live_bytes),
        units::count(site.after.live_blocks),
        site.domain,
    )?;
    write_stack(out, &site.frames, site.application_frame, site.truncated, Detail::Folded)
}

/// Its application frame, and the line where that was before, if it was elsewhere.
fn place(site: &DiffSite) -> String {
    let Some(index) = site.application_frame else { return "[no frames]".into() };
    let frame = &site.frames[index];
    let before = site.lines_before.as_ref().and_then(|lines| lines.get(index).copied().flatten());
    match before.filter(|line| Some(*line) != frame.line) {
        Some(line) => format!("{}, line {line} before", label(frame)),
        None => label(frame),
    }
}

fn places(count: u64) -> String {
    format!("{} {}", units::count(count), if count == 1 { "place" } else { "places" })
}
