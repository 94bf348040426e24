//! The report as a page for an issue or a pull request. What is told is decided in `telling`; here
//! is how it becomes Markdown (CommonMark with GitHub's tables).

pub(super) mod escape;

use super::focus::label;
use super::ledger::{shown, whole};
use super::model::{LedgerReport, Report, Site};
use super::telling::{self, Detail, Fold, facts, folded};
use super::{processes, v8};
use crate::units;
use escape::{code, fenced, inline};
use std::fmt::{self, Write};

/// The report as Markdown.
pub fn render(report: &Report, detail: Detail) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, report, detail);
    out
}

fn write_all(out: &mut String, report: &Report, detail: Detail) -> fmt::Result {
    writeln!(out, "## Memory of {}\n", code(&report.target.exe))?;
    writeln!(out, "**{}**", inline(&report.verdict.sentence))?;
    write_findings(out, report, detail)?;
    write_pending(out, report, detail)?;
    if let Some(ledger) = &report.ledger {
        write_ledger(out, ledger)?;
    }
    for (heading, lines) in telling::heaps(report, detail) {
        writeln!(
            out,
            "\n### {}\n\n{}",
            inline(&heading),
            fenced("text", &lines.join("\n")).trim_end()
        )?;
    }
    write_others(out, report, detail)?;
    if report.findings.is_empty() {
        write_largest(out, report, detail)?;
    }
    write_section(out, "Processes", |out| processes::write_table(out, report, ""))?;
    write_section(out, "V8", |out| v8::write(out, report, ""))?;
    write_unseen(out, report, detail)?;
    writeln!(out, "\n### Totals\n")?;
    row(out, &["", ""])?;
    row(out, &["---", "---"])?;
    for (name, text) in telling::totals(report) {
        row(out, &[name, &inline(text.trim())])?;
    }
    for line in telling::cost(report) {
        row(out, &["cost", &inline(&line)])?;
    }
    let version = inline(&report.outlive_version);
    writeln!(out, "\n<sub>outlive {version}, PID {}</sub>", report.target.pid)
}

fn row(out: &mut String, cells: &[&str]) -> fmt::Result {
    writeln!(out, "| {} |", cells.join(" | "))
}

fn write_findings(out: &mut String, report: &Report, detail: Detail) -> fmt::Result {
    let (shown, left_out) = telling::findings(&report.findings, detail);
    if shown.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n### What grows\n")?;
    row(out, &["#", "where", "rate", "95 % interval, MB/h", "sure", "share of growth", "holds"])?;
    row(out, &["--:", "---", "--:", "--:", "--:", "--:", "--:"])?;
    for (number, finding) in shown.iter().enumerate() {
        let facts = facts(report, finding, detail);
        row(
            out,
            &[
                &(number + 1).to_string(),
                &code(&label(&finding.application_frame)),
                &inline(&facts.rate),
                &inline(&facts.interval),
                &inline(facts.sure.as_deref().unwrap_or("not tested")),
                &inline(&facts.share),
                &inline(&facts.holds),
            ],
        )?;
    }
    for (number, finding) in shown.iter().enumerate() {
        let facts = facts(report, finding, detail);
        let heading = code(&label(&finding.application_frame));
        writeln!(out, "\n#### {}. {heading}\n", number + 1)?;
        if let Some(place) = &facts.place {
            writeln!(out, "{}\n", code(place))?;
        }
        if let Some(line) = &facts.source_line {
            writeln!(out, "{}", fenced("", line))?;
        }
        for sentence in &facts.evidence {
            writeln!(out, "- {}", inline(sentence))?;
        }
        if let Some(site) = facts.site {
            writeln!(out, "\n{}", fenced("text", &stack(site, detail)).trim_end())?;
        }
    }
    match left_out {
        0 => Ok(()),
        count => writeln!(out, "\n{}", inline(&telling::left_out(count, "growing place"))),
    }
}

/// A stack, a frame a line; `>` marks the application frame.
fn stack(site: &Site, detail: Detail) -> String {
    let line = |fold: Fold| match fold {
        Fold::Frame(index) => {
            let frame = &site.frames[index];
            let mark = if Some(index) == site.application_frame { '>' } else { ' ' };
            format!("{mark} {:<6} {}", frame.kind.name(), label(frame))
        }
        Fold::Hidden(1) => "  ... 1 more frame".to_owned(),
        Fold::Hidden(count) => format!("  ... {count} more frames"),
    };
    let mut lines: Vec<String> =
        folded(&site.frames, site.application_frame, detail).into_iter().map(line).collect();
    lines.extend(site.truncated.map(|reason| format!("  outer frames are missing: {reason}")));
    lines.join("\n")
}

