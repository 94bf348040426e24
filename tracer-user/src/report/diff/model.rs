//! What a comparison says. Serialises as JSON (docs/diff-schema.md): a changed or removed field
//! raises [`DIFF_SCHEMA_VERSION`], an added one does not.

use crate::capture::{TargetMeta, Window};
use crate::report::{FrameReport, WarningReport};
use crate::same::Same;
use serde::Serialize;

/// Version of the JSON of comparisons.
pub const DIFF_SCHEMA_VERSION: u32 = 1;

/// Everything that the renderers draw from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Diff {
    pub schema_version: u32,
    pub outlive_version: &'static str,
    pub before: SideReport,
    pub after: SideReport,
    pub totals: DiffTotals,
    /// Those that changed, the largest change first.
    pub sites: Vec<DiffSite>,
    /// How many of them are not listed (`--limit`).
    pub sites_left_out: u64,
    pub warnings: Vec<WarningReport>,
}

/// One side.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct SideReport {
    /// As it was named.
    pub capture: String,
    /// The tick that it was answered from, nanoseconds since the session began; 0 before the first.
    pub at_ns: u64,
    /// Version that recorded.
    pub outlive_version: String,
    pub target: TargetMeta,
    pub window: Window,
    pub min_size_bytes: u64,
    /// Mean distance between two draws, the largest of the session; 0 where every block was followed.
    pub sample_mean_bytes: u64,
    /// By how much its live bytes may be wrong in all (95 %), where they are sampled.
    pub live_bytes_error: Option<u64>,
    /// What makes the numbers wrong, by name; empty where nothing does.
    pub lossy: Vec<String>,
}

/// Requested bytes and blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Held {
    pub live_bytes: u64,
    pub live_blocks: u64,
}

/// Sums over all places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct DiffTotals {
    pub before: Held,
    pub after: Held,
    pub change_bytes: i64,
    /// By how much that may be wrong (95 %), where a side is sampled.
    pub change_bytes_error: Option<u64>,
    pub change_blocks: i64,
    pub grown: Part,
    pub new: Part,
    pub shrunk: Part,
    pub gone: Part,
    pub unchanged: Part,
}

/// Places with the same kind of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Part {
    pub sites: u64,
    pub change_bytes: i64,
}

/// What became of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Change {
    /// It held something, and holds more.
    Grown,
    /// It held nothing.
    New,
    /// It holds less, but something.
    Shrunk,
    /// It holds nothing any more.
    Gone,
}

impl Change {
    /// Name in text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Change::Grown => "grown",
            Change::New => "new",
            Change::Shrunk => "shrunk",
            Change::Gone => "gone",
        }
    }
}

/// A place that holds something else than before.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct DiffSite {
    pub change: Change,
    pub domain: &'static str,
    pub before: Held,
    pub after: Held,
    pub change_bytes: i64,
    /// By how much that may be wrong (95 %), where a side is sampled.
    pub change_bytes_error: Option<u64>,
    pub change_blocks: i64,
    /// Why outer frames are missing; `None` when the stack is whole.
    pub truncated: Option<&'static str>,
    /// Index of the nearest application frame in `frames`.
    pub application_frame: Option<usize>,
    /// Of the side after, where it is there; leaf first, without offsets.
    pub frames: Vec<Same<FrameReport>>,
    /// Lines of the same frames on the side before; `None` where they are the same.
    pub lines_before: Option<Vec<Option<u32>>>,
}
