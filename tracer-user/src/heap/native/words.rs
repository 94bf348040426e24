//! Words of a piece of memory, and sets of blocks.

use super::LiveBlock;
use crate::heap::{Image, Region};
use std::ops::Range;

/// Hands out the words that lie whole and aligned in a range of a region, with their addresses.
#[inline]
pub fn words(region: &Region, range: Range<u64>) -> impl Iterator<Item = (u64, u64)> {
    let start = range.start.max(region.start_avma).checked_next_multiple_of(8).unwrap_or(u64::MAX);
    let from = start.saturating_sub(region.start_avma).min(region.bytes.len() as u64);
    let to = range.end.saturating_sub(region.start_avma).min(region.bytes.len() as u64).max(from);
    let bytes = &region.bytes[from as usize..to as usize];
    bytes.chunks_exact(8).enumerate().map(move |(at, word)| {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        (start + 8 * at as u64, u64::from_le_bytes(eight))
    })
}

/// Hands the words that lie whole and aligned in a block to `visit`.
#[inline]
pub fn visit_block(image: &Image, block: LiveBlock, mut visit: impl FnMut(u64)) {
    if let Some(region) = image.region_at(block.avma) {
        words(region, block.avma..block.end_avma()).for_each(|(_, word)| visit(word));
    }
}

/// A set of blocks by their places.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<u64>);

impl Places {
    /// Room for so many.
    pub fn new(blocks: usize) -> Self {
        Self(vec![0; blocks.div_ceil(64)])
    }

    /// Whether one is in it.
    #[inline]
    pub fn holds(&self, place: u32) -> bool {
        self.0.get(place as usize / 64).is_some_and(|word| word >> (place % 64) & 1 != 0)
    }

    /// Puts one in; says whether it was not in it.
    #[inline]
    pub fn put(&mut self, place: u32) -> bool {
        let Some(word) = self.0.get_mut(place as usize / 64) else { return false };
        let bit = 1 << (place % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
