//! Objects outside pools: in blocks of malloc's, among variables, and wherever else something looks
//! like one.

use super::chunk::{CHUNK_STEP, Chunk, chunk_at};
use super::kind::TypeIndex;
use super::object::Object;
use super::prefix;
use super::scan::{Found, Scanner};
use super::used_blocks::Block;
use crate::heap::{Region, RegionKind};
use crate::runtime::memory::u64_in;
use std::ops::Range;

/// Variables of programs hold no larger objects than this, bytes.
const MAX_STATIC_BYTES: u64 = 64 << 10;

/// What looks like an object outside pools.
pub(super) struct Loose {
    /// Where, in its region.
    pub offset: usize,
    /// The place of its type.
    pub kind: u32,
    /// Its length, and that of what is before it in its block.
    pub bytes: u64,
    /// See the field above.
    pub before: usize,
}

impl Scanner<'_> {
    /// Objects of a part of a region that is no pool: `index` is the region's place in the image.
    pub(super) fn outside_pools(
        &self,
        index: usize,
        region: &Region,
        part: Range<usize>,
        objects: &mut Vec<Object>,
        found: &mut Found,
    ) {
        let mut at = part.start;
        for known in self.used.known(index, part.clone()) {
            self.loose(region, at..known.start, objects, found);
            at = known.end;
            self.used.visit(index, region, known, |block| {
                if let Some(object) = self.in_used(region, &block) {
                    objects.push(object);
                }
            });
        }
        self.loose(region, at..part.end, objects, found);
    }

    /// The object in a block of malloc's that is in use.
    #[inline]
    fn in_used(&self, region: &Region, block: &Block) -> Option<Object> {
        let start = prefix::behind(&region.bytes, block.range.start);
        if self.prefix_bytes != 0 && start == block.range.start {
            return None;
        }
        let bytes = region.bytes.get(start..block.range.end)?;
        let kind_offset = self.layout.object_kind as usize;
        for before in [16, 0, 32] {
            let Some(word) = u64_in(bytes, before + kind_offset) else { continue };
            let Some(kind) = self.table.find(word) else { continue };
            let object = &bytes[before..];
            let size = self.sizes.get(kind as usize)?.of_object(object, self.layout);
            let fits = || {
                size.bytes_of(object, self.layout).is_some_and(|bytes| bytes <= object.len() as u64)
            };
            if usize::from(size.preheader_bytes) == before
                && self.is_counted(object)
                && self.is_linked(bytes, before, size)
                && fits()
            {
                return Some(Object {
                    avma: region.start_avma + (start + before) as u64,
                    kind: TypeIndex(kind),
                    block_bytes: u32::try_from(block.chunk_bytes).unwrap_or(u32::MAX),
                });
            }
        }
        None
    }

    /// Objects where nothing is known of who manages the memory.
    fn loose(
        &self,
        region: &Region,
        part: Range<usize>,
        objects: &mut Vec<Object>,
        found: &mut Found,
    ) {
        let is_static = region.kind != RegionKind::Anonymous;
        let first = objects.len();
        let mut at = part.start;
        while let Some(loose) = self.next_loose(region, at, part.end) {
            let Loose { offset, kind, bytes, .. } = loose;
            at = offset + 8;
            let (paid, is_sure) = if is_static {
                // Nobody allocated it.
                ((bytes <= MAX_STATIC_BYTES).then_some(0), true)
            } else if self.has_chunks {
                let chunk = self.chunk_of(region, &loose);
                let has_own_pages = chunk.is_some_and(|chunk| chunk.has_own_pages);
                (chunk.map(|chunk| chunk.length_bytes), has_own_pages)
            } else {
                (Some(bytes.next_multiple_of(CHUNK_STEP)), false)
            };
            let Some(paid) = paid else { continue };
            found.doubtful += u64::from(!is_sure);
            // What nothing speaks for but its own words may be none, and objects may lie in what it
            // says is its length: one that was freed once hid 1,500 others. A type may say that its
            // objects have no bytes.
            at = offset + if is_sure { (bytes as usize).max(16) } else { 16 };
            let avma = region.start_avma + offset as u64;
            // Where no chunk says how long it is, no byte is paid for twice.
            if let Some(previous) = objects[first..].last_mut().filter(|_| !self.has_chunks) {
                let between = u32::try_from(avma - previous.avma).unwrap_or(u32::MAX);
                previous.block_bytes = previous.block_bytes.min(between);
            }
            objects.push(Object {
                avma,
                kind: TypeIndex(kind),
                block_bytes: u32::try_from(paid).unwrap_or(u32::MAX),
            });
        }
    }

    /// The next thing that looks like an object from offset `at` on.
    pub(super) fn next_loose(&self, region: &Region, at: usize, end: usize) -> Option<Loose> {
        let kind_offset = self.layout.object_kind as usize;
        // malloc aligns to 16 bytes, compilers only variables of that size.
        let step = if region.kind == RegionKind::Anonymous { 16 } else { 8 };
        let odd = (region.start_avma % step as u64) as usize;
        let mut offset = (at + odd).next_multiple_of(step).checked_sub(odd)?;
        let bytes = &region.bytes;
        while offset + kind_offset + 8 <= end {
            let word = u64_in(bytes, offset + kind_offset)?;
            if let Some(index) = self.table.find(word)
                && !is_entry(bytes, offset, word)
                && let Some(loose) = self.looks_like(region, offset, end, index)
            {
                return Some(loose);
            }
            offset += step;
        }
        None
    }

    fn looks_like(&self, region: &Region, offset: usize, end: usize, kind: u32) -> Option<Loose> {
        let object = region.bytes.get(offset..end)?;
        let size = self.sizes.get(kind as usize)?.of_object(object, self.layout);
        let is_static = region.kind != RegionKind::Anonymous;
        if !self.is_counted(object) {
            return None;
        }
        if size.has_gc && !is_static {
            let before = offset.checked_sub(16)?;
            for at in [before, before + 8] {
                let link = u64_in(&region.bytes, at)? & !7;
                if link != 0 && !self.image.contains(link) {
                    return None;
                }
            }
        }
        let bytes = size.bytes_of(object, self.layout)?;
        let before = usize::from(size.preheader_bytes);
        (bytes <= object.len() as u64).then_some(Loose { offset, kind, bytes, before })
    }

    /// The chunk that malloc has an object in; `None` where it cannot hold it.
    fn chunk_of(&self, region: &Region, loose: &Loose) -> Option<Chunk> {
        let block = loose.offset.checked_sub(loose.before)?;
        let first = prefix::without(&region.bytes, block);
        if self.prefix_bytes != 0 && first == block {
            return None;
        }
        let before = (loose.offset - first) as u64;
        chunk_at(region, first, loose.bytes.checked_add(before)?)
    }
}

/// Whether a type is the key of an entry in a table: its hash before it, which is made of its
/// address, looks like a count of references where the type lies low.
fn is_entry(bytes: &[u8], offset: usize, kind_avma: u64) -> bool {
    u64_in(bytes, offset) == Some(kind_avma.rotate_right(4))
}
