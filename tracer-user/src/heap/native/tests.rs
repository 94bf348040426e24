//! Images made by hand, of which it is known what points to what.

use super::*;
use crate::{
    fuzz::fuzz,
    heap::{Region, RegionKind},
};

const HEAP: u64 = 0x5555_0000_0000;
const DATA: u64 = 0x4000_0000;
const STACK: u64 = 0x7ffc_0000_0000;
const TID: u32 = 4711;

/// Memory of a process that is made word by word.
struct Memory {
    heap: Vec<u8>,
    data: Vec<u8>,
    stack: Vec<u8>,
    blocks: Vec<LiveBlock>,
    threads: Vec<ThreadRegisters>,
}

impl Memory {
    fn new() -> Self {
        let heap = vec![0; 64 << 10];
        let (data, stack) = (vec![0; 4096], vec![0; 4096]);
        Self { heap, data, stack, blocks: Vec::new(), threads: Vec::new() }
    }

    /// A block of a stack, behind the last one.
    fn block(&mut self, stack: u64, size_bytes: u64) -> u64 {
        let end = self.blocks.last().map_or(HEAP, LiveBlock::end_avma);
        let avma = (end + 16).next_multiple_of(16);
        self.blocks.push(LiveBlock { avma, size_bytes, stack });
        avma
    }

