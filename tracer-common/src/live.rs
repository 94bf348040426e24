//! The live map: which blocks are alive. What a bucket looks like, which two buckets a block may
//! be in, and how an entry is taken, filled and given up; whose memory it is, each side knows.
//!
//! A block is one entry of 16 bytes, in one of two buckets that its key chooses. It goes to the
//! emptier one, which keeps all buckets about equally full, so that both are full practically
//! never (docs/live-map.md has the figures).
//!
//! # Who may touch an entry
//!
//! An entry is [`EMPTY`], [`BUSY`], or has a key. Whoever exchanges [`EMPTY`] or a key for [`BUSY`]
//! owns the entry until it stores something else, and only an owner reads or writes its word
//! to act on it. So no two ever fill or empty one entry, whatever the target does, and no word is
//! ever taken for another block's.
//!
//! That a key is in at most one entry does need the target: a block has one owner. Only who
//! allocates it enters it, in a probe that ends before the allocator's caller has the address;
//! only who frees or reallocates it takes it out, in a probe that ends before the allocator has the
//! block back and could hand it out again. So of one key at most one insertion or removal is
//! under way, and an insertion sees what earlier ones have left:
//!
//! - Where an earlier free was not seen, the key is still there, and [`insert`] replaces its word.
//! - A realloc takes its block out at entry and puts it back if refused, as the same owner.
//! - Each image has a number of its own, so that what a program held before an exec has other keys.
//! - A program that frees what another of its threads is just being given, or gives one block
//!   away twice at the same time, is broken; two entries of one key may result. Both die in time, or
//!   stay as two blocks; nothing else is wrong then.

use crate::slot::LiveBlock;

/// Entries of a bucket: eight keys are a line of the processor's cache, so are their words.
pub const ENTRIES: usize = 8;

/// A bucket. Keys first, so that a look-up which finds nothing touches one line of each bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// See [`live_key`], or [`EMPTY`] or [`BUSY`].
    pub keys: [u64; ENTRIES],
    /// See [`pack`]; valid where the key is one.
    pub words: [u64; ENTRIES],
}
const _: () = assert!(size_of::<Bucket>() == 128);

/// Key of an entry that is free.
pub const EMPTY: u64 = 0;
/// Key of an entry that belongs to whoever has put this there. No block's: none is at address 0.
pub const BUSY: u64 = IN_USE;

/// Set in whatever is not [`EMPTY`], so that entries in use are counted without a jump.
const IN_USE: u64 = 1 << 63;
/// Bits of an address. The kernel places nothing higher in a process that does not ask for it by
/// address (Linux, Documentation/arch/x86/x86_64/5level-paging.rst), and no allocator does.
const ADDRESS_BITS: u32 = 47;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;

/// Key of the block at `address` of the image of that number.
#[inline(always)]
pub const fn live_key(address: u64, image: u16) -> u64 {
    IN_USE | ((image as u64) << ADDRESS_BITS) | (address & ADDRESS_MASK)
}

/// The address in a key, and the number of the image.
#[inline(always)]
pub const fn unpack_key(key: u64) -> (u64, u16) {
    (key & ADDRESS_MASK, (key >> ADDRESS_BITS) as u16)
}

/// Bits of a slot's index in a word; what is above is the size.
const SLOT_BITS: u32 = 24;
/// Slots that entries can tell apart.
pub const MAX_SLOTS: u32 = 1 << SLOT_BITS;
/// Set in a size that is counted in pages, in bits of the size.
const IN_PAGES: u64 = 1 << 39;
/// Bytes of such a page, as a shift.
const PAGE_SHIFT: u32 = 12;

/// A block as one word. Sizes below 512 GiB are kept as they are, larger ones to the next 4 KiB: up
/// to 2^51 bytes, beyond what a process can address.
#[inline(always)]
pub const fn pack(block: &LiveBlock) -> u64 {
    let size = if block.size_bytes < IN_PAGES {
        block.size_bytes
    } else {
        let pages = block.size_bytes.div_ceil(1 << PAGE_SHIFT);
        // The last ones are not used: no word has all bits set.
        IN_PAGES | if pages < IN_PAGES - 1 { pages } else { IN_PAGES - 2 }
    };
    (size << SLOT_BITS) | (block.slot & (MAX_SLOTS - 1)) as u64
}

/// The block of a word.
#[inline(always)]
pub const fn unpack(word: u64) -> LiveBlock {
    let size = word >> SLOT_BITS;
    let size_bytes = if size & IN_PAGES == 0 { size } else { (size ^ IN_PAGES) << PAGE_SHIFT };
    LiveBlock { size_bytes, slot: word as u32 & (MAX_SLOTS - 1), reserved: 0 }
}

