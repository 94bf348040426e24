//! When requests are due.

use std::time::{Duration, Instant};

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Pace {
    /// At once, when a connection is free: closed loop.
    Closed,
    /// So many a second, evenly, whether or not the server keeps up: open loop.
    PerSecond(f64),
}

impl Pace {
    /// When the request with this number (from 0) is due, in a load that began at `begin`. It does
    /// not depend on when others were answered, but for a closed loop, in which it is due now.
    pub(super) fn due(self, begin: Instant, number: u64, now: Instant) -> Instant {
        match self {
            Pace::Closed => now,
            Pace::PerSecond(rate) => begin + Duration::from_secs_f64(number as f64 / rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Pace;

    #[test]
    fn an_open_loop_keeps_its_times_and_a_closed_one_has_none() {
        let begin = Instant::now();
        let late = begin + Duration::from_secs(9);
        for now in [begin, late] {
            let due = |number| Pace::PerSecond(200.0).due(begin, number, now);
            assert_eq!(due(0), begin);
            assert_eq!(due(3), begin + Duration::from_millis(15));
            assert_eq!(due(200), begin + Duration::from_secs(1));
            assert_eq!(Pace::Closed.due(begin, 7, now), now);
        }
    }
}
