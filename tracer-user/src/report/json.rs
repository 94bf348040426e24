//! report.json.

use super::model::Report;

/// The report as JSON, described in docs/report-schema.md.
pub fn render(report: &Report) -> String {
    // Only maps with keys that are no strings can fail, and there are none.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}
