//! Sampled numbers change only when a profile is fetched: when that was, and the series as it was
//! seen then. At the ticks in between they stand still, which says nothing.

use super::regimes::Stretch;
use crate::aggregate::Series;
use crate::capture::Recording;
use crate::growth::{Evidence, Judgement, Limits, judge_with};
use crate::stack::Domain;

/// Profiles, without warm-up, below which growth is not judged: six points in a row have a slope
/// whose interval can exclude zero.
const MIN_PROFILES: usize = 6;
/// Profiles at which what is held rose, below which growth is a one-off.
const MIN_STEPS: usize = 4;

/// When profiles were fetched, nanoseconds since the session began: any of V8's stacks changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Profiles {
    fetched_ns: Vec<u64>,
    /// Of all other numbers: the part that is judged.
    pub(super) stretch: Stretch,
}

impl Profiles {
    pub(super) fn of(recording: &Recording) -> Self {
        let mut all = Series::default();
        for (id, _) in recording.aggregate.stacks() {
            if recording.stacks.get(&id).is_some_and(|stack| stack.domain == Domain::V8) {
                all.add(&recording.aggregate.series(id));
            }
        }
        let mut before = None;
        let mut changed = |now: (u64, u64)| before.replace(now).is_none_or(|before| before != now);
        let samples = all.samples.iter();
        let at = samples.filter(|sample| changed((sample.allocated_bytes, sample.live_bytes)));
        let fetched_ns = at.map(|sample| sample.at_ns).collect();
        Self { fetched_ns, stretch: Stretch::of(recording) }
    }

    /// Judges a series: a sampled one as the profiles have it.
    pub(super) fn judge(&self, series: Series, limits: &Limits, evidence: &Evidence) -> Judgement {
        match evidence.sampling {
            Some(_) => judge_with(&self.only(series), &self::limits(limits), evidence),
            None => judge_with(&self.stretch.within(series), limits, evidence),
        }
    }

    /// The series as the profiles have it.
    pub(super) fn only(&self, mut series: Series) -> Series {
        series.samples.retain(|sample| self.fetched_ns.binary_search(&sample.at_ns).is_ok());
        series
    }
}

/// What is asked for before sampled memory is called growing.
pub(super) fn limits(limits: &Limits) -> Limits {
    Limits { min_samples: MIN_PROFILES, min_steps: MIN_STEPS, ..*limits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::{Verdict, judge};
    use crate::stack::{Stack, StackId};
    use crate::tick::{SiteReading, Tick};

    /// A session of a tick a second, with a profile each `every` seconds in which the stack holds
    /// what `live` says.
    fn recording(every: u64, live: impl Fn(u64) -> u64) -> Recording {
        let mut recording = Recording::default();
        let stack = StackId(7);
        let kept = Stack { id: stack, domain: Domain::V8, frames: Vec::new(), truncated: None };
        recording.stacks.insert(stack, kept);
        let mut born = 0;
        for second in 0..32_u64 {
            let mut tick = Tick { at_ns: second * 1_000_000_000, ..Tick::default() };
            if second.is_multiple_of(every) {
                let held = live(second / every);
                // All of it is replaced each time.
                born += held;
                tick.sites.push(SiteReading {
                    stack,
                    epoch: 1,
                    allocated_bytes: born,
                    allocated_blocks: born / 100,
                    freed_bytes: born - held,
                    freed_blocks: (born - held) / 100,
                    allocated_variance: 0,
                    freed_variance: 0,
                });
            }
            recording.aggregate.apply(&tick);
        }
        recording
    }

    fn verdict(recording: &Recording) -> Verdict {
        let profiles = Profiles::of(recording);
        let series = profiles.only(recording.aggregate.series(StackId(7)));
        judge(&series, &limits(&Limits::default())).verdict
    }

    #[test]
    fn few_profiles_that_all_rise_are_growth_and_too_few_are_no_answer() {
        let leak = |profile| 1_000_000 + profile * 1_500_000;
        assert_eq!(verdict(&recording(4, leak)), Verdict::Growing);
        assert_eq!(verdict(&recording(6, leak)), Verdict::NotEnoughData);
        assert_eq!(verdict(&recording(4, |_| 9_000_000)), Verdict::Steady);
    }

    #[test]
    fn what_only_fluctuates_is_seldom_called_growing() {
        let mut random = fastrand::Rng::with_seed(4);
        let flagged = (0..2000).filter(|_| {
            let levels: Vec<u64> = (0..9).map(|_| random.u64(8_000_000..12_000_000)).collect();
            verdict(&recording(4, |profile| levels[profile as usize])) == Verdict::Growing
        });
        let flagged = flagged.count();
        assert!(flagged <= 20, "{flagged} of 2000");
    }
}
