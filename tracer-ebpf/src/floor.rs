//! Empty programs: what a probe costs before it does anything. For the benchmark and for the
//! calibration of the trap's cost at start.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

/// An entry probe that does nothing.
#[uprobe]
pub fn floor_enter(_ctx: ProbeContext) -> u32 {
    0
}

/// A return probe that does nothing.
#[uretprobe]
pub fn floor_return(_ctx: RetProbeContext) -> u32 {
    0
}
