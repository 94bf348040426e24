//! Which blocks of glibc's malloc are in use. What was freed keeps the words of an object, and any
//! word may look like a chunk's length: so chunks are gone through from the front of each heap.

use crate::heap::native::glibc::Heaps;
use crate::heap::{Image, Region};
use crate::runtime::glibc::HEADER_BYTES;
use crate::runtime::memory::u64_in;
use std::ops::Range;

/// Alignment of blocks, bytes.
const STEP_BYTES: usize = 16;
/// Flags in a chunk's length.
const FLAGS: u64 = 7;

/// Blocks in use, by region.
#[derive(Clone, Debug, Default)]
pub struct UsedBlocks {
    /// By the place of the region in the image; empty where no heap is known.
    regions: Vec<Walked>,
}

/// What is known of a region.
#[derive(Clone, Debug, Default)]
struct Walked {
    /// Parts that are chunks from begin to end: offsets, in order, apart from each other.
    spans: Vec<Range<usize>>,
    /// A bit for each place where a block may begin.
    starts: Vec<u64>,
}

impl UsedBlocks {
    /// Goes through the heaps of an image. Without glibc's own variables there are none.
    pub fn of(image: &Image) -> Self {
        let heaps = Heaps::of(image);
        let mut found = Self::default();
        if !heaps.is_known() {
            return found;
        }
        found.regions.resize_with(image.regions().len(), Walked::default);
        heaps.visit(image, |index, chunk, is_used| {
            let (Some(walked), Some(region)) =
                (found.regions.get_mut(index), image.regions().get(index))
            else {
                return;
            };
            let length = region.bytes.len();
            let Some(start) = chunk.avma.checked_sub(region.start_avma) else { return };
            if !start.is_multiple_of(STEP_BYTES as u64) {
                return;
            }
            let start = (start as usize).min(length);
            let end = start.saturating_add(chunk.length_bytes as usize).min(length);
            match walked.spans.last_mut().filter(|span| span.end == start) {
                Some(span) => span.end = end,
                None => walked.spans.push(start..end),
            }
            if is_used {
                walked.starts.resize(length.div_ceil(64 * STEP_BYTES), 0);
                let slot = (start + HEADER_BYTES as usize) / STEP_BYTES;
                if let Some(word) = walked.starts.get_mut(slot / 64) {
                    *word |= 1 << (slot % 64);
                }
            }
        });
        for walked in &mut found.regions {
            walked.spans.sort_unstable_by_key(|span| span.start);
        }
        found
    }

    /// The parts of a region, by its place in the image, of which it is known what is in use.
    pub fn known(&self, region_index: usize, part: Range<usize>) -> Vec<Range<usize>> {
        let Some(walked) = self.regions.get(region_index) else { return Vec::new() };
        let first = walked.spans.partition_point(|span| span.end <= part.start);
        let spans = walked.spans[first..].iter().take_while(|span| span.start < part.end);
        spans.map(|span| span.start.max(part.start)..span.end.min(part.end)).collect()
    }

    /// Shows the blocks in use that begin in a part: offset and bytes of the chunk, and where the
    /// block ends.
    pub fn visit(
        &self,
        region_index: usize,
        region: &Region,
        part: Range<usize>,
        mut visit: impl FnMut(Block),
    ) {
        let Some(walked) = self.regions.get(region_index) else { return };
        let (first, end) = (part.start.div_ceil(STEP_BYTES), part.end.div_ceil(STEP_BYTES));
        let mut slot = first;
        while slot < end {
            let Some(word) = walked.starts.get(slot / 64) else { return };
            let left = word >> (slot % 64);
            if left == 0 {
                slot = (slot / 64 + 1) * 64;
                continue;
            }
            slot += left.trailing_zeros() as usize;
            if slot >= end {
                return;
            }
            let start = slot * STEP_BYTES;
            slot += 1;
            let header = start.checked_sub(8).and_then(|at| u64_in(&region.bytes, at));
            let Some(chunk_bytes) = header.map(|word| word & !FLAGS) else { continue };
            // The first word of the next chunk belongs to the block.
            let length = (chunk_bytes as usize).saturating_sub(8);
            let end = start.saturating_add(length).min(region.bytes.len());
            visit(Block { range: start..end.max(start), chunk_bytes });
        }
    }
}

