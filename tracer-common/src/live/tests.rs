//! The table on the host: how full it gets, and threads that enter and take blocks at once.
extern crate std;

use super::*;
use std::{
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    vec::Vec,
};

/// A bucket of atomics.
struct Cells {
    keys: [AtomicU64; ENTRIES],
    words: [AtomicU64; ENTRIES],
}

impl Shared for Cells {
    fn key(&self, at: usize) -> u64 {
        self.keys[at].load(Acquire)
    }
    fn exchange(&self, at: usize, old: u64, new: u64) -> bool {
        self.keys[at].compare_exchange(old, new, AcqRel, Relaxed).is_ok()
    }
    fn set_key(&self, at: usize, key: u64) {
        self.keys[at].store(key, Release);
    }
    fn word(&self, at: usize) -> u64 {
        self.words[at].load(Acquire)
    }
    fn set_word(&self, at: usize, word: u64) {
        self.words[at].store(word, Relaxed);
    }
}

struct Table(Vec<Cells>);

impl Table {
    fn new(buckets: u32) -> Self {
        let zeros = || [const { AtomicU64::new(0) }; ENTRIES];
        Self((0..buckets).map(|_| Cells { keys: zeros(), words: zeros() }).collect())
    }
    fn of(&self, key: u64) -> [&Cells; 2] {
        let (first, second) = places(key, self.0.len() as u32);
        [&self.0[first as usize], &self.0[second as usize]]
    }
    fn insert(&self, key: u64, word: u64) -> Inserted {
        insert(self.of(key), key, word, true, || true)
    }
    fn take(&self, key: u64) -> Option<u64> {
        let [first, second] = self.of(key);
        take(first, key).or_else(|| take(second, key))
    }
    /// Buckets by how many entries are in use.
    fn fills(&self) -> [usize; ENTRIES + 1] {
        let mut fills = [0; ENTRIES + 1];
        for bucket in &self.0 {
            fills[(0..ENTRIES).filter(|at| read(bucket, *at).is_some()).count()] += 1;
        }
        fills
    }
}

/// A generator of numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[test]
fn keys_and_words_are_what_went_in() {
    for address in [8, 0x5555_5555_5010, 0x7fff_ffff_fff1] {
        for image in [1, 2, 0x8000, u16::MAX] {
            let key = live_key(address, image);
            assert_eq!(unpack_key(key), (address, image));
            assert!(key != EMPTY && key != BUSY);
        }
    }
    for slot in [0, 1, 131_071, MAX_SLOTS - 1] {
        for size_bytes in [0, 1, 64, 4097, (1 << 32) + 1, (1 << 39) - 1] {
            let block = LiveBlock { size_bytes, slot, reserved: 0 };
            assert_eq!(unpack(pack(&block)), block);
        }
        for size_bytes in [1 << 39, (1 << 39) + 1, (1 << 40) - 1, (1 << 47) - 1, u64::MAX] {
            let block = unpack(pack(&LiveBlock { size_bytes, slot, reserved: 0 }));
            let kept = size_bytes.next_multiple_of_or_most();
            assert_eq!((block.size_bytes, block.slot), (kept, slot));
            assert_eq!(unpack(pack(&block)), block, "a size that was kept is kept");
            assert!(pack(&block) < u64::MAX - 8);
        }
    }
}

trait OrMost {
    fn next_multiple_of_or_most(self) -> u64;
}

impl OrMost for u64 {
    fn next_multiple_of_or_most(self) -> u64 {
        let most = ((1 << 39) - 2) << 12;
        self.checked_next_multiple_of(4096).map_or(most, |size| size.min(most))
    }
}

#[test]
fn a_key_that_is_there_is_replaced_or_left_and_never_doubled() {
    let table = Table::new(64);
    let key = live_key(0x1000, 1);
    assert_eq!(table.insert(key, 7), Inserted::New);
    assert_eq!(table.insert(key, 8), Inserted::Replaced(7));
    assert_eq!(insert(table.of(key), key, 9, false, || true), Inserted::Present);
    assert_eq!(table.fills()[1], 1);
    assert_eq!((table.take(key), table.take(key)), (Some(8), None));
    assert_eq!(insert(table.of(key), key, 9, false, || false), Inserted::NoRoom);
    assert_eq!(table.fills()[0], 64);
}

#[test]
fn two_full_buckets_take_no_more_and_lose_nothing() {
    let table = Table::new(2);
    let keys: Vec<u64> = (1..).map(|at| live_key(16 * at, 3)).take(400).collect();
    let kept: Vec<u64> =
        keys.iter().copied().filter(|key| table.insert(*key, *key) == Inserted::New).collect();
    assert_eq!((kept.len(), table.fills()[ENTRIES]), (2 * ENTRIES, 2));
    assert!(keys.iter().all(|key| table.take(*key) == kept.contains(key).then_some(*key)));
    assert_eq!(table.fills()[0], 2);
}

