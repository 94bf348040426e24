//! Words of the target's stack, served from a piece of it that is read in one go: a read costs
//! about as much for a word as for a kibibyte.

use crate::thread::ThreadState;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::ffi::c_void;
use tracer_common::record::walk_end;

/// Words of the window, a power of two; `cargo xtask bench` chose it.
pub const WORDS: usize = 128;
/// Bytes that a window begins below the word that was missing: callee-saved registers lie below
/// their frame's return address.
const BELOW: u64 = 64;

/// Forgets what was read: the stack has changed.
#[inline(always)]
pub fn forget(thread: &mut ThreadState) {
    thread.window_bytes = 0;
}

/// The word at `address` of the target.
#[inline(always)]
pub fn word(thread: &mut ThreadState, address: u64) -> Result<u64, u32> {
    if let Some(word) = held(thread, address) {
        return Ok(word);
    }
    fill_window(thread, address);
    held(thread, address).ok_or(walk_end::UNREADABLE)
}

#[inline(always)]
fn held(thread: &ThreadState, address: u64) -> Option<u64> {
    let offset = address.wrapping_sub(thread.window_start);
    if offset >= thread.window_bytes || offset & 7 != 0 {
        return None;
    }
    Some(thread.window[(offset as usize / 8) & (WORDS - 1)])
}

/// Moves the window so that it holds `address`; a window of that one word where no more can be
/// read (the stack's end), and none where that cannot. The result means nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fill_window(thread: *mut ThreadState, address: u64) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    let start = address.wrapping_sub(BELOW);
    if read(thread, start, 8 * WORDS as u32) || read(thread, address, 8) {
        return 0;
    }
    thread.window_bytes = 0;
    0
}

/// Reads a window of `bytes`, at most [`WORDS`]; says whether that worked.
#[inline(always)]
fn read(thread: &mut ThreadState, start: u64, bytes: u32) -> bool {
    let place = (&raw mut thread.window).cast::<c_void>();
    // SAFETY: the place has room for `bytes`; the helper checks the address.
    let failed = unsafe { bpf_probe_read_user(place, bytes, start as *const c_void) } != 0;
    thread.window_start = start;
    thread.window_bytes = u64::from(bytes);
    !failed
}