/// A block as the table will tell of it: what is booked at its birth must be what is booked at its
/// death.
#[inline(always)]
pub const fn as_kept(block: &LiveBlock) -> LiveBlock {
    unpack(pack(block))
}

/// Blocks in a bucket, on average, when as many are alive as may be.
const BLOCKS_PER_BUCKET: u32 = 4;
/// In a table of few buckets chance has more room.
const FEWEST_BUCKETS: u32 = 64;

/// Buckets of a table for so many blocks.
pub const fn buckets_for(max_live: u32) -> u32 {
    let buckets = max_live.div_ceil(BLOCKS_PER_BUCKET);
    if buckets < FEWEST_BUCKETS { FEWEST_BUCKETS } else { buckets }
}

/// The two buckets of a key, out of `buckets`; they may be one.
///
/// # Sources
/// The finaliser of MurmurHash3 (64 bits): addresses are multiples, and stride by stride.
#[inline(always)]
pub const fn places(key: u64, buckets: u32) -> (u32, u32) {
    let mut hash = (key ^ (key >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    let buckets = buckets as u64;
    // A product's high half: no division.
    ((((hash >> 32) * buckets) >> 32) as u32, (((hash & 0xffff_ffff) * buckets) >> 32) as u32)
}

/// A bucket in memory that others change too. `at` is below [`ENTRIES`].
pub trait Shared {
    /// Reads a key.
    fn key(&self, at: usize) -> u64;
    /// Exchanges a key, where it still is `old`; whether that worked. A full barrier.
    fn exchange(&self, at: usize, old: u64, new: u64) -> bool;
    /// Ends the ownership of an entry: what was written before is seen before.
    fn set_key(&self, at: usize, key: u64);
    /// Reads a word.
    fn word(&self, at: usize) -> u64;
    /// Writes the word of an entry that is owned.
    fn set_word(&self, at: usize, word: u64);
}

/// What came of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is there.
    New,
    /// It is there, in place of this word of the same key.
    Replaced(u64),
    /// The key was there already, and stays with its word.
    Present,
    /// As many blocks as may be are alive.
    NoRoom,
    /// Both buckets are full; the room that was taken must be given back.
    NoPlace,
}

/// Enters a key; where it is there already, its word is replaced if `replace` says so. `take_room`
/// is asked before one more entry is filled.
#[inline(always)]
pub fn insert<B: Shared>(
    [first, second]: [&B; 2],
    key: u64,
    word: u64,
    replace: bool,
    take_room: impl FnOnce() -> bool,
) -> Inserted {
    let mut used = [0; 2];
    for (bucket, used) in [first, second].into_iter().zip(&mut used) {
        for at in 0..ENTRIES {
            let found = bucket.key(at);
            *used += found / IN_USE;
            if found != key {
                continue;
            }
            if !replace {
                return Inserted::Present;
            }
            if bucket.exchange(at, key, BUSY) {
                let old = bucket.word(at);
                bucket.set_word(at, word);
                bucket.set_key(at, key);
                return Inserted::Replaced(old);
            }
        }
    }
    if !take_room() {
        return Inserted::NoRoom;
    }
    let (emptier, fuller) = if used[0] <= used[1] { (first, second) } else { (second, first) };
    if fill(emptier, key, word) || fill(fuller, key, word) {
        Inserted::New
    } else {
        Inserted::NoPlace
    }
}

/// Fills a free entry of a bucket; whether there was one.
#[inline(always)]
fn fill<B: Shared>(bucket: &B, key: u64, word: u64) -> bool {
    for at in 0..ENTRIES {
        if bucket.key(at) == EMPTY && bucket.exchange(at, EMPTY, BUSY) {
            bucket.set_word(at, word);
            bucket.set_key(at, key);
            return true;
        }
    }
    false
}

/// Takes a key out of a bucket; its word, where it was there.
#[inline(always)]
pub fn take<B: Shared>(bucket: &B, key: u64) -> Option<u64> {
    for at in 0..ENTRIES {
        if bucket.key(at) == key && bucket.exchange(at, key, BUSY) {
            let word = bucket.word(at);
            bucket.set_key(at, EMPTY);
            return Some(word);
        }
    }
    None
}

/// The key and the word of an entry, for who does not own it; `None` where there is none, or it is
/// just changing. The word is the key's, unless the entry was given up, used for another block, given
/// up and used for the first again between two reads.
#[inline(always)]
pub fn read<B: Shared>(bucket: &B, at: usize) -> Option<(u64, u64)> {
    let key = bucket.key(at);
    if key == EMPTY || key == BUSY {
        return None;
    }
    let word = bucket.word(at);
    // Whoever has changed the word in the meantime has changed the key before.
    (bucket.key(at) == key).then_some((key, word))
}

#[cfg(test)]
mod tests;
