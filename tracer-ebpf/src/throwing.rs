//! Allocation functions that throw: operator new of allocators that do not call their malloc.
//!
//! A return probe would crash the target: the unwinder cannot pass the trampoline. So plain
//! probes stand on the function's own return instructions, and on where exceptions are raised.

use crate::{
    alloc::{conclude, enter},
    counters::count,
    registers::{at_entry, at_exit},
    thread::{self, call},
};
use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::counter::Counter;

/// operator new (size), whatever follows.
#[uprobe]
pub fn new_enter(ctx: ProbeContext) -> u32 {
    let (sp, [size, ..]) = at_entry(&ctx);
    enter(sp, call::NEW, size, 0)
}

/// mi_new_n (count, size).
#[uprobe]
pub fn newarray_enter(ctx: ProbeContext) -> u32 {
    let (sp, [items, size, ..]) = at_entry(&ctx);
    // A product that overflows is refused by the allocator, so its value does not matter.
    enter(sp, call::NEW, items.wrapping_mul(size), 0)
}

/// A return instruction of one of them, or of a function that they end in.
#[uprobe]
pub fn alloc_exit(ctx: ProbeContext) -> u32 {
    count(Counter::ReturnHits);
    let Some((registers, result)) = at_exit(&ctx) else {
        count(Counter::ResultUnreadable);
        return 0;
    };
    if let Some((thread, call)) = thread::end_at_exit(registers.sp) {
        conclude(thread, call, registers, result);
    }
    0
}

/// _Unwind_RaiseException and its kin: the thread leaves the functions that it is in.
#[uprobe]
pub fn throw_enter(ctx: ProbeContext) -> u32 {
    let (sp, _) = at_entry(&ctx);
    thread::abandon(sp);
    0
}
