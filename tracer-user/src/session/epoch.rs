//! When births go into a new epoch. Epochs grow with the session, so that a day has no more of
//! them than memory allows: about sixteen for every doubling of its length, and a handful more.

use std::time::Duration;

/// The shortest epoch.
const SHORTEST: Duration = Duration::from_secs(1);
/// An epoch is at least this share of the session so far.
const SHARE: u32 = 24;

/// The present epoch and when it began.
#[derive(Clone, Copy, Debug)]
pub struct Epochs {
    number: u32,
    began: Duration,
    /// Whether somebody else says when one begins.
    by_hand: bool,
}

impl Default for Epochs {
    fn default() -> Self {
        Self { number: 1, began: Duration::ZERO, by_hand: false }
    }
}

impl Epochs {
    /// The number of the present epoch.
    pub fn present(&self) -> u32 {
        self.number
    }

    /// The number of a new epoch, when one begins `now` (time since the session began).
    pub fn advance(&mut self, now: Duration) -> Option<u32> {
        if self.by_hand || now.saturating_sub(self.began) < SHORTEST.max(now / SHARE) {
            return None;
        }
        Some(self.begin(now))
    }

    /// The number of a new epoch that begins `now`; from here on none begins by the clock.
    pub fn begin_by_hand(&mut self, now: Duration) -> u32 {
        self.by_hand = true;
        self.begin(now)
    }

    /// The number of a new epoch that begins with a regime; whoever begins epochs goes on doing so.
    pub fn begin_with_regime(&mut self, now: Duration) -> u32 {
        self.begin(now)
    }

    fn begin(&mut self, now: Duration) -> u32 {
        self.number += 1;
        self.began = now;
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_a_bounded_number_of_epochs() {
        let mut epochs = Epochs::default();
        let mut last = 1;
        for second in 0..86_400 {
            last = epochs.advance(Duration::from_secs(second)).unwrap_or(last);
        }
        assert!((100..260).contains(&last), "{last}");
    }

    #[test]
    fn whoever_begins_them_by_hand_does_so_alone() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.advance(Duration::from_secs(2)), Some(2));
        assert_eq!(epochs.begin_by_hand(Duration::from_secs(3)), 3);
        assert_eq!(epochs.advance(Duration::from_secs(3600)), None);
        assert_eq!(epochs.begin_by_hand(Duration::from_secs(3601)), 4);
    }

    #[test]
    fn a_short_session_has_one_a_second() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.advance(Duration::from_millis(900)), None);
        assert_eq!(epochs.advance(Duration::from_millis(1000)), Some(2));
        assert_eq!(epochs.advance(Duration::from_millis(1500)), None);
    }
}
