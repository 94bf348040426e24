//! Regimes: how the kernel side books births from one moment to the next.
//!
//! A session begins in regime 0 and may begin another at any time. Each begins an epoch of its own,
//! so that a slot, which belongs to one epoch, belongs to one regime.

use crate::limits::MAX_PYTHON_FRAMES;

/// Regimes of a session, at most.
pub const MAX_REGIMES: u32 = 4096;

/// An entry of `OUTLIVE_REGIMES`, by number. Written before it begins and never changed, so that a
/// program that reads it twice reads the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regime {
    /// Mean distance between two points of the sampling, bytes (see [`crate::sampling`]); 0: every
    /// block is followed.
    pub sample_mean_bytes: u64,
    /// Blocks smaller than this many bytes are not followed; 0 follows all.
    pub min_size_bytes: u64,
    /// Frames of a stack that are walked at most, native and Python ones each.
    pub max_frames: u32,
    /// 1 when no birth is followed; deaths are, of blocks from before.
    pub is_paused: u32,
}
const _: () = assert!(size_of::<Regime>() == 24);

impl Regime {
    /// Every block, with as many frames as there is room for.
    pub const EXACT: Self = Self {
        sample_mean_bytes: 0,
        min_size_bytes: 0,
        max_frames: MAX_PYTHON_FRAMES as u32,
        is_paused: 0,
    };
}

/// [`Control::present`](crate::slot::Control::present): the epoch (low half) and the regime (high
/// half) of births, in one word, so that nobody sees the one without the other.
#[inline(always)]
pub const fn pack_present(epoch: u32, regime: u32) -> u64 {
    epoch as u64 | (regime as u64) << 32
}

/// Epoch and regime of such a word.
#[inline(always)]
pub const fn unpack_present(present: u64) -> (u32, u32) {
    (present as u32, (present >> 32) as u32)
}
