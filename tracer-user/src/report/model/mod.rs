//! What a report says. Serialises as report.json (docs/report-schema.md): a changed or removed
//! field raises [`SCHEMA_VERSION`], an added one does not.

mod heap;
mod ledger;
mod sites_left_out;

pub use heap::*;
pub use ledger::*;
pub use sites_left_out::*;

use crate::capture::{
    EndReason, GovernorMeta, HeapMeta, Host, LaneMeta, NodeMeta, ProcessEnd, PythonObjects, Regime,
    Settings, TargetMeta, TracerMemory, Window,
};
use crate::same::Same;
use crate::stack::FrameKind;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of report.json.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that the renderers draw from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Report {
    pub schema_version: u32,
    pub outlive_version: String,
    pub verdict: Summary,
    pub target: TargetMeta,
    pub host: Host,
    pub window: Window,
    pub end: EndReason,
    pub settings: Settings,
    /// How blocks were followed, from one moment to the next; empty for old captures.
    pub regimes: Vec<Regime>,
    /// `None` where every block was followed all the time.
    pub sampling: Option<SamplingReport>,
    pub totals: TotalsReport,
    /// Growing sites by the application frame that they share, fastest first.
    pub findings: Vec<Finding>,
    /// Where resident memory went; `None` where it was not read.
    pub ledger: Option<LedgerReport>,
    /// The limit that is reached first, where memory grows and there is one.
    pub limit: Option<LimitReport>,
    /// The same as `findings` of sites that grew while no garbage collection could have freed what
    /// they hold.
    pub pending: Vec<Finding>,
    /// Growing ones first, then pending ones, the fastest first; then by live bytes. JSON has the
    /// first [`MAX_SITES_IN_JSON`].
    #[serde(serialize_with = "sites_left_out::first_sites")]
    pub sites: Vec<Site>,
    /// The others, where there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sites_left_out: Option<SitesLeftOut>,
    /// Bytes or blocks missing or less detailed, by name; zeros included.
    pub losses: BTreeMap<String, u64>,
    /// Those of `losses` that make the numbers wrong, not only less detailed; above zero only.
    pub lossy: Vec<String>,
    pub traffic: BTreeMap<String, u64>,
    pub overhead: Option<Overhead>,
    /// What was done to hold the cost of the probes; `None` where no budget was to be held.
    pub governor: Option<GovernorMeta>,
    pub walks: Walks,
    pub memory: Option<Memory>,
    pub tracer: Option<TracerMemory>,
    /// Those that were followed, the target first, then as they came; empty for old captures.
    pub processes: Vec<ProcessReport>,
    /// Children that ended, or could not be traced, before they were followed.
    pub children_missed: u64,
    /// Where more than one process was followed: sites with the same stack in several processes,
    /// as one. Growing ones first, then by live bytes.
    pub merged_sites: Vec<MergedSite>,
    /// Whether the sample of a command was drawn inside it; `None` where that was not asked for.
    pub lane: Option<LaneMeta>,
    /// `None` where the target runs no Python.
    pub python_objects: Option<PythonObjects>,
    /// What the target's V8 told of itself; `None` where it was not asked, or there is none.
    pub node: Option<NodeMeta>,
    /// V8's heap as it shows from outside, in each process that has one.
    pub v8_heaps: Vec<V8HeapReport>,
    /// Heaps that were looked at from outside, the target's first.
    pub heaps: Vec<HeapMeta>,
    pub warnings: Vec<WarningReport>,
}

/// Sums over the stacks of something; requested bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Sums {
    pub live_bytes: u64,
    pub live_blocks: u64,
    pub allocated_bytes: u64,
    pub allocated_blocks: u64,
    pub freed_bytes: u64,
    pub freed_blocks: u64,
}

/// A process that was followed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ProcessReport {
    pub pid: u32,
    /// `None` where its parent was not followed.
    pub parent_pid: Option<u32>,
    pub exe: String,
    pub cmdline: String,
    pub container: Option<String>,
    /// Nanoseconds since the session began.
    pub attached_ns: u64,
    /// How long it had lived unseen by then; `None` where it ran before outlive came.
    pub followed_from_ns: Option<u64>,
    /// Nanoseconds since the session began.
    pub ended_ns: Option<u64>,
    pub end: ProcessEnd,
    /// Of all its stacks together, until its end.
    pub verdict: &'static str,
    pub growth_bytes_per_s: Option<Rate>,
    /// At its end, where it has ended.
    #[serde(flatten)]
    pub sums: Sums,
    pub memory: Option<Memory>,
}