/// A block in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it is in its region.
    pub range: Range<usize>,
    /// Bytes of its chunk, which is what the allocator pays.
    pub chunk_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::fuzz;
    use crate::heap::RegionKind;

    const HEAP: u64 = 0x5555_0000_0000;
    const DATA: u64 = 0x7f00_0000_0000;
    /// The arena's pointer to the unused end of its heap, as glibc 2.36 has it.
    const TOP: usize = 0x40 + 96;

    fn put(bytes: &mut [u8], at: usize, word: u64) {
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    /// Chunks: 0x40 in use, 0x60 free, 0x50 on a list of small ones, 0x80 in use, the unused end.
    fn made() -> (Vec<u8>, Vec<u8>) {
        let (mut heap, mut data) = (vec![0; 0x2000], vec![0; 0x1000]);
        put(&mut heap, 0x8, 0x41);
        put(&mut heap, 0x48, 0x61);
        put(&mut heap, 0xa0, 0x60);
        put(&mut heap, 0xa8, 0x50);
        put(&mut heap, 0xf8, 0x81);
        // In the block in use, what once was a chunk.
        put(&mut heap, 0x118, 0x41);
        put(&mut heap, 0x178, 0x1e91);
        put(&mut data, TOP, HEAP + 0x170);
        // The list of chunks of 0x50 bytes.
        put(&mut data, TOP - 80 + 8 * 3, HEAP + 0xa0);
        for list in 0..127 {
            let own = DATA + TOP as u64 + 16 * list;
            put(&mut data, TOP + 16 + 16 * list as usize, own);
            put(&mut data, TOP + 24 + 16 * list as usize, own);
        }
        (heap, data)
    }

    fn image(heap: &[u8], data: &[u8]) -> Image {
        let region = |start_avma, kind, bytes: &[u8]| Region {
            start_avma,
            kind,
            bytes: bytes[..bytes.len() / 16 * 16].to_vec(),
        };
        let kind = RegionKind::Static { module: "libc.so.6".to_owned() };
        let variables = region(DATA, kind, data);
        Image::new(vec![region(HEAP, RegionKind::Anonymous, heap), variables])
    }

    fn blocks(image: &Image, part: Range<usize>) -> Vec<(usize, usize, u64)> {
        let (used, mut found) = (UsedBlocks::of(image), Vec::new());
        let Some(region) = image.regions().first() else { return found };
        for known in used.known(0, part) {
            used.visit(0, region, known, |Block { range, chunk_bytes }| {
                assert!(range.start <= range.end && range.end <= region.bytes.len());
                found.push((range.start, range.end, chunk_bytes));
            });
        }
        found
    }

    #[test]
    fn blocks_in_use_are_told_from_those_that_only_look_so() {
        let (heap, data) = made();
        let image = image(&heap, &data);
        let (first, last) = ((0x10, 0x48, 0x40), (0x100, 0x178, 0x80));
        assert_eq!(blocks(&image, 0..0x2000), [first, last]);
        assert_eq!(blocks(&image, 0x20..0x2000), [last]);
        assert_eq!(blocks(&image, 0..0x100), [first]);
        assert_eq!(UsedBlocks::of(&image).known(0, 0x20..0x4000), [0x20..0x2000]);
        assert_eq!(blocks(&image, 0x4000..0x5000), []);
    }

    #[test]
    fn without_the_variables_of_glibc_nothing_is_said() {
        let (heap, mut data) = made();
        put(&mut data, TOP + 16, 0x1234);
        let image = image(&heap, &data);
        assert!(UsedBlocks::of(&image).known(0, 0..0x2000).is_empty());
        assert!(UsedBlocks::default().known(7, 0..1).is_empty());
    }

    #[test]
    fn garbage_stays_within_bounds() {
        let (heap, data) = made();
        fuzz("blocks of malloc", &[[heap.clone(), data].concat()], |bytes| {
            let (heap, data) = bytes.split_at(bytes.len().min(heap.len()));
            blocks(&image(heap, data), 0..usize::MAX);
        });
    }
}
