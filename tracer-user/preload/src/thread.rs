//! What is kept for each thread, and the one block of memory that outlive reads and writes.
//!
//! The thread's memory is part of its static thread-local storage, since a library that is
//! preloaded is there from the start: it needs no call to be found, and lives as long as the
//! thread runs any code.

use crate::shared::{LaneControl, LaneThread, MAGIC};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

global_asm!(
    ".section .tbss.outlive_lane_thread,\"awT\",@nobits",
    ".hidden outlive_lane_thread",
    ".globl outlive_lane_thread",
    ".type outlive_lane_thread, @tls_object",
    ".size outlive_lane_thread, 32",
    ".balign 32",
    "outlive_lane_thread: .zero 32",
    ".text",
);

/// Memory that another process writes.
#[repr(transparent)]
pub(crate) struct Control(UnsafeCell<LaneControl>);
// SAFETY: its words are only touched as atomics, or by outlive while the process stands.
unsafe impl Sync for Control {}

/// See [`crate::shared::SECTION`].
#[unsafe(link_section = ".outlive_lane")]
#[used]
pub(crate) static CONTROL: Control = Control(UnsafeCell::new(LaneControl {
    magic: MAGIC,
    order: 0,
    set_full_blocks: 0,
    thread_offset: 0,
}));

impl Control {
    fn word(&self, field: *const u64) -> &AtomicU64 {
        // SAFETY: an aligned word of a static that lives for ever.
        unsafe { AtomicU64::from_ptr(field.cast_mut()) }
    }

    /// How to draw now.
    pub(crate) fn order(&self) -> u64 {
        // SAFETY: a field of a valid place; only its address is taken.
        self.word(unsafe { &raw const (*self.0.get()).order }).load(Ordering::Relaxed)
    }

    /// A drawn block is not followed.
    pub(crate) fn count_set_full(&self) {
        // SAFETY: as above.
        let field = unsafe { &raw const (*self.0.get()).set_full_blocks };
        self.word(field).fetch_add(1, Ordering::Relaxed);
    }

    /// Says where threads keep their [`LaneThread`].
    pub(crate) fn set_thread_offset(&self, offset: u64) {
        // SAFETY: as above.
        let field = unsafe { &raw const (*self.0.get()).thread_offset };
        self.word(field).store(offset, Ordering::Relaxed);
    }
}

/// The present thread's own, and how far from its thread pointer it lies.
#[inline(always)]
pub(crate) fn own() -> (*mut LaneThread, u64) {
    let (place, offset): (*mut LaneThread, u64);
    // SAFETY: reads the word at the thread pointer, which is the thread pointer (the ABI's rule),
    // and the distance that the loader has put into the offset table.
    unsafe {
        asm!(
            "mov {offset}, qword ptr [rip + outlive_lane_thread@GOTTPOFF]",
            "mov {place}, qword ptr fs:[0]",
            "add {place}, {offset}",
            offset = out(reg) offset,
            place = out(reg) place,
            options(nostack, readonly, pure),
        );
    }
    (place, offset)
}
