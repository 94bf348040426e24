//! The live map in the kernel: entering a block, and taking it out (`tracer_common::live` has the
//! algorithm, and why it is sound).
//!
//! A function of its own with global linkage each: a scan of two buckets is long when unrolled.

use crate::{atomic, configuration::config, maps::LIVE, room};
use tracer_common::{
    live::{Bucket, Inserted, Shared, insert, pack, places, unpack},
    slot::LiveBlock,
};

/// Results of the functions below that are no word of an entry: none is as large.
const ABSENT: u64 = u64::MAX;
const NEW: u64 = u64::MAX - 1;
const PRESENT: u64 = u64::MAX - 2;
const FULL: u64 = u64::MAX - 3;

/// What came of entering a block.
pub enum Entered {
    /// It is in the table.
    New,
    /// It is in the table, in place of this one, whose free was not seen.
    Replaced(LiveBlock),
    /// There is one of that key, which stays.
    Present,
    /// There is no room for it.
    Full,
}

/// Enters a block; one that is there under the same key is replaced.
#[inline(always)]
pub fn enter(key: u64, block: &LiveBlock) -> Entered {
    entered(live_enter(key, pack(block), 1))
}

/// Puts a block back that was taken out, where there is none of its key by now.
#[inline(always)]
pub fn put_back(key: u64, block: &LiveBlock) -> Entered {
    entered(live_enter(key, pack(block), 0))
}

#[inline(always)]
fn entered(result: u64) -> Entered {
    match result {
        NEW => Entered::New,
        PRESENT => Entered::Present,
        FULL => Entered::Full,
        word => Entered::Replaced(unpack(word)),
    }
}

/// Takes a block out; `None` when it is not there.
#[inline(always)]
pub fn take(key: u64) -> Option<LiveBlock> {
    match live_take(key) {
        ABSENT => None,
        word => Some(unpack(word)),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn live_enter(key: u64, word: u64, replace: u32) -> u64 {
    let (first, second) = places(key, config!(live_buckets));
    let (Some(first), Some(second)) = (bucket(first), bucket(second)) else { return FULL };
    match insert([&first, &second], key, word, replace != 0, room::take) {
        Inserted::New => NEW,
        Inserted::Replaced(word) => word,
        Inserted::Present => PRESENT,
        Inserted::NoRoom => FULL,
        Inserted::NoPlace => {
            room::give_back();
            FULL
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn live_take(key: u64) -> u64 {
    let (first, second) = places(key, config!(live_buckets));
    let word = taken_from(first, key).or_else(|| taken_from(second, key));
    if word.is_some() {
        room::give_back();
    }
    word.unwrap_or(ABSENT)
}

#[inline(always)]
fn taken_from(index: u32, key: u64) -> Option<u64> {
    tracer_common::live::take(&bucket(index)?, key)
}

/// A bucket of the map, which other threads, and user space, change too.
struct InMap(*mut Bucket);

#[inline(always)]
fn bucket(index: u32) -> Option<InMap> {
    LIVE.get_ptr_mut(index).map(InMap)
}

impl InMap {
    #[inline(always)]
    fn key_at(&self, at: usize) -> *mut u64 {
        // SAFETY: inside the bucket, since `at` is below `ENTRIES`.
        unsafe { (&raw mut (*self.0).keys).cast::<u64>().add(at) }
    }

    #[inline(always)]
    fn word_at(&self, at: usize) -> *mut u64 {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.0).words).cast::<u64>().add(at) }
    }
}

// Volatile accesses keep their order; x86-64 shows stores to others in the order in which they
// were made.
impl Shared for InMap {
    #[inline(always)]
    fn key(&self, at: usize) -> u64 {
        // SAFETY: an aligned u64 of the map.
        unsafe { self.key_at(at).read_volatile() }
    }

    #[inline(always)]
    fn exchange(&self, at: usize, old: u64, new: u64) -> bool {
        // SAFETY: as above.
        unsafe { atomic::claim(self.key_at(at), old, new) }
    }

    #[inline(always)]
    fn set_key(&self, at: usize, key: u64) {
        // SAFETY: as above.
        unsafe { self.key_at(at).write_volatile(key) }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        // SAFETY: as above.
        unsafe { self.word_at(at).read_volatile() }
    }

    #[inline(always)]
    fn set_word(&self, at: usize, word: u64) {
        // SAFETY: as above.
        unsafe { self.word_at(at).write_volatile(word) }
    }
}
