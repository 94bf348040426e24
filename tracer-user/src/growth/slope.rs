//! A line through noisy points: the Theil-Sen slope and its confidence interval. Knows nothing
//! of memory.
//!
//! # Sources
//! - H. Theil, "A rank-invariant method of linear and polynomial regression analysis", Indagationes
//!   Mathematicae 12 (1950).
//! - P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the
//!   American Statistical Association 63 (1968): the estimate and the interval, from the variance
//!   of Kendall's S with ties.
//! - K. H. Hamed, A. R. Rao (1998): the variance for autocorrelated residuals, the same as in the
//!   test for a trend, see [`super::correlation`].

use super::correlation::interval_inflation;

/// An estimate and the range that holds the truth with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Best estimate.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// With another error of the estimate, which does not depend on the one that is in it; none where
    /// that is not known.
    pub(super) fn widened(self, error: f64) -> Self {
        if !error.is_finite() {
            return self;
        }
        Self {
            estimate: self.estimate,
            low: self.estimate - (self.estimate - self.low).hypot(error),
            high: self.estimate + (self.high - self.estimate).hypot(error),
        }
    }
}

/// Two-sided 95 % of the normal distribution.
pub(super) const Z_95: f64 = 1.959_963_985;

/// Sen's slope of `y` over `x` with its 95 % interval, widened for autocorrelated residuals.
/// `None` when no two points differ in `x`, or not every coordinate is finite.
///
/// # Cost
/// Quadratic in the number of points: thin out before.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<Interval> {
    if points.iter().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
        return None;
    }
    let mut slopes = pairwise_slopes(points);
    let estimate = median_of(&mut slopes)?;
    let variance = kendall_variance(points) * interval_inflation(points, estimate);
    let reach = Z_95 * variance.max(0.0).sqrt();
    let count = slopes.len() as f64;
    // Sen's ranks, counted from 1: M1 = (N - C) / 2 and M2 + 1 = (N + C) / 2 + 1. Rounded outwards;
    // where the interval would need more slopes than there are, the extreme ones are its ends.
    let low_rank = ((count - reach) / 2.0).floor().max(1.0) as usize;
    let high_rank = (((count + reach) / 2.0).ceil() + 1.0).min(count) as usize;
    let mut ranked = |rank: usize| *slopes.select_nth_unstable_by(rank - 1, f64::total_cmp).1;
    Some(Interval { estimate, low: ranked(low_rank), high: ranked(high_rank) })
}

/// The estimate alone.
pub(super) fn median_slope(points: &[(f64, f64)]) -> Option<f64> {
    median_of(&mut pairwise_slopes(points))
}

fn pairwise_slopes(points: &[(f64, f64)]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (index, (x1, y1)) in points.iter().enumerate() {
        for (x2, y2) in &points[index + 1..] {
            if x1 != x2 {
                slopes.push((y2 - y1) / (x2 - x1));
            }
        }
    }
    slopes
}

fn median_of(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    match below.iter().copied().max_by(f64::total_cmp) {
        Some(lower) if below.len() * 2 == values.len() => Some((lower + upper) / 2.0),
        _ => Some(upper),
    }
}

/// Variance of Kendall's S under no trend, less what ties in `y` take away (Sen 1968, eq. 2.7).
pub(super) fn kendall_variance(points: &[(f64, f64)]) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<f64> = points.iter().map(|(_, y)| *y).collect();
    values.sort_unstable_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|group| term(group.len() as f64)).sum();
    (term(points.len() as f64) - ties) / 18.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data worked through in Sen (1968): its estimate is 4.
    const SEN_1968: [(f64, f64); 7] = [
        (1.0, 9.0),
        (2.0, 15.0),
        (3.0, 19.0),
        (4.0, 20.0),
        (10.0, 45.0),
        (12.0, 55.0),
        (18.0, 78.0),
    ];

    #[test]
    fn the_published_example_comes_out_as_published() {
        let found = theil_sen(&SEN_1968).expect("slope");
        assert!((found.estimate - 4.0).abs() < 0.01, "{found:?}");
        // 21 slopes, Var(S) = 44.33, so C = 13.05: the third from either end, rounded outwards.
        assert!((found.low - 11.0 / 3.0).abs() < 1e-9, "{found:?}");
        assert!((found.high - 5.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn degenerate_points_have_no_slope_or_a_flat_one() {
        assert_eq!(theil_sen(&[]), None);
        assert_eq!(theil_sen(&[(1.0, 1.0)]), None);
        assert_eq!(theil_sen(&[(1.0, 1.0), (1.0, 5.0), (1.0, 9.0)]), None);
        assert_eq!(theil_sen(&[(1.0, f64::NAN), (2.0, 5.0)]), None);
        let flat: Vec<_> = (0..20).map(|x| (f64::from(x), 7.0)).collect();
        assert_eq!(theil_sen(&flat), Some(Interval { estimate: 0.0, low: 0.0, high: 0.0 }));
    }

    #[test]
    fn one_wild_point_in_ten_does_not_move_it() {
        let mut line: Vec<_> = (0..20).map(|x| (f64::from(x), 3.0 * f64::from(x))).collect();
        line[5].1 = 1e9;
        line[12].1 = -1e9;
        let found = theil_sen(&line).expect("slope");
        assert!((found.estimate - 3.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn the_interval_holds_the_truth_though_neighbours_are_correlated() {
        let mut random = fastrand::Rng::with_seed(9);
        for (count, memory, least) in [(30, 0.0, 94), (60, 0.5, 91), (96, 0.5, 90), (96, 0.8, 85)] {
            let rounds = 500;
            let held = (0..rounds).filter(|_| {
                let mut deviation = 0.0;
                let mut next = || {
                    deviation = memory * deviation + random.f64() - 0.5;
                    deviation
                };
                (0..50).for_each(|_| {
                    next();
                });
                let points: Vec<(f64, f64)> = (0..count).map(|x| (f64::from(x), next())).collect();
                theil_sen(&points).is_some_and(|found| found.low <= 0.0 && 0.0 <= found.high)
            });
            let held = held.count();
            assert!(held * 100 >= rounds * least, "{held} of {rounds}: {count} {memory}");
        }
    }

    #[test]
    fn correlated_residuals_widen_the_interval() {
        let noise = |x: u32, period: u32| if (x / period).is_multiple_of(2) { 50.0 } else { -50.0 };
        let line = |period: u32| -> Vec<_> {
            (0..60).map(|x| (f64::from(x), 2.0 * f64::from(x) + noise(x, period))).collect()
        };
        let (fast, slow) = (theil_sen(&line(1)).expect("fast"), theil_sen(&line(6)).expect("slow"));
        assert!(slow.high - slow.low > fast.high - fast.low, "{fast:?} {slow:?}");
    }
}
