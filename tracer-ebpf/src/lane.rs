//! The fast lane: a library inside a command has drawn the sample, and passes through these places
//! with the blocks that were drawn. The weight is the same as if the draw had been made here, since
//! the chance is the same.
//!
//! What the library does not pass on is glibc's business. Mapping calls that glibc makes in one of
//! its functions are not the program's: the library notes where each thread stands in them.

use crate::{
    account::died,
    alloc::{enter_block, hold_old_block, old_block_lives},
    configuration::config,
    counters::count,
    live, process, regime,
    registers::Registers,
    thread::{self, ThreadState, call},
    unwind,
};
use aya_ebpf::{
    helpers::{bpf_get_current_task, bpf_probe_read_user},
    macros::uprobe,
    programs::ProbeContext,
};
use tracer_common::{
    counter::Counter,
    lane::{INSIDE_SP, THREAD_OFFSET, unpack_order},
    live::live_key,
    record::domain,
    regime::MAX_REGIMES,
};

/// A drawn block is born (address, size, order; where the allocator's caller goes on, its stack
/// pointer and frame pointer then).
#[uprobe]
pub fn lane_birth(ctx: ProbeContext) -> u32 {
    count(Counter::AllocationHits);
    // SAFETY: the context of a kprobe-type program is the thread's pt_regs.
    let regs = unsafe { &*ctx.regs };
    let (address, size_bytes, order) = (regs.rdi, regs.rsi, regs.rdx);
    let caller = Registers { ip: regs.rcx, sp: regs.r8, bp: regs.r9 };
    // As if a return probe stood on the allocator's function.
    let Some(thread) = thread::begin(call::ALLOCATE, caller.sp.wrapping_sub(8)) else { return 0 };
    thread.call = 0;
    thread.size_bytes = size_bytes;
    if let Err(counter) = follow(thread, caller, address, unpack_order(order).0) {
        count(counter);
    }
    0
}

/// Books a block that was drawn in a regime, or says what stood in the way.
#[inline(always)]
fn follow(
    thread: &mut ThreadState,
    caller: Registers,
    address: u64,
    drawn_in: u16,
) -> Result<(), Counter> {
    let births = regime::present().ok_or(Counter::PausedCalls)?;
    let regime = u32::from(drawn_in);
    if births.regime == regime {
        if thread.size_bytes < births.min_size_bytes {
            return Err(Counter::BelowMinSizeBlocks);
        }
        thread.births = births;
        let slot = unwind::memory::slot(thread, caller, domain::MALLOC);
        enter_block(thread, address, slot);
        return Ok(());
    }
    // Another regime has begun, and the library has not been told yet: the block weighs what it was
    // drawn for, in the one slot of that regime that takes it.
    if regime >= MAX_REGIMES {
        return Err(Counter::PausedCalls);
    }
    count(Counter::RegimeChangedMeanwhile);
    enter_block(thread, address, regime);
    Ok(())
}

/// A drawn block dies, or is about to be reallocated (address, whether the latter).
#[uprobe]
pub fn lane_death(ctx: ProbeContext) -> u32 {
    count(Counter::FreeHits);
    // SAFETY: the context of a kprobe-type program is the thread's pt_regs.
    let regs = unsafe { &*ctx.regs };
    let (address, is_held) = (regs.rdi, regs.rsi);
    if is_held != 0 {
        if let Some(thread) = thread::begin(call::ALLOCATE, regs.rsp) {
            thread.call = 0;
            hold_old_block(thread, address);
        }
        return 0;
    }
    let Some(image) = thread::image_outside_calls(regs.rsp) else { return 0 };
    if let Some(block) = live::take(live_key(address, image)) {
        died(&block);
    }
    0
}

/// The held block lives on (1) or is gone (0).
#[uprobe]
pub fn lane_settle(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a kprobe-type program is the thread's pt_regs.
    let lives = unsafe { (*ctx.regs).rdi } != 0;
    if let Some(thread) = thread::present() {
        old_block_lives(thread, lives);
    }
    0
}

/// Whether the current thread, with stack pointer `sp`, is in one of the allocator's functions.
#[inline(always)]
pub fn is_inside_allocator(sp: u64) -> bool {
    inside_sp().is_some_and(|inside| inside != 0 && sp < inside)
}

/// What the library has noted for the current thread, where there is one.
#[inline(always)]
fn inside_sp() -> Option<u64> {
    let (_, entry) = process::current()?;
    if entry.lane_control_avma == 0 {
        return None;
    }
    // SAFETY: the helper checks the address; so below.
    let offset = unsafe {
        bpf_probe_read_user(entry.lane_control_avma.wrapping_add(THREAD_OFFSET) as *const u64)
    };
    // 0: nothing has been allocated yet.
    let offset = offset.ok().filter(|offset| *offset != 0)?;
    // SAFETY: returns the current task, which is alive.
    let task = unsafe { bpf_get_current_task() };
    let pointer = process::pointer(task, config!(kernel.task_fsbase))?;
    let place = pointer.wrapping_add(offset).wrapping_add(INSIDE_SP);
    // SAFETY: as above.
    unsafe { bpf_probe_read_user(place as *const u64) }.ok()
}
