//! Does growth slow down towards a bound? A cache fills more and more slowly, since it is hit more
//! and more often, or since its oldest entries begin to expire; a leak does not.
//!
//! The window is cut into parts of equal time. Growth slows where the rates of the parts fall by
//! the Mann-Kendall test, which knows that a rate may merely fluctuate, slowly even: the correction
//! for autocorrelation is part of it. It is filling where the later rates still fall as the earlier
//! ones did. Where those are even, something has started up beside what keeps growing.
//!
//! An exponential approach to a bound makes increments d1, d2, d3 over equal times, each smaller by
//! the same factor q; so d3 q / (1 - q) is still to come.
//!
//! # Sources
//! - M. S. Bartlett, "The square root transformation in analysis of variance", Supplement to the JRSS
//!   3 (1936): rates are compared by their roots.
//! - A. C. Aitken, "On Bernoulli's numerical solution of algebraic equations", Proceedings of the
//!   Royal Society of Edinburgh 46 (1926): the limit of a geometric approach from equal steps of it.

use super::trend::mann_kendall;

/// Parts that the window is cut into, at most.
pub(super) const PARTS: usize = 48;
/// Parts below which nothing is said.
pub(super) const FEWEST: usize = 8;
/// Chance at which a series that does not slow down is taken for one that does.
const LEVEL: f64 = 0.005;
/// Chance up to which it may be one.
const DOUBT_LEVEL: f64 = 0.1;
/// What the last third gains is at most this share of what the first does.
const LAST_TO_FIRST: f64 = 0.8;
/// The same where the fall of the rates may be chance.
const DOUBT_LAST_TO_FIRST: f64 = 0.7;
/// From this share of the second third's gain on the last third's is no less.
const EVEN: f64 = 0.85;
/// Up to this share of the first third's gain the last one's is none.
const NOTHING: f64 = 0.02;
/// Of a geometric approach the gains of the thirds fall by one factor; of a start-up they fall by
/// one that is less, by this at least, from the first to the second...
const BEND: f64 = 0.1;
/// ...or by so many times, where the last third's gain is not quite so even.
const SHARP_BEND: f64 = 2.0;
/// How even that is.
const NEARLY_EVEN: f64 = 0.65;
/// The largest factor from third to third by which a bound is told.
const LARGEST_FACTOR: f64 = 0.95;

/// How a growth goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// As it began, as far as can be told.
    Even,
    /// Perhaps more and more slowly.
    Doubtful,
    /// More slowly than it began, but evenly since, or not at all.
    Settled,
    /// More and more slowly: so many more bytes are still to come.
    Filling {
        /// Bytes.
        to_come: f64,
    },
}

impl Pace {
    /// Of the rates of growth (bytes per second) in parts of `part_seconds`.
    pub(super) fn of(rates: &[f64], part_seconds: f64) -> Self {
        let p = if rates.len() < FEWEST { 1.0 } else { chance_of_slowing(rates) };
        if p > DOUBT_LEVEL {
            return Pace::Even;
        }
        let third = |number: usize| -> f64 {
            let ends = [number, number + 1].map(|third| third * rates.len() / 3);
            let part = &rates[ends[0]..ends[1]];
            part.iter().sum::<f64>() / part.len() as f64
        };
        let (first, second, last) = (third(0), third(1), third(2));
        let sure = p <= LEVEL;
        if last > if sure { LAST_TO_FIRST } else { DOUBT_LAST_TO_FIRST } * first {
            return Pace::Even;
        }
        if last <= NOTHING * first {
            return Pace::Settled;
        }
        let bends = last >= EVEN * second && last * first >= second * (second + BEND * first);
        let bends_sharply =
            last >= NEARLY_EVEN * second && last * first >= SHARP_BEND * second * second;
        if bends || bends_sharply {
            return Pace::Settled;
        }
        if !sure {
            return Pace::Doubtful;
        }
        let factor = (last / second).clamp(0.0, LARGEST_FACTOR);
        let gained = last * part_seconds * rates.len() as f64 / 3.0;
        Pace::Filling { to_come: gained.max(0.0) * factor / (1.0 - factor) }
    }

    /// Of two ways to look at the same growth, the one that says more against a leak.
    pub(super) fn or(self, other: Pace) -> Self {
        match (self, other) {
            (filling @ Pace::Filling { .. }, _) | (_, filling @ Pace::Filling { .. }) => filling,
            (Pace::Settled, _) | (_, Pace::Settled) => Pace::Settled,
            // A doubt has to be seen in both ways.
            (Pace::Doubtful, Pace::Doubtful) => Pace::Doubtful,
            _ => Pace::Even,
        }
    }
}

/// Chance that the rates do not fall.
fn chance_of_slowing(rates: &[f64]) -> f64 {
    // The root makes the fluctuation of a count independent of its size (Bartlett 1936).
    let falling = rates.iter().map(|rate| -rate.max(0.0).sqrt());
    let falling: Vec<(f64, f64)> = (0..).map(f64::from).zip(falling).collect();
    mann_kendall(&falling).map_or(1.0, |trend| trend.p)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: impl Fn(f64) -> f64) -> Pace {
        let rates: Vec<f64> = (0..24).map(|part| rate(f64::from(part) * 5.0)).collect();
        Pace::of(&rates, 5.0)
    }

    #[test]
    fn an_exponential_approach_is_filling_up_to_its_bound() {
        for tau in [40.0, 60.0, 120.0] {
            let Pace::Filling { to_come } = pace(|at| 1e6 / tau * (-at / tau).exp()) else {
                panic!("{tau}")
            };
            let left = 1e6 * (-120.0 / tau).exp();
            assert!((to_come / left - 1.0).abs() < 0.15, "{tau}: {to_come} of {left}");
        }
    }

    #[test]
    fn a_leak_is_not_and_neither_is_one_behind_a_start() {
        assert_eq!(pace(|_| 5.0), Pace::Even);
        assert_eq!(pace(|at| at), Pace::Even);
        assert_eq!(pace(|at| 5.0 + (at * 0.7).sin()), Pace::Even);
        assert_eq!(pace(|at| 5.0 + 100.0 * (-at / 10.0).exp() + (at * 0.7).sin()), Pace::Settled);
    }

    #[test]
    fn too_few_parts_and_nonsense_are_even() {
        assert_eq!(Pace::of(&[], 1.0), Pace::Even);
        assert_eq!(Pace::of(&[5.0, 4.0, 3.0, 2.0], 1.0), Pace::Even);
        assert_eq!(pace(|_| f64::NAN), Pace::Even);
        assert_eq!(pace(|_| 0.0), Pace::Even);
    }
}
