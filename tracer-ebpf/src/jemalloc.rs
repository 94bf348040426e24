//! What jemalloc and the BSDs have beyond the functions that everybody has.

use crate::{
    alloc::{enter, enter_between},
    registers::at_entry,
    thread::call,
};
use aya_ebpf::{macros::uprobe, programs::ProbeContext};

/// xallocx (block, size, extra, flags): grows or shrinks the block where it is, to between `size`
/// and `size + extra` bytes; returns its real size, which tells whether that worked.
#[uprobe]
pub fn xallocx_enter(ctx: ProbeContext) -> u32 {
    let (sp, [block, size, extra, _]) = at_entry(&ctx);
    enter_between(sp, call::RESIZE, size, extra, block, false)
}

/// reallocf (block, size): frees the block where it cannot be resized.
#[uprobe]
pub fn reallocf_enter(ctx: ProbeContext) -> u32 {
    let (sp, [old, size, ..]) = at_entry(&ctx);
    enter(sp, call::REALLOCATE_OR_FREE, size, old)
}
