//! The lower envelope of live bytes: at every tick, the least that was live then or later. It
//! never falls; what it rose by is what was kept.

/// Share of the window at its end that is left out: nothing born there had time to die.
const TAIL_DIVISOR: usize = 10;

/// Time and held bytes, without the youngest tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    points: Vec<(u64, u64)>,
}

impl Envelope {
    /// Of times and live bytes.
    pub(super) fn of(live: &[(u64, u64)]) -> Self {
        let mut least = u64::MAX;
        let mut points: Vec<(u64, u64)> = live
            .iter()
            .rev()
            .map(|(at_ns, bytes)| {
                least = least.min(*bytes);
                (*at_ns, least)
            })
            .collect();
        points.reverse();
        let tail = points.len() / TAIL_DIVISOR;
        points.truncate(points.len() - tail);
        Self { points }
    }

    /// Ticks that it covers.
    pub(super) fn ticks(&self) -> usize {
        self.points.len()
    }

    /// What it rose by, in bytes.
    pub(super) fn growth(&self) -> u64 {
        match self.points.as_slice() {
            [first, .., last] => last.1 - first.1,
            _ => 0,
        }
    }

    /// Ticks at which it rose.
    pub(super) fn steps(&self) -> usize {
        self.points.windows(2).filter(|pair| pair[1].1 > pair[0].1).count()
    }

    /// What it rose by in each of `count` parts of equal time, in bytes.
    pub(super) fn parts(&self, count: u64) -> Vec<u64> {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return vec![0; count as usize];
        };
        let span = last.0.saturating_sub(first.0);
        let held_at = |part: u64| {
            let until =
                first.0 + (u128::from(span) * u128::from(part) / u128::from(count.max(1))) as u64;
            let behind = self.points.partition_point(|point| point.0 <= until);
            self.points[behind.max(1) - 1].1
        };
        (0..count).map(|part| held_at(part + 1) - held_at(part)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(live: &[u64]) -> Envelope {
        let points: Vec<(u64, u64)> = (0..).zip(live.iter().copied()).collect();
        Envelope::of(&points)
    }

    #[test]
    fn what_is_freed_later_never_enters() {
        let found = envelope(&[0, 9, 1, 9, 2, 9, 3, 9, 4]);
        assert_eq!((found.growth(), found.steps()), (4, 4));
        assert_eq!(envelope(&[5, 50, 500, 0]).growth(), 0);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let found = envelope(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(found.growth(), 9);
        assert_eq!(found.parts(3), [3, 3, 3]);
        assert_eq!(envelope(&[]).parts(2), [0, 0]);
        assert_eq!(envelope(&[3]).parts(2), [0, 0]);
    }
}
