//! The regime in which blocks are born now, and which blocks it follows.

use crate::{
    account::control,
    atomic,
    counters::{add, count},
    maps::{REGIMES, SLOTS},
};
use aya_ebpf::helpers::bpf_get_prandom_u32;
use tracer_common::{
    counter::Counter,
    regime::{Regime, unpack_present},
    sampling::{CERTAIN, ONE_BLOCK, chance, weight},
};

/// How births are booked now. Read once for each birth, so that what a block was drawn with is what
/// it is booked with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Births {
    /// Their epoch.
    pub epoch: u32,
    /// Number of their regime; also that of its slot for what has no stack.
    pub regime: u32,
    /// What that regime says, as in [`Regime`].
    pub sample_mean_bytes: u64,
    pub min_size_bytes: u64,
    pub max_frames: u32,
    pub is_paused: u32,
}

/// The present epoch and regime.
#[inline(always)]
pub fn present() -> Option<Births> {
    let control = control()?;
    // SAFETY: an aligned u64 of the map.
    let present = unsafe { (&raw const control.present).read_volatile() };
    let (epoch, regime) = unpack_present(present);
    // SAFETY: an entry of the map, which does not change once its regime has begun.
    let rules: &Regime = REGIMES.get_ptr(regime).map(|rules| unsafe { &*rules })?;
    Some(Births {
        epoch,
        regime,
        sample_mean_bytes: rules.sample_mean_bytes,
        min_size_bytes: rules.min_size_bytes,
        max_frames: rules.max_frames,
        is_paused: rules.is_paused,
    })
}

impl Births {
    /// Decides on a block that was just given out; the error counts why it is not followed.
    #[inline(always)]
    pub fn admit(&self, size_bytes: u64) -> Result<(), Counter> {
        if size_bytes < self.min_size_bytes {
            return Err(Counter::BelowMinSizeBlocks);
        }
        if self.is_paused != 0 {
            return Err(Counter::PausedCalls);
        }
        let mean_bytes = self.sample_mean_bytes;
        if mean_bytes != 0 && is_drawn(size_bytes, mean_bytes) == 0 {
            return Err(Counter::NotDrawnBlocks);
        }
        Ok(())
    }
}

/// Draws: 1 when the block is to be followed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_drawn(size_bytes: u64, mean_bytes: u64) -> u32 {
    let chance = chance(size_bytes, mean_bytes);
    // SAFETY: takes nothing, returns a number.
    u32::from(chance == CERTAIN || u64::from(unsafe { bpf_get_prandom_u32() }) < chance)
}

/// Whether births are not followed at all now: allocator calls need not be either.
#[inline(always)]
pub fn is_paused() -> bool {
    // SAFETY: an aligned u32 of the map.
    control().is_some_and(|control| unsafe { (&raw const control.is_paused).read_volatile() } != 0)
}

/// Whether mapping calls are left alone, too.
#[inline(always)]
pub fn leaves_mappings() -> bool {
    control()
        // SAFETY: an aligned u32 of the map.
        .is_some_and(|control| unsafe { (&raw const control.leaves_mappings).read_volatile() } != 0)
}

/// Whether blocks have been left out, so that one that is not live may be one of them.
#[inline(always)]
pub fn has_left_out() -> bool {
    control()
        // SAFETY: an aligned u32 of the map.
        .is_some_and(|control| unsafe { (&raw const control.has_left_out).read_volatile() } != 0)
}

/// Adds what a drawn block stands for to a slot's births, or to its deaths when `is_death` is not 0.
/// The result means nothing.
///
/// A function of its own so that divisions and tables are verified once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn book_sample(slot: u32, size_bytes: u64, is_death: u32) -> u32 {
    let Some(slot) = SLOTS.get_ptr_mut(slot) else { return 0 };
    // SAFETY: aligned u64 fields of a slot inside the map.
    unsafe {
        let weight = weight(size_bytes, (*slot).sample_mean_bytes);
        if is_death == 0 {
            atomic::add(&raw mut (*slot).allocated_bytes, weight.bytes);
            atomic::add(&raw mut (*slot).allocated_blocks, weight.blocks);
            atomic::add(&raw mut (*slot).allocated_variance, weight.variance);
        } else {
            atomic::add(&raw mut (*slot).freed_bytes, weight.bytes);
            atomic::add(&raw mut (*slot).freed_blocks, weight.blocks);
            atomic::add(&raw mut (*slot).freed_variance, weight.variance);
        }
    }
    0
}

/// Counts a block that the live map has no room for, by what it stands for in the regime of `slot`.
/// The result means nothing.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_dropped(slot: u32, size_bytes: u64) -> u32 {
    // SAFETY: an aligned u64 field of a slot inside the map.
    let mean_bytes = SLOTS.get_ptr(slot).map_or(0, |slot| unsafe { (*slot).sample_mean_bytes });
    if mean_bytes == 0 {
        add(Counter::LiveMapFullBytes, size_bytes);
        count(Counter::LiveMapFullBlocks);
    } else {
        let weight = weight(size_bytes, mean_bytes);
        add(Counter::LiveMapFullBytes, weight.bytes);
        add(Counter::LiveMapFullBlocks, (weight.blocks + ONE_BLOCK / 2) / ONE_BLOCK);
    }
    0
}
