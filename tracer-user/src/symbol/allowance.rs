//! How much time may go into reading the address space because of stacks: a small part of all, so
//! that stacks through code of no file (a JIT's, a hostile target's) do not keep outlive from its
//! work.

use std::time::{Duration, Instant};

/// Reading takes at most one part in this many of the time, beyond what was saved.
const TIME_SHARE: u32 = 100;
/// What can be saved: enough for the libraries that a program loads in a row when it starts.
const MAX_SAVED: Duration = Duration::from_millis(100);
/// A reading counts for no more.
const MAX_COUNTED: Duration = Duration::from_secs(1);

/// Saved time, and time owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Readings so far are paid for from here on; what was saved is the time since.
    paid: Instant,
}

impl Allowance {
    /// At `now`, with all saved that can be.
    pub(super) fn new(now: Instant) -> Self {
        Self { paid: now.checked_sub(MAX_SAVED * TIME_SHARE).unwrap_or(now) }
    }

    /// Whether there may be a reading at `now`.
    pub(super) fn is_left(&self, now: Instant) -> bool {
        self.paid <= now
    }

    /// One took this long, and ended at `now`.
    pub(super) fn spend(&mut self, took: Duration, now: Instant) {
        let earliest = now.checked_sub(MAX_SAVED * TIME_SHARE).unwrap_or(self.paid);
        self.paid = self.paid.max(earliest) + took.min(MAX_COUNTED) * TIME_SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_served_and_a_flood_gets_one_part_in_a_hundred() {
        let took = Duration::from_millis(2);
        let mut now = Instant::now() + MAX_SAVED * TIME_SHARE;
        let mut allowance = Allowance::new(now);
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
