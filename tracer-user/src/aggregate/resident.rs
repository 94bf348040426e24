//! The target's resident memory over time, as many points as fit.

/// Points that are kept. When there are more, every second one is dropped, and from then on only
/// every second (fourth, eighth...) is taken, besides the latest.
const MAX_POINTS: usize = 512;

/// Resident memory at some of the ticks, in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ResidentHistory {
    points: Vec<(u64, u64)>,
    /// Number of the latest tick, counted from 0.
    latest: u64,
    /// Every so many ticks one is kept, as a power of two.
    stride_log2: u32,
}

impl ResidentHistory {
    /// Takes in a tick. One that is not later than the latest changes nothing.
    pub(super) fn apply(&mut self, at_ns: u64, bytes: u64) {
        if let Some((latest_ns, _)) = self.points.last() {
            if at_ns <= *latest_ns {
                return;
            }
            if !self.latest.is_multiple_of(1 << self.stride_log2) {
                // It was kept for being the latest alone.
                self.points.pop();
            }
            self.latest = self.latest.saturating_add(1);
        }
        self.points.push((at_ns, bytes));
        if self.points.len() > MAX_POINTS && self.latest.is_multiple_of(1 << self.stride_log2) {
            // All are evenly spaced now.
            let last = self.points.len() - 1;
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                (index - 1) % 2 == 0 || index - 1 == last
            });
            self.stride_log2 += 1;
        }
    }

    pub(super) fn points(&self) -> &[(u64, u64)] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stay_few_even_and_whole() {
        let mut history = ResidentHistory::default();
        for tick in 0..10_000_u64 {
            history.apply(tick * 10, tick);
            history.apply(tick * 10, u64::MAX);
            assert!(history.points().len() <= MAX_POINTS + 1);
            assert_eq!(history.points()[0], (0, 0));
            assert_eq!(history.points().last(), Some(&(tick * 10, tick)));
        }
        let gaps: Vec<u64> =
            history.points().windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps[..gaps.len() - 1].iter().all(|gap| *gap == gaps[0]), "{gaps:?}");
        assert!(history.points().len() > MAX_POINTS / 4);
    }
}
