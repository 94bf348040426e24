//! What was spent in the last ten seconds: of the target's CPU time, and of that by the probes.

use std::collections::VecDeque;

/// The time over which a budget is held, nanoseconds.
pub const WINDOW_NS: u64 = 10_000_000_000;

/// One stretch between two readings.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    until_ns: u64,
    length_ns: u64,
    cost_ns: u64,
    cpu_ns: u64,
}

/// A rolling account, in whole nanoseconds: sums from which entries are taken off again must be
/// nothing when no entry is left. What lies before its first entry is taken to have cost nothing, and
/// the target to have been as busy as it was since.
#[derive(Clone, Debug, Default)]
pub struct Account {
    stretches: VecDeque<Stretch>,
    cost_ns: u64,
    cpu_ns: u64,
    length_ns: u64,
}

impl Account {
    /// Adds a stretch that ended at `until_ns`. The probes cannot have taken more than the target
    /// used.
    pub fn add(&mut self, until_ns: u64, length_ns: u64, cost_ns: f64, cpu_ns: f64) {
        let (cost_ns, cpu_ns) = (cost_ns as u64, cpu_ns as u64);
        let stretch = Stretch { until_ns, length_ns, cost_ns, cpu_ns };
        self.cost_ns += cost_ns;
        self.cpu_ns += cpu_ns;
        self.length_ns += length_ns;
        self.stretches.push_back(stretch);
        // One that lies across the window's begin still counts whole.
        while let Some(first) = self.stretches.front()
            && first.until_ns.saturating_add(WINDOW_NS) <= until_ns
        {
            self.cost_ns -= first.cost_ns;
            self.cpu_ns -= first.cpu_ns;
            self.length_ns -= first.length_ns;
            self.stretches.pop_front();
        }
    }

    /// Spent by the probes in the window, nanoseconds.
    pub fn spent_ns(&self) -> f64 {
        self.cost_ns as f64
    }

    /// Cores that the target kept busy in the window, on average.
    pub fn cores(&self) -> f64 {
        if self.length_ns == 0 { 0.0 } else { self.cpu_ns as f64 / self.length_ns as f64 }
    }

    /// What of the target's CPU time the probes took, over the last `length_ns`: cost and CPU time
    /// in nanoseconds, and the time that they were measured over.
    pub fn lately(&self, length_ns: u64) -> (f64, f64, u64) {
        let mut sum = (0, 0, 0);
        for stretch in self.stretches.iter().rev() {
            if sum.2 >= length_ns {
                break;
            }
            sum = (sum.0 + stretch.cost_ns, sum.1 + stretch.cpu_ns, sum.2 + stretch.length_ns);
        }
        (sum.0 as f64, sum.1 as f64, sum.2)
    }
}
