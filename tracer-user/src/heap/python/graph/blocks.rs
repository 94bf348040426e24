//! How long a block of memory is that no object owns: by the pool that it lies in, else by what
//! glibc wrote in front of it.

use crate::heap::image::Image;
use crate::runtime::memory::{u32_in, u64_in};

/// Blocks of C types that are longer are cut; bytes.
pub(super) const LONGEST_BLOCK_BYTES: u64 = 64 << 20;
/// Header of a pool; bytes.
const POOL_HEADER_BYTES: u64 = 48;
/// In the size of a chunk of glibc's: the one before it is in use; it has pages of its own; a bit
/// that no size has.
const USED_BEFORE: u64 = 1;
const MAPPED: u64 = 2;
const ODD_STEP: u64 = 8;
const PAGE_BYTES: u64 = 4096;
/// Size classes of the small-object allocator.
const POOL_CLASSES: u32 = 32;

/// Bytes of the block that begins at exactly this address, as far as it is known to be one.
pub(super) fn length_of(image: &Image, avma: u64, pool_bytes: u64) -> Option<u64> {
    if avma & 15 != 0 || avma == 0 {
        return None;
    }
    in_pool(image, avma, pool_bytes).unwrap_or_else(|| in_chunk(image, avma))
}

/// `None` where there is no pool; `Some(None)` where there is one, but no block starts there.
fn in_pool(image: &Image, avma: u64, pool_bytes: u64) -> Option<Option<u64>> {
    if !pool_bytes.is_power_of_two() {
        return None;
    }
    let pool = avma & !(pool_bytes - 1);
    let header = image.bytes(pool, POOL_HEADER_BYTES as usize)?;
    let (count, class) = (u32_in(header, 0)?, u32_in(header, 36)?);
    let (next, last) = (u32_in(header, 40)?, u32_in(header, 44)?);
    if class >= POOL_CLASSES {
        return None;
    }
    let block = 16 * (u64::from(class) + 1);
    let capacity = (pool_bytes - POOL_HEADER_BYTES) / block;
    let is_pool = u64::from(last) == pool_bytes - block
        && u64::from(next) >= POOL_HEADER_BYTES
        && (u64::from(next) - POOL_HEADER_BYTES).is_multiple_of(block)
        && u64::from(count) <= capacity
        && count > 0;
    if !is_pool {
        return None;
    }
    let inside = (avma - pool).checked_sub(POOL_HEADER_BYTES);
    let starts = inside.is_some_and(|inside| inside.is_multiple_of(block));
    Some((starts && avma - pool < u64::from(next)).then_some(block))
}

/// A chunk of glibc's that is in use: the one behind it says so. Words that merely look like sizes
/// are many, and each would be followed through megabytes.
fn in_chunk(image: &Image, avma: u64) -> Option<u64> {
    let start = avma.checked_sub(16)?;
    let header = image.bytes(start, 16)?;
    let (before, size) = (u64_in(header, 0)?, u64_in(header, 8)?);
    let bytes = size & !7;
    if size & ODD_STEP != 0 || !(32..=LONGEST_BLOCK_BYTES).contains(&bytes) {
        return None;
    }
    let end = start.checked_add(bytes)?;
    if size & MAPPED != 0 {
        // It fills pages of its own; what was cut off for its alignment stands before it.
        let first = start.checked_sub(before)?;
        let fits = end <= image.region_at(avma)?.range().end;
        let is_whole = first.is_multiple_of(PAGE_BYTES) && end.is_multiple_of(PAGE_BYTES);
        return (fits && is_whole).then_some(bytes - 16);
    }
    let behind = image.word(end.checked_add(8)?)?;
    (behind & (USED_BEFORE | ODD_STEP) == USED_BEFORE).then_some(bytes - 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::{Region, RegionKind};

    const START: u64 = 0x7f00_0000_0000;

    fn length(words: &[u64], at: usize) -> Option<u64> {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let region = Region { start_avma: START, kind: RegionKind::Anonymous, bytes };
        length_of(&Image::new(vec![region]), START + at as u64 * 8, 16 << 10)
    }

    #[test]
    fn a_block_is_one_where_the_chunk_behind_it_says_that_it_is_used() {
        let mut words = vec![0; 64];
        words[1] = 48 | USED_BEFORE;
        words[7] = 96 | USED_BEFORE;
        assert_eq!(length(&words, 2), Some(40));
        // Free, or no chunk at all.
        words[7] = 96;
        assert_eq!(length(&words, 2), None);
        // Longer than the memory.
        words[1] = 1 << 20 | USED_BEFORE;
        assert_eq!(length(&words, 2), None);
    }

    #[test]
    fn a_block_with_pages_of_its_own_fills_them() {
        let mut words = vec![0; 1024];
        words[1] = 8192 | MAPPED;
        assert_eq!(length(&words, 2), Some(8176));
        words[1] = 4112 | MAPPED;
        assert_eq!(length(&words, 2), None);
        words[1] = 12_288 | MAPPED;
        assert_eq!(length(&words, 2), None);
    }
}