/// Sites with the same stack in several processes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct MergedSite {
    pub domain: &'static str,
    /// Of the sum; what a process held ends with it here.
    pub verdict: &'static str,
    pub growth_bytes_per_s: Option<Rate>,
    #[serde(flatten)]
    pub sums: Sums,
    /// Most live bytes first.
    pub processes: Vec<SitePart>,
    pub application_frame: Option<usize>,
    /// Leaf first.
    pub frames: Vec<Same<FrameReport>>,
}

/// What one process has to do with a merged site.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct SitePart {
    pub pid: u32,
    /// Identity of its own site.
    pub site: String,
    /// Nothing is live where it has ended before the window did.
    #[serde(flatten)]
    pub sums: Sums,
}

/// What one process has to do with a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FindingPart {
    pub pid: u32,
    pub live_bytes: u64,
    pub live_blocks: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// One word.
    pub status: Status,
    /// One sentence.
    pub sentence: String,
}

/// The answer in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Status {
    Growing,
    Steady,
    Inconclusive,
}

/// Sums over all stacks; requested bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TotalsReport {
    pub live_bytes: u64,
    pub live_blocks: u64,
    /// Those of `live_bytes` that have gone with processes that ended before the window did.
    pub ended_live_bytes: u64,
    pub allocated_bytes: u64,
    pub allocated_blocks: u64,
    pub freed_bytes: u64,
    pub freed_blocks: u64,
    /// Freed blocks that were born before attach.
    pub freed_unknown_blocks: u64,
    /// Freed blocks of which nobody knows whether they were born before attach or left out.
    pub freed_not_followed_blocks: u64,
    /// By how much `live_bytes` may be wrong (95 %), where it is sampled; `None` where it is exact.
    pub live_bytes_error: Option<u64>,
    /// The same of `allocated_bytes`.
    pub allocated_bytes_error: Option<u64>,
}

/// That numbers are estimates, from blocks that were drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct SamplingReport {
    /// Mean distance between two draws, the largest and the least of the session; 0 where every
    /// block was followed for a while.
    pub mean_bytes: u64,
    pub least_mean_bytes: u64,
    /// The part of the session that growth was judged in, nanoseconds since it began.
    pub judged_from_ns: u64,
    pub judged_until_ns: u64,
}

/// A rate with its 95 % interval, bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Rate {
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
}

/// V8's heap, as it shows from outside.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct V8HeapReport {
    pub pid: u32,
    /// Resident memory of its mappings, an estimate; `None` where it could not be read.
    pub first_bytes: Option<u64>,
    pub last_bytes: Option<u64>,
    /// Of that estimate.
    pub verdict: &'static str,
    pub growth_bytes_per_s: Option<Rate>,
    /// Full garbage collections in the window; `None` where they cannot be seen.
    pub full_collections: Option<u64>,
    /// The tick at which the last one was seen, nanoseconds since the session began.
    pub last_collection_ns: Option<u64>,
    /// Whether the objects in it are among the sites.
    pub seen_inside: bool,
}

/// Growing sites that share an application frame, or a container that grows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Finding {
    /// Of a container: its name as the function, and no file.
    pub application_frame: FrameReport,
    /// The line of code that it points at, where that could be read when the session ended.
    pub source_line: Option<String>,
    /// Of all its sites together.
    pub verdict: &'static str,
    /// How sure that is, 0 to 1; `None` where no test was made.
    pub confidence: Option<f64>,
    /// Of what was born early in the window, the share still live at its end; 0 to 1.
    pub survival: Option<f64>,
    /// Its rate over the sum of the rates of all findings, 0 to 1.
    pub share_of_growth: f64,
    /// What the verdict rests on, in sentences.
    pub reasons: Vec<String>,
    pub growth_bytes_per_s: Rate,
    pub live_bytes: u64,
    /// As in a site.
    pub live_bytes_error: Option<u64>,
    pub live_blocks: u64,
    /// `live_bytes` over the growth in resident memory of its processes together; `None` where
    /// that did not grow.
    pub share_of_resident_growth: Option<f64>,
    /// Kinds of memory that its sites are in.
    pub domains: Vec<&'static str>,
    /// Identities of its sites, fastest first.
    pub sites: Vec<String>,
    /// The processes that they are in, most live bytes first.
    pub processes: Vec<FindingPart>,
    /// What the heap has to say of it.
    #[serde(flatten)]
    pub heap: HeapAnswers,
}

