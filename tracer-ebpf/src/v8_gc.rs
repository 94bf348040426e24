//! V8's full garbage collections: only counted, for each process. What they free, and when, shows in
//! the counters of blocks.

use crate::{atomic, maps::FULL_COLLECTIONS, process};
use aya_ebpf::{macros::uprobe, programs::ProbeContext};

/// MarkCompactCollector::CollectGarbage (nothing): the pause in which V8 ends a full collection.
#[uprobe]
pub fn fullgc_enter(_ctx: ProbeContext) -> u32 {
    let Some((index, _)) = process::current() else { return 0 };
    if let Some(count) = FULL_COLLECTIONS.get_ptr_mut(index) {
        // SAFETY: an aligned u64 of the map.
        unsafe { atomic::add(count, 1) };
    }
    0
}
