//! What a probe costs on this machine before our programs do anything: measured at start, on a
//! function of our own, so that the overhead in the report is a measurement.

use super::{attach, error::ProbeError};
use aya::{Ebpf, programs::uprobe::UProbeScope};
use std::{hint::black_box, path::Path, time::Instant};

/// Calls per measurement; a few milliseconds in all.
const CALLS: u32 = 1000;
/// Measurements; the least disturbed one counts.
const ROUNDS: u32 = 5;

std::arch::global_asm!(
    ".text",
    ".globl outlive_calibration_site",
    ".type outlive_calibration_site,@function",
    "outlive_calibration_site:",
    // One instruction that the kernel emulates, as the probes in the target are placed on.
    "nop",
    "ret",
    ".size outlive_calibration_site, . - outlive_calibration_site",
);

unsafe extern "C" {
    fn outlive_calibration_site();
}

/// Cost of the traps, in nanoseconds per hit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrapCost {
    /// An entry probe that does nothing.
    pub entry_ns: f64,
    /// A return probe that does nothing, without its entry.
    pub return_ns: f64,
}

/// Measures both on this machine.
///
/// # Errors
/// When the empty programs cannot be loaded or placed.
pub fn measure(ebpf: &mut Ebpf) -> Result<TrapCost, ProbeError> {
    let bare = time_calls();
    let entry = with_probe(ebpf, "floor_enter")?;
    let both = with_probe(ebpf, "floor_return")?;
    Ok(TrapCost { entry_ns: (entry - bare).max(0.0), return_ns: (both - bare).max(0.0) })
}

/// Nanoseconds a call while the named empty program is attached.
fn with_probe(ebpf: &mut Ebpf, name: &'static str) -> Result<f64, ProbeError> {
    let executable = Path::new("/proc/self/exe");
    let program = attach::loaded(ebpf, name)?;
    let link = program
        .attach("outlive_calibration_site", executable, UProbeScope::CallingProcess)
        .map_err(|error| ProbeError::Calibration(error.to_string()))?;
    let time = time_calls();
    program.detach(link).map_err(|error| ProbeError::Calibration(error.to_string()))?;
    Ok(time)
}

fn time_calls() -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                // SAFETY: the function above takes nothing, changes nothing and returns.
                unsafe { outlive_calibration_site() };
            }
            black_box(start.elapsed().as_nanos() as f64) / f64::from(CALLS)
        })
        .fold(f64::INFINITY, f64::min)
}
