//! The answer as Markdown, for a job's summary or a comment on a change.

use super::model::{Check, CheckFinding, Disposition};
use super::words::{per, place};
use crate::printable::printable;
use crate::report::label;
use std::fmt::{self, Write};

/// Places, and frames of a stack, that are shown.
const MAX_SHOWN: usize = 20;
const MAX_FRAMES: usize = 30;

/// The answer as Markdown.
pub fn render(check: &Check) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, check);
    out
}

fn write_all(out: &mut String, check: &Check) -> fmt::Result {
    writeln!(out, "## outlive check\n\n**{}**", escaped(&check.sentence))?;
    for problem in check.problems.iter().skip(1) {
        writeln!(out, "\n{}", escaped(problem))?;
    }
    if !check.findings.is_empty() {
        writeln!(out, "\n| place | left behind | |\n|---|---|---|")?;
    }
    for finding in check.findings.iter().take(MAX_SHOWN) {
        let amount = match finding.disposition {
            Disposition::Doubtful => per(finding.bytes.estimate, check.unit),
            _ => finding.pattern.clone(),
        };
        let why = match (&finding.suppressed_by, finding.disposition) {
            (Some(pattern), _) => format!("suppressed by leak:{pattern}"),
            (None, Disposition::Doubtful) => format!("not counted: {}", finding.pattern),
            (None, disposition) => disposition.in_words().to_owned(),
        };
        writeln!(out, "| {} | {} | {} |", code(&place(finding)), escaped(&amount), escaped(&why))?;
    }
    for finding in check.findings.iter().filter(|f| f.disposition.counts()).take(MAX_SHOWN) {
        write_stack(out, finding)?;
    }
    let lines = check.unseen_baseline.iter().map(|key| format!("No longer seen: {key}"));
    let unused = check.unused_suppressions.iter();
    let lines = lines.chain(unused.map(|pattern| format!("Suppressed nothing: leak:{pattern}")));
    for (number, line) in lines.chain(check.notes.iter().cloned()).enumerate() {
        writeln!(out, "{}- {}", if number == 0 { "\n" } else { "" }, escaped(&line))?;
    }
    Ok(())
}

fn write_stack(out: &mut String, finding: &CheckFinding) -> fmt::Result {
    writeln!(out, "\n<details><summary>{}</summary>\n", html(&place(finding)))?;
    for line in &finding.held_by {
        writeln!(out, "- {}", escaped(line))?;
    }
    writeln!(out, "{}<pre>", if finding.held_by.is_empty() { "" } else { "\n" })?;
    for (index, frame) in finding.frames.iter().take(MAX_FRAMES).enumerate() {
        let mark = if Some(index) == finding.application_frame { "&#62;" } else { " " };
        writeln!(out, "{mark} {:<6} {}", frame.kind.name(), html(&label(frame)))?;
    }
    match finding.frames.len().saturating_sub(MAX_FRAMES) {
        0 => {}
        hidden => writeln!(out, "  ... {hidden} more frames")?,
    }
    writeln!(out, "</pre>\n\n</details>")
}

/// Text in which nothing is markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '@' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Code in a cell of a table; HTML, since no number of backticks holds every name.
fn code(text: &str) -> String {
    format!("<code>{}</code>", html(text))
}

/// Text within HTML within Markdown: what is markup in either becomes a number.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' | '<' | '>' | '"' | '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '@'
            | '#' | '$' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
