//! The chunk of glibc's malloc that a block lies in, by what is around the block.
//!
//! # Sources
//! `malloc_chunk` in malloc/malloc.c of glibc 2.26 to 2.42, x86-64.

use crate::heap::Region;
use crate::runtime::memory::u64_in;

/// Alignment of chunks, bytes that the header takes of a chunk, smallest one.
pub const CHUNK_STEP: u64 = 16;
pub const CHUNK_HEADER: u64 = 8;
const MIN_CHUNK: u64 = 32;
/// From a chunk to its block.
const BLOCK_OFFSET: usize = 16;
/// Flags in a chunk's length.
const FLAGS: u64 = 7;
const PREVIOUS_IN_USE: u64 = 1;
const IS_MAPPED: u64 = 2;
const PAGE_BYTES: u64 = 4096;

/// A chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// To the next one.
    pub length_bytes: u64,
    /// It was mapped for its block alone: pages begin and end with it.
    pub has_own_pages: bool,
}

/// The chunk whose block begins `block` bytes into a region, if there is one that is in use and has
/// room for `needed` bytes.
///
/// A word that is no header often looks like one: hashes of addresses in a dict do. So what
/// follows the chunk must look like one too, and say that it is in use.
#[inline]
pub fn chunk_at(region: &Region, block: usize, needed: u64) -> Option<Chunk> {
    let bytes = &region.bytes;
    let word = u64_in(bytes, block.checked_sub(CHUNK_HEADER as usize)?)?;
    let length = word & !FLAGS;
    let needed = needed.checked_add(CHUNK_HEADER)?.max(MIN_CHUNK);
    let left = (bytes.len().checked_sub(block)? + BLOCK_OFFSET) as u64;
    if !length.is_multiple_of(CHUNK_STEP) || length < needed || length > left {
        return None;
    }
    let start = block.checked_sub(BLOCK_OFFSET)?;
    if word & IS_MAPPED != 0 {
        let is_mapped = u64_in(bytes, start)? == 0
            && word & FLAGS == IS_MAPPED
            && region.start_avma.checked_add(start as u64)?.is_multiple_of(PAGE_BYTES)
            && length.is_multiple_of(PAGE_BYTES);
        return is_mapped.then_some(Chunk { length_bytes: length, has_own_pages: true });
    }
    // What was never touched behind the last chunk of a heap may not be there.
    let next = start + length as usize + CHUNK_HEADER as usize;
    let chunk = Chunk { length_bytes: length, has_own_pages: false };
    if next >= bytes.len() {
        return Some(chunk);
    }
    let next = u64_in(bytes, next)?;
    let is_chunk = next & PREVIOUS_IN_USE != 0
        && next & IS_MAPPED == 0
        && (next & !FLAGS).is_multiple_of(CHUNK_STEP)
        && next & !FLAGS >= CHUNK_STEP
        && next >> 47 == 0;
    is_chunk.then_some(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::RegionKind;

    fn chunk_bytes(region: &Region, block: usize, needed: u64) -> Option<u64> {
        chunk_at(region, block, needed).map(|chunk| chunk.length_bytes)
    }

    fn region(words: &[(usize, u64)]) -> Region {
        let mut bytes = vec![0; 2 * PAGE_BYTES as usize];
        for (at, word) in words {
            bytes[*at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        Region { start_avma: 0x1000_0000, kind: RegionKind::Anonymous, bytes }
    }

    #[test]
    fn a_chunk_is_one_when_the_next_says_so() {
        let used = region(&[(0x108, 0x41), (0x148, 0x1ec1)]);
        assert_eq!(chunk_bytes(&used, 0x110, 0x38), Some(0x40));
        assert_eq!(chunk_bytes(&used, 0x110, 0x39), None);
        let freed = region(&[(0x108, 0x41), (0x148, 0x1ec0)]);
        assert_eq!(chunk_bytes(&freed, 0x110, 0x38), None);
        // The hash of a type's address, in a table that has types for keys.
        let hash = region(&[(0x108, 0x3e0), (0x4e8, 0x7f70_0a40_be70)]);
        assert_eq!(chunk_bytes(&hash, 0x110, 0x38), None);
        // Behind the last one there may be nothing.
        let last = region(&[(0x108, 0x1f01)]);
        assert_eq!(chunk_bytes(&last, 0x110, 0x38), Some(0x1f00));
        assert_eq!(chunk_bytes(&last, 0, 0x38), None);
        assert_eq!(chunk_bytes(&last, 1 << 40, 0x38), None);
        assert_eq!(chunk_bytes(&last, 0x110, u64::MAX), None);
    }

    #[test]
    fn a_mapped_chunk_begins_with_its_page() {
        let mapped = region(&[(8, 0x1002)]);
        assert_eq!(chunk_bytes(&mapped, 16, 0xfe0), Some(0x1000));
        let elsewhere = region(&[(0x108, 0x1002)]);
        assert_eq!(chunk_bytes(&elsewhere, 0x110, 0xe00), None);
        let odd = region(&[(8, 0xfe2)]);
        assert_eq!(chunk_bytes(&odd, 16, 0xe00), None);
    }
}
