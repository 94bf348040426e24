//! CPython's own allocator: the functions of its table, which take a context first. What they
//! pass on to libc is nested, and counted once.

use crate::{alloc::enter, free::release, registers::at_entry, thread::call};
use aya_ebpf::{macros::uprobe, programs::ProbeContext};

/// _PyObject_Malloc (context, size).
#[uprobe]
pub fn pymalloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [_, size, ..]) = at_entry(&ctx);
    enter(sp, call::PYTHON_ALLOCATE, size, 0)
}

/// _PyObject_Calloc (context, count, size).
#[uprobe]
pub fn pycalloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [_, items, size, _]) = at_entry(&ctx);
    enter(sp, call::PYTHON_ALLOCATE, items.wrapping_mul(size), 0)
}

/// _PyObject_Realloc (context, block, size). A size of 0 yields a block of one byte, unlike
/// libc's.
#[uprobe]
pub fn pyrealloc_enter(ctx: ProbeContext) -> u32 {
    let (sp, [_, old, size, _]) = at_entry(&ctx);
    enter(sp, call::PYTHON_REALLOCATE, size, old)
}

/// _PyObject_Free (context, block).
#[uprobe]
pub fn pyfree_enter(ctx: ProbeContext) -> u32 {
    let (sp, [_, block, ..]) = at_entry(&ctx);
    release(sp, block, false)
}
