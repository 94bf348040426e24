//! Allocation probes: entry remembers what was asked for, return books what was given.

use crate::{
    account::{NO_REPLACE, REPLACE, born, died, slot_of_stack},
    configuration::config,
    counters::{add, count},
    maps::LIVE,
    registers::{Registers, at_entry, at_return},
    thread::{self, ThreadState, call},
    unwind,
};
use aya_ebpf::{
    helpers::bpf_probe_read_user,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use tracer_common::{
    counter::Counter,
    record::domain,
    slot::{LiveBlock, live_key},
};

/// malloc, valloc, pvalloc (size).
#[uprobe]
pub fn malloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [size, ..]) = at_entry(&ctx);
    enter(sp, call::ALLOCATE, size, 0)
}

/// calloc (count, size).
#[uprobe]
pub fn calloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [items, size, ..]) = at_entry(&ctx);
    // A product that overflows is refused by the allocator, so its value does not matter.
    enter(sp, call::ALLOCATE, items.wrapping_mul(size), 0)
}

/// aligned_alloc, memalign (alignment, size).
#[uprobe]
pub fn aligned_enter(ctx: ProbeContext) -> u32 {
    let (sp, [_, size, ..]) = at_entry(&ctx);
    enter(sp, call::ALLOCATE, size, 0)
}

/// posix_memalign (where the result goes, alignment, size).
#[uprobe]
pub fn posix_enter(ctx: ProbeContext) -> u32 {
    let (sp, [result, _, size, _]) = at_entry(&ctx);
    enter(sp, call::POSIX_MEMALIGN, size, result)
}

/// realloc (block, size).
#[uprobe]
pub fn realloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [old, size, ..]) = at_entry(&ctx);
    enter(sp, call::REALLOCATE, size, old)
}

/// reallocarray (block, count, size).
#[uprobe]
pub fn reallocarr_enter(ctx: ProbeContext) -> u32 {
    let (sp, [old, items, size, _]) = at_entry(&ctx);
    // A product that overflows is refused by the allocator; only one that wraps to 0 could be
    // taken for a request to free.
    let product = items.wrapping_mul(size);
    let bytes = if product == 0 && items != 0 && size != 0 { u64::MAX } else { product };
    enter(sp, call::REALLOCATE, bytes, old)
}

#[inline(always)]
fn enter(sp: u64, call: u32, size_bytes: u64, old_address: u64) -> u32 {
    count(Counter::AllocationHits);
    let Some(thread) = thread::begin(call, sp) else { return 0 };
    thread.size_bytes = size_bytes;
    thread.old_address = old_address;
    thread.has_old_block = 0;
    if call == call::REALLOCATE && old_address != 0 {
        take_old_block(thread, old_address);
    }
    0
}

/// Takes the old block of a realloc out of the live map while the call runs: once the allocator
/// has given it up, another thread may be handed the same address before our return probe runs.
#[inline(always)]
fn take_old_block(thread: &mut ThreadState, address: u64) {
    let key = live_key(address, thread.image);
    if let Some(block) = LIVE.get_ptr(key) {
        // SAFETY: the kernel returned a pointer to an entry; the block belongs to the caller.
        thread.old_block = unsafe { *block };
        if LIVE.remove(key).is_ok() {
            thread.has_old_block = 1;
        }
    }
}

/// Every allocation function returns through this.
#[uretprobe]
pub fn alloc_return(ctx: RetProbeContext) -> u32 {
    count(Counter::ReturnHits);
    let (registers, result) = at_return(&ctx);
    let Some((thread, call)) = thread::end(registers.sp) else { return 0 };
    let outcome = match call {
        call::ALLOCATE => settle(thread, registers, result),
        call::REALLOCATE => settle_realloc(thread, registers, result),
        call::POSIX_MEMALIGN => settle_posix_memalign(thread, registers, result as u32),
        _ => Ok(()),
    };
    if let Err(counter) = outcome {
        count(counter);
    }
    0
}

#[inline(always)]
fn settle_realloc(
    thread: &mut ThreadState,
    registers: Registers,
    result: u64,
) -> Result<(), Counter> {
    let had_old = thread.old_address != 0;
    if result == 0 && thread.size_bytes != 0 {
        // Refused: the old block lives on.
        if thread.has_old_block == 1 {
            let key = live_key(thread.old_address, thread.image);
            let _ = LIVE.insert(key, thread.old_block, REPLACE);
        }
        return Err(Counter::FailedAllocations);
    }
    if thread.has_old_block == 1 {
        died(&thread.old_block);
    } else if had_old {
        count(Counter::FreedUnknownBlocks);
    }
    if result == 0 {
        // realloc(block, 0) that only freed.
        return Ok(());
    }
    settle(thread, registers, result)
}

#[inline(always)]
fn settle_posix_memalign(
    thread: &mut ThreadState,
    registers: Registers,
    error: u32,
) -> Result<(), Counter> {
    if error != 0 {
        return Err(Counter::FailedAllocations);
    }
    // SAFETY: the helper checks the address.
    let block = unsafe { bpf_probe_read_user(thread.old_address as *const u64) }
        .map_err(|_| Counter::ResultUnreadable)?;
    settle(thread, registers, block)
}

/// Books the block at `address`, or says what stood in the way.
#[inline(always)]
fn settle(thread: &mut ThreadState, registers: Registers, address: u64) -> Result<(), Counter> {
    if address == 0 {
        return Err(Counter::FailedAllocations);
    }
    let size_bytes = thread.size_bytes;
    if size_bytes < config!(min_size_bytes) {
        return Err(Counter::BelowMinSizeBlocks);
    }
    unwind::walk(thread, registers, domain::MALLOC);
    let block = LiveBlock { size_bytes, slot: slot_of_stack(thread), reserved: 0 };
    let key = live_key(address, thread.image);
    if LIVE.insert(key, block, NO_REPLACE).is_err() {
        let Some(old) = LIVE.get_ptr(key) else {
            add(Counter::LiveMapFullBytes, size_bytes);
            return Err(Counter::LiveMapFullBlocks);
        };
        // The allocator handed out an address that we hold for live: its free was not seen.
        // SAFETY: the kernel returned a pointer to an entry of the map.
        let old = unsafe { *old };
        died(&old);
        count(Counter::AddressReused);
        if LIVE.insert(key, block, REPLACE).is_err() {
            add(Counter::LiveMapFullBytes, size_bytes);
            return Err(Counter::LiveMapFullBlocks);
        }
    }
    born(block.slot, size_bytes);
    Ok(())
}
