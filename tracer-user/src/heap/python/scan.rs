//! Finding objects: in every block in use of every pool, and wherever else in memory something
//! looks like one.

use super::chunk::chunk_at;
use super::kind::{TypeIndex, TypeInfo};
use super::kind_table::KindTable;
use super::layout::HeapLayout;
use super::object::Object;
use super::outside_pools::Loose;
use super::pools::{FreeBlocks, HEADER_BYTES, PoolHeader, Pools};
use super::prefix::{self, PREFIX_BYTES, SUFFIX_BYTES, is_prefixed};
use super::size::KindSize;
use super::used_blocks::UsedBlocks;
use crate::heap::{Image, Region, RegionKind};
use crate::runtime::memory::{u32_in, u64_in};
use std::ops::Range;

/// Reference counts above this are none (bytes of an address space would not suffice).
const MAX_REFERENCES: u64 = 1 << 33;
/// Of the collector's bits in builds without the GIL: whether an object is reachable is being found
/// out. Source: Include/internal/pycore_gc.h and Python/gc_free_threading.c of CPython 3.13.
const UNREACHABLE_SO_FAR: u8 = 4;
/// Below this nothing is mapped (`vm.mmap_min_addr`, and where non-PIE programs begin).
const FIRST_MAPPED_AVMA: u64 = 4 << 20;
/// What 3.11 says of static objects, of which there never are so many references, and how far it
/// may have been counted up and down since.
const IMMORTAL_IN_11: u64 = 999_999_999;
const IMMORTAL_SLACK: u64 = 1 << 20;
/// Candidates that tell whether malloc is glibc's.
const MAX_CALIBRATION: u64 = 100_000;

/// What was found beside objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Pools whose free list contradicts their header.
    pub inconsistent_pools: u64,
    /// Bytes of blocks in use in pools, and of those of them that are objects.
    pub used_bytes: u64,
    /// See the field above.
    pub pooled_bytes: u64,
    /// Objects for which nothing speaks but what is in them and around them: the allocator's own
    /// order of its memory could not be followed there.
    pub doubtful: u64,
}

/// Looks for objects.
pub struct Scanner<'a> {
    pub(super) image: &'a Image,
    pub(super) layout: &'a HeapLayout,
    pub(super) table: KindTable,
    pub(super) sizes: Vec<KindSize>,
    pools: &'a Pools,
    pub(super) used: UsedBlocks,
    /// Whether blocks outside pools have glibc's headers.
    pub has_chunks: bool,
    /// What the interpreter puts before each block, bytes.
    pub prefix_bytes: u64,
    lowest: u64,
    highest: u64,
}

impl<'a> Scanner<'a> {
    /// For objects of these types.
    pub fn new(
        image: &'a Image,
        layout: &'a HeapLayout,
        kinds: &[TypeInfo],
        pools: &'a Pools,
    ) -> Self {
        let avmas: Vec<u64> = kinds.iter().map(|kind| kind.avma).collect();
        let regions = image.regions();
        let mut scanner = Self {
            image,
            layout,
            table: KindTable::new(&avmas),
            sizes: kinds.iter().map(|kind| KindSize::new(kind, layout)).collect(),
            pools,
            used: UsedBlocks::of(image),
            has_chunks: false,
            prefix_bytes: 0,
            lowest: regions.first().map_or(0, |region| region.start_avma),
            highest: regions.last().map_or(0, |region| region.range().end),
        };
        scanner.calibrate();
        scanner
    }

