//! What of glibc's heaps is not in use: free chunks still hold the words of those who had them, and
//! the allocator's own lists point to chunks, which begin in the last word of the block before.
//! Neither counts as a pointer.
//!
//! Nothing here is believed that does not fit: what is not surely free counts as in use.
//!
//! # Sources
//! `malloc_state`, `tcache_perthread_struct`, `PROTECT_PTR` in malloc/malloc.c of glibc 2.26 to 2.42,
//! x86-64.

use crate::{
    heap::{Image, Region, RegionKind},
    runtime::{
        glibc::{Chunk, Chunks, HEADER_BYTES, heaps_by},
        memory::u64_in,
    },
};
use std::{collections::HashSet, ops::Range};

/// Flags in a chunk's length.
const FLAGS: u64 = 7;
/// Of an arena, from the field that points to its unused end: its lists of small chunks (ten) lie
/// before it, those of others (127 pairs) behind; bytes.
const SMALL_LISTS_BYTES: u64 = 80;
const SMALL_LISTS: u64 = 10;
const LISTS_AT: u64 = 16;
const LISTS: u64 = 127;
/// That field's place in an arena: since 2.27, and before; bytes.
const TOP_AT: [u64; 2] = [96, 88];
/// Lists of a thread's own chunks: length of the chunk that they are in, bytes of each counter, and
/// how many there are. Up to 2.29, up to 2.41, since 2.42.
const THREAD_LISTS: [(u64, u64, u64); 3] = [(0x250, 1, 64), (0x290, 2, 64), (0x300, 2, 76)];
/// The first so many of them are of one length each.
const EXACT_LISTS: u64 = 64;
/// Since 2.42 the counters count what there is still room for.
const COUNTS_ROOM: u64 = 0x300;
/// How far the unused end of a heap may reach beyond what was ever touched; bytes.
const MAX_UNTOUCHED_BYTES: u64 = 1 << 30;
/// Chunks of one list that are followed.
const MAX_LIST: usize = 50_000_000;

/// A heap whose chunks can be walked.
struct Heap {
    range: Range<u64>,
    /// Up to where its last chunk may reach: of memory that was never touched there is no copy.
    limit: u64,
    /// Its arena, where that lies in it.
    arena: Option<u64>,
}

/// What is known of the heaps of an image.
#[derive(Default)]
pub struct Heaps {
    /// By address.
    heaps: Vec<Heap>,
    /// Blocks that are free though their chunks look used.
    free: HashSet<u64>,
    /// What marks such blocks, in their second word.
    keys: HashSet<u64>,
    /// Chunks that were not used yet, of which arenas take what is asked for.
    tops: HashSet<u64>,
    /// The allocator's own lists, by address.
    lists: Vec<Range<u64>>,
}

impl Heaps {
    /// Looks for heaps, and for what is free in them.
    pub fn of(image: &Image) -> Self {
        let mut found = Self { heaps: heaps_in(image), ..Self::default() };
        let mut thread_lists = Vec::new();
        let mut tops = HashSet::new();
        for heap in &found.heaps {
            for chunk in found.chunks_of(image, heap).into_iter().flatten() {
                if chunk.is_last && heap.arena.is_none() {
                    tops.insert(chunk.avma);
                }
                let lists = THREAD_LISTS.iter().find(|lists| lists.0 == chunk.length_bytes);
                if let Some(lists) = lists.filter(|_| !chunk.is_free) {
                    thread_lists.push((chunk.avma + HEADER_BYTES, *lists));
                }
            }
        }
        for top in found.arenas(image, &tops) {
            found.add_small_lists(image, top);
            found.tops.extend(image.word(top));
            let lists = top - SMALL_LISTS_BYTES..top + LISTS_AT + 16 * LISTS;
            found.lists.push(lists);
        }
        found.lists.sort_unstable_by_key(|lists| lists.start);
        for (avma, lists) in thread_lists {
            found.add_thread_lists(image, avma, lists);
        }
        found
    }

    /// Whether the variables of the allocator were found: then the heaps are glibc's.
    pub fn is_known(&self) -> bool {
        !self.lists.is_empty()
    }

    /// Shows every chunk of the heaps, by address in each, with the place of its region, and
    /// whether the block in it is in use.
    pub fn visit(&self, image: &Image, mut visit: impl FnMut(usize, &Chunk, bool)) {
        for heap in &self.heaps {
            let index = image.region_index_at(heap.range.start);
            let Some((index, region)) = index.and_then(|at| Some((at, image.regions().get(at)?)))
            else {
                continue;
            };
            for chunk in chunks(region, heap).into_iter().flatten() {
                visit(index, &chunk, self.is_used(region, &chunk));
            }
        }
    }

