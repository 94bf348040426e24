//! A snapshot that V8 makes of its heap, as text in pieces.

use super::{client::Client, error::InspectorError};
use serde::Deserialize;
use serde_json::json;
use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

const METHOD: &str = "HeapProfiler.takeHeapSnapshot";
const PIECE: &str = "HeapProfiler.addHeapSnapshotChunk";
/// How long an answer may take that costs the program nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A snapshot that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// From the request until the program's main thread answered again behind the snapshot.
    pub pause: Duration,
    /// Length of the text; bytes.
    pub text_bytes: u64,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow)]
    chunk: Cow<'a, str>,
}

/// Has V8 make a snapshot of the main thread's heap, and hands on its text; `take` says whether it
/// wants more. Nothing of it stays in the program: V8 forgets the snapshot when it was told, and
/// the numbers that it gave to objects when the profiler is disabled, as it is here in any case.
///
/// # Errors
/// When it is refused, takes longer than `within`, is longer than `max_bytes`, or `take` has enough.
/// The program goes on with its snapshot nevertheless: nothing stops V8 in the middle.
///
/// # Cost
/// With a heap of small objects the program's main thread stands still for many seconds per 100 MB
/// (13 to 47 on a busy machine), and the process takes up to twelve times the heap's size of memory
/// more meanwhile.
pub fn take_snapshot(
    client: &mut Client,
    within: Duration,
    max_bytes: u64,
    mut take: impl FnMut(&str) -> bool,
) -> Result<SnapshotTaken, InspectorError> {
    client.ask("HeapProfiler.enable", &json!({}), ANSWER_WITHIN)?;
    let began = Instant::now();
    let mut text_bytes: u64 = 0;
    // Numbers are the program's data.
    let params = json!({ "reportProgress": false, "captureNumericValue": false });
    let asked = client.ask_for_events(METHOD, &params, within, PIECE, |params| {
        let piece: Piece<'_> =
            serde_json::from_str(params).map_err(|_| InspectorError::Nonsense(METHOD))?;
        text_bytes = text_bytes.saturating_add(piece.chunk.len() as u64);
        if text_bytes > max_bytes {
            return Err(InspectorError::TooMuch(METHOD));
        }
        if take(&piece.chunk) { Ok(()) } else { Err(InspectorError::NotTaken) }
    });
    asked?;
    client.ask("HeapProfiler.disable", &json!({}), ANSWER_WITHIN)?;
    // V8 gives the snapshot's memory back behind its answer, some 40 ms for a million objects.
    let pause = began.elapsed();
    Ok(SnapshotTaken { pause, text_bytes })
}
