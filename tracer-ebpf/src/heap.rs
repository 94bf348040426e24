//! Functions that take a heap of mimalloc's before what their plain siblings take.

use crate::{alloc::enter, registers::at_entry, thread::call};
use aya_ebpf::{macros::uprobe, programs::ProbeContext};

/// mi_heap_malloc (heap, size).
#[uprobe]
pub fn hmalloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [_, size, ..]) = at_entry(&ctx);
    enter(sp, call::ALLOCATE, size, 0)
}

/// mi_heap_calloc (heap, count, size).
#[uprobe]
pub fn hcalloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [_, items, size, _]) = at_entry(&ctx);
    enter(sp, call::ALLOCATE, items.wrapping_mul(size), 0)
}

/// mi_heap_realloc (heap, block, size).
#[uprobe]
pub fn hrealloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [_, old, size, _]) = at_entry(&ctx);
    enter(sp, call::REALLOCATE, size, old)
}