    /// What of a range of a region is surely not in use, or belongs to the allocator, left out.
    /// `used` gets the rest; in heaps, what is in the chunk of one of its blocks at a time.
    pub fn in_use(
        &self,
        region: &Region,
        range: Range<u64>,
        mut used: impl FnMut(Range<u64>, bool),
    ) {
        let mut start = range.start;
        let first = self.heaps.partition_point(|heap| heap.range.end <= range.start);
        for heap in self.heaps[first..].iter().take_while(|heap| heap.range.start < range.end) {
            self.without_lists(start..heap.range.start, &mut used);
            start = start.max(heap.range.start);
            for chunk in chunks(region, heap).into_iter().flatten() {
                self.without_lists(start..chunk.avma, &mut used);
                let end = chunk.avma + chunk.length_bytes;
                if self.is_used(region, &chunk) {
                    // The last word of a block is the first one of the next chunk.
                    used(chunk.avma + HEADER_BYTES..end.saturating_add(8), true);
                }
                start = end;
            }
        }
        self.without_lists(start..range.end, &mut used);
    }

    fn without_lists(&self, range: Range<u64>, used: &mut impl FnMut(Range<u64>, bool)) {
        let mut start = range.start;
        let first = self.lists.partition_point(|lists| lists.end <= range.start);
        for lists in self.lists[first..].iter().take_while(|lists| lists.start < range.end) {
            if start < lists.start {
                used(start..lists.start, false);
            }
            start = start.max(lists.end);
        }
        if start < range.end {
            used(start..range.end, false);
        }
    }

    fn is_used(&self, region: &Region, chunk: &Chunk) -> bool {
        !chunk.is_free
            && !self.tops.contains(&chunk.avma)
            && !self.is_free(region, chunk.avma + HEADER_BYTES)
    }

    fn is_free(&self, region: &Region, block: u64) -> bool {
        let key = || word_of(region, block.checked_add(8)?);
        self.free.contains(&block)
            || !self.keys.is_empty() && key().is_some_and(|key| self.keys.contains(&key))
    }

    fn chunks_of<'a>(
        &self,
        image: &'a Image,
        heap: &Heap,
    ) -> Option<Chunks<impl FnMut(u64) -> Option<u64> + 'a>> {
        chunks(image.region_at(heap.range.start)?, heap)
    }

    fn holds(&self, avma: u64) -> bool {
        let first = self.heaps.partition_point(|heap| heap.range.end <= avma);
        self.heaps.get(first).is_some_and(|heap| heap.range.contains(&avma))
    }

    /// Where arenas point to the unused ends of their heaps.
    fn arenas(&self, image: &Image, tops: &HashSet<u64>) -> Vec<u64> {
        let own = self.heaps.iter().filter_map(|heap| heap.arena);
        let mut places: Vec<u64> = own
            .flat_map(|arena| TOP_AT.map(|at| arena.saturating_add(at)))
            .filter(|place| self.is_arena(image, *place))
            .collect();
        // The main arena is a variable of libc's.
        for region in image.regions() {
            if tops.is_empty() || !matches!(region.kind, RegionKind::Static { .. }) {
                continue;
            }
            let found = super::words::words(region, region.range())
                .filter(|(place, word)| tops.contains(word) && self.is_arena(image, *place));
            places.extend(found.map(|(place, _)| place));
        }
        places
    }

    /// Each of an arena's lists is empty, and then it points to itself, or leads into a heap.
    fn is_arena(&self, image: &Image, top: u64) -> bool {
        let Some(lists) = top.checked_add(LISTS_AT) else { return false };
        let Some(bytes) = image.bytes(lists, 16 * LISTS as usize) else { return false };
        top >= SMALL_LISTS_BYTES
            && (0..LISTS).all(|list| {
                let (first, last) = (16 * list as usize, 16 * list as usize + 8);
                let own = lists + 16 * list - HEADER_BYTES;
                match (u64_in(bytes, first), u64_in(bytes, last)) {
                    (Some(first), Some(last)) => {
                        first == own && last == own || self.holds(first) && self.holds(last)
                    }
                    _ => false,
                }
            })
    }

    /// Chunks of up to 128 bytes that are kept for a while as if they were in use.
    fn add_small_lists(&mut self, image: &Image, top: u64) {
        for list in 0..SMALL_LISTS {
            let length = 32 + 16 * list;
            let mut next = image.word(top - SMALL_LISTS_BYTES + 8 * list).unwrap_or(0);
            for _ in 0..MAX_LIST {
                let block = next.wrapping_add(HEADER_BYTES);
                if !self.is_chunk(image, next, Some(length)) || !self.free.insert(block) {
                    break;
                }
                next = self.following(image, block, 0, Some(length));
            }
        }
    }

    /// Chunks that a thread keeps for itself, if these are its lists.
    fn add_thread_lists(&mut self, image: &Image, avma: u64, shape: (u64, u64, u64)) {
        let (chunk_bytes, count_bytes, lists) = shape;
        let mut heads = Vec::new();
        for list in 0..lists {
            let Some(first) = image.word(avma + count_bytes * lists + 8 * list) else { return };
            let Some(count) = image.bytes(avma + count_bytes * list, count_bytes as usize) else {
                return;
            };
            let count = count.iter().rev().fold(0, |count, byte| count << 8 | u64::from(*byte));
            let length = (list < EXACT_LISTS).then_some(32 + 16 * list);
            let is_empty = chunk_bytes != COUNTS_ROOM && count == 0;
            match first {
                0 if is_empty || chunk_bytes == COUNTS_ROOM => {}
                0 => return,
                _ if is_empty => return,
                _ if !self.is_chunk(image, first.wrapping_sub(HEADER_BYTES), length) => return,
                _ => heads.push((first, length)),
            }
        }
        for (first, length) in heads {
            let mut block = first;
            for _ in 0..MAX_LIST {
                if !self.free.insert(block) {
                    break;
                }
                let next = self.following(image, block, HEADER_BYTES, length);
                if !self.is_chunk(image, next.wrapping_sub(HEADER_BYTES), length) {
                    break;
                }
                block = next;
            }
            // Random, or the address of the lists; cleared when the block is handed out.
            let key = image.word(first + 8).filter(|key| *key == avma || *key >> 48 != 0);
            self.keys.extend(key);
        }
    }

    /// What comes behind a free block; since 2.32 links are masked by where they are. What they
    /// lead to lies `ahead` of its chunk.
    fn following(&self, image: &Image, block: u64, ahead: u64, length: Option<u64>) -> u64 {
        let Some(link) = image.word(block) else { return 0 };
        let unmasked = link ^ block >> 12;
        let is_next =
            |next: u64| next == 0 || self.is_chunk(image, next.wrapping_sub(ahead), length);
        if is_next(unmasked) { unmasked } else { link }
    }

    /// Whether a chunk of a heap may begin at an address, of a length if that is known.
    fn is_chunk(&self, image: &Image, avma: u64, length: Option<u64>) -> bool {
        let size = || image.word(avma.checked_add(8)?).map(|word| word & !FLAGS);
        avma.is_multiple_of(16)
            && self.holds(avma)
            && size().is_some_and(|size| length.is_none_or(|length| size == length) && size >= 32)
    }
}

