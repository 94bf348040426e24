//! How much less a series of autocorrelated numbers tells than one of independent numbers. Knows
//! nothing of memory.
//!
//! # Source
//! K. H. Hamed, A. R. Rao, "A modified Mann-Kendall trend test for autocorrelated data", Journal of
//! Hydrology 204 (1998): the variance of Kendall's S is multiplied by n/n* (eq. 14), from the
//! autocorrelations of the ranks of what is left when the trend is taken out; only those count that
//! differ from zero with 95 % confidence.
//!
//! With few points that leaves much correlation out: around a level that is correlated by 0.8 from
//! tick to tick, a 95 % interval of 60 points holds the truth in 70 of 100 simulations. So the factor
//! for a first-order process, (1 + r) / (1 - r) with the correlation r of neighbours (G. V. Bayley,
//! J. M. Hammersley, "The 'effective' number of independent observations in an autocorrelated time
//! series", Supplement to the JRSS 8, 1946), is taken for intervals where it is larger. The test for a
//! trend has the test for a drift beside it (`drift`), which needs no such help.

use super::slope::Z_95;

/// By how much the variance of Kendall's S has to be multiplied, for points around a line of this
/// slope; at least 1: that the correlation is negative is not taken for more information.
pub(super) fn variance_inflation(points: &[(f64, f64)], slope: f64) -> f64 {
    centred_ranks(points, slope).map_or(1.0, |ranks| hamed_rao(&ranks).max(1.0))
}

/// The same where the rank of a slope is looked for, not a test made: see above.
pub(super) fn interval_inflation(points: &[(f64, f64)], slope: f64) -> f64 {
    centred_ranks(points, slope)
        .map_or(1.0, |ranks| hamed_rao(&ranks).max(neighbours_of_ranks(&ranks, 0.98)))
}

/// By how much the variance of a mean has to be multiplied for what neighbours have in common; at
/// least 1. A correlation of more than 0.8 is taken for a change of pace, not for fluctuation.
pub(super) fn neighbour_inflation(points: &[(f64, f64)]) -> f64 {
    centred_ranks(points, 0.0).map_or(1.0, |ranks| neighbours_of_ranks(&ranks, 0.8))
}

fn neighbours_of_ranks(centred_ranks: &[f64], most: f64) -> f64 {
    let first = correlation(centred_ranks, 1).clamp(0.0, most);
    (1.0 + first) / (1.0 - first)
}

/// Ranks of what is left when the trend is taken out, less their mean; `None` where nothing is left.
fn centred_ranks(points: &[(f64, f64)], slope: f64) -> Option<Vec<f64>> {
    let residuals: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    // Rounding errors around a perfect line are no noise.
    let scale = points.iter().map(|(x, y)| y.abs().max((slope * x).abs())).fold(0.0, f64::max);
    let least = residuals.iter().copied().fold(f64::MAX, f64::min);
    let most = residuals.iter().copied().fold(f64::MIN, f64::max);
    let is_line = points.len() < 3 || most - least <= scale * 1e-9;
    let mean = (points.len() as f64 + 1.0) / 2.0;
    (!is_line).then(|| ranks(&residuals).into_iter().map(|rank| rank - mean).collect())
}

/// Of numbers whose mean is zero, with those `lag` further on.
fn correlation(centred: &[f64], lag: usize) -> f64 {
    let power: f64 = centred.iter().map(|value| value * value).sum();
    let lagged: f64 = centred.iter().zip(&centred[lag..]).map(|(a, b)| a * b).sum();
    if power > 0.0 { lagged / power } else { 0.0 }
}

/// n/n* of the paper.
fn hamed_rao(centred_ranks: &[f64]) -> f64 {
    let n = centred_ranks.len() as f64;
    let significant = Z_95 / n.sqrt();
    let weighted = |lag: usize| {
        let correlation = correlation(centred_ranks, lag);
        let rest = n - lag as f64;
        let weight = rest * (rest - 1.0) * (rest - 2.0);
        if correlation.abs() > significant { weight * correlation } else { 0.0 }
    };
    let sum: f64 = (1..centred_ranks.len().saturating_sub(2)).map(weighted).sum();
    1.0 + 2.0 * sum / (n * (n - 1.0) * (n - 2.0))
}

/// Places in ascending order, counted from 1; equal values share their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|index| ranks[*index] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::trend::NILE;

    #[test]
    fn equal_values_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(ranks(&[]), Vec::<f64>::new());
    }

    #[test]
    fn the_nile_has_the_factor_of_an_independent_implementation() {
        // pymannkendall 1.4.3, hamed_rao_modification_test: var_s of 241565.357, 112728.333 before.
        let points: Vec<(f64, f64)> = (0..).map(f64::from).zip(NILE.map(f64::from)).collect();
        let ranks = centred_ranks(&points, -2.6).expect("residuals");
        let found = hamed_rao(&ranks);
        assert!((found - 241_565.356_916_6 / 112_728.333_333_3).abs() < 1e-9, "{found}");
    }

    #[test]
    fn what_says_nothing_about_correlation_leaves_the_variance_alone() {
        assert_eq!(variance_inflation(&[], 1.0), 1.0);
        assert_eq!(variance_inflation(&[(1.0, 2.0)], 1.0), 1.0);
        let line: Vec<(f64, f64)> =
            (0..50).map(|x| (f64::from(x), 0.1 + 0.3 * f64::from(x))).collect();
        assert_eq!(variance_inflation(&line, 0.3), 1.0);
        let flat: Vec<(f64, f64)> = (0..50).map(|x| (f64::from(x), 7.0)).collect();
        assert_eq!(variance_inflation(&flat, 0.0), 1.0);
        let alternating: Vec<(f64, f64)> =
            (0..50).map(|x| (f64::from(x), f64::from(x % 2))).collect();
        assert_eq!(variance_inflation(&alternating, 0.0), 1.0);
    }
}
