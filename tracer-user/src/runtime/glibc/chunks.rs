//! The chunks of a heap, one behind the other, by their headers.

use super::{FLAGS, IS_MAPPED, PREVIOUS_IN_USE, SHORTEST_CHUNK_BYTES};
use std::ops::Range;

/// Chunks in a row that must make sense for the first to be taken for one.
const CHAIN: usize = 32;
/// So far into a heap its first chunk is looked for.
const FARTHEST_BYTES: u64 = 4096;
/// From a chunk's address to that of the block in it.
pub const HEADER_BYTES: u64 = 16;

/// A chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it begins; the block in it lies [`HEADER_BYTES`] behind.
    pub avma: u64,
    /// To the next one.
    pub length_bytes: u64,
    /// Whether its header says that it is free. Those that wait to be used again by the same
    /// thread, or in lists of small ones, do not.
    pub is_free: bool,
    /// It reaches to the end of the heap, or behind what can be read of it: what was not used yet.
    pub is_last: bool,
}

/// Walks the chunks of a heap whose words `word` reads.
pub struct Chunks<F> {
    word: F,
    end: u64,
    /// No chunk reaches farther.
    limit: u64,
    next: Option<(u64, u64)>,
}

impl<F: FnMut(u64) -> Option<u64>> Chunks<F> {
    /// From the first place in a heap from which a chain of chunks leads on (the state of an arena
    /// may lie before it); `None` where there is none.
    pub fn new(heap: &Range<u64>, word: F) -> Option<Self> {
        Self::within(heap, heap.end, word)
    }

    /// The same of a heap that may reach up to `limit`, though no farther than its range is known.
    pub fn within(heap: &Range<u64>, limit: u64, word: F) -> Option<Self> {
        let mut chunks = Self { word, end: heap.end, limit: limit.max(heap.end), next: None };
        let farthest = heap.end.min(heap.start.saturating_add(FARTHEST_BYTES));
        let first = (heap.start..farthest).step_by(16).find(|start| chunks.leads_on(*start))?;
        chunks.next = Some((first, chunks.length(first)?));
        Some(chunks)
    }

    fn leads_on(&mut self, start: u64) -> bool {
        let mut at = start;
        let mut was_free = false;
        for _ in 0..CHAIN {
            match self.length(at) {
                Some(length) if at + length >= self.end => return true,
                Some(length) => {
                    // Neighbours that are free are made one: an array of numbers is no chain.
                    let next = at + length;
                    let word = (self.word)(next.saturating_add(8));
                    let is_free = word.is_some_and(|word| word & PREVIOUS_IN_USE == 0);
                    if is_free && was_free {
                        return false;
                    }
                    was_free = is_free;
                    at = next;
                }
                None => return false,
            }
        }
        true
    }

    /// Length of the chunk at `avma`, if it is one of a heap.
    fn length(&mut self, avma: u64) -> Option<u64> {
        let word = (self.word)(avma.checked_add(8)?)?;
        let length = word & !FLAGS;
        let is_chunk = word & IS_MAPPED == 0
            && length.is_multiple_of(16)
            && length >= SHORTEST_CHUNK_BYTES
            && length <= self.limit.checked_sub(avma)?;
        is_chunk.then_some(length)
    }
}

impl<F: FnMut(u64) -> Option<u64>> Iterator for Chunks<F> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let (avma, length_bytes) = self.next.take()?;
        let next = avma + length_bytes;
        let is_last = next.saturating_add(SHORTEST_CHUNK_BYTES) > self.end;
        let next_word = if is_last { None } else { (self.word)(next + 8) };
        let is_free = match next_word {
            Some(word) => word & PREVIOUS_IN_USE == 0,
            None => is_last && next <= self.end,
        };
        if !is_last {
            self.next = self.length(next).map(|length| (next, length));
        }
        Some(Chunk { avma, length_bytes, is_free, is_last })
    }
}