fn word_of(region: &Region, avma: u64) -> Option<u64> {
    u64_in(&region.bytes, usize::try_from(avma.checked_sub(region.start_avma)?).ok()?)
}

fn chunks<'a>(
    region: &'a Region,
    heap: &Heap,
) -> Option<Chunks<impl FnMut(u64) -> Option<u64> + use<'a>>> {
    Chunks::within(&heap.range, heap.limit, move |avma| word_of(region, avma))
}

/// Heaps of arenas other than the main one are told by their headers; the main one's begin where
/// their mapping does.
fn heaps_in(image: &Image) -> Vec<Heap> {
    let anonymous = || image.regions().iter().filter(|region| region.kind == RegionKind::Anonymous);
    let ranges: Vec<Range<u64>> = anonymous().map(Region::range).collect();
    let mut heaps: Vec<Heap> =
        heaps_by(&ranges, |start| image.bytes(start, 32).map(<[u8]>::to_vec))
            .into_iter()
            .map(|heap| {
                let is_first = heap.range.contains(&heap.arena);
                let limit = heap.range.end;
                Heap { arena: is_first.then_some(heap.arena), range: heap.range, limit }
            })
            .collect();
    heaps.sort_by_key(|heap| heap.range.start);
    let mut mains = Vec::new();
    for (place, region) in image.regions().iter().enumerate() {
        let first = heaps.partition_point(|heap| heap.range.end <= region.start_avma);
        let end = heaps.get(first).map_or(u64::MAX, |heap| heap.range.start);
        let behind = image.regions().get(place + 1).map_or(u64::MAX, |next| next.start_avma);
        let limit = behind.min(end).min(region.range().end.saturating_add(MAX_UNTOUCHED_BYTES));
        let range = region.start_avma..region.range().end.min(end);
        let main = Heap { range, limit, arena: None };
        if region.kind == RegionKind::Anonymous
            && main.range.start < main.range.end
            && chunks(region, &main).is_some()
        {
            mains.push(main);
        }
    }
    heaps.extend(mains);
    heaps.sort_by_key(|heap| heap.range.start);
    heaps
}

#[cfg(test)]
mod tests;