    /// Finds out whether what looks like large objects has glibc's headers before it, mostly, and
    /// whether blocks have a prefix.
    fn calibrate(&mut self) {
        let (mut with, mut without) = (0_u64, 0_u64);
        let (mut blocks, mut prefixed) = (0_u64, 0_u64);
        for (index, region) in self.image.regions().iter().enumerate() {
            if region.kind != RegionKind::Anonymous {
                continue;
            }
            for (part, is_pool) in self.pools.cut(index, region) {
                if is_pool && blocks < MAX_CALIBRATION {
                    let pool = region.bytes.get(part).unwrap_or_default();
                    let header = PoolHeader::read(pool).filter(|header| header.in_use != 0);
                    let Some(header) = header else { continue };
                    let carved = pool[HEADER_BYTES..].chunks_exact(header.block_bytes);
                    blocks += header.in_use as u64;
                    prefixed += carved.filter(|block| is_prefixed(block)).count() as u64;
                    continue;
                }
                if is_pool || with + without > MAX_CALIBRATION {
                    continue;
                }
                let mut at = part.start;
                while let Some(Loose { offset, bytes, before, .. }) =
                    self.next_loose(region, at, part.end)
                {
                    let block = offset.saturating_sub(before);
                    let first = prefix::without(&region.bytes, block);
                    let is_prefixed = first != block;
                    let block = first;
                    match chunk_at(region, block, bytes) {
                        Some(_) => with += 1,
                        None => without += 1,
                    }
                    blocks += 1;
                    prefixed += u64::from(is_prefixed);
                    at = offset + 16;
                }
            }
        }
        self.has_chunks = with > without;
        if prefixed > blocks / 2 {
            self.prefix_bytes = PREFIX_BYTES;
        }
    }

    /// All objects, by address.
    pub fn all(&self) -> (Vec<Object>, Found) {
        let mut parts = Vec::new();
        for (index, region) in self.image.regions().iter().enumerate() {
            if !matches!(region.kind, RegionKind::Stack { .. }) {
                let cut = self.pools.cut(index, region).into_iter();
                parts.extend(cut.map(|(part, is_pool)| (index, part, is_pool)));
            }
        }
        // Two threads, each with half of the bytes.
        let half = parts.iter().map(|(_, part, _)| part.len() as u64).sum::<u64>() / 2;
        let mut before = 0;
        let is_first = |(_, part, _): &&(usize, Range<usize>, bool)| {
            before += part.len() as u64;
            before <= half
        };
        let first_half = parts.iter().take_while(is_first).count();
        let (left, right) = parts.split_at(first_half);
        let (left, (mut behind, more)) = std::thread::scope(|scope| {
            let left = scope.spawn(|| self.parts(left));
            let right = self.parts(right);
            // A thread that panicked has told why; its half is lost.
            (left.join().unwrap_or_default(), right)
        });
        let (mut objects, mut found) = left;
        objects.reserve_exact(behind.len());
        objects.append(&mut behind);
        found.inconsistent_pools += more.inconsistent_pools;
        found.pooled_bytes += more.pooled_bytes;
        found.used_bytes += more.used_bytes;
        found.doubtful += more.doubtful;
        (objects, found)
    }

    fn parts(&self, parts: &[(usize, Range<usize>, bool)]) -> (Vec<Object>, Found) {
        let (mut objects, mut found) = (Vec::new(), Found::default());
        for (index, part, is_pool) in parts {
            let Some(region) = self.image.regions().get(*index) else { continue };
            if *is_pool {
                self.pool(region, part.clone(), &mut objects, &mut found);
            } else {
                self.outside_pools(*index, region, part.clone(), &mut objects, &mut found);
            }
        }
        (objects, found)
    }

    fn pool(
        &self,
        region: &Region,
        part: Range<usize>,
        objects: &mut Vec<Object>,
        found: &mut Found,
    ) {
        let avma = region.start_avma + part.start as u64;
        let Some(pool) = region.bytes.get(part) else { return };
        let Some(header) = PoolHeader::read(pool).filter(|header| header.in_use != 0) else {
            return;
        };
        let free = FreeBlocks::read(avma, pool, &header);
        if !free.is_consistent {
            found.inconsistent_pools += 1;
        }
        for index in 0..header.carved {
            if free.contains(index) {
                continue;
            }
            let offset = HEADER_BYTES + index * header.block_bytes;
            let Some(block) = pool.get(offset..offset + header.block_bytes) else { return };
            found.used_bytes += header.block_bytes as u64;
            // With a prefix there is also something behind what was asked for.
            let prefix = self.prefix_bytes as usize;
            let asked = match prefix {
                0 => Some(block),
                _ => block.get(prefix..block.len().saturating_sub(SUFFIX_BYTES as usize)),
            };
            if let Some((kind, before)) = asked.and_then(|asked| self.in_block(asked)) {
                found.pooled_bytes += header.block_bytes as u64;
                objects.push(Object {
                    avma: avma + (offset + prefix + before) as u64,
                    kind,
                    block_bytes: header.block_bytes as u32,
                });
            }
        }
    }

