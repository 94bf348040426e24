//! Atomic additions and exchanges on map memory.
//!
//! `core::sync::atomic` offers neither on this target (it declares no compare-and-swap, which
//! version 3 of the instruction set has), so the compiler's intrinsics are used.

use core::intrinsics::{
    AtomicOrdering::{AcqRel, Acquire, Relaxed},
    atomic_cxchg, atomic_xadd,
};

/// Adds; nothing is returned, so that the plain addition of every kernel serves.
///
/// # Safety
/// `value` points to an aligned u64 inside a map.
#[inline(always)]
pub unsafe fn add(value: *mut u64, amount: u64) {
    // SAFETY: as the caller promises.
    unsafe { atomic_xadd::<u64, u64, { Relaxed }>(value, amount) };
}

/// Adds one and returns what was there (Linux 5.12).
///
/// Not relaxed: LLVM 22 turns a relaxed addition into the form that returns nothing even when
/// the result is used, and every caller then gets 1.
///
/// # Safety
/// `value` points to an aligned u32 inside a map.
#[inline(always)]
pub unsafe fn take_next(value: *mut u32) -> u32 {
    // SAFETY: as the caller promises.
    unsafe { atomic_xadd::<u32, u32, { AcqRel }>(value, 1) }
}

/// Adds, wrapping, and returns what was there (Linux 5.12). Not relaxed, as above.
///
/// # Safety
/// `value` points to an aligned u64 inside a map.
#[inline(always)]
pub unsafe fn exchange_sum(value: *mut u64, amount: u64) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { atomic_xadd::<u64, u64, { AcqRel }>(value, amount) }
}

/// Replaces `old` by `new`; the error is what was there instead (Linux 5.12).
///
/// # Safety
/// `value` points to an aligned u64 inside a map.
#[inline(always)]
pub unsafe fn replace(value: *mut u64, old: u64, new: u64) -> Result<(), u64> {
    // SAFETY: as the caller promises.
    match unsafe { atomic_cxchg::<u64, { Relaxed }, { Relaxed }>(value, old, new) } {
        (_, true) => Ok(()),
        (found, false) => Err(found),
    }
}

/// As [`replace`], and a full barrier for the compiler too (it is one for the processor anyway).
///
/// # Safety
/// `value` points to an aligned u64 inside a map.
#[inline(always)]
pub unsafe fn claim(value: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: as the caller promises.
    unsafe { atomic_cxchg::<u64, { AcqRel }, { Acquire }>(value, old, new).1 }
}
