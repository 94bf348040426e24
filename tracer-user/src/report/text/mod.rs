//! The report for people: the answer first, then what it rests on, then what was not seen. What is
//! told is decided in `telling`; here is how it looks.

mod findings;
mod layout;
mod ledger;
mod stack;

pub(super) use layout::fitted;
pub(crate) use stack::write_stack;

use super::model::{Report, Status};
use super::telling::{self, Detail};
use super::{processes, v8};
use layout::{Paint, wrapped, write_sentence};
use std::fmt::{self, Write};

/// The report as text of at most 100 characters a line, with terminal colours when `color` is set.
pub fn render(report: &Report, color: bool, detail: Detail) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, report, Paint { color }, detail);
    out
}

fn write_all(out: &mut String, report: &Report, paint: Paint, detail: Detail) -> fmt::Result {
    let code = match report.verdict.status {
        Status::Growing => "1;31",
        Status::Steady => "1;32",
        Status::Inconclusive => "1;33",
    };
    writeln!(out, "{}", paint.with(code, &wrapped(&report.verdict.sentence, "", "")))?;
    findings::write_findings(out, report, detail, paint)?;
    findings::write_pending(out, report, detail, paint)?;
    if let Some(ledger) = &report.ledger {
        writeln!(out, "\n{}", paint.bold("Where resident memory went"))?;
        ledger::write_ledger(out, ledger)?;
    }
    write_heaps(out, report, paint, detail)?;
    write_others(out, report, paint, detail)?;
    if report.findings.is_empty() {
        write_largest(out, report, paint, detail)?;
    }
    processes::write_table(out, report, &paint.bold("Processes"))?;
    let mut of_v8 = String::new();
    v8::write(&mut of_v8, report, &paint.bold("V8"))?;
    out.push_str(&layout::wrapped_lines(&of_v8));
    write_unseen(out, report, paint, detail)?;
    writeln!(out, "\n{}", paint.bold("Totals"))?;
    for (name, text) in telling::totals(report) {
        writeln!(out, "{}", wrapped(&text, &format!("   {name:<10} "), "              "))?;
    }
    writeln!(out, "\n{}", paint.bold("Cost"))?;
    telling::cost(report).iter().try_for_each(|line| write_sentence(out, line))
}

/// What was seen of heaps from outside.
fn write_heaps(out: &mut String, report: &Report, paint: Paint, detail: Detail) -> fmt::Result {
    for (heading, lines) in telling::heaps(report, detail) {
        writeln!(out, "\n{}", paint.bold(&heading))?;
        lines.iter().try_for_each(|line| write_sentence(out, line))?;
    }
    Ok(())
}

/// What is not growing, and has a name.
fn write_others(out: &mut String, report: &Report, paint: Paint, detail: Detail) -> fmt::Result {
    let others = telling::others(report, detail);
    if others.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", paint.bold("Not growing"))?;
    for other in others {
        let line = format!("   {:<9} {:<26} {}", other.verdict, other.amount(), other.label);
        writeln!(out, "{}", fitted(&line))?;
    }
    Ok(())
}

/// Where nothing grows: what holds most.
fn write_largest(out: &mut String, report: &Report, paint: Paint, detail: Detail) -> fmt::Result {
    let largest = telling::largest(report, detail);
    if largest.is_empty() {
        return Ok(());
    }
    let heading = "Largest holders of what was allocated in this window";
    writeln!(out, "\n{}", paint.bold(heading))?;
    for [live, blocks, kind, label] in largest {
        let line = format!("   {live:>10} in {blocks:>9} blocks  {kind:<6}  {label}");
        writeln!(out, "{}", fitted(&line))?;
    }
    Ok(())
}

fn write_unseen(out: &mut String, report: &Report, paint: Paint, detail: Detail) -> fmt::Result {
    writeln!(out, "\n{}", paint.bold("Not seen"))?;
    let (losses, zeros) = telling::losses(report, detail);
    for (name, value) in losses {
        writeln!(out, "   {name:<26} {value:>12}")?;
    }
    for sentence in zeros.into_iter().chain(telling::unseen(report, detail)) {
        write_sentence(out, &sentence)?;
    }
    Ok(())
}