/// Allocations with one stack, as people read it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Site {
    pub id: String,
    /// `None` where that was not recorded.
    pub pid: Option<u32>,
    /// Before the window did: what is live here was so at its end, and is gone.
    pub process_ended: bool,
    pub domain: &'static str,
    pub verdict: &'static str,
    pub live_bytes: u64,
    /// By how much that may be wrong (95 %), where it is sampled; `None` where it is exact.
    pub live_bytes_error: Option<u64>,
    pub live_blocks: u64,
    pub allocated_bytes: u64,
    pub allocated_blocks: u64,
    pub freed_bytes: u64,
    pub freed_blocks: u64,
    /// `live_bytes` over the growth in resident memory of its process; `None` where that did not
    /// grow, or was not read.
    pub share_of_resident_growth: Option<f64>,
    /// While its process was followed; `None` where there is not enough data.
    pub growth_bytes_per_s: Option<Rate>,
    /// How much of the window that is, nanoseconds.
    pub followed_ns: u64,
    pub confidence: Option<f64>,
    pub survival: Option<f64>,
    /// What it fills up to, bytes of this window; for `filling` only.
    pub bound_bytes: Option<u64>,
    /// From one peak to the next; for `sawtooth` only.
    pub period_ns: Option<u64>,
    /// How much longer it would have to be watched; for `not-enough-data` only.
    pub needs_ns: Option<u64>,
    pub reasons: Vec<String>,
    /// Why outer frames are missing; `None` when the stack is whole.
    pub truncated: Option<&'static str>,
    /// Index of the nearest application frame in `frames`.
    pub application_frame: Option<usize>,
    /// Leaf first.
    pub frames: Vec<Same<FrameReport>>,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs)]
pub struct FrameReport {
    #[serde(serialize_with = "kind_name")]
    pub kind: FrameKind,
    pub function: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub module: Option<String>,
    pub build_id: Option<String>,
    pub offset: Option<u64>,
    /// Where the code that runs has it, when a source map led to `file` and `line`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated: Option<GeneratedReport>,
    /// As [`crate::stack::Frame::line_is_of_function`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub line_is_of_function: bool,
}

/// A place in code that a compiler wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs)]
pub struct GeneratedReport {
    pub file: String,
    pub line: u32,
}

fn kind_name<S: serde::Serializer>(kind: &FrameKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// What the probes cost, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Overhead {
    pub hits: u64,
    pub hits_per_s: f64,
    pub program_ns_per_hit: f64,
    pub trap_ns_per_hit: f64,
    /// Time in probes per second of the window, summed over threads; 1 is a whole core.
    pub share_of_one_core: f64,
}

/// How the walks of stacks ended, by reason, zeros included.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Walks {
    /// Distinct stacks.
    pub native: BTreeMap<&'static str, u64>,
    pub python: BTreeMap<&'static str, u64>,
    /// Walks: one for each allocation and mapping call that was followed.
    pub native_walks: BTreeMap<&'static str, u64>,
    pub python_walks: BTreeMap<&'static str, u64>,
    /// Share of the walks that reached the outermost frame, 0 to 1; `None` without a walk, and
    /// those that found nothing to walk are left out.
    pub native_whole_share: Option<f64>,
    pub python_whole_share: Option<f64>,
    /// Distinct JavaScript frames by result (`named`, or why they have no names), zeros included;
    /// empty where the target runs no Node.js.
    pub js_frames: BTreeMap<String, u64>,
    /// Of the allocations by stacks with JavaScript frames, the share of those whose frames all
    /// have names, 0 to 1; `None` without any.
    pub js_whole_share: Option<f64>,
}

/// The target's resident memory at the first and the last tick, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Memory {
    pub first: MemoryReport,
    pub last: MemoryReport,
}

/// Resident bytes by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct MemoryReport {
    pub resident_bytes: u64,
    pub anonymous_bytes: u64,
    pub file_bytes: u64,
    pub shared_bytes: u64,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct WarningReport {
    pub code: String,
    pub message: String,
    pub advice: String,
}
