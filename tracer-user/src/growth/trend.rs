//! Does a series rise? The Mann-Kendall test, corrected for autocorrelation. Knows nothing of
//! memory.
//!
//! # Sources
//! - H. B. Mann, "Nonparametric tests against trend", Econometrica 13 (1945); M. G. Kendall, "Rank
//!   Correlation Methods" (1975): S, its variance with ties, its exact distribution for few points.
//! - R. O. Gilbert, "Statistical Methods for Environmental Pollution Monitoring" (1987), ch. 16 and
//!   table A18: the procedure, the continuity correction, the exact probabilities of the tests here.
//! - K. H. Hamed, A. R. Rao (1998): the correction, see [`super::correlation`].

use super::correlation::variance_inflation;
use super::slope::{kendall_variance, median_slope};

/// As many points, without ties, are judged by the exact distribution of S; of so few the
/// autocorrelation cannot be told.
const EXACT_POINTS: usize = 10;

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Pairs that rise less those that fall.
    pub s: i64,
    /// S in standard deviations, after both corrections.
    pub z: f64,
    /// Chance that a series without a trend rises at least so clearly (one-sided).
    pub p: f64,
}

/// Tests whether `y` rises with `x`; points in the order of `x`. `None` for fewer than three, or
/// where not every coordinate is finite.
///
/// # Cost
/// Quadratic in the number of points: thin out before.
pub fn mann_kendall(points: &[(f64, f64)]) -> Option<Trend> {
    if points.len() < 3 || points.iter().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
        return None;
    }
    let s = kendall_s(points);
    let plain = kendall_variance(points);
    if plain <= 0.0 {
        return Some(Trend { s: 0, z: 0.0, p: 1.0 });
    }
    let towards_zero = |deviations: f64| (s - s.signum()) as f64 / deviations;
    if points.len() <= EXACT_POINTS {
        let z = towards_zero(plain.sqrt());
        let p = if has_ties(points) { upper_tail(z) } else { exact_upper_tail(points.len(), s) };
        return Some(Trend { s, z, p });
    }
    // The correction only ever makes it less sure.
    let mut z = towards_zero(plain.sqrt());
    if z > 1.0 {
        let slope = median_slope(points)?;
        z = towards_zero((plain * variance_inflation(points, slope)).sqrt());
    }
    Some(Trend { s, z, p: upper_tail(z) })
}

fn kendall_s(points: &[(f64, f64)]) -> i64 {
    let rising = |(index, (_, y1)): (usize, &(f64, f64))| -> i64 {
        points[index + 1..].iter().map(|(_, y2)| i64::from(y2 > y1) - i64::from(y2 < y1)).sum()
    };
    points.iter().enumerate().map(rising).sum()
}

fn has_ties(points: &[(f64, f64)]) -> bool {
    let mut values: Vec<f64> = points.iter().map(|(_, y)| *y).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.windows(2).any(|pair| pair[0] == pair[1])
}

/// Chance that the orders of `count` different numbers, all equally likely, have at least this S:
/// by the number of orders with so many inversions, which a further number raises by 0 to its place.
fn exact_upper_tail(count: usize, s: i64) -> f64 {
    let pairs = count * (count - 1) / 2;
    let mut orders = vec![0.0_f64; pairs + 1];
    orders[0] = 1.0;
    for place in 1..count {
        let before = orders.clone();
        for (inversions, orders) in orders.iter_mut().enumerate() {
            *orders = before[inversions.saturating_sub(place)..=inversions].iter().sum();
        }
    }
    let all: f64 = orders.iter().sum();
    // S is the number of pairs less two for each inversion.
    let most = (pairs as i64 - s).div_euclid(2);
    let within = orders.iter().take(usize::try_from(most + 1).unwrap_or(0));
    within.sum::<f64>() / all
}

/// Chance that a normal deviate is larger than `z`.
pub(super) fn upper_tail(z: f64) -> f64 {
    libm::erfc(z / std::f64::consts::SQRT_2) / 2.0
}

