//! Pools of CPython's small-object allocator: which addresses they are at, and which of their
//! blocks are in use. Arenas need not be known.
//!
//! # Sources
//! CPython 3.8-3.15 Objects/obmalloc.c, Include/internal/pycore_obmalloc.h (`struct pool_header`).

use crate::heap::{Image, Region, RegionKind};
use crate::runtime::memory::{u32_in, u64_in};

/// `sizeof(struct pool_header)`, as blocks are aligned.
pub const HEADER_BYTES: usize = 48;
/// Blocks are multiples of this, bytes.
const STEP_BYTES: usize = 16;
/// Sizes of blocks: 16 to 512 bytes.
const SIZE_CLASSES: u32 = 32;
/// Words of a bit for each block: 16 KiB of blocks of 16 bytes.
const FREE_WORDS: usize = 16;

/// The header of a pool, as far as it was believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolHeader {
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Blocks that were handed out at least once: the first ones of the pool.
    pub carved: usize,
    /// Blocks in use, as the header says.
    pub in_use: usize,
    /// First free block.
    free_avma: u64,
}

impl PoolHeader {
    /// The header at the beginning of a pool's bytes; `None` for what is no pool.
    #[inline]
    pub fn read(pool: &[u8]) -> Option<Self> {
        let pool_bytes = pool.len();
        let size_class = u32_in(pool, 36)?;
        if size_class >= SIZE_CLASSES {
            return None;
        }
        let block_bytes = STEP_BYTES * (size_class as usize + 1);
        let (next, last) = (u32_in(pool, 40)? as usize, u32_in(pool, 44)? as usize);
        let carved_bytes = next.checked_sub(HEADER_BYTES)?;
        let capacity = (pool_bytes - HEADER_BYTES) / block_bytes;
        let carved = carved_bytes / block_bytes;
        let in_use = u32_in(pool, 0)? as usize;
        let is_pool = last == pool_bytes - block_bytes
            && carved_bytes.is_multiple_of(block_bytes)
            && carved <= capacity
            && carved > 0
            && in_use <= capacity;
        is_pool.then_some(Self { block_bytes, carved, in_use, free_avma: u64_in(pool, 8)? })
    }
}

/// Blocks of a pool that are free, a bit each.
#[derive(Clone, Debug)]
pub struct FreeBlocks {
    bits: [u64; FREE_WORDS],
    /// Whether the free list comes to an end within the pool, and leaves as many in use as the
    /// header says.
    pub is_consistent: bool,
    /// Blocks on it.
    pub count: usize,
}

impl FreeBlocks {
    /// Follows the free list of the pool at `avma`.
    #[inline]
    pub fn read(avma: u64, pool: &[u8], header: &PoolHeader) -> Self {
        let mut free = Self { bits: [0; FREE_WORDS], is_consistent: false, count: 0 };
        let mut at = header.free_avma;
        while at != 0 {
            let Some(offset) = at.checked_sub(avma).map(|offset| offset as usize) else {
                return free;
            };
            let Some(behind) = offset.checked_sub(HEADER_BYTES) else { return free };
            let (index, rest) = (behind / header.block_bytes, behind % header.block_bytes);
            if index >= header.carved || rest != 0 || free.contains(index) {
                return free;
            }
            free.bits[index / 64] |= 1 << (index % 64);
            free.count += 1;
            let Some(next) = u64_in(pool, offset) else { return free };
            at = next;
        }
        free.is_consistent = header.in_use + free.count == header.carved;
        free
    }

    /// Whether a block is free.
    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        self.bits.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }
}

/// Which parts of regions are pools.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    pool_bytes: u64,
    /// For each region of the image a bit for each place where a pool may be.
    regions: Vec<Vec<u64>>,
    /// Pools with blocks in use.
    pub count: u64,
    /// Those whose blocks were never handed out are not among them; those that are empty are.
    pub empty: u64,
    /// Blocks in use, as their headers say, and their bytes.
    pub blocks: u64,
    /// See the field above.
    pub block_bytes: u64,
}

