//! What `outlive heap` says: what lies in a heap, what of it grew, and who holds that. Text and
//! markdown lay out the same sections; the JSON document is the model.

mod markdown;
mod model;
mod sections;
#[cfg(test)]
mod tests;
mod text;

pub use markdown::markdown;
pub use model::{HeapReport, SCHEMA_VERSION, build};
pub use text::text;

/// The document for scripts; see docs/report-schema.md.
pub fn json(report: &HeapReport) -> String {
    // What it consists of has nothing that cannot be written as JSON.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}
