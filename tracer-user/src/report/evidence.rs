//! What has to be known of a site before its growth is judged: whether its numbers are samples, and
//! whether only V8's garbage collector frees its blocks.

use super::build::Judged;
use super::model::FrameReport;
use super::regimes;
use crate::aggregate::Totals;
use crate::capture::Recording;
pub(super) use crate::growth::Evidence;
use crate::growth::{Collections, Sampling};
use crate::same::Same;
use crate::stack::{Domain, FrameKind};

/// V8's own sampling interval, where a recording does not say which one was asked for; bytes.
const DEFAULT_SAMPLING_INTERVAL_BYTES: u64 = 512 << 10;
/// How functions begin that make what JavaScript objects own (memory of ArrayBuffers and Buffers,
/// what describes it, pages of V8's heap), or that are called by JavaScript.
const OF_V8: [&str; 7] = [
    "v8::internal::BackingStore::",
    "v8::internal::JSArrayBuffer::",
    "v8::internal::MemoryAllocator::",
    "v8::ArrayBuffer::",
    "node::NodeArrayBufferAllocator::",
    "Builtins_",
    super::v8::PAGE_FRAME,
];

/// What is known of the site of a process (its place in the table of processes).
pub(super) fn of(
    recording: &Recording,
    process: Option<usize>,
    domain: Domain,
    frames: &[Same<FrameReport>],
    totals: Totals,
) -> Evidence {
    if domain == Domain::V8 {
        // The profiler has V8 collect before it answers, so that what it reports is no garbage.
        let interval = recording.meta.node.as_ref().and_then(|node| node.js_heap.as_ref());
        let interval = interval.map_or(0, |js_heap| js_heap.sampling_interval_bytes);
        let interval = if interval == 0 { DEFAULT_SAMPLING_INTERVAL_BYTES } else { interval };
        // Where nothing is live, what was tells how large the objects are.
        let (bytes, blocks) = match totals.live_blocks() {
            0 => (totals.allocated_bytes, totals.allocated_blocks),
            blocks => (totals.live_bytes(), blocks),
        };
        return Evidence {
            sampling: Some(Sampling::of(interval, bytes, blocks)),
            ..Evidence::default()
        };
    }
    let collections = is_collected(frames).then(|| collections(recording, process)).flatten();
    // Calls that map memory are all followed.
    let drawn = regimes::drawn(recording).filter(|_| domain != Domain::Mmap);
    Evidence { collections, drawn, ..Evidence::default() }
}

/// Whether a block may belong to a JavaScript object, with which it dies: whoever asked for it was
/// called by JavaScript, or is V8 itself.
fn is_collected(frames: &[Same<FrameReport>]) -> bool {
    frames.iter().any(|frame| {
        frame.kind == FrameKind::Js || OF_V8.iter().any(|start| frame.function.starts_with(start))
    })
}

/// `None` where the process has no V8, or one whose collections are not seen.
fn collections(recording: &Recording, process: Option<usize>) -> Option<Collections> {
    let v8 = recording.aggregate.v8(process.unwrap_or(0).try_into().ok()?)?;
    let count = v8.full_collections()?;
    Some(Collections { count, last_ns: v8.last_collection().map(|last| last.after_ns) })
}

/// Of the sum of these sites.
pub(super) fn together(parts: &[&Judged]) -> Evidence {
    let known = |part: &&Judged| part.evidence.collections;
    let collections = parts.iter().filter_map(known).reduce(|a, b| Collections {
        count: a.count.min(b.count),
        // Where one has had none, nothing says that its part is no garbage.
        last_ns: a.last_ns.zip(b.last_ns).map(|(a, b)| a.min(b)),
    });
    let sampled = || parts.iter().filter(|part| part.evidence.sampling.is_some());
    // Beside exact ones the errors of the samples are added later.
    if sampled().count() < parts.len() {
        let drawn = parts.iter().filter_map(|part| part.evidence.drawn);
        let drawn = drawn.max_by_key(|drawn| drawn.mean_bytes);
        return Evidence { collections, drawn, ..Evidence::default() };
    }
    let totals = sampled().fold(Totals::default(), |sum, part| sum + part.totals);
    let interval = sampled().find_map(|part| Some(part.evidence.sampling?.interval_bytes));
    let sampling = interval
        .map(|interval| Sampling::of(interval as u64, totals.live_bytes(), totals.live_blocks()));
    Evidence { sampling, collections, ..Evidence::default() }
}

/// By how much sampled bytes may be wrong (95 %); `None` for exact ones.
pub(super) fn error_bytes(evidence: &Evidence, totals: &Totals) -> Option<u64> {
    let bytes = totals.live_bytes();
    let error = match (&evidence.sampling, &evidence.drawn) {
        (Some(sampling), _) => sampling.error_bytes(bytes as f64),
        (None, Some(drawn)) => drawn.error_bytes(bytes, totals.live_variance()),
        (None, None) => return None,
    };
    Some(error.round() as u64)
}
