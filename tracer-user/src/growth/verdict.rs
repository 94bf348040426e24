//! What the judge says, and what it rests on.

use super::slope::Interval;
use super::trend::deviate_of;
use crate::units;

/// What is to be said about a stack, or about several that are judged as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// What it holds kept growing to the end of the window.
    Growing,
    /// It did not.
    Steady,
    /// Too few ticks, or samples, to say.
    NotEnoughData,
    /// It grew, and no garbage collection that could have freed it has passed since.
    PendingGc,
    /// It grew more and more slowly, towards a bound that can be told.
    Filling,
    /// It rose and was freed again, at least twice.
    Sawtooth,
    /// It rose once, or in one part of the window, and stayed.
    OneOff,
}

impl Verdict {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Growing => "growing",
            Verdict::Steady => "steady",
            Verdict::NotEnoughData => "not-enough-data",
            Verdict::PendingGc => "pending-gc",
            Verdict::Filling => "filling",
            Verdict::Sawtooth => "sawtooth",
            Verdict::OneOff => "one-off",
        }
    }
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Growth in bytes per second, 95 % interval; `None` when there is not enough data.
    pub rate: Option<Interval>,
    /// How sure it is that there is a trend at all: one less the chance that a series without any
    /// looks like this, 0 to 1. `None` where no test was made.
    pub confidence: Option<f64>,
    /// That chance itself, which may be too small to show in the difference from 1.
    pub p_value: Option<f64>,
    /// Of what was born early in the window, the share that was still live at its end; 0 to 1.
    /// `None` where there are too few cohorts to say.
    pub survival: Option<f64>,
    /// What it fills up to, bytes of this window; for `Filling` only.
    pub bound_bytes: Option<u64>,
    /// Time from one peak to the next, nanoseconds; for `Sawtooth` only.
    pub period_ns: Option<u64>,
    /// How much longer it would have to be watched; for `NotEnoughData` only.
    pub needs_ns: Option<u64>,
    /// Why, in sentences for people.
    pub reasons: Vec<String>,
}

impl Judgement {
    /// One that says no more than that.
    pub fn plain(verdict: Verdict, rate: Option<Interval>, reasons: Vec<String>) -> Self {
        Self {
            verdict,
            rate,
            confidence: None,
            p_value: None,
            survival: None,
            bound_bytes: None,
            period_ns: None,
            needs_ns: None,
            reasons,
        }
    }
}

impl Judgement {
    /// It does not grow as far as can be told by now, for this reason, and would have to be watched
    /// for so much longer.
    pub fn doubted(self, reason: String, needs_ns: Option<u64>) -> Self {
        Self {
            verdict: Verdict::NotEnoughData,
            bound_bytes: None,
            period_ns: None,
            needs_ns,
            reasons: vec![reason],
            ..self
        }
    }

    /// Holds growth to the level that it has to meet among `tests` of its kind; `watched_ns` is how
    /// long it was watched.
    pub fn held_to(self, level: f64, tests: usize, watched_ns: u64) -> Self {
        let p = self.p_value.unwrap_or(0.0);
        if self.verdict != Verdict::Growing || p <= level {
            return self;
        }
        let reason = format!(
            "it rose, but among {} such series one may by chance (p = {p:.1e}, {level:.1e} is asked for)",
            units::count(tests as u64)
        );
        self.doubted(reason, Some(needed_ns(p, level, watched_ns)))
    }
}

/// How much longer a trend would have to last until it is as sure as `level` asks for, when it has
/// reached `p` after `watched_ns`: the deviate of Kendall's S grows with the power 1.5 of time.
/// At most ten times as long.
pub(super) fn needed_ns(p: f64, level: f64, watched_ns: u64) -> u64 {
    let now = deviate_of(p.clamp(f64::MIN_POSITIVE, 0.5)).max(0.1);
    let wanted = deviate_of(level.clamp(f64::MIN_POSITIVE, 0.5));
    let times = ((wanted / now).powf(2.0 / 3.0) - 1.0).clamp(0.05, 10.0);
    (watched_ns as f64 * times) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::trend::upper_tail;

    #[test]
    fn what_is_nearly_sure_needs_little_more_time_and_what_is_not_much() {
        let (sure, level) = (upper_tail(3.0), upper_tail(4.0));
        let needed = needed_ns(sure, level, 100);
        assert_eq!(needed, 21, "(4 / 3) to the power of 2 / 3");
        assert_eq!(needed_ns(0.9, level, 100), 1000);
        assert_eq!(needed_ns(0.0, level, 100), 5);
        let growing = Judgement {
            p_value: Some(1e-5),
            ..Judgement::plain(Verdict::Growing, None, Vec::new())
        };
        assert_eq!(growing.clone().held_to(1e-4, 100, 100).verdict, Verdict::Growing);
        let doubted = growing.held_to(1e-6, 10_000, 100);
        assert_eq!(doubted.verdict, Verdict::NotEnoughData);
        assert!(doubted.needs_ns.is_some_and(|needs| needs < 50), "{doubted:?}");
        assert!(doubted.reasons[0].contains("10,000"), "{doubted:?}");
    }
}
