//! The kernel side's entry: proves that the toolchain builds a loadable object.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "aya's program macros drop the doc comment of what they expand")]

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;

/// Does nothing.
#[uprobe]
pub fn floor_entry(_ctx: ProbeContext) -> u32 {
    0
}

/// Licence the kernel reads: some helpers are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