impl Pools {
    /// Looks at every place where a pool may be. `pool_bytes` 0: there are none.
    pub fn find(image: &Image, pool_bytes: u64) -> Self {
        let mut pools = Self { pool_bytes, ..Self::default() };
        if pool_bytes == 0 {
            return pools;
        }
        for region in image.regions() {
            pools.look_at(region);
        }
        pools
    }

    fn look_at(&mut self, region: &Region) {
        let mut bits = Vec::new();
        // Arenas are mapped by themselves; the kernel may have merged them with anything.
        if region.kind == RegionKind::Anonymous {
            let slots = slots_of(region, self.pool_bytes);
            bits = vec![0; slots.div_ceil(64)];
            for slot in 0..slots {
                let Some(pool) = pool_in(region, slot, self.pool_bytes) else { break };
                let Some(header) = PoolHeader::read(pool) else { continue };
                bits[slot / 64] |= 1 << (slot % 64);
                if header.in_use == 0 {
                    self.empty += 1;
                } else {
                    self.count += 1;
                    self.blocks += header.in_use as u64;
                    self.block_bytes += (header.in_use * header.block_bytes) as u64;
                }
            }
        }
        self.regions.push(bits);
    }

    /// Cuts a region into pools (true) and what lies between them, by address; both as offsets in
    /// the region.
    pub fn cut(&self, region_index: usize, region: &Region) -> Vec<(std::ops::Range<usize>, bool)> {
        let mut parts = Vec::new();
        let empty = Vec::new();
        let bits = self.regions.get(region_index).unwrap_or(&empty);
        let mut at = 0;
        for slot in 0..if bits.is_empty() { 0 } else { slots_of(region, self.pool_bytes) } {
            if bits.get(slot / 64).is_none_or(|word| word >> (slot % 64) & 1 == 0) {
                continue;
            }
            let start = offset_of(region, slot, self.pool_bytes);
            if at < start {
                parts.push((at..start, false));
            }
            at = start + self.pool_bytes as usize;
            parts.push((start..at, true));
        }
        if at < region.bytes.len() {
            parts.push((at..region.bytes.len(), false));
        }
        parts
    }

    /// Bytes of a pool; 0 where there are none.
    pub fn pool_bytes(&self) -> u64 {
        self.pool_bytes
    }

    /// The pool that holds an address: where it begins.
    pub fn pool_at(&self, image: &Image, avma: u64) -> Option<u64> {
        let index = image.region_index_at(avma)?;
        let region = image.regions().get(index)?;
        let first = region.start_avma.checked_next_multiple_of(self.pool_bytes.max(1))?;
        let slot = (avma.checked_sub(first)? / self.pool_bytes.max(1)) as usize;
        let word = self.regions.get(index)?.get(slot / 64)?;
        (word >> (slot % 64) & 1 != 0).then_some(first + slot as u64 * self.pool_bytes)
    }
}

/// Where the first pool may begin, in the region.
fn offset_of(region: &Region, slot: usize, pool_bytes: u64) -> usize {
    let first = region.start_avma.next_multiple_of(pool_bytes) - region.start_avma;
    first as usize + slot * pool_bytes as usize
}

/// Places in a region where a pool may be.
fn slots_of(region: &Region, pool_bytes: u64) -> usize {
    let Some(first) = region.start_avma.checked_next_multiple_of(pool_bytes) else { return 0 };
    let skipped = (first - region.start_avma) as usize;
    region.bytes.len().saturating_sub(skipped) / pool_bytes as usize
}

fn pool_in(region: &Region, slot: usize, pool_bytes: u64) -> Option<&[u8]> {
    let start = offset_of(region, slot, pool_bytes);
    region.bytes.get(start..start.checked_add(pool_bytes as usize)?)
}
