//! What the preloaded library of the fast lane shares with user space and the kernel side. The
//! library is compiled by itself, so this file must need nothing but `core`.

/// Name of the section of the library that holds its one [`LaneControl`].
pub const SECTION: &str = ".outlive_lane";
/// Name by which the kernel lists the library's mapping; it is no file of any folder.
pub const FILE_NAME: &str = "outlive-lane";
/// What the library's control begins with, so that nobody writes to anything else.
pub const MAGIC: u64 = u64::from_le_bytes(*b"OUTLANE1");
/// Bits of [`LaneControl::order`] that hold the mean distance; the regime's number is above.
pub const MEAN_BITS: u32 = 48;

/// The library's side of the bargain: user space writes `order`, the library the rest.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneControl {
    /// [`MAGIC`].
    pub magic: u64,
    /// How to draw: mean distance in bytes (low [`MEAN_BITS`] bits), number of the regime above; 0:
    /// nothing is drawn.
    pub order: u64,
    /// Blocks that were drawn and not followed because the set of drawn blocks was full.
    pub set_full_blocks: u64,
    /// Distance of a thread's [`LaneThread`] from its thread pointer, once the library has been
    /// relocated.
    pub thread_offset: u64,
}
const _: () = assert!(size_of::<LaneControl>() == 32);

/// Offset of [`LaneControl::order`], bytes.
pub const ORDER: u64 = core::mem::offset_of!(LaneControl, order) as u64;
/// Offset of [`LaneControl::set_full_blocks`], bytes.
pub const SET_FULL: u64 = core::mem::offset_of!(LaneControl, set_full_blocks) as u64;
/// Offset of [`LaneControl::thread_offset`], bytes.
pub const THREAD_OFFSET: u64 = core::mem::offset_of!(LaneControl, thread_offset) as u64;

/// What the library keeps for a thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneThread {
    /// The order by which `remaining_bytes` was drawn.
    pub order: u64,
    /// Bytes that are not drawn yet: the first block that is larger is.
    pub remaining_bytes: u64,
    /// Stack pointer at the entry of the allocator's function that runs; 0: none does. Mapping
    /// calls below it are the allocator's own.
    pub inside_sp: u64,
    /// State of the random numbers; 0: none yet.
    pub random: u64,
}
const _: () = assert!(size_of::<LaneThread>() == 32);

/// Offset of [`LaneThread::inside_sp`], bytes.
pub const INSIDE_SP: u64 = core::mem::offset_of!(LaneThread, inside_sp) as u64;

/// An order; 0 mean and 0 regime is none.
#[inline(always)]
pub const fn pack_order(regime: u16, mean_bytes: u64) -> u64 {
    let most = (1 << MEAN_BITS) - 1;
    let mean = if mean_bytes < most { mean_bytes } else { most };
    ((regime as u64) << MEAN_BITS) | mean
}

/// Regime and mean distance of an order.
#[inline(always)]
pub const fn unpack_order(order: u64) -> (u16, u64) {
    ((order >> MEAN_BITS) as u16, order & ((1 << MEAN_BITS) - 1))
}
