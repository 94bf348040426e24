//! What a probe hit costs, and what it would cost at another step.

use super::Rung;

/// How much more a program may lose than the traps take where nothing else runs, and than our
/// programs are timed to take: caches are cold afterwards, threads wait for one another in the
/// kernel, and the measurements are wrong by something. The simulation holds the budget with all
/// costs 30 % higher than they are taken for.
pub const MARGIN: f64 = 1.3;
/// What our programs take for a hit that is let go at once, before it was measured; nanoseconds.
const IDLE_PROGRAM_NS: f64 = 150.0;
/// The same for one that is followed: a walk of some 20 frames, the books; nanoseconds.
const BUSY_PROGRAM_NS: f64 = 600.0;
/// Weight of a new measurement of the same step.
const WEIGHT: f64 = 0.4;

/// Costs of the bare traps, as measured at start; nanoseconds a hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traps {
    /// An entry probe.
    pub entry_ns: f64,
    /// A return probe, beyond its entry.
    pub return_ns: f64,
}

/// Probe hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Of entry probes of allocations and frees.
    pub entries: u64,
    /// Of return probes.
    pub returns: u64,
    /// Of probes on mapping calls, entry and return.
    pub mappings: u64,
}

impl Hits {
    /// Of all kinds.
    pub fn sum(self) -> u64 {
        self.entries + self.returns + self.mappings
    }

    /// Since an earlier reading.
    pub fn since(self, before: Hits) -> Hits {
        Hits {
            entries: self.entries.saturating_sub(before.entries),
            returns: self.returns.saturating_sub(before.returns),
            mappings: self.mappings.saturating_sub(before.mappings),
        }
    }
}

/// Time in our programs while the kernel measured it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProgramTime {
    /// Runs of our programs.
    pub runs: u64,
    /// Time in them, nanoseconds.
    pub time_ns: f64,
}

/// Knows what hits cost at each rung of the ladder.
#[derive(Clone, Debug)]
pub struct Model {
    traps: Traps,
    /// Time in programs per hit, by rung, where it was measured.
    measured: Vec<Option<f64>>,
    /// Share of hits that are followed, by rung; a guess until it is measured.
    followed: Vec<f64>,
}

impl Model {
    /// With nothing measured yet.
    pub fn new(traps: Traps, rungs: &[Rung]) -> Self {
        let followed = rungs.iter().map(|rung| rung.followed).collect();
        Self { traps, measured: vec![None; rungs.len()], followed }
    }

    /// Takes in a measurement at a rung.
    pub fn learn(&mut self, rung: usize, time: ProgramTime) {
        // Fewer say little, and cost little.
        if time.runs < 20 {
            return;
        }
        let fresh = time.time_ns / time.runs as f64;
        if let Some(known) = self.measured.get_mut(rung) {
            *known = Some(known.map_or(fresh, |known| known + WEIGHT * (fresh - known)));
        }
    }

    /// Time in our programs per hit at a rung, nanoseconds.
    pub fn program_ns(&self, rung: usize) -> f64 {
        let share = |rung: usize| self.followed.get(rung).copied().unwrap_or(1.0);
        if let Some(Some(known)) = self.measured.get(rung) {
            return *known;
        }
        // From the nearest rung above that was measured, else by what is usual.
        let above = (0..rung.min(self.measured.len())).rev();
        let found = above.filter_map(|above| Some((above, self.measured[above]?))).next();
        let idle = found.map_or(IDLE_PROGRAM_NS, |(_, known)| known.min(IDLE_PROGRAM_NS));
        match found {
            Some((above, known)) => idle + (known - idle) * share(rung) / share(above),
            None => idle + (BUSY_PROGRAM_NS - idle) * share(rung),
        }
    }

    /// What these hits cost the target at a rung, nanoseconds.
    pub fn cost_ns(&self, hits: Hits, rung: usize) -> f64 {
        let traps = (hits.entries + hits.mappings) as f64 * self.traps.entry_ns
            + hits.returns as f64 * self.traps.return_ns;
        MARGIN * (traps + hits.sum() as f64 * self.program_ns(rung))
    }
}