    fn put(&mut self, avma: u64, word: u64) {
        let (bytes, start) = match avma {
            HEAP.. if avma < STACK => (&mut self.heap, HEAP),
            STACK.. => (&mut self.stack, STACK),
            _ => (&mut self.data, DATA),
        };
        let at = (avma - start) as usize;
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    fn image(&self) -> Image {
        let region =
            |start_avma, kind, bytes: &Vec<u8>| Region { start_avma, kind, bytes: bytes.clone() };
        let stack = RegionKind::Stack { tid: TID, stack_pointer_avma: STACK + 1024 };
        Image::new(vec![
            region(HEAP, RegionKind::Anonymous, &self.heap),
            region(DATA, RegionKind::Static { module: "/opt/gateway.so".into() }, &self.data),
            region(STACK, stack, &self.stack),
        ])
    }

    fn look(&self, of: &[u64]) -> Vec<BlocksOfStack> {
        look(&self.image(), &self.threads, &self.blocks, of, &Naming::default())
    }

    /// Blocks, lost ones, those lost indirectly, and from where the others are pointed to.
    #[track_caller]
    fn check(&self, stack: u64, counts: [u64; 3], from: &[(&str, Option<u64>, u64)]) {
        let answer = self.look(&[stack]).remove(0);
        assert_eq!(answer.stack, stack);
        let found = [answer.blocks, answer.lost_blocks, answer.lost_indirectly_blocks];
        assert_eq!(found, counts, "{answer:?}");
        let found: Vec<(&str, Option<u64>, u64)> =
            answer.from.iter().map(|from| (&*from.what, from.stack, from.blocks)).collect();
        assert_eq!(found, from);
    }
}

#[test]
fn a_block_to_which_nothing_points_is_lost() {
    let mut memory = Memory::new();
    for _ in 0..3 {
        memory.block(1, 40);
    }
    memory.check(1, [3, 3, 0], &[]);
    assert_eq!(memory.look(&[1])[0].lost_bytes, 120);
}

#[test]
fn each_place_that_points_is_named() {
    let mut memory = Memory::new();
    let blocks: Vec<u64> = (0..6).map(|_| memory.block(1, 40)).collect();
    let other = memory.block(2, 64);
    memory.put(DATA + 8, blocks[0]);
    memory.put(STACK + 2048, blocks[1] + 39);
    memory.threads =
        vec![ThreadRegisters { tid: TID, registers: vec![7, blocks[2]], ..Default::default() }];
    memory.put(DATA + 16, other);
    memory.put(other + 56, blocks[3]);
    memory.put(blocks[3], blocks[4]);
    memory.put(HEAP + 0x8000, blocks[5]);
    memory.check(
        1,
        [6, 0, 0],
        &[
            ("a block of another stack", Some(2), 1),
            ("a block of the same stack", Some(1), 1),
            ("a register of thread 4711", None, 1),
            ("memory of no known block", None, 1),
            ("static data of gateway.so", None, 1),
            ("the stack of thread 4711", None, 1),
        ],
    );
}

#[test]
fn what_lies_below_the_stack_pointer_points_to_nothing_but_for_the_red_zone() {
    let mut memory = Memory::new();
    let (dead, red) = (memory.block(1, 40), memory.block(1, 40));
    memory.put(STACK + 1024 - 136, dead);
    memory.put(STACK + 1024 - 128, red);
    memory.check(1, [2, 1, 0], &[("the stack of thread 4711", None, 1)]);
}

#[test]
fn only_words_that_lie_in_a_block_point_to_it() {
    let mut memory = Memory::new();
    let block = memory.block(1, 40);
    memory.put(DATA, block + 40);
    memory.put(DATA + 8, block - 1);
    memory.put(DATA + 17, block);
    memory.check(1, [1, 1, 0], &[]);
    memory.put(DATA + 32, block + 1);
    memory.check(1, [1, 0, 0], &[("static data of gateway.so", None, 1)]);
    // An empty block has an address, too.
    let empty = memory.block(2, 0);
    memory.put(DATA + 64, empty);
    memory.check(2, [1, 0, 0], &[("static data of gateway.so", None, 1)]);
}

#[test]
fn what_only_lost_blocks_point_to_is_lost_indirectly() {
    let mut memory = Memory::new();
    let blocks: Vec<u64> = (0..4).map(|_| memory.block(1, 40)).collect();
    memory.put(blocks[0], blocks[1]);
    memory.put(blocks[1] + 8, blocks[2]);
    memory.put(blocks[2] + 8, blocks[3]);
    // It points to itself, which holds nobody.
    memory.put(blocks[0] + 16, blocks[0]);
    memory.check(1, [4, 1, 3], &[]);
}

#[test]
fn blocks_of_a_circle_are_lost_and_what_hangs_on_it_indirectly() {
    let mut memory = Memory::new();
    let ring: Vec<u64> = (0..5).map(|_| memory.block(1, 40)).collect();
    for (at, block) in ring.iter().enumerate() {
        memory.put(*block, ring[(at + 1) % ring.len()]);
        memory.put(*block + 8, ring[(at + 4) % ring.len()]);
    }
    let hanging: Vec<u64> = (0..2).map(|_| memory.block(2, 40)).collect();
    memory.put(ring[3] + 16, hanging[0]);
    memory.put(hanging[0], hanging[1]);
    memory.put(hanging[1], hanging[0]);
    memory.check(1, [5, 5, 0], &[]);
    memory.check(2, [2, 0, 2], &[]);
    // From a lost block into the circle: all of it hangs on that.
    let above = memory.block(3, 40);
    memory.put(above, ring[2]);
    memory.check(1, [5, 0, 5], &[]);
    memory.check(3, [1, 1, 0], &[]);
    // From outside: all of it is in use.
    memory.put(DATA, above);
    memory.check(
        1,
        [5, 0, 0],
        &[("a block of the same stack", Some(1), 4), ("a block of another stack", Some(3), 1)],
    );
    memory.check(
        2,
        [2, 0, 0],
        &[("a block of another stack", Some(1), 1), ("a block of the same stack", Some(2), 1)],
    );
}

/// Random pointers between random blocks, against a plain search.
#[test]
fn what_is_told_agrees_with_a_plain_search() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..300 {
        let mut memory = Memory::new();
        let count = random.usize(1..40);
        let blocks: Vec<u64> = (0..count).map(|_| memory.block(1, 48)).collect();
        let mut edges = vec![vec![false; count]; count];
        for _ in 0..random.usize(..2 * count) {
            let (from, to) = (random.usize(..count), random.usize(..count));
            memory.put(blocks[from] + 8 * random.u64(..6), blocks[to] + random.u64(..48));
        }
        for (from, block) in blocks.iter().enumerate() {
            for field in 0..6 {
                let at = (block - HEAP) as usize + 8 * field;
                let word = u64::from_le_bytes(memory.heap[at..at + 8].try_into().unwrap());
                if let Some(to) = blocks.iter().position(|to| (*to..to + 48).contains(&word)) {
                    edges[from][to] = true;
                }
            }
        }
        let mut reached: Vec<bool> = (0..count).map(|_| random.u8(..8) == 0).collect();
        for (at, _) in reached.iter().enumerate().filter(|(_, is_root)| **is_root) {
            memory.put(DATA + 8 * at as u64, blocks[at]);
        }
        let spread = |set: &mut Vec<bool>| {
            for _ in 0..count {
                for from in 0..count {
                    for to in 0..count {
                        set[to] |= set[from] && edges[from][to];
                    }
                }
            }
        };
        spread(&mut reached);
        // Lost for itself: every lost block that leads to it is led to by it.
        let leads: Vec<Vec<bool>> = (0..count)
            .map(|from| {
                let mut set = vec![false; count];
                set[from] = true;
                spread(&mut set);
                set
            })
            .collect();
        let is_direct =
            |at: usize| !reached[at] && (0..count).all(|from| !leads[from][at] || leads[at][from]);
        let direct = (0..count).filter(|at| is_direct(*at)).count() as u64;
        let lost = reached.iter().filter(|reached| !**reached).count() as u64;
        let answer = memory.look(&[1]).remove(0);
        let found = [answer.blocks, answer.lost_blocks, answer.lost_indirectly_blocks];
        assert_eq!(found, [count as u64, direct, lost - direct], "round {round}");
        let held: u64 = answer.from.iter().map(|from| from.blocks).sum();
        assert_eq!(held, count as u64 - lost, "round {round}");
    }
}

