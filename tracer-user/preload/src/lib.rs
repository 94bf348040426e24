//! The fast lane: a library that `outlive run` preloads into a command, so that what is not drawn
//! for the sample costs a few nanoseconds and no trap.
//!
//! It stands before glibc's allocator (`interpose`), decides for each block whether it is drawn
//! (`draw`), remembers which blocks were (`drawn`), and passes those, when they are born and when
//! they die, through places that carry probes (`site`). It allocates nothing, makes no system call
//! but one at start (`start`), waits for nobody, and knows nothing of who reads it: without probes
//! its places are plain instructions.
//!
//! glibc's own functions are reached by their other names (`__libc_malloc`), so that nothing has
//! to be looked up, at no moment too early. outlive uses the library only where these exist and no
//! other allocator is there; else it starts the command anew without it.
//!
//! Compiled with `--cfg lane_library` it is that library; else its names are left to libc.
#![cfg_attr(not(test), no_std)]
// The build script's, not cargo's.
#![allow(unexpected_cfgs)]
// Without it nothing leads to the functions that are exported.
#![cfg_attr(not(lane_library), allow(dead_code))]
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod draw;
mod drawn;
mod interpose;
mod logarithm;
#[path = "../../../tracer-common/src/lane.rs"]
#[allow(dead_code)]
mod shared;
mod site;
mod start;
mod thread;

#[cfg(lane_library)]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: nothing here indexes, divides or unwraps.
    loop {}
}
