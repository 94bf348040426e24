//! The places that carry probes. What they are given lies in registers; their first instruction is
//! a no-op of one byte, which every kernel emulates. One of five bytes would be cheaper from Linux
//! 6.18 on, but that replaces the instruction by a call into a page that a forked child may lack.

/// A drawn block is born: its address, its size, the order by which it was drawn; the address that
/// the allocator's caller goes on at, its stack pointer then, its frame pointer.
#[unsafe(naked)]
#[unsafe(export_name = "outlive_lane_birth")]
pub(crate) unsafe extern "C" fn birth(
    address: u64,
    size: u64,
    order: u64,
    ip: u64,
    sp: u64,
    bp: u64,
) {
    core::arch::naked_asm!(".cfi_startproc", "nop", "ret", ".cfi_endproc")
}

/// A drawn block dies, or is about to be reallocated (`is_held`).
#[unsafe(naked)]
#[unsafe(export_name = "outlive_lane_death")]
pub(crate) unsafe extern "C" fn death(address: u64, is_held: u64) {
    core::arch::naked_asm!(".cfi_startproc", "nop", "ret", ".cfi_endproc")
}

/// What became of the held block: refused, it lives on (`lives`); else it is gone.
#[unsafe(naked)]
#[unsafe(export_name = "outlive_lane_settle")]
pub(crate) unsafe extern "C" fn settle(lives: u64) {
    core::arch::naked_asm!(".cfi_startproc", "nop", "ret", ".cfi_endproc")
}
