//! Counting: per CPU, so that processors do not contend; atomic, because uprobe programs can be
//! preempted by another thread on the same processor.

use crate::{atomic, maps::COUNTERS};
use tracer_common::counter::Counter;

/// Adds one.
#[inline(always)]
pub fn count(counter: Counter) {
    add(counter, 1);
}

/// Adds `amount`.
#[inline(always)]
pub fn add(counter: Counter, amount: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the kernel returned a pointer to an aligned u64 of this map.
        unsafe { atomic::add(value, amount) };
    }
}

/// Counts a walk by how it ended (one of `tracer_common::record::walk_end`); `first` is the counter
/// of those that ended at the bottom, the others follow in the order of their numbers.
#[inline(always)]
pub fn count_walk(first: Counter, end: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(first as u32 + end) {
        // SAFETY: as above.
        unsafe { atomic::add(value, 1) };
    }
}