/// Blocks of many kinds of heaps: strides of malloc, pages, slabs here and there, and no order.
fn heaps(count: usize) -> [Vec<u64>; 5] {
    let stride = |start: u64, step: u64| {
        (0..count as u64).map(|at| live_key(start + at * step, 1)).collect::<Vec<_>>()
    };
    let mut random = Random(9);
    let slabs = (0..count as u64)
        .map(|at| live_key(0x7f00_0000_0000 + (at / 64) * (1 << 21) + (at % 64) * 64, 2))
        .collect();
    let anywhere = (0..count).map(|_| live_key(random.next() >> 17 & !15, 1)).collect();
    [
        stride(0x5555_5555_5010, 32),
        stride(0x5555_5555_5010, 48),
        stride(0x7fff_0000_0010, 4096),
        slabs,
        anywhere,
    ]
}

#[test]
fn as_many_blocks_as_may_be_find_room_in_any_heap() {
    const BLOCKS: u32 = 400_000;
    for (number, keys) in heaps(BLOCKS as usize).into_iter().enumerate() {
        let table = Table::new(buckets_for(BLOCKS));
        for key in &keys {
            assert_ne!(table.insert(*key, 1), Inserted::NoPlace, "heap {number}");
        }
        // What comes and goes for long makes it no fuller.
        let mut keys = keys;
        let mut random = Random(77);
        for _ in 0..6 * BLOCKS {
            let at = random.below(keys.len());
            assert_eq!(table.take(keys[at]), Some(1), "heap {number}");
            keys[at] = live_key(random.next() >> 17 & !15, 3);
            assert_ne!(table.insert(keys[at], 1), Inserted::NoPlace, "heap {number}");
        }
        let fills = table.fills();
        std::eprintln!("heap {number}: buckets by entries in use {fills:?}");
        // Two are both full for one block in a hundred millions at most.
        assert!(fills[ENTRIES] * 10_000 <= table.0.len(), "heap {number}: {fills:?}");
    }
}

#[test]
fn threads_that_enter_and_take_their_blocks_find_what_they_entered() {
    const THREADS: u64 = 4;
    const BLOCKS: usize = 12;
    // So few buckets that all fight for the same entries, and are often full.
    let table = Table::new(4);
    let (live, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let turned_away = AtomicU64::new(0);
    let (seen, strange) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // A reader sees a word with another block's key only where the entry was both in between.
        scope.spawn(|| {
            while !over.load(Relaxed) {
                for (bucket, at) in table.0.iter().flat_map(|b| (0..ENTRIES).map(move |at| (b, at)))
                {
                    if let Some((key, word)) = read(bucket, at) {
                        let is_own = unpack_key(key).0 == word >> 16 << 4;
                        strange.fetch_add(u64::from(!is_own), Relaxed);
                        seen.fetch_add(1, Relaxed);
                    }
                }
            }
        });
        let workers: Vec<_> = (1..=THREADS).map(|id| (id, &table, &live, &turned_away)).collect();
        let workers: Vec<_> = workers
            .into_iter()
            .map(|(id, table, live, turned_away)| {
                scope.spawn(move || {
                    let mut random = Random(id);
                    let mut mine: Vec<Option<u64>> = std::vec![None; BLOCKS];
                    for turn in 0..300_000_u64 {
                        let at = random.below(BLOCKS);
                        let name = id << 8 | at as u64;
                        let key = live_key(name << 4, 1);
                        if let Some(word) = mine[at].take() {
                            assert_eq!(table.take(key), Some(word), "its own, and once");
                            assert_eq!(table.take(key), None);
                            live.fetch_sub(1, Relaxed);
                            continue;
                        }
                        let word = name << 16 | turn & 0xffff;
                        match table.insert(key, word) {
                            Inserted::New => {
                                live.fetch_add(1, Relaxed);
                                mine[at] = Some(word);
                            }
                            Inserted::NoPlace => {
                                turned_away.fetch_add(1, Relaxed);
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("a worker");
        }
        over.store(true, Relaxed);
    });
    let fills = table.fills();
    let counted: usize = fills.iter().enumerate().map(|(used, buckets)| used * buckets).sum();
    assert_eq!(counted as u64, live.load(Relaxed));
    assert!(strange.load(Relaxed) * 1000 <= seen.load(Relaxed), "{strange:?} of {seen:?}");
    assert!(turned_away.load(Relaxed) > 0 && seen.load(Relaxed) > 0, "nothing was fought for");
}
