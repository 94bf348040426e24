//! Which memory is a table that some object owns: a bit for each sixteen bytes, where a list of all
//! tables would take ten times as much, and its order more time than finding them.

use super::heap::PythonHeap;
use crate::heap::Image;
use std::ops::Range;

/// Blocks begin at multiples of this, bytes.
const STEP_BYTES: u64 = 16;
/// Longer tables are listed: were millions of objects to claim one, each would set all of its bits.
const MAX_MARKED_BYTES: u64 = 64 << 10;

/// Memory of tables.
#[derive(Clone, Debug, Default)]
pub(super) struct TableMap {
    /// For each region a bit for each step.
    regions: Vec<Vec<u64>>,
    /// By where they begin; each reaches at least as far as those before it.
    long: Vec<Range<u64>>,
}

impl TableMap {
    /// For an image; nothing is a table yet.
    pub fn new(image: &Image) -> Self {
        let words = |length: usize| length.div_ceil(64 * STEP_BYTES as usize) + 1;
        let bits = image.regions().iter().map(|region| vec![0; words(region.bytes.len())]);
        Self { regions: bits.collect(), long: Vec::new() }
    }

    /// The bits of a range within one region: which region, and which bits.
    fn steps(image: &Image, range: &Range<u64>) -> Option<(usize, Range<usize>)> {
        let index = image.region_index_at(range.start)?;
        let region = image.regions().get(index)?.range();
        let end = range.end.min(region.end);
        let first = (range.start - region.start) / STEP_BYTES;
        Some((index, first as usize..(end - region.start).div_ceil(STEP_BYTES) as usize))
    }

    /// A table: where it is, and how long.
    #[inline]
    pub fn add(&mut self, image: &Image, avma: u64, length_bytes: u64) {
        let range = avma..avma.saturating_add(length_bytes);
        if length_bytes > MAX_MARKED_BYTES {
            self.long.push(range);
            return;
        }
        let Some((index, steps)) = Self::steps(image, &range) else { return };
        let Some(bits) = self.regions.get_mut(index) else { return };
        let mut at = steps.start;
        while at < steps.end {
            let count = (64 - at % 64).min(steps.end - at);
            if let Some(word) = bits.get_mut(at / 64) {
                *word |= (u64::MAX >> (64 - count)) << (at % 64);
            }
            at += count;
        }
    }

    /// What another one of the same image has too, at the end.
    pub fn add_all(&mut self, other: Self) {
        for (bits, more) in self.regions.iter_mut().zip(other.regions) {
            for (word, more) in bits.iter_mut().zip(more) {
                *word |= more;
            }
        }
        self.long.extend(other.long);
        self.long.sort_unstable_by_key(|range| range.start);
        let mut end = 0;
        for range in &mut self.long {
            end = range.end.max(end);
            range.end = end;
        }
    }

    /// Whether an address is in a table.
    pub fn holds(&self, image: &Image, avma: u64) -> bool {
        let behind = self.long.partition_point(|range| range.start <= avma);
        let is_long = self.long[..behind].last().is_some_and(|range| avma < range.end);
        let is_marked = || {
            let (index, steps) = Self::steps(image, &(avma..avma.checked_add(1)?))?;
            let word = self.regions.get(index)?.get(steps.start / 64)?;
            Some(word >> (steps.start % 64) & 1 != 0)
        };
        is_long || is_marked() == Some(true)
    }
}

impl PythonHeap<'_> {
    /// Whether an address is in an object's own block, or in a table that one owns.
    pub(super) fn owns(&self, avma: u64) -> bool {
        self.object_around(avma).is_some() || self.sums().tables.holds(self.image, avma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::{Region, RegionKind};

    #[test]
    fn what_was_added_is_held_and_nothing_beside_it() {
        let start = 0x7f00_0000_0008;
        let region = |start_avma, length| Region {
            start_avma,
            kind: RegionKind::Anonymous,
            bytes: vec![0; length],
        };
        let image = Image::new(vec![region(start, 4 << 20), region(start + (8 << 20), 4096)]);
        let mut map = TableMap::new(&image);
        let tables = [
            start + 16..start + 32,
            start + 1024..start + 1024 + 4096,
            start + 10_000..start + 10_001,
            start + (1 << 20)..start + (2 << 20),
            start + (1 << 20) + 64..start + (1 << 20) + (70 << 10),
            // It goes on behind its region.
            start + (8 << 20) + 4080..start + (8 << 20) + 8192,
        ];
        // Halves find them apart from each other.
        let mut other = map.clone();
        for (at, table) in tables.iter().enumerate() {
            let half = if at % 2 == 0 { &mut map } else { &mut other };
            half.add(&image, table.start, table.end - table.start);
        }
        // Nobody knows that memory.
        map.add(&image, 16, 16);
        map.add_all(other);
        for avma in (start..start + (3 << 20)).step_by(8) {
            let is_held = tables.iter().any(|table| {
                let step = |avma: u64| (avma - start) / STEP_BYTES;
                (step(table.start)..=step(table.end - 1)).contains(&step(avma))
            });
            assert_eq!(map.holds(&image, avma), is_held, "{:x}", avma - start);
        }
        assert!(map.holds(&image, start + (8 << 20) + 4088));
        assert!(!map.holds(&image, 16) && !map.holds(&image, u64::MAX));
    }
}
