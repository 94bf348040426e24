//! What the kernel side and the user side share: records that cross the ring buffer, keys and
//! values of the maps, load-time configuration, the name of every loss. Nothing else.
//!
//! Five rules hold here: `#[repr(C)]` with fixed-width integers and arrays of them only; no
//! implicit padding (asserted at compile time); numbers are never reused; unit and namespace are
//! in the field's name; any change bumps [`ABI_VERSION`], and user space refuses an object of
//! another version.
#![no_std]

pub mod config;
pub mod counter;
pub mod lane;
pub mod limits;
pub mod live;
pub mod process;
pub mod python;
pub mod record;
pub mod regime;
pub mod sampling;
pub mod signals;
pub mod slot;
pub mod thread;
pub mod unwind;
pub mod v8;

/// Version of everything in this crate. The kernel object carries it in its `ABI` global.
pub const ABI_VERSION: u32 = 12;