/// The deviate that is exceeded with a chance of `p`.
pub(super) fn deviate_of(p: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if upper_tail(middle) > p { low = middle } else { high = middle }
    }
    high
}

/// Flow of the Nile at Aswan, 1871 to 1970, 1e8 cubic metres a year (G. W. Cobb, "The problem of
/// the Nile", Biometrika 65, 1978).
#[cfg(test)]
pub(super) const NILE: [u16; 100] = [
    1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180,
    799, 958, 1140, 1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833,
    701, 916, 692, 1020, 1050, 969, 831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845,
    864, 862, 698, 845, 744, 796, 1040, 759, 781, 865, 845, 944, 984, 897, 822, 1010, 771, 676,
    649, 846, 812, 742, 801, 1040, 860, 874, 848, 890, 744, 749, 838, 1050, 918, 986, 797, 923,
    975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
        (0..).map(f64::from).zip(values).collect()
    }

    #[test]
    fn the_nile_falls_as_an_independent_implementation_says() {
        // pymannkendall 1.4.3: S = -1387; z = -4.128067 uncorrected, -2.819979 by Hamed and Rao, whose
        // factor is the larger one here.
        let falling = points(NILE.map(f64::from));
        let rising = points(NILE.map(|flow| -f64::from(flow)));
        let found = mann_kendall(&rising).expect("trend");
        assert_eq!(found.s, 1387);
        let plain = (1387.0 - 1.0) / kendall_variance(&rising).sqrt();
        assert!((plain - 4.128_066_5).abs() < 1e-6, "{plain}");
        assert!((found.z - 2.819_979_2).abs() < 1e-6, "{found:?}");
        assert!((found.p - 0.004_802_676 / 2.0).abs() < 1e-8, "{found:?}");
        assert!(mann_kendall(&falling).is_some_and(|found| found.p > 0.99));
    }

    #[test]
    fn few_points_have_the_probabilities_of_the_published_table() {
        let table = [
            (4, 6, 0.042),
            (4, 4, 0.167),
            (5, 8, 0.042),
            (5, 10, 0.0083),
            (8, 16, 0.031),
            (8, 28, 0.000_025),
            (10, 21, 0.036),
            (10, 29, 0.0046),
        ];
        for (count, s, expected) in table {
            let found = exact_upper_tail(count, s);
            assert!((found / expected - 1.0).abs() < 0.02, "{count} {s}: {found}");
        }
        assert_eq!(exact_upper_tail(5, -10), 1.0);
        assert_eq!(exact_upper_tail(5, 12), 0.0);
    }

    #[test]
    fn degenerate_series_have_no_trend() {
        assert_eq!(mann_kendall(&[]), None);
        assert_eq!(mann_kendall(&points([1.0, 2.0])), None);
        assert_eq!(mann_kendall(&points([1.0, f64::NAN, 2.0])), None);
        let flat = mann_kendall(&points([7.0; 40])).expect("trend");
        assert_eq!((flat.s, flat.p), (0, 1.0));
        let one_step = points((0..40).map(|x| f64::from(u8::from(x == 39))));
        assert!(mann_kendall(&one_step).is_some_and(|found| found.p > 0.02));
    }

    #[test]
    fn independent_noise_is_a_trend_as_often_as_the_test_says() {
        let mut random = fastrand::Rng::with_seed(31);
        for count in [7, 25, 96] {
            let rounds = 10_000;
            let rising = (0..rounds).filter(|_| {
                let noise = points((0..count).map(|_| random.f64()));
                mann_kendall(&noise).is_some_and(|found| found.p <= 0.01)
            });
            let rising = rising.count();
            assert!((40..=135).contains(&rising), "{rising} of {rounds} with {count} points");
        }
    }

    #[test]
    fn deviates_and_their_chances_are_inverse() {
        for p in [0.5, 0.025, 1e-4, 1e-12] {
            assert!((upper_tail(deviate_of(p)) / p - 1.0).abs() < 1e-6, "{p}");
        }
        assert!((deviate_of(0.025) - 1.959_964).abs() < 1e-5);
    }
}
