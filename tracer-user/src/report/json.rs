//! report.json.

use super::model::Report;
use std::io::{self, Write};

/// As [`render`], piece by piece: the text of thousands of sites is larger than they are.
///
/// # Errors
/// What `to` says.
pub fn write(report: &Report, to: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, report)?;
    to.write_all(b"\n")
}

/// The report as JSON, described in docs/report-schema.md.
pub fn render(report: &Report) -> String {
    // Only maps with keys that are no strings can fail, and there are none.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}
