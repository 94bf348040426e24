//! What became of the blocks that were born in the window, by when they were born.
//!
//! A leak keeps a constant share of its births for good, so that of the oldest cohorts as much is
//! left as of those that came later. A set that turns over keeps its latest births only: the older
//! a cohort, the less of it is left. This is the survival function of the blocks, of which
//! D. R. Cox, "Regression models and life-tables", JRSS B 34 (1972) and J. W. Boag, "Maximum
//! likelihood estimates of the proportion of patients cured", JRSS B 11 (1949) write: what does not
//! fall to zero is the share that is immortal.

use super::slope::{Interval, theil_sen};
use crate::aggregate::Series;

/// Share of the window at its end whose births are left out: they had no time to die.
const TAIL_DIVISOR: u64 = 10;
/// Births after this share of the window are left out where the rate is estimated by what is left
/// of them.
const RATE_SHARE: f64 = 0.75;
/// Cohorts below which they say nothing.
const FEWEST: usize = 3;
/// Points of the line through what is left, at least.
const FEWEST_POINTS: usize = 8;
/// Births before this share of the window are early.
const EARLY_SHARE: f64 = 0.6;

/// What was born from one time to another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Born {
    from_ns: u64,
    until_ns: u64,
    allocated: f64,
    left: f64,
}

/// The cohorts of a window, in the order of birth.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cohorts {
    born: Vec<Born>,
    from_ns: u64,
    to_ns: u64,
}

impl Cohorts {
    /// Those of the series that were born after `from_ns` and by `to_ns`.
    pub(super) fn of(series: &Series, from_ns: u64, to_ns: u64) -> Self {
        let within = series.cohorts.values().filter(|cohort| {
            cohort.born_ns > from_ns && cohort.born_ns <= to_ns && cohort.allocated_bytes > 0
        });
        let mut born: Vec<Born> = within
            .map(|cohort| Born {
                from_ns: cohort.born_ns,
                until_ns: to_ns,
                allocated: cohort.allocated_bytes as f64,
                left: cohort.live_bytes.min(cohort.allocated_bytes) as f64,
            })
            .collect();
        born.sort_by_key(|cohort| cohort.from_ns);
        for index in 1..born.len() {
            born[index - 1].until_ns = born[index].from_ns;
        }
        Self { born, from_ns, to_ns }
    }

    /// Whether there are enough of them to say anything.
    pub(super) fn are_known(&self) -> bool {
        self.born.len() >= FEWEST
    }

    fn at(&self, share: f64) -> u64 {
        self.from_ns + (self.to_ns.saturating_sub(self.from_ns) as f64 * share) as u64
    }

    /// Allocated and left, of what was born behind `from` and by `until`, shares of the window.
    fn sum(&self, from: f64, until: f64) -> (f64, f64) {
        let (from_ns, until_ns) = (self.at(from), self.at(until));
        let within = self.born.iter().filter(|c| c.from_ns > from_ns && c.from_ns <= until_ns);
        within.fold((0.0, 0.0), |(allocated, left), c| (allocated + c.allocated, left + c.left))
    }

    /// Of what was born early, the share that is left; `None` for too few cohorts.
    pub(super) fn survival(&self) -> Option<f64> {
        let early = self.born.iter().filter(|c| c.from_ns <= self.at(EARLY_SHARE)).count();
        let (allocated, left) = self.sum(0.0, EARLY_SHARE);
        (early >= FEWEST).then(|| (left / allocated).clamp(0.0, 1.0))
    }

    /// What is left of the early ones, as a share of a growth by `growth` bytes until then.
    pub(super) fn early_share_of(&self, growth: u64) -> Option<f64> {
        let early = self.born.iter().filter(|c| c.from_ns <= self.at(EARLY_SHARE)).count();
        (early >= FEWEST && growth > 0)
            .then(|| self.sum(0.0, EARLY_SHARE).1 / (growth as f64 * EARLY_SHARE))
    }

    /// The survival of the oldest births over that of the others but for the youngest: about 1 for
    /// a leak, less for what turns over, 0 where all that is old has died. The least that is found
    /// for the oldest sixth and third. `None` where too little was born to say.
    pub(super) fn plateau(&self) -> Option<f64> {
        let usable = 1.0 - 1.0 / TAIL_DIVISOR as f64;
        let ratio = |share: f64| {
            let (old, rest) = (self.sum(0.0, usable * share), self.sum(usable * share, usable));
            let enough = old.0 > 0.1 * share * (old.0 + rest.0) && rest.0 > 0.0 && rest.1 > 0.0;
            enough.then(|| (old.1 / old.0) / (rest.1 / rest.0))
        };
        let ratios = [ratio(1.0 / 6.0), ratio(1.0 / 3.0)];
        ratios.into_iter().flatten().min_by(f64::total_cmp).filter(|_| self.are_known())
    }