/// What grew, and may be garbage.
fn write_pending(out: &mut String, report: &Report, detail: Detail) -> fmt::Result {
    let (shown, left_out) = telling::findings(&report.pending, detail);
    if shown.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n### Grew and waits for a garbage collection: not a leak yet\n")?;
    row(out, &["where", "rate", "holds"])?;
    row(out, &["---", "--:", "--:"])?;
    for pending in shown {
        let facts = facts(report, pending, detail);
        let place = code(&label(&pending.application_frame));
        row(out, &[&place, &inline(&facts.rate), &inline(&facts.holds)])?;
    }
    match left_out {
        0 => Ok(()),
        count => writeln!(out, "\n{}", inline(&telling::left_out(count, "such place"))),
    }
}

fn write_ledger(out: &mut String, ledger: &LedgerReport) -> fmt::Result {
    writeln!(out, "\n### Where resident memory went\n")?;
    row(out, &["what", "change", "at the end", "note"])?;
    row(out, &["---", "--:", "--:", "---"])?;
    let (change, words) = whole(ledger);
    row(out, &[&inline(&words), &inline(&units::signed_bytes(change)), "", ""])?;
    for line in shown(ledger) {
        row(
            out,
            &[
                &inline(line.title),
                &inline(&units::signed_bytes(line.change_bytes)),
                &line.last_bytes.map_or(String::new(), |bytes| inline(&units::bytes(bytes))),
                &inline(line.note.as_deref().unwrap_or_default()),
            ],
        )?;
    }
    if let Some(explained) = ledger.explained_share {
        writeln!(out, "\n{} of the change is explained.", telling::share(explained))?;
    }
    for advice in &ledger.advice {
        writeln!(out, "\n{}", inline(&format!("{} {}", advice.sentence, advice.advice)))?;
    }
    Ok(())
}

/// What is not growing, and has a name.
fn write_others(out: &mut String, report: &Report, detail: Detail) -> fmt::Result {
    let others = telling::others(report, detail);
    if others.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n### Not growing\n")?;
    row(out, &["verdict", "holds", "where"])?;
    row(out, &["---", "---", "---"])?;
    for other in others {
        row(out, &[other.verdict, &inline(&other.amount()), &code(&other.label)])?;
    }
    Ok(())
}

/// Where nothing grows: what holds most.
fn write_largest(out: &mut String, report: &Report, detail: Detail) -> fmt::Result {
    let largest = telling::largest(report, detail);
    if largest.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n### Largest holders of what was allocated in this window\n")?;
    row(out, &["live", "blocks", "kind", "where"])?;
    row(out, &["--:", "--:", "---", "---"])?;
    for [live, blocks, kind, label] in largest {
        row(out, &[&inline(&live), &blocks, &inline(&kind), &code(&label)])?;
    }
    Ok(())
}

/// A section whose lines are written as for a terminal; none where nothing is written.
fn write_section(
    out: &mut String,
    title: &str,
    write: impl Fn(&mut String) -> fmt::Result,
) -> fmt::Result {
    let mut lines = String::new();
    write(&mut lines)?;
    if lines.trim().is_empty() {
        return Ok(());
    }
    let lines: Vec<&str> =
        lines.lines().map(|line| line.strip_prefix("   ").unwrap_or(line)).collect();
    let lines = lines.join("\n");
    writeln!(out, "\n### {title}\n\n{}", fenced("text", lines.trim_matches('\n')).trim_end())
}

fn write_unseen(out: &mut String, report: &Report, detail: Detail) -> fmt::Result {
    writeln!(out, "\n### Not seen\n")?;
    let (losses, zeros) = telling::losses(report, detail);
    for (name, value) in losses {
        writeln!(out, "- {}: {value}", code(&name))?;
    }
    for sentence in zeros.into_iter().chain(telling::unseen(report, detail)) {
        writeln!(out, "- {}", inline(&sentence))?;
    }
    Ok(())
}
