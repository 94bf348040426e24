//! What the governor is told, and what it says is to be done.

use super::{Hits, ProgramTime, Step};

/// How much the probes may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share of the target's CPU time, 0 to 1.
    pub share: f64,
}

/// What was counted until a moment; cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Nanoseconds since the session began.
    pub at_ns: u64,
    /// Probe hits.
    pub hits: Hits,
    /// CPU time of the target, nanoseconds.
    pub cpu_ns: u64,
    /// Some of the target's CPU time may be missing: children are followed, and of those that live
    /// for less than a reading or two little is seen.
    pub is_cpu_partial: bool,
    /// What the kernel has measured since the last reading, if it did.
    pub programs: Option<ProgramTime>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Follow by this rung from now on; the probes stay.
    Regime(usize),
    /// Take the allocator's probes out. The step is why: windows, mappings only or nothing.
    TakeOut(Step),
    /// Put them in, and follow by this rung.
    PutIn(usize),
}

/// An order, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// What is to be done.
    pub order: Order,
    /// The step that this leads to.
    pub step: Step,
    /// Whether the step is another one than before; windows come and go without.
    pub is_new_step: bool,
    /// What the probes took of the target's CPU time lately, 0 to 1; with the margin.
    pub cost_share: f64,
}
