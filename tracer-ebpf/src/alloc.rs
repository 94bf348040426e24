//! Allocation probes: entry remembers what was asked for, return books what was given.

use crate::{
    account::{born, died},
    counters::count,
    live::{self, Entered},
    regime::{self, count_dropped},
    registers::{Registers, at_entry, at_return},
    thread::{self, ThreadState, call},
    unknown, unwind,
};
use aya_ebpf::{
    helpers::bpf_probe_read_user,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use tracer_common::{
    counter::Counter,
    live::{as_kept, live_key},
    record::domain,
    slot::LiveBlock,
};

/// [`ThreadState::has_old_block`]: the block was taken out of the live map.
const OLD_BLOCK_KNOWN: u16 = 1;
/// It had none, and nothing but its size is valid.
const OLD_BLOCK_SIZED: u16 = 2;

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

/// realloc of glibc, which tells how large blocks are that were not seen born.
#[uprobe]
pub fn grealloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [old, size, ..]) = at_entry(&ctx);
    enter_between(sp, call::REALLOCATE, size, 0, old, true)
}

/// reallocarray (block, count, size).
#[uprobe]
pub fn reallocarr_enter(ctx: ProbeContext) -> u32 {
    let (sp, [old, items, size, _]) = at_entry(&ctx);
    enter(sp, call::REALLOCATE, array_bytes(items, size), old)
}

/// The same of glibc.
#[uprobe]
pub fn grealloca_enter(ctx: ProbeContext) -> u32 {
    let (sp, [old, items, size, _]) = at_entry(&ctx);
    enter_between(sp, call::REALLOCATE, array_bytes(items, size), 0, old, true)
}

/// A product that overflows is refused by the allocator; only one that wraps to 0 could be taken
/// for a request to free.
#[inline(always)]
fn array_bytes(items: u64, size: u64) -> u64 {
    let product = items.wrapping_mul(size);
    if product == 0 && items != 0 && size != 0 { u64::MAX } else { product }
}

/// Puts an allocation in flight.
#[inline(always)]
pub(crate) fn enter(sp: u64, call: u32, size_bytes: u64, old_address: u64) -> u32 {
    enter_between(sp, call, size_bytes, 0, old_address, false)
}

/// Puts one in flight that may yield up to `extra_bytes` more than asked for (xallocx); `is_glibc`
/// says whose it is.
#[inline(always)]
pub(crate) fn enter_between(
    sp: u64,
    call: u32,
    size_bytes: u64,
    extra_bytes: u64,
    old_address: u64,
    is_glibc: bool,
) -> u32 {
    count(Counter::AllocationHits);
    // What a call does to a block from before the pause is still seen.
    if !has_old_block(call) && regime::is_paused() {
        count(Counter::PausedCalls);
        return 0;
    }
    let Some(thread) = thread::begin(call, sp) else { return 0 };
    thread.size_bytes = size_bytes;
    thread.old_address = old_address;
    // Volatile: two zeros side by side become a call of memset, which goes byte by byte.
    // SAFETY: a field of the state, which nobody else touches.
    unsafe { (&raw mut thread.old_length).write_volatile(extra_bytes) };
    thread.has_old_block = 0;
    if has_old_block(call) && old_address != 0 {
        take_old_block(thread, old_address, is_glibc);
    }
    0
}

/// Takes the block at `address` out of the live map, to be put back or to be given up
/// ([`old_block_lives`]).
#[inline(always)]
pub(crate) fn hold_old_block(thread: &mut ThreadState, address: u64) {
    thread.old_address = address;
    thread.has_old_block = 0;
    take_old_block(thread, address, false);
}

/// What became of such a block. One that was not there has died already, or was never followed.
#[inline(always)]
pub(crate) fn old_block_lives(thread: &mut ThreadState, lives: bool) {
    if lives {
        put_old_block_back(thread);
    } else if thread.has_old_block == OLD_BLOCK_KNOWN {
        old_block_died(thread);
    }
}

/// Whether a call gives up, or changes, a block that exists.
#[inline(always)]
fn has_old_block(call: u32) -> bool {
    matches!(
        call,
        call::REALLOCATE | call::REALLOCATE_OR_FREE | call::RESIZE | call::PYTHON_REALLOCATE
    )
}

/// Takes the old block of a realloc out of the live map while the call runs: once the allocator
/// has given it up, another thread may be handed the same address before our return probe runs.
/// What glibc says of one that is not there must be read now for the same reason.
#[inline(always)]
fn take_old_block(thread: &mut ThreadState, address: u64, is_glibc: bool) {
    if let Some(block) = live::take(live_key(address, thread.image)) {
        thread.old_block = block;
        thread.has_old_block = OLD_BLOCK_KNOWN;
    } else if is_glibc {
        thread.old_block.size_bytes = unknown::glibc_bytes(address);
        thread.has_old_block = OLD_BLOCK_SIZED;
    }
}

/// Every allocation function returns through this, but those that throw.
#[uretprobe]
pub fn alloc_return(ctx: RetProbeContext) -> u32 {
    count(Counter::ReturnHits);
    let (registers, result) = at_return(&ctx);
    if let Some((thread, call)) = thread::end(registers.sp) {
        conclude(thread, call, registers, result);
    }
    0
}

