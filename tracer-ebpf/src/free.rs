//! The free probe: one removal, one addition. It has no return probe.

use crate::{
    account::died,
    counters::count,
    live,
    registers::at_entry,
    thread::{self, Freeing},
    unknown,
};
use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{counter::Counter, live::live_key};

/// free, cfree (block), and what frees it with a size or an alignment behind.
#[uprobe]
pub fn free_enter(ctx: ProbeContext) -> u32 {
    let (sp, [address, ..]) = at_entry(&ctx);
    release(sp, address, false)
}

/// The same of glibc, which tells how large blocks are that were not seen born.
#[uprobe]
pub fn gfree_enter(ctx: ProbeContext) -> u32 {
    let (sp, [address, ..]) = at_entry(&ctx);
    release(sp, address, true)
}

/// Books the free of a block by a function entered with stack pointer `sp`; `is_glibc` says whose
/// that is.
#[inline(always)]
pub(crate) fn release(sp: u64, address: u64, is_glibc: bool) -> u32 {
    count(Counter::FreeHits);
    if address == 0 {
        return 0;
    }
    // Inside realloc it is realloc that books it.
    let Some(Freeing { image, again }) = thread::begin_free(sp, address) else { return 0 };
    match live::take(live_key(address, image)) {
        Some(block) => died(&block),
        None => free_unknown(address, again, is_glibc),
    }
    0
}

/// Counts the free of a block that is not in the live map.
#[inline(always)]
fn free_unknown(address: u64, again: bool, is_glibc: bool) {
    if again {
        count(Counter::NestedCalls);
    } else {
        unknown::freed(if is_glibc { unknown::glibc_bytes(address) } else { 0 });
    }
}
