//! For an issue or a pull request. Lines stand in code blocks, in which nothing is markup.

use super::{HeapReport, sections::sections};
use crate::report::markdown::escape;

/// The report as markdown.
pub fn markdown(report: &HeapReport) -> String {
    let title = format!("Heap of process {}: {}", report.pid, report.runtime);
    let mut text = format!("# {}\n", escape::inline(&title));
    for section in sections(report) {
        let lines = section.lines.iter();
        let lines: String =
            lines.map(|line| format!("{}{}\n", "    ".repeat(line.depth), line.text)).collect();
        text += &format!(
            "\n## {}\n\n{}",
            escape::inline(&section.heading),
            escape::fenced("text", lines.trim_end_matches('\n'))
        );
    }
    text
}
