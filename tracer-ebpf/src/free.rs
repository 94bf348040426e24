//! The free probe: one look-up, one removal, one addition. It has no return probe.

use crate::{account::died, counters::count, maps::LIVE, registers::at_entry, thread};
use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{counter::Counter, slot::live_key};

/// free, cfree (block).
#[uprobe]
pub fn free_enter(ctx: ProbeContext) -> u32 {
    count(Counter::FreeHits);
    let (sp, [address, ..]) = at_entry(&ctx);
    if address == 0 {
        return 0;
    }
    // Inside realloc it is realloc that books it.
    let Some(image) = thread::image_outside_calls(sp) else { return 0 };
    let key = live_key(address, image);
    let Some(block) = LIVE.get_ptr(key) else {
        count(Counter::FreedUnknownBlocks);
        return 0;
    };
    // SAFETY: the kernel returned a pointer to an entry; the block belongs to the caller, who
    // alone may free it.
    let block = unsafe { *block };
    if LIVE.remove(key).is_ok() {
        died(&block);
    } else {
        count(Counter::FreedUnknownBlocks);
    }
    0
}
