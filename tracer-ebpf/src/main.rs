//! The kernel side: settles every allocation and free where it happens, so that user space
//! reads counters once a tick and never sees single events.
//!
//! One file per probe family (`alloc`, `free`, `throwing`, `heap`, `jemalloc`, `lane`, `pyobject`,
//! `mapping`, `loader`, `process`, `v8_gc`), and one that is no probe (`signals`); what they
//! share is in `thread` (the call in flight), `regime` (which blocks are followed), `live` and `room`
//! (the live map), `account` (counter slots), `unknown` (blocks that were
//! not seen born), `unwind` (stacks), `maps`.
//!
//! Every program runs on a thread of the target and must be short: all loops are bounded, nothing
//! sleeps, nothing waits for user space.
#![no_std]
#![no_main]
// For `atomic`; the object is built with build-std, hence by a compiler that allows features.
#![feature(core_intrinsics)]
#![allow(internal_features)]

mod account;
mod alloc;
mod atomic;
mod configuration;
mod counters;
mod floor;
mod free;
mod heap;
mod jemalloc;
mod lane;
mod live;
mod loader;
mod mapping;
mod maps;
mod process;
mod pyobject;
mod regime;
mod registers;
mod room;
mod signals;
mod thread;
mod throwing;
mod unknown;
mod unwind;
mod v8_gc;

/// Licence the kernel reads: some helpers are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program that could get here.
    loop {}
}
