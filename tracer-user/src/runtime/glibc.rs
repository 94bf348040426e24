//! glibc's allocator seen from outside: where its heaps are, which mappings are single large blocks,
//! and how much lies free. Read from a target that goes on meanwhile, so that all of it may be
//! garbage: every loop has a bound, and what makes no sense ends a walk.
//!
//! # Sources
//! `heap_info` in malloc/arena.c, `malloc_chunk` and `mtrim` in malloc/malloc.c of glibc 2.26 to
//! 2.42, x86-64.

mod chunks;

use super::memory::{read_vec, u64_in};
pub use chunks::{Chunk, Chunks, HEADER_BYTES};
use std::ops::Range;

/// Length and alignment of the address space of a heap (HEAP_MAX_SIZE).
const HEAP_BYTES: u64 = 64 << 20;
/// An arena's state lies behind the header of its first heap, at most so far from its begin.
const MAX_HEAP_HEADER_BYTES: u64 = 256;
/// Heaps and mapped blocks that are looked for.
const MAX_HEAPS: usize = 16_384;
const MAX_MAPPED: usize = 100_000;
const PAGE_BYTES: u64 = 4096;
/// Flags in a chunk's length.
const FLAGS: u64 = 7;
const PREVIOUS_IN_USE: u64 = 1;
const IS_MAPPED: u64 = 2;
const SHORTEST_CHUNK_BYTES: u64 = 32;
/// What of a free chunk trimming leaves: its links.
const CHUNK_LINKS_BYTES: u64 = 48;
/// Memory is read in pieces of so many bytes.
const PIECE_BYTES: u64 = 256 << 10;

/// A heap of an arena other than the main one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heap {
    /// The part of it that can be used.
    pub range: Range<u64>,
    /// Address of its arena: one may have several heaps.
    pub arena: u64,
}

/// The heaps in `regions` (anonymous memory that can be written, sorted). `is_held` says whether a
/// page is in memory: others are not read, since that would bring them there.
pub fn heaps(tgid: u32, regions: &[Range<u64>], mut is_held: impl FnMut(u64) -> bool) -> Vec<Heap> {
    heaps_by(regions, |start| if is_held(start) { read_vec(tgid, start, 32) } else { None })
}

/// The same, by what `header` reads: the first 32 bytes of what may be a heap.
pub fn heaps_by(
    regions: &[Range<u64>],
    mut header: impl FnMut(u64) -> Option<Vec<u8>>,
) -> Vec<Heap> {
    let mut found = Vec::new();
    for region in regions {
        let mut next = region.start.checked_next_multiple_of(HEAP_BYTES);
        while let Some(start) = next.filter(|start| *start < region.end && found.len() < MAX_HEAPS)
        {
            found.extend(header(start).and_then(|header| heap_at(start, region.end, &header)));
            next = start.checked_add(HEAP_BYTES);
        }
    }
    // Later heaps of an arena point to its first.
    let firsts: Vec<u64> = found.iter().map(|heap| heap.range.start).collect();
    found.retain(|heap| firsts.binary_search(&(heap.arena & !(HEAP_BYTES - 1))).is_ok());
    found
}

/// A heap that would begin at `start`, by its header: arena, heap before it, length in use, length
/// that can be used.
fn heap_at(start: u64, end_of_region: u64, header: &[u8]) -> Option<Heap> {
    let (arena, before) = (u64_in(header, 0)?, u64_in(header, 8)?);
    let (used, usable) = (u64_in(header, 16)?, u64_in(header, 24)?);
    let is_length =
        |bytes: u64| (PAGE_BYTES..=HEAP_BYTES).contains(&bytes) && bytes.is_multiple_of(PAGE_BYTES);
    let is_first = before == 0 && (32..=MAX_HEAP_HEADER_BYTES).contains(&arena.wrapping_sub(start));
    let is_later = before != 0
        && before.is_multiple_of(HEAP_BYTES)
        && before != start
        && arena.is_multiple_of(16);
    if !is_length(used) || !is_length(usable) || !(is_first || is_later) {
        return None;
    }
    Some(Heap { range: start..(start + used.max(usable)).min(end_of_region), arena })
}

/// Blocks that were mapped one by one in `regions`, without what is in `others` (both sorted).
pub fn mapped_blocks(
    tgid: u32,
    regions: &[Range<u64>],
    others: &[Range<u64>],
    mut is_held: impl FnMut(u64) -> bool,
) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for region in regions {
        let mut at = region.start;
        let mut next = others.partition_point(|other| other.end <= at);
        while at < region.end && found.len() < MAX_MAPPED {
            let end = others.get(next).map_or(region.end, |other| other.start.min(region.end));
            // Blocks lie side by side, the newest lowest; behind what is none nothing is looked for.
            while at < end && is_held(at) {
                let Some(length) = mapped_block_at(tgid, at, end) else { break };
                found.push(at..at + length);
                at += length;
                if found.len() >= MAX_MAPPED {
                    return found;
                }
            }
            let Some(other) = others.get(next) else { break };
            at = at.max(other.end);
            next += 1;
        }
    }
    found
}

fn mapped_block_at(tgid: u32, at: u64, end: u64) -> Option<u64> {
    let header = read_vec(tgid, at, 16)?;
    let (before, word) = (u64_in(&header, 0)?, u64_in(&header, 8)?);
    let length = word & !FLAGS;
    let is_block = before == 0 && word & FLAGS == IS_MAPPED && length >= PAGE_BYTES;
    (is_block && length.is_multiple_of(PAGE_BYTES) && length <= end - at).then_some(length)
}

/// What lies free in some heaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// Bytes of free chunks, the unused end included.
    pub free_bytes: u64,
    /// Those of whole pages of them that are in memory.
    pub trimmable_bytes: u64,
    /// Bytes of heap that were looked at.
    pub walked_bytes: u64,
}

