//! Words of the target's stacks, the interpreter's included, served from a piece that is read in
//! one go: a read costs about as much for a word as for a kibibyte.

use super::notes::{self, Notes, Way};
use crate::thread::ThreadState;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::ffi::c_void;
use tracer_common::record::walk_end;

/// Words of the window, a power of two; `cargo xtask bench` chose it.
pub const WORDS: usize = 128;
/// Bytes that a window begins below the word that was missing: callee-saved registers lie below
/// their frame's return address.
const BELOW: u64 = 64;

/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 4096;

/// Forgets what was read: the stack has changed.
#[inline(always)]
pub fn forget(thread: &mut ThreadState) {
    thread.window_bytes = 0;
}

/// The word at `address` of the target, of which a note is taken.
#[inline(always)]
pub fn word(thread: &mut ThreadState, notes: Option<&mut Notes>, address: u64) -> Result<u64, u32> {
    let mut index = held(thread, address);
    if index.is_none() {
        fill_window(thread, address);
        index = held(thread, address);
    }
    let index = index.ok_or(walk_end::UNREADABLE)?;
    notes::note(thread, notes, index, Way::Up);
    Ok(at(thread, index))
}

/// The word at `address` of the target, which no window is about.
#[inline(always)]
pub fn lone_word(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { aya_ebpf::helpers::bpf_probe_read_user(address as *const u64) }.ok()
}

/// Which word of the window is at `address` of the target.
#[inline(always)]
fn held(thread: &ThreadState, address: u64) -> Option<u32> {
    let offset = address.wrapping_sub(thread.window_start);
    if offset >= thread.window_bytes || offset & 7 != 0 {
        return None;
    }
    Some((offset / 8) as u32)
}

/// Moves the window so that it holds `address`; where that much cannot be read (the stack's end),
/// a window to the end of its page, and none where that cannot. The result means nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fill_window(thread: *mut ThreadState, address: u64) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    if read(thread, address.wrapping_sub(BELOW), 8 * WORDS as u64) {
        return 0;
    }
    // A read that fails costs microseconds: the next one shall not.
    let page_left = PAGE_BYTES - (address & (PAGE_BYTES - 1));
    if !read(thread, address, (page_left & !7).max(8)) {
        forget(thread);
    }
    0
}

/// Whether the window holds the words in `bytes` from `address` on.
#[inline(always)]
pub fn holds(thread: &ThreadState, address: u64, bytes: u64) -> bool {
    let offset = address.wrapping_sub(thread.window_start);
    offset & 7 == 0 && offset < thread.window_bytes && thread.window_bytes - offset >= bytes
}

/// Moves the window so that it ends behind the `bytes` at `address`, and goes down from there as
/// far as it may without leaving the page of `address`; says whether that worked.
#[inline(always)]
pub fn fill_down(thread: &mut ThreadState, address: u64, bytes: u64) -> bool {
    let below = (address & (PAGE_BYTES - 1) & !7).min(8 * WORDS as u64 - bytes);
    let worked = read(thread, address.wrapping_sub(below), below + bytes);
    if !worked {
        forget(thread);
    }
    worked
}

/// Makes the window of the `bytes` at `address`; says whether that worked.
#[inline(always)]
pub fn fill_with(thread: &mut ThreadState, address: u64, bytes: u64) -> bool {
    let worked = read(thread, address, bytes);
    if !worked {
        forget(thread);
    }
    worked
}

/// Word `index` of the window.
#[inline(always)]
pub fn at(thread: &ThreadState, index: u32) -> u64 {
    thread.window[index as usize & (WORDS - 1)]
}

/// Reads `bytes` into the window, no more than it has room for; says whether that worked.
#[inline(always)]
fn read(thread: &mut ThreadState, start: u64, bytes: u64) -> bool {
    let place = (&raw mut thread.window).cast::<c_void>();
    let bytes = bytes.min(8 * WORDS as u64);
    // SAFETY: the place has room for `bytes`; the helper checks the address.
    let failed = unsafe { bpf_probe_read_user(place, bytes as u32, start as *const c_void) } != 0;
    thread.window_start = start;
    thread.window_bytes = bytes;
    !failed
}