    /// Bytes a second that are left of what was born then, in parts of equal time without the
    /// youngest; no more parts than there are cohorts.
    pub(super) fn pace(&self, most: usize) -> Vec<f64> {
        let end = self.at(1.0 - 1.0 / TAIL_DIVISOR as f64);
        let Some(first) = self.born.first().map(|cohort| cohort.from_ns) else { return Vec::new() };
        let usable = self.born.iter().filter(|cohort| cohort.until_ns <= end).count();
        let parts = usable.min(most);
        let span = end.saturating_sub(first) as f64;
        let mut pace = vec![0.0; parts];
        for cohort in &self.born {
            let place = |at_ns: u64| {
                (at_ns.saturating_sub(first) as f64 / span * parts as f64).min(parts as f64)
            };
            let (from, until) = (place(cohort.from_ns), place(cohort.until_ns));
            let length =
                (cohort.until_ns.saturating_sub(first) as f64 / span * parts as f64) - from;
            for (number, part) in pace.iter_mut().enumerate() {
                let shared = until.min(number as f64 + 1.0) - from.max(number as f64);
                if shared > 0.0 && length > 0.0 {
                    *part += cohort.left * shared / length;
                }
            }
        }
        let seconds = span / 1e9 / parts as f64;
        pace.iter_mut().for_each(|part| *part /= seconds);
        pace
    }

    /// The rate at which bytes are kept, by what is left of each cohort: what was transient is in
    /// none. `None` for too few cohorts.
    pub(super) fn rate(&self) -> Option<Interval> {
        let until_ns = self.at(RATE_SHARE);
        let mut sum = 0.0;
        let mut points = Vec::with_capacity(self.born.len());
        for cohort in self.born.iter().take_while(|cohort| cohort.until_ns <= until_ns) {
            sum += cohort.left;
            points.push((cohort.until_ns as f64 / 1e9, sum));
        }
        if points.len() < FEWEST_POINTS { None } else { theil_sen(&super::thinned(&points)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Cohort;

    const SECOND: u64 = 1_000_000_000;

    /// Cohorts of 1000 bytes a second for 100 seconds, of which so many are left by age.
    fn cohorts(left: impl Fn(u64) -> u64) -> Cohorts {
        let cohort = |second: u64| Cohort {
            born_ns: second * SECOND,
            allocated_bytes: 1000,
            live_bytes: left(100 - second),
            ..Cohort::default()
        };
        let cohorts = (1..=100).map(|second| (second as u32, cohort(second)));
        let series = Series { cohorts: cohorts.collect(), ..Series::default() };
        Cohorts::of(&series, 0, 100 * SECOND)
    }

    #[test]
    fn a_leak_has_a_plateau_and_what_turns_over_has_none() {
        let leak = cohorts(|age| if age < 2 { 1000 } else { 10 });
        assert!(leak.plateau().is_some_and(|ratio| (ratio - 1.0).abs() < 0.01));
        assert!(leak.survival().is_some_and(|share| (share - 0.01).abs() < 1e-9));
        let dying = cohorts(|age| (1000.0 * (-(age as f64) / 40.0).exp()) as u64);
        assert!(dying.plateau().is_some_and(|ratio| ratio < 0.4), "{:?}", dying.plateau());
        let generation = cohorts(|age| if age > 80 { 0 } else { 1000 });
        assert!(generation.plateau().is_some_and(|ratio| ratio < 0.3));
        let young = cohorts(|age| if age < 2 { 1000 } else { 0 });
        assert_eq!(young.plateau(), None, "nothing is left");
    }

    #[test]
    fn the_rate_of_a_leak_is_seen_through_what_is_transient() {
        let rate = cohorts(|age| if age < 2 { 1000 } else { 10 }).rate().expect("rate");
        assert!((rate.estimate - 10.0).abs() < 1e-6, "{rate:?}");
        let pace = cohorts(|age| if age < 2 { 1000 } else { 10 }).pace(10);
        assert_eq!(pace.len(), 10);
        assert!(pace.iter().all(|part| (part - 10.0).abs() < 1.0), "{pace:?}");
    }

    #[test]
    fn few_cohorts_and_forged_ones_say_nothing() {
        let none = Cohorts::of(&Series::default(), 0, SECOND);
        assert_eq!((none.are_known(), none.plateau(), none.survival()), (false, None, None));
        assert_eq!((none.rate(), none.pace(8)), (None, Vec::new()));
        let forged = Cohort {
            born_ns: 5,
            live_bytes: u64::MAX,
            allocated_bytes: u64::MAX,
            ..Cohort::default()
        };
        let cohorts = (0..40).map(|number| (number, forged)).collect();
        let all_at_once = Cohorts::of(&Series { cohorts, ..Series::default() }, 0, u64::MAX);
        assert!(all_at_once.rate().is_none_or(|rate| rate.estimate.is_finite()));
        assert!(all_at_once.pace(8).iter().all(|part| !part.is_nan()));
        assert!(all_at_once.plateau().is_none_or(f64::is_finite));
    }
}
