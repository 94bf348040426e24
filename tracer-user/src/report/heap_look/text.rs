//! For a terminal.

use super::{HeapReport, sections::sections};
use crate::printable::printable;

/// The report as text.
pub fn text(report: &HeapReport) -> String {
    let mut text = printable(&format!("Heap of process {}: {}", report.pid, report.runtime));
    text.push('\n');
    for section in sections(report) {
        text += &format!("\n{}\n", section.heading);
        for line in section.lines {
            text += &format!("  {}{}\n", "    ".repeat(line.depth), line.text);
        }
    }
    text
}
