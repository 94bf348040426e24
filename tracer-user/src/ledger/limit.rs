//! Which limit is reached first, and when: arithmetic on what `session` has read.

use crate::capture::MemoryLimit;
use crate::growth::Interval;

/// When a limit is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached<'a> {
    /// Which.
    pub limit: &'a MemoryLimit,
    /// Seconds from the session's end at the best estimate of the rate.
    pub seconds: f64,
    /// At the upper end of its interval.
    pub earliest_seconds: f64,
    /// At its lower end; `None` where memory may not grow at all.
    pub latest_seconds: Option<f64>,
}

/// The limit that is reached first when memory grows by `rate` (bytes per second), each as far as
/// what is used of it now is from it; `None` where it does not grow.
pub fn first_reached(limits: &[MemoryLimit], rate: Interval) -> Option<Reached<'_>> {
    let is_growing = rate.estimate > 0.0 && rate.estimate.is_finite() && rate.high.is_finite();
    if !is_growing {
        return None;
    }
    let left = |limit: &MemoryLimit| limit.limit_bytes.saturating_sub(limit.used_bytes);
    let limit = limits.iter().filter(|limit| limit.limit_bytes > 0).min_by_key(|l| left(l))?;
    let left_bytes = left(limit) as f64;
    Some(Reached {
        limit,
        seconds: left_bytes / rate.estimate,
        earliest_seconds: left_bytes / rate.high.max(rate.estimate),
        latest_seconds: (rate.low > 0.0).then(|| left_bytes / rate.low.min(rate.estimate)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(kind: &str, limit_bytes: u64, used_bytes: u64) -> MemoryLimit {
        MemoryLimit { kind: kind.into(), name: String::new(), limit_bytes, used_bytes }
    }

    fn rate(low: f64, estimate: f64, high: f64) -> Interval {
        Interval { estimate, low, high }
    }

    #[test]
    fn the_nearest_limit_counts_not_the_lowest() {
        let limits = [limit("machine", 10_000, 9_900), limit("cgroup", 1000, 500)];
        let reached = first_reached(&limits, rate(5.0, 10.0, 20.0)).unwrap();
        assert_eq!(reached.limit.kind, "machine");
        assert_eq!((reached.seconds, reached.earliest_seconds), (10.0, 5.0));
        assert_eq!(reached.latest_seconds, Some(20.0));
        let reached = first_reached(&limits[1..], rate(-1.0, 10.0, 20.0)).unwrap();
        assert_eq!((reached.seconds, reached.latest_seconds), (50.0, None));
    }

    #[test]
    fn nothing_is_reached_without_growth_or_limit() {
        let limits = [limit("machine", 1000, 2000)];
        assert_eq!(first_reached(&limits, rate(-5.0, -1.0, 2.0)), None);
        assert_eq!(first_reached(&limits, rate(f64::NAN, f64::NAN, f64::NAN)), None);
        assert_eq!(first_reached(&[], rate(1.0, 1.0, 1.0)), None);
        // Beyond it already.
        assert_eq!(first_reached(&limits, rate(1.0, 1.0, 1.0)).unwrap().seconds, 0.0);
    }
}
