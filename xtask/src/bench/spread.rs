//! What several rounds say together: the middle one and how far the others are from it.

use std::fmt;

use serde_json::{Value, json};

/// A figure of several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Not a number in all three when there is no value.
    pub(super) fn of(values: &[f64]) -> Self {
        let least = values.iter().copied().fold(f64::NAN, f64::min);
        let most = values.iter().copied().fold(f64::NAN, f64::max);
        Self { median: median(values), min: least, max: most }
    }

    pub(super) fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl fmt::Display for Spread {
    /// With as many decimals as are asked for, one without a wish.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = formatter.precision().unwrap_or(1);
        let Self { median, min, max } = self;
        write!(formatter, "{median:.decimals$} ({min:.decimals$}..{max:.decimals$})")
    }
}

/// The middle value, or the mean of the middle two; not a number when there is none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.len()) {
        (None, _) => f64::NAN,
        (Some(middle), count) if count % 2 == 1 => *middle,
        (Some(middle), count) => f64::midpoint(sorted[count / 2 - 1], *middle),
    }
}

/// Each value of one thing over that of the other in the same round.
pub(super) fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    over.iter().zip(under).map(|(over, under)| over / under).collect()
}

/// The least value that `share` of all do not exceed (nearest rank); `sorted` ascends. Not a number
/// when there is none.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{Spread, median, percentile, ratios};

    #[test]
    fn the_median_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 500.0);
        assert_eq!(percentile(&values, 0.99), 990.0);
        assert_eq!(percentile(&values, 0.999), 999.0);
        assert_eq!(percentile(&values, 1.0), 1000.0);
        assert_eq!(percentile(&[7.0], 0.999), 7.0);
        assert_eq!(percentile(&[7.0, 8.0], 0.0), 7.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_spread_names_the_ends() {
        let spread = Spread::of(&[3.0, 9.0, 1.0]);
        assert_eq!(spread, Spread { median: 3.0, min: 1.0, max: 9.0 });
        assert_eq!(format!("{spread:.2}"), "3.00 (1.00..9.00)");
        assert!(Spread::of(&[]).min.is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        assert_eq!(ratios(&[4.0, 9.0], &[2.0, 3.0]), [2.0, 3.0]);
    }
}
