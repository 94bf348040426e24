//! What the probes cost the target: hits from our own counters, time in our programs from the
//! kernel's run-time statistics, switched on for short windows only, since they cost time too.

use super::calibrate::TrapCost;
use crate::{
    governor::Traps,
    tick::{Counters, OverheadReading},
};
use aya::{
    Ebpf,
    programs::Program,
    sys::{Stats, enable_stats},
};
use std::{os::fd::OwnedFd, time::Duration};
use tracer_common::counter::Counter;

/// Accumulates the measured windows.
#[derive(Debug, Default)]
pub struct Overhead {
    trap: TrapCost,
    open: Option<(OwnedFd, RunStats)>,
    measured: RunStats,
}

/// Runs of our programs and the time in them, while statistics were on.
#[derive(Clone, Copy, Debug, Default)]
struct RunStats {
    time: Duration,
    runs: u64,
}

impl Overhead {
    /// With the calibrated cost of the traps.
    pub fn new(trap: TrapCost) -> Self {
        Self { trap, ..Self::default() }
    }

    /// What the traps cost, as calibrated.
    pub fn traps(&self) -> Traps {
        Traps { entry_ns: self.trap.entry_ns, return_ns: self.trap.return_ns }
    }

    /// Begins a window. A kernel that refuses leaves the time in programs unmeasured.
    pub fn open_window(&mut self, ebpf: &Ebpf) {
        if self.open.is_none()
            && let Ok(switch) = enable_stats(Stats::RunTime)
        {
            self.open = Some((switch, read(ebpf)));
        }
    }

    /// Ends a window and adds what it saw.
    pub fn close_window(&mut self, ebpf: &Ebpf) {
        if let Some((_switch, before)) = self.open.take() {
            let after = read(ebpf);
            self.measured.time += after.time.saturating_sub(before.time);
            self.measured.runs += after.runs.saturating_sub(before.runs);
        }
    }

    /// The present answer; `None` until a window has seen a run.
    pub fn reading(&self, counters: &Counters) -> Option<OverheadReading> {
        let returns = counters.get(Counter::ReturnHits);
        let entries = counters.get(Counter::AllocationHits)
            + counters.get(Counter::FreeHits)
            + counters.get(Counter::MappingHits);
        let hits = entries + returns;
        (self.measured.runs > 0 && hits > 0).then(|| OverheadReading {
            hits,
            program_ns_per_hit: self.measured.time.as_nanos() as f64 / self.measured.runs as f64,
            trap_ns_per_hit: (entries as f64 * self.trap.entry_ns
                + returns as f64 * self.trap.return_ns)
                / hits as f64,
        })
    }
}

fn read(ebpf: &Ebpf) -> RunStats {
    let mut sum = RunStats::default();
    for (_, program) in ebpf.programs() {
        if let Program::UProbe(program) = program
            && let Ok(info) = program.info()
        {
            sum.time += info.run_time();
            sum.runs += info.run_count();
        }
    }
    sum
}
