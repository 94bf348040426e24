//! How many blocks are alive, so that no more are than may be: a count of what is left, of which each
//! processor sets some aside, so that they do not contend for one line of memory.
//!
//! What is set aside on other processors counts as taken: the table may be called full that many
//! blocks early, at most twice `room_batch` for each processor.

use crate::{
    atomic,
    configuration::config,
    maps::{ROOM, ROOM_HERE},
};

/// Takes room for one block; whether there was any.
///
/// Uprobe programs can be preempted by others on the same processor, so what is set aside is
/// changed atomically too, and given back where it was not there.
#[inline(always)]
pub fn take() -> bool {
    let Some(here) = ROOM_HERE.get_ptr_mut(0) else { return false };
    if take_from(here, 1) {
        return true;
    }
    let Some(all) = ROOM.get_ptr_mut(0) else { return false };
    let batch = u64::from(config!(room_batch));
    if take_from(all, batch) {
        // SAFETY: an aligned u64 of the map.
        unsafe { atomic::add(here, batch.wrapping_sub(1)) };
        return true;
    }
    take_from(all, 1)
}

/// Gives back room for one block.
#[inline(always)]
pub fn give_back() {
    let Some(here) = ROOM_HERE.get_ptr_mut(0) else { return };
    let batch = u64::from(config!(room_batch));
    // SAFETY: an aligned u64 of the map.
    let before = unsafe { atomic::exchange_sum(here, 1) } as i64;
    if before < 2 * batch as i64 {
        return;
    }
    let Some(all) = ROOM.get_ptr_mut(0) else { return };
    if take_from(here, batch) {
        // SAFETY: as above.
        unsafe { atomic::add(all, batch) };
    }
}

/// Takes `amount` from a count, where there is as much.
#[inline(always)]
fn take_from(count: *mut u64, amount: u64) -> bool {
    // SAFETY: an aligned u64 of a map, as the callers have it. It is below zero for a moment only.
    unsafe {
        if atomic::exchange_sum(count, amount.wrapping_neg()) as i64 >= amount as i64 {
            return true;
        }
        atomic::add(count, amount);
    }
    false
}