#[test]
fn blocks_that_are_not_in_the_image_are_not_judged() {
    let mut memory = Memory::new();
    memory.block(1, 40);
    memory.blocks.push(LiveBlock { avma: HEAP + (1 << 30), size_bytes: 40, stack: 1 });
    memory.check(1, [1, 1, 0], &[]);
    let before = memory.blocks.clone();
    let after = vec![before[1], LiveBlock { avma: u64::MAX, size_bytes: 1, stack: 1 }];
    assert_eq!(in_both(before.clone(), &after), vec![before[1]]);
    assert!(in_both(before, &[]).is_empty());
}

#[test]
fn garbage_neither_panics_nor_takes_long() {
    let mut memory = Memory::new();
    for at in 0..200 {
        let block = memory.block(at % 3, 48);
        memory.put(block, HEAP + 16 + 64 * (at % 7));
    }
    let blocks: Vec<u8> = memory
        .blocks
        .iter()
        .flat_map(|block| [block.avma, block.size_bytes, block.stack])
        .flat_map(u64::to_le_bytes)
        .collect();
    let image = memory.image();
    let mut inputs = vec![blocks];
    inputs.extend(image.regions().iter().map(|region| region.bytes.clone()));
    fuzz("live blocks", &inputs, |bytes| {
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let mut blocks: Vec<LiveBlock> = words
            .chunks_exact(3)
            .map(|word| LiveBlock { avma: word[0], size_bytes: word[1], stack: word[2] })
            .collect();
        let heap = Region { start_avma: HEAP, kind: RegionKind::Anonymous, bytes: bytes.to_vec() };
        let mut regions = vec![heap];
        regions.extend(image.regions()[..1].iter().cloned());
        regions.extend(image.regions()[2..].iter().cloned());
        let threads =
            [ThreadRegisters { tid: TID, registers: words.clone(), stack_pointer_avma: 0 }];
        let image = Image::new(regions);
        for blocks in [&memory.blocks, &blocks] {
            for answer in look(&image, &threads, blocks, &[0, 1, 2, 0], &Naming::default()) {
                assert!(answer.lost_blocks + answer.lost_indirectly_blocks <= answer.blocks);
            }
        }
        blocks.clear();
    });
}
