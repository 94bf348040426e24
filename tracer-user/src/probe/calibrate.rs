//! What a probe costs on this machine before our programs do anything: measured at start, on a
//! function of our own, so that the overhead in the report is a measurement.

use super::{attach, detacher::Detacher, error::ProbeError};
use aya::{
    Ebpf,
    programs::uprobe::{UProbeLink, UProbeScope},
};
use std::{hint::black_box, path::Path, time::Instant};

/// Calls per measurement; a few milliseconds in all.
const CALLS: u32 = 1000;
/// Measurements; the least disturbed one counts.
const ROUNDS: u32 = 5;

// One instruction that the kernel emulates each, as the probes in the target are placed on.
std::arch::global_asm!(
    ".text",
    ".globl outlive_calibration_entry",
    ".type outlive_calibration_entry,@function",
    "outlive_calibration_entry:",
    "nop",
    "ret",
    ".size outlive_calibration_entry, . - outlive_calibration_entry",
    ".globl outlive_calibration_return",
    ".type outlive_calibration_return,@function",
    "outlive_calibration_return:",
    "nop",
    "ret",
    ".size outlive_calibration_return, . - outlive_calibration_return",
);

unsafe extern "C" {
    fn outlive_calibration_entry();
    fn outlive_calibration_return();
}

/// Cost of the traps, in nanoseconds per hit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrapCost {
    /// An entry probe that does nothing.
    pub entry_ns: f64,
    /// A return probe that does nothing, without its entry.
    pub return_ns: f64,
}

/// Measures both on this machine. Each has a place of its own: taking a probe out takes the kernel
/// a grace period, for which nobody waits here.
///
/// # Errors
/// When the empty programs cannot be loaded or placed.
pub fn measure(ebpf: &mut Ebpf, detacher: &Detacher) -> Result<TrapCost, ProbeError> {
    let bare = time_calls(outlive_calibration_entry);
    let (entry, first) = with_probe(ebpf, "floor_enter", ENTRY)?;
    detacher.take_own(first);
    let (both, second) = with_probe(ebpf, "floor_return", RETURN)?;
    detacher.take_own(second);
    Ok(TrapCost { entry_ns: (entry - bare).max(0.0), return_ns: (both - bare).max(0.0) })
}

/// A function of our own, by address and by name.
type Site = (unsafe extern "C" fn(), &'static str);
const ENTRY: Site = (outlive_calibration_entry, "outlive_calibration_entry");
const RETURN: Site = (outlive_calibration_return, "outlive_calibration_return");

/// Nanoseconds a call while the named empty program is attached, and its probe.
fn with_probe(
    ebpf: &mut Ebpf,
    name: &'static str,
    (function, symbol): Site,
) -> Result<(f64, UProbeLink), ProbeError> {
    let executable = Path::new("/proc/self/exe");
    let program = attach::loaded(ebpf, name)?;
    let link = program
        .attach(symbol, executable, UProbeScope::CallingProcess)
        .and_then(|link| program.take_link(link))
        .map_err(|error| ProbeError::Calibration(error.to_string()))?;
    Ok((time_calls(function), link))
}

fn time_calls(function: unsafe extern "C" fn()) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                // SAFETY: one of the two above: it takes nothing, changes nothing and returns.
                unsafe { function() };
            }
            black_box(start.elapsed().as_nanos() as f64) / f64::from(CALLS)
        })
        .fold(f64::INFINITY, f64::min)
}