/// Settles a call that has returned `result`.
#[inline(always)]
pub(crate) fn conclude(thread: &mut ThreadState, call: u32, registers: Registers, result: u64) {
    let (block, domain) = match call {
        call::ALLOCATE | call::NEW => (block_at(result), domain::MALLOC),
        call::REALLOCATE => (reallocated(thread, result, false), domain::MALLOC),
        call::REALLOCATE_OR_FREE => (reallocated(thread, result, true), domain::MALLOC),
        call::RESIZE => (resized(thread, result), domain::MALLOC),
        call::POSIX_MEMALIGN => (aligned(thread, result as u32), domain::MALLOC),
        call::PYTHON_ALLOCATE => (block_at(result), domain::PYTHON),
        call::PYTHON_REALLOCATE => (reallocated(thread, result, false), domain::PYTHON),
        _ => return,
    };
    let outcome = match block {
        Ok(0) => Ok(()),
        Ok(address) => settle(thread, registers, address, domain),
        Err(counter) => Err(counter),
    };
    if let Err(counter) = outcome {
        count(counter);
    }
}

/// The block that a plain allocation has returned.
#[inline(always)]
fn block_at(result: u64) -> Result<u64, Counter> {
    if result == 0 { Err(Counter::FailedAllocations) } else { Ok(result) }
}

/// The new block of a realloc, 0 when it only freed the old one.
#[inline(always)]
fn reallocated(
    thread: &mut ThreadState,
    result: u64,
    frees_when_refused: bool,
) -> Result<u64, Counter> {
    let refused = result == 0 && thread.size_bytes != 0;
    if refused && !frees_when_refused {
        put_old_block_back(thread);
        return Err(Counter::FailedAllocations);
    }
    old_block_died(thread);
    if refused { Err(Counter::FailedAllocations) } else { Ok(result) }
}

/// The block of an xallocx whose result is `real_bytes`, with its new size; it was refused when
/// that is less than was asked for.
#[inline(always)]
fn resized(thread: &mut ThreadState, real_bytes: u64) -> Result<u64, Counter> {
    if real_bytes < thread.size_bytes {
        put_old_block_back(thread);
        return Err(Counter::FailedAllocations);
    }
    old_block_died(thread);
    // What lies above the request is the allocator's rounding.
    let most = thread.size_bytes.saturating_add(thread.old_length);
    thread.size_bytes = if real_bytes < most { real_bytes } else { most };
    Ok(thread.old_address)
}

/// Refused, or never heard of again: the old block lives on, where the live map has room for it.
#[inline(always)]
pub(crate) fn put_old_block_back(thread: &mut ThreadState) {
    if thread.has_old_block != OLD_BLOCK_KNOWN {
        return;
    }
    thread.has_old_block = 0;
    match live::put_back(live_key(thread.old_address, thread.image), &thread.old_block) {
        Entered::New => {}
        Entered::Full => {
            died(&thread.old_block);
            count_dropped(thread.old_block.slot, thread.old_block.size_bytes);
        }
        // Its address is another block's by now.
        Entered::Present | Entered::Replaced(_) => died(&thread.old_block),
    }
}

#[inline(always)]
fn old_block_died(thread: &mut ThreadState) {
    let kind = thread.has_old_block;
    thread.has_old_block = 0;
    if kind == OLD_BLOCK_KNOWN {
        died(&thread.old_block);
    } else if thread.old_address != 0 {
        unknown::freed(if kind == OLD_BLOCK_SIZED { thread.old_block.size_bytes } else { 0 });
    }
}

/// The block of a posix_memalign, from its out-parameter.
#[inline(always)]
fn aligned(thread: &ThreadState, error: u32) -> Result<u64, Counter> {
    if error != 0 {
        return Err(Counter::FailedAllocations);
    }
    // SAFETY: the helper checks the address.
    let block = unsafe { bpf_probe_read_user(thread.old_address as *const u64) }
        .map_err(|_| Counter::ResultUnreadable)?;
    block_at(block)
}

/// Books the block at `address`, or says what stood in the way.
#[inline(always)]
fn settle(
    thread: &mut ThreadState,
    registers: Registers,
    address: u64,
    domain: u32,
) -> Result<(), Counter> {
    let size_bytes = thread.size_bytes;
    let births = regime::present().ok_or(Counter::PausedCalls)?;
    births.admit(size_bytes)?;
    thread.births = births;
    let slot = unwind::memory::slot(thread, registers, domain);
    enter_block(thread, address, slot);
    Ok(())
}

/// Enters a block in the live map, and books its birth in `slot`.
#[inline(always)]
pub(crate) fn enter_block(thread: &ThreadState, address: u64, slot: u32) {
    let size_bytes = thread.size_bytes;
    let block = as_kept(&LiveBlock { size_bytes, slot, reserved: 0 });
    match live::enter(live_key(address, thread.image), &block) {
        Entered::New | Entered::Present => {}
        Entered::Replaced(old) => {
            // The allocator handed out an address that we hold for live: its free was not seen.
            died(&old);
            count(Counter::AddressReused);
        }
        Entered::Full => {
            count_dropped(block.slot, size_bytes);
            return;
        }
    }
    born(block.slot, block.size_bytes);
}
