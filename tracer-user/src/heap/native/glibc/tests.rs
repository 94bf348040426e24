//! A heap made by hand, as glibc 2.36 lays it out.

use super::*;
use crate::{
    capture::BlocksOfStack,
    fuzz::fuzz,
    heap::native::{LiveBlock, Naming, look},
};

const HEAP: u64 = 0x5555_0000_0000;
const DATA: u64 = 0x7f00_0000_0000;
const ARENA: u64 = DATA + 0x40;
const TOP_FIELD: u64 = ARENA + TOP_AT[0];
const HEAP_BYTES: usize = 0x21000;
const KEY: u64 = 0x1234_5678_9abc_def1;

/// A heap and the variables of libc's.
struct Made {
    heap: Vec<u8>,
    data: Vec<u8>,
    /// Where the next chunk begins.
    end: u64,
    blocks: Vec<LiveBlock>,
}

impl Made {
    fn put(&mut self, avma: u64, word: u64) {
        let (bytes, start) = match avma < DATA {
            true => (&mut self.heap, HEAP),
            false => (&mut self.data, DATA),
        };
        let at = (avma - start) as usize;
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    /// A block in a chunk that looks used.
    fn chunk(&mut self, length: u64) -> u64 {
        self.put(self.end + 8, length | 1);
        self.end += length;
        self.end - length + HEADER_BYTES
    }

    fn live(&mut self, length: u64, size_bytes: u64) -> u64 {
        let avma = self.chunk(length);
        self.blocks.push(LiveBlock { avma, size_bytes, stack: avma });
        avma
    }

    /// The chunk behind is the unused end.
    fn finish(&mut self) {
        self.put(self.end + 8, (HEAP + HEAP_BYTES as u64 - self.end) | 1);
        self.put(TOP_FIELD, self.end);
        for list in 0..LISTS {
            let own = TOP_FIELD + 16 * list;
            self.put(TOP_FIELD + LISTS_AT + 16 * list, own);
            self.put(TOP_FIELD + LISTS_AT + 16 * list + 8, own);
        }
    }

    fn image(&self) -> Image {
        let module = "/lib/libc.so.6".to_owned();
        let (heap, data) = (self.heap.clone(), self.data.clone());
        Image::new(vec![
            Region { start_avma: HEAP, kind: RegionKind::Anonymous, bytes: heap },
            Region { start_avma: DATA, kind: RegionKind::Static { module }, bytes: data },
        ])
    }

    /// Whether something points to a block.
    fn is_reached(&self, block: u64) -> bool {
        let answers: Vec<BlocksOfStack> =
            look(&self.image(), &[], &self.blocks, &[block], &Naming::default());
        assert_eq!(answers[0].blocks, 1);
        answers[0].lost_blocks == 0
    }
}

/// Blocks to which only a used chunk points, a chunk in a thread's list, two in a list of small
/// ones, a free one, the unused end, and the allocator's own fields.
fn made() -> (Made, [u64; 7]) {
    let (heap, data) = (vec![0; HEAP_BYTES], vec![0; 0x2000]);
    let mut made = Made { heap, data, end: HEAP, blocks: Vec::new() };
    let lists = made.chunk(0x290);
    let blocks = [0; 6].map(|_| made.live(0x40, 48));
    let used = made.chunk(0x50);
    made.put(used + 16, blocks[0]);
    let kept = made.chunk(0x60);
    made.put(kept, kept >> 12);
    made.put(kept + 8, KEY);
    made.put(kept + 32, blocks[1]);
    // The list of chunks of 0x60 bytes is the fifth.
    made.put(lists + 8, 1);
    made.put(lists + 2 * 64 + 8 * 4, kept);
    let small = [made.chunk(0x30), made.chunk(0x30)];
    made.put(small[0] + 16, blocks[2]);
    made.put(small[1] + 16, blocks[3]);
    made.put(small[0], small[0] >> 12 ^ (small[1] - HEADER_BYTES));
    made.put(small[1], small[1] >> 12);
    made.put(ARENA + 16 + 8, small[0] - HEADER_BYTES);
    let free = made.chunk(0x400);
    made.put(free + 64, blocks[4]);
    // The next one says so.
    made.chunk(0x20);
    made.put(free + 0x400 - HEADER_BYTES + 8, 0x20);
    // Its last word is where the next chunk, the unused end, begins.
    let before_top = made.live(0x30, 40);
    made.finish();
    made.put(made.end + 256, blocks[5]);
    let [a, b, c, d, e, f] = blocks;
    (made, [a, b, c, d, e, f, before_top])
}

#[test]
fn what_is_free_and_the_allocator_itself_point_to_nothing() {
    let (made, blocks) = made();
    let reached = blocks.map(|block| made.is_reached(block));
    assert_eq!(reached, [true, false, false, false, false, false, false]);
}

#[test]
fn what_is_not_surely_free_counts_as_in_use() {
    // Without an arena that makes sense, the lists of small chunks are not known.
    let (mut made, blocks) = made();
    made.put(TOP_FIELD + LISTS_AT, 7);
    let reached = blocks.map(|block| made.is_reached(block));
    assert_eq!(reached, [true, false, true, true, false, false, true]);
    // A count that contradicts its list: they are no lists.
    let (mut made, blocks) = self::made();
    made.put(HEAP + HEADER_BYTES, 1);
    assert!(made.is_reached(blocks[1]));
}

#[test]
fn a_live_block_in_a_chunk_that_looks_free_is_live() {
    let (mut made, blocks) = made();
    let small = made.blocks[5].avma + 0x40 + 0x50 + 0x60;
    made.blocks.insert(6, LiveBlock { avma: small, size_bytes: 32, stack: small });
    made.put(DATA, small);
    assert!(made.is_reached(small) && made.is_reached(blocks[2]));
}

#[test]
fn older_lists_without_masks_are_followed() {
    let (mut made, blocks) = made();
    let first = blocks[5] + 0x40 + 0x50 + 0x60;
    made.put(first, first + 0x30 - HEADER_BYTES);
    made.put(first + 0x30, 0);
    assert!(!made.is_reached(blocks[2]) && !made.is_reached(blocks[3]));
}

#[test]
fn the_unused_end_may_reach_beyond_what_was_ever_touched() {
    let (mut made, blocks) = made();
    made.heap.truncate(0x1000);
    let reached = blocks.map(|block| made.is_reached(block));
    assert_eq!(reached, [true, false, false, false, false, false, false]);
}

#[test]
fn garbage_in_heaps_neither_panics_nor_takes_long() {
    let (made, blocks) = made();
    let heap = made.heap[..0x1000].to_vec();
    fuzz("a heap of glibc's", &[heap, made.data.clone()], |bytes| {
        let (heap, data) = (made.heap.clone(), made.data.clone());
        let mut garbled = Made { heap, data, blocks: made.blocks.clone(), ..made };
        let place = match bytes.len() > 0x1800 {
            true => &mut garbled.data,
            false => &mut garbled.heap,
        };
        let length = bytes.len().min(place.len());
        place[..length].copy_from_slice(&bytes[..length]);
        let image = garbled.image();
        look(&image, &[], &garbled.blocks, &blocks, &Naming::default());
    });
}
