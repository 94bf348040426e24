//! A line through noisy points: the Theil-Sen slope and its confidence interval. Knows nothing
//! of memory.
//!
//! # Sources
//! - H. Theil, "A rank-invariant method of linear and polynomial regression analysis", Indagationes
//!   Mathematicae 12 (1950).
//! - P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the
//!   American Statistical Association 63 (1968): the estimate and the interval, from the variance
//!   of Kendall's S with ties.
//! - G. V. Bayley, J. M. Hammersley, "The 'effective' number of independent observations in an
//!   autocorrelated time series", Supplement to the JRSS 8 (1946); K. H. Hamed, A. R. Rao, "A
//!   modified Mann-Kendall trend test for autocorrelated data", Journal of Hydrology 204 (1998):
//!   why the variance is inflated when residuals are autocorrelated.

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
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let estimate = median_of_sorted(&slopes);
    let variance = kendall_variance(points) * variance_inflation(points, estimate);
    let reach = Z_95 * variance.max(0.0).sqrt();
    let count = slopes.len() as f64;
    // Sen's ranks, counted from 1: M1 = (N - C) / 2 and M2 + 1 = (N + C) / 2 + 1. Rounded outwards;
    // where the interval would need more slopes than there are, the extreme ones are its ends.
    let low_rank = ((count - reach) / 2.0).floor().max(1.0) as usize;
    let high_rank = (((count + reach) / 2.0).ceil() + 1.0).min(count) as usize;
    Some(Interval { estimate, low: slopes[low_rank - 1], high: slopes[high_rank - 1] })
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

fn median_of_sorted(values: &[f64]) -> f64 {
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Variance of Kendall's S under no trend, less what ties in `y` take away (Sen 1968, eq. 2.7).
fn kendall_variance(points: &[(f64, f64)]) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<f64> = points.iter().map(|(_, y)| *y).collect();
    values.sort_unstable_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|group| term(group.len() as f64)).sum();
    (term(points.len() as f64) - ties) / 18.0
}

/// (1 + r) / (1 - r) with r the lag-1 autocorrelation of the residuals, at least 1.
fn variance_inflation(points: &[(f64, f64)], slope: f64) -> f64 {
    let mut residuals: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    let mean = residuals.iter().sum::<f64>() / residuals.len() as f64;
    residuals.iter_mut().for_each(|residual| *residual -= mean);
    let power: f64 = residuals.iter().map(|r| r * r).sum();
    // Rounding errors around a perfect line are no noise.
    let scale = points.iter().map(|(_, y)| y.abs()).fold(0.0, f64::max);
    if power <= (scale * 1e-12).powi(2) * points.len() as f64 {
        return 1.0;
    }
    let lagged: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let r = (lagged / power).clamp(0.0, 0.98);
    (1.0 + r) / (1.0 - r)
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
    fn correlated_residuals_widen_the_interval() {
        let noise = |x: u32, period: u32| if (x / period).is_multiple_of(2) { 50.0 } else { -50.0 };
        let line = |period: u32| -> Vec<_> {
            (0..60).map(|x| (f64::from(x), 2.0 * f64::from(x) + noise(x, period))).collect()
        };
        let (fast, slow) = (theil_sen(&line(1)).expect("fast"), theil_sen(&line(6)).expect("slow"));
        assert!(slow.high - slow.low > fast.high - fast.low, "{fast:?} {slow:?}");
    }
}