/// Walks the chunks of a heap. `held_in` says how much of a range is in memory.
///
/// # Cost
/// A copy of the heap: some 0.5 s for a gigabyte, while the target goes on.
pub fn free_in(
    tgid: u32,
    heap: &Range<u64>,
    mut held_in: impl FnMut(Range<u64>) -> u64,
) -> Option<Free> {
    let mut reader = Reader { tgid, piece: Vec::new(), start: 0, end: heap.end };
    let mut free = Free::default();
    for chunk in Chunks::new(heap, |avma| reader.word(avma))? {
        let Chunk { avma, length_bytes, .. } = chunk;
        if chunk.is_free {
            free.free_bytes += length_bytes;
            let from = (avma + CHUNK_LINKS_BYTES).next_multiple_of(PAGE_BYTES);
            let to = (avma + length_bytes).min(heap.end) / PAGE_BYTES * PAGE_BYTES;
            if from < to {
                free.trimmable_bytes += held_in(from..to);
            }
        }
        free.walked_bytes += length_bytes;
    }
    Some(free)
}

/// Reads words of a heap, piece by piece.
struct Reader {
    tgid: u32,
    piece: Vec<u8>,
    start: u64,
    end: u64,
}

impl Reader {
    fn word(&mut self, avma: u64) -> Option<u64> {
        let is_here = avma >= self.start && avma + 8 <= self.start + self.piece.len() as u64;
        if !is_here {
            let length = PIECE_BYTES.min(self.end.checked_sub(avma)?);
            self.piece = read_vec(self.tgid, avma, length as usize)?;
            self.start = avma;
        }
        u64_in(&self.piece, (avma - self.start) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn heaps_are_told_by_their_headers() {
        let start = 3 * HEAP_BYTES;
        let end = start + HEAP_BYTES;
        let first = heap_at(start, end, &words(&[start + 48, 0, 0x21000, 0x21000])).unwrap();
        assert_eq!(first, Heap { range: start..start + 0x21000, arena: start + 48 });
        let later = words(&[HEAP_BYTES + 48, HEAP_BYTES, 0x1000, 0x2000]);
        assert_eq!(heap_at(start, end, &later).unwrap().range, start..start + 0x2000);
        for wrong in [
            [start + 48, 0, 0x21000, 0x21001],
            [start + 48, 0, 0, 0x21000],
            [start - 48, 0, 0x21000, 0x21000],
            [0, 0, 0, 0],
            [u64::MAX; 4],
            [start + 48, start, 0x21000, 0x21000],
            [start + 48, 0, 2 * HEAP_BYTES, 0x21000],
        ] {
            assert_eq!(heap_at(start, end, &words(&wrong)), None, "{wrong:x?}");
        }
    }

    /// A heap of our own: a free chunk of three pages, one in use, a free end.
    #[test]
    fn free_chunks_and_what_of_them_is_pages_are_counted() {
        let length = 64 << 10;
        let memory = vec![0_u64; (length + 2 * PAGE_BYTES as usize) / 8];
        let start = (memory.as_ptr() as u64).next_multiple_of(PAGE_BYTES);
        let mut memory = memory;
        let offset = ((start - memory.as_ptr() as u64) / 8) as usize;
        let mut put = |at: usize, word: u64| memory[offset + at / 8 + 1] = word;
        put(0, 0x4000 | PREVIOUS_IN_USE);
        put(0x4000, 0x1000);
        put(0x5000, (length as u64 - 0x5000) | PREVIOUS_IN_USE);
        let heap = start..start + length as u64;
        let free = free_in(std::process::id(), &heap, |range| range.end - range.start).unwrap();
        assert_eq!(free.free_bytes, 0x4000 + length as u64 - 0x5000);
        assert_eq!(free.trimmable_bytes, 0x3000 + length as u64 - 0x6000);
        assert_eq!(free.walked_bytes, length as u64);
        drop(memory);
    }

    #[test]
    fn garbage_ends_the_walk() {
        let memory = vec![0xa5_u8; 1 << 16];
        let start = memory.as_ptr() as u64;
        assert_eq!(free_in(std::process::id(), &(start..start + (1 << 16)), |_| 0), None);
        assert_eq!(free_in(u32::MAX, &(start..start + (1 << 16)), |_| 0), None);
        // Lengths of two words each, all of them free.
        let numbers = vec![32_u64; 1 << 13];
        let start = numbers.as_ptr() as u64;
        assert_eq!(free_in(std::process::id(), &(start..start + (1 << 16)), |_| 0), None);
        let zeros = vec![0_u8; 1 << 16];
        let start = zeros.as_ptr() as u64;
        assert_eq!(free_in(std::process::id(), &(start..start + (1 << 16)), |_| 0), None);
    }

    #[test]
    fn a_large_block_of_our_own_is_found_in_its_mapping() {
        let bytes = 5 << 20;
        // SAFETY: a block of our own.
        let block = unsafe { libc::calloc(1, bytes) };
        let start = block as u64 - 16;
        let region = start..start + bytes as u64 + 8192;
        let tgid = std::process::id();
        let found = mapped_blocks(tgid, std::slice::from_ref(&region), &[], |_| true);
        let is_mapped = start.is_multiple_of(PAGE_BYTES);
        assert_eq!(found.first().map(|block| block.start), is_mapped.then_some(start));
        let first_page = start..start + 4096;
        let others = std::slice::from_ref(&first_page);
        assert!(mapped_blocks(tgid, std::slice::from_ref(&region), others, |_| true).is_empty());
        // SAFETY: allocated above.
        unsafe { libc::free(block) };
    }
}
