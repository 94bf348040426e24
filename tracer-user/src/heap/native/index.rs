//! Which live block an address lies in: most words of a heap lie in none, and are told so by the
//! page that they point to.

use super::{LiveBlock, words::Places};
use crate::heap::Image;

/// Addresses are below this one; what is not is no block of a process.
const END_OF_ADDRESSES: u64 = 1 << 47;
const PAGE_SHIFT: u32 = 12;
/// A leaf covers 512 pages, a node of the top 512 leaves.
const LEAF_SHIFT: u32 = 21;
const TOP_SHIFT: u32 = 30;
const FAN_OUT: usize = 512;

/// Where blocks are, by page. A page's entry is 0 where no block lies, else the place of the first
/// block that begins in it or behind it, and one more than how many begin in it.
pub struct Index<'a> {
    blocks: &'a [LiveBlock],
    lowest: u64,
    /// From the lowest to the end of the highest.
    span: u64,
    /// Numbers of nodes, one more; 0 where there is none.
    top: Vec<u32>,
    nodes: Vec<[u32; FAN_OUT]>,
    leaves: Vec<[u64; FAN_OUT]>,
    entered: Places,
}

impl<'a> Index<'a> {
    /// Of blocks in the order of their addresses, no more than `u32::MAX`. Blocks outside of the
    /// image are not found.
    ///
    /// # Cost
    /// Eight bytes for each page of the image that holds a block, and for its neighbours within
    /// 2 MiB.
    pub fn new(image: &Image, blocks: &'a [LiveBlock]) -> Self {
        let mut index = Self {
            blocks,
            lowest: blocks.first().map_or(0, |block| block.avma),
            span: 0,
            top: Vec::new(),
            nodes: Vec::new(),
            leaves: Vec::new(),
            entered: Places::new(blocks.len()),
        };
        let mut region = 0;
        for (place, block) in blocks.iter().enumerate() {
            let regions = image.regions();
            while regions.get(region).is_some_and(|region| region.range().end <= block.avma) {
                region += 1;
            }
            let Some(within) = regions.get(region).map(super::super::Region::range) else { break };
            if within.contains(&block.avma) && within.end <= END_OF_ADDRESSES {
                let end = block.end_avma().min(within.end);
                index.span = index.span.max(end - index.lowest);
                index.enter(place, block.avma, end);
            }
        }
        index
    }

    /// Whether a block is in the image.
    pub fn has(&self, place: u32) -> bool {
        self.entered.holds(place)
    }

    fn enter(&mut self, place: usize, start: u64, end: u64) {
        self.entered.put(place as u32);
        let first_page = start >> PAGE_SHIFT;
        for page in first_page..=(end - 1) >> PAGE_SHIFT {
            let entry = self.entry(page);
            if page > first_page {
                if *entry == 0 {
                    *entry = (place as u64 + 1) << 16 | 1;
                }
            } else if *entry == 0 {
                *entry = (place as u64) << 16 | 2;
            } else if *entry & 0xffff < 0xffff {
                *entry += 1;
            }
        }
    }

    fn entry(&mut self, page: u64) -> &mut u64 {
        let (top, node, leaf) = places(page);
        if self.top.len() <= top {
            self.top.resize(top + 1, 0);
        }
        if self.top[top] == 0 {
            self.nodes.push([0; FAN_OUT]);
            self.top[top] = self.nodes.len() as u32;
        }
        let slot = &mut self.nodes[self.top[top] as usize - 1][node];
        if *slot == 0 {
            self.leaves.push([0; FAN_OUT]);
            *slot = self.leaves.len() as u32;
        }
        &mut self.leaves[*slot as usize - 1][leaf]
    }

    /// Place of the block that an address lies in. Where blocks overlap it is the one that begins
    /// last, or none.
    #[inline]
    pub fn find(&self, avma: u64) -> Option<u32> {
        if avma.wrapping_sub(self.lowest) >= self.span {
            return None;
        }
        self.find_near(avma)
    }

    fn find_near(&self, avma: u64) -> Option<u32> {
        let (top, node, leaf) = places(avma >> PAGE_SHIFT);
        let node = self.nodes.get((*self.top.get(top)? as usize).checked_sub(1)?)?[node];
        let entry = self.leaves.get((node as usize).checked_sub(1)?)?[leaf];
        let count = ((entry & 0xffff) as usize).checked_sub(1)?;
        let first = (entry >> 16) as usize;
        let begun = self.blocks.get(first..first + count)?;
        let behind = first + begun.partition_point(|block| block.avma <= avma);
        let place = behind.checked_sub(1)?;
        (avma < self.blocks[place].end_avma()).then_some(place as u32)
    }
}

fn places(page: u64) -> (usize, usize, usize) {
    let node = (page >> (LEAF_SHIFT - PAGE_SHIFT)) as usize % FAN_OUT;
    ((page >> (TOP_SHIFT - PAGE_SHIFT)) as usize, node, page as usize % FAN_OUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::{Region, RegionKind};

    fn region(start_avma: u64, bytes: usize) -> Region {
        Region { start_avma, kind: RegionKind::Anonymous, bytes: vec![0; bytes] }
    }

    /// Against a search from one block to the next.
    #[test]
    fn every_address_is_found_in_its_block_and_in_no_other() {
        let mut random = fastrand::Rng::with_seed(7);
        let image = Image::new(vec![region(0x7f00_0000_0000, 1 << 20), region(0x10_0000, 1 << 16)]);
        for _ in 0..20 {
            let mut blocks = Vec::new();
            for region in image.regions() {
                let mut avma = region.start_avma;
                while avma < region.range().end {
                    let longest = if random.u8(..10) == 0 { 30_000 } else { 200 };
                    let size_bytes = random.u64(0..longest);
                    blocks.push(LiveBlock { avma, size_bytes, stack: 0 });
                    avma += size_bytes.max(1) + random.u64(0..longest);
                }
            }
            let index = Index::new(&image, &blocks);
            for _ in 0..20_000 {
                let region = &image.regions()[random.usize(..2)];
                let avma = region.start_avma + random.u64(..region.bytes.len() as u64);
                let expected = blocks
                    .iter()
                    .position(|block| (block.avma..block.end_avma()).contains(&avma))
                    .map(|place| place as u32);
                assert_eq!(index.find(avma), expected, "{avma:#x}");
            }
        }
    }

    #[test]
    fn blocks_outside_of_the_image_and_absurd_ones_are_not_found() {
        let image = Image::new(vec![region(0x10_0000, 4096), region(u64::MAX - 8191, 4096)]);
        let block = |avma, size_bytes| LiveBlock { avma, size_bytes, stack: 0 };
        let blocks = [
            block(0, 64),
            block(0x10_0800, u64::MAX),
            block(1 << 46, u64::MAX),
            block(u64::MAX - 4096, u64::MAX),
        ];
        let index = Index::new(&image, &blocks);
        assert_eq!(index.find(0x10_0800), Some(1));
        assert_eq!(index.find(0x10_0fff), Some(1));
        for nowhere in [0, 8, 0x10_0000, 0x10_07ff, 1 << 46, u64::MAX - 4096, u64::MAX] {
            assert_eq!(index.find(nowhere), None, "{nowhere:#x}");
        }
        assert_eq!(Index::new(&image, &[]).find(0), None);
    }
}