    /// The object in a block, and how far into it.
    #[inline]
    fn in_block(&self, block: &[u8]) -> Option<(TypeIndex, usize)> {
        let kind_offset = self.layout.object_kind as usize;
        // What most objects have first: the collector's header, nothing, more.
        for before in [16, 0, 32] {
            let Some(word) = u64_in(block, before + kind_offset) else { continue };
            let Some(index) = self.table.find(word) else { continue };
            let size = self.sizes[index as usize];
            if usize::from(size.preheader_bytes) != before {
                continue;
            }
            let object = &block[before..];
            let fits = || {
                size.bytes_of(object, self.layout).is_some_and(|bytes| bytes <= object.len() as u64)
            };
            if self.is_counted(object) && self.is_linked(block, before, size) && fits() {
                return Some((TypeIndex(index), before));
            }
        }
        None
    }

    /// Whether an object has references, going by its first words.
    #[inline]
    pub(super) fn is_counted(&self, object: &[u8]) -> bool {
        if self.layout.free_threaded {
            // Thread, flags (none in 3.13), a lock, bits of the collector; local count; shared
            // count above two bits of flags.
            let Some(head) = object.get(..12) else { return false };
            // While the collector is at work it counts in the place of the thread.
            let has_thread = head[11] & UNREACHABLE_SO_FAR == 0;
            if has_thread && (head[0] & 7 != 0 || head[7] != 0) || head[9] != 0 || head[10] > 3 {
                return false;
            }
            if self.layout.version.minor == 13 && head[8] != 0 {
                return false;
            }
            let (local, shared) = (u32_in(object, 12), u64_in(object, 16));
            let shared = shared.unwrap_or(0).cast_signed() >> 2;
            // What another thread gave up waits with a negative share, maybe for long, until the
            // one that made it comes round to let it go: to the program it is no more.
            return match local.unwrap_or(0) {
                0 => (1..MAX_REFERENCES.cast_signed()).contains(&shared),
                local => shared.saturating_add(i64::from(local)) > 0,
            };
        }
        let Some(word) = u64_in(object, 0) else { return false };
        let count = if self.layout.version.minor >= 14 {
            // Count, overflow, flags; what was freed has the address of the next one there.
            if word >> 32 & 0xffff != 0 {
                return false;
            }
            word & 0xffff_ffff
        } else {
            word
        };
        count != 0
            && count < MAX_REFERENCES
            && (count < FIRST_MAPPED_AVMA
                || !count.is_multiple_of(8)
                || is_immortal(count, self.layout.version.minor)
                || !self.image.contains(count))
    }

    /// Whether the collector's header before an object, if it has one, can be one.
    #[inline]
    pub(super) fn is_linked(&self, block: &[u8], before: usize, size: KindSize) -> bool {
        if !size.has_gc {
            return true;
        }
        let Some(header) = before.checked_sub(16) else { return false };
        [header, header + 8].into_iter().all(|at| {
            let link = u64_in(block, at).unwrap_or(0) & !7;
            link == 0 || (self.lowest..self.highest).contains(&link)
        })
    }
}

/// Whether a reference count is that of an object that is never freed. The heap of a program that
/// is not position-independent may lie at the address that such a count looks like: 3.11 says
/// 1,000,000,000 of what one references.
#[inline]
fn is_immortal(count: u64, minor: u8) -> bool {
    match minor {
        ..=10 => false,
        11 => count.abs_diff(IMMORTAL_IN_11) < IMMORTAL_SLACK,
        // All bits up to the 31st, or two of them.
        _ => count >> 31 == 1,
    }
}
