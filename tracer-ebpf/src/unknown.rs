//! Blocks that are freed and were never seen born: how large they were, where glibc tells.
//!
//! glibc keeps a chunk's length in the word before the block, its three lowest bits being flags. A
//! chunk has 8 bytes that are not the block's, and 16 where it is a mapping of its own.
//!
//! # Source
//! `struct malloc_chunk` in glibc's malloc/malloc.c.

use crate::{
    counters::{add, count},
    regime,
};
use aya_ebpf::helpers::bpf_probe_read_user;
use tracer_common::counter::Counter;

/// Flags in a chunk's length, the one of chunks that are mappings among them.
const FLAGS: u64 = 7;
const IS_MAPPED: u64 = 2;
/// What a chunk has beside the block.
const HEADER_BYTES: u64 = 8;
const MAPPED_HEADER_BYTES: u64 = 16;
/// Chunks are no shorter, and no longer in any program that lives; lengths are multiples of 16.
const SHORTEST_BYTES: u64 = 32;
const LONGEST_BYTES: u64 = 1 << 40;

/// Bytes of the block at `address`, as glibc has noted them; 0 when the note makes no sense, or when
/// nobody wants to know any more since blocks have been left out.
///
/// # Cost
/// One read of the target's memory, next to what the allocator is about to read itself.
#[inline(always)]
pub fn glibc_bytes(address: u64) -> u64 {
    if regime::has_left_out() {
        return 0;
    }
    // SAFETY: the helper checks the address.
    let word = unsafe { bpf_probe_read_user(address.wrapping_sub(8) as *const u64) };
    let Ok(word) = word else { return 0 };
    let length = word & !FLAGS;
    let is_chunk = (SHORTEST_BYTES..=LONGEST_BYTES).contains(&length);
    if !is_chunk || address & 15 != 0 || length & 15 != 0 {
        return 0;
    }
    let header = if word & IS_MAPPED == 0 { HEADER_BYTES } else { MAPPED_HEADER_BYTES };
    length - header
}

/// Counts one that is freed; `bytes` is 0 where its size is not known.
#[inline(always)]
pub fn freed(bytes: u64) {
    if regime::has_left_out() {
        count(Counter::FreedNotFollowedBlocks);
        return;
    }
    count(Counter::FreedUnknownBlocks);
    if bytes == 0 {
        count(Counter::FreedUnknownUnsized);
    } else {
        add(Counter::FreedUnknownBytes, bytes);
    }
}
