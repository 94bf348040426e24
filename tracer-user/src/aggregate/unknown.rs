//! Frees of blocks that were allocated unseen, before attach. What they free is in no site, so that a
//! set which was full before and is replaced looks like growth. From the first block on that is left
//! out (size floor, sample, pause) its free could be one of them, and none is counted here any more.

use crate::tick::Counters;
use tracer_common::counter::Counter;

/// The counter of their bytes, which old captures and kernel sides do not have.
const BYTES_COUNTER: &str = "freed_unknown_bytes";

/// What was freed by a tick, cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownFreed {
    /// Nanoseconds since the session began.
    pub at_ns: u64,
    /// Bytes, as far as the allocator tells them; `None` where they were not counted.
    pub bytes: Option<u64>,
    /// Blocks.
    pub blocks: u64,
}

impl UnknownFreed {
    pub(super) fn of(at_ns: u64, counters: &Counters) -> Self {
        let bytes = Counter::ALL.iter().position(|counter| counter.name() == BYTES_COUNTER);
        Self {
            at_ns,
            bytes: bytes.and_then(|index| counters.kernel.get(index).copied()),
            blocks: counters.get(Counter::FreedUnknownBlocks),
        }
    }
}
