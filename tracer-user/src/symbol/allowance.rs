//! How much time may go into reading because of stacks (the address space, JavaScript's functions):
//! a small part of all, so that stacks through code of no file, or through ever new functions (a
//! JIT's, a hostile target's) do not keep outlive from its work.

use std::time::{Duration, Instant};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Reading takes at most one part in this many of the time, beyond what was saved.
    one_part_in: u32,
    /// What can be saved.
    max_saved: Duration,
}

/// Of the address space; saved is enough for the libraries that a program loads in a row when it
/// starts.
pub(super) const MAPPINGS: Share =
    Share { one_part_in: 100, max_saved: Duration::from_millis(100) };
/// Of new functions, scripts and source maps; saved is enough for some ten thousand functions, which
/// is what the largest programs have on their stacks in the beginning.
pub(super) const JAVASCRIPT: Share = Share { one_part_in: 20, max_saved: Duration::from_secs(1) };
/// A reading counts for no more.
const MAX_COUNTED: Duration = Duration::from_secs(1);

impl Share {
    /// The time after which no more is saved.
    fn longest_rest(self) -> Duration {
        self.max_saved * self.one_part_in
    }
}

/// Saved time, and time owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Readings so far are paid for from here on; what was saved is the time since.
    paid: Instant,
    share: Share,
}

impl Allowance {
    /// At `now`, with all saved that can be.
    pub(super) fn new(share: Share, now: Instant) -> Self {
        Self { paid: now.checked_sub(share.longest_rest()).unwrap_or(now), share }
    }

    /// Whether there may be a reading at `now`.
    pub(super) fn is_left(&self, now: Instant) -> bool {
        self.paid <= now
    }

    /// One took this long, and ended at `now`.
    pub(super) fn spend(&mut self, took: Duration, now: Instant) {
        let earliest = now.checked_sub(self.share.longest_rest()).unwrap_or(self.paid);
        self.paid = self.paid.max(earliest) + took.min(MAX_COUNTED) * self.share.one_part_in;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_served_and_a_flood_gets_one_part_in_a_hundred() {
        let took = Duration::from_millis(2);
        let mut now = Instant::now() + MAPPINGS.longest_rest();
        let mut allowance = Allowance::new(MAPPINGS, now);
        let mut burst = 0;
        while allowance.is_left(now) {
            allowance.spend(took, now);
            burst += 1;
        }
        assert_eq!(burst, 51);
        // 100 seconds in which every millisecond asks.
        let mut readings = 0;
        for _ in 0..100_000 {
            now += Duration::from_millis(1);
            if allowance.is_left(now) {
                allowance.spend(took, now);
                readings += 1;
            }
        }
        assert!((499..=501).contains(&readings), "{readings} readings of 2 ms in 100 s");
        // After a long rest there is a burst again, and no more than that.
        now += Duration::from_secs(3600);
        let mut burst = 0;
        while allowance.is_left(now) {
            allowance.spend(took, now);
            burst += 1;
        }
        assert_eq!(burst, 51);
    }
}
