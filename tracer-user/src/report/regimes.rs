//! The part of a session that is judged: numbers of different regimes are not mixed.
//!
//! Regimes that follow the same blocks with the same stacks, and differ in their sampling only, are
//! judged together: what was born in each is weighed by its own. The tick in which one took the
//! place of another belongs to both, so its difference is left out. Of others the longest stretch
//! is judged, the latest of those that are alike.

use super::model::{Report, SamplingReport};
use crate::aggregate::Series;
use crate::capture::{Recording, Regime};
use crate::growth::Drawn;
use crate::units;

/// The stretch that is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Nanoseconds since the session began; `None` for all that there is.
    bounds: Option<(u64, u64)>,
    /// Where one regime in it took the place of another.
    changes_ns: Vec<u64>,
    /// Whether a pause came behind it, for which all that had been followed counts as freed.
    is_forgotten: bool,
}

impl Stretch {
    /// Of a recording.
    pub(super) fn of(recording: &Recording) -> Self {
        let regimes = &recording.meta.regimes;
        let end_ns = recording.aggregate.latest_ns().max(recording.meta.window.duration_ns);
        if regimes.len() < 2 {
            return Self::default();
        }
        let mut best: Option<Self> = None;
        for alike in regimes.chunk_by(is_alike) {
            let last = &alike[alike.len() - 1];
            let behind = regimes.iter().skip_while(|regime| !std::ptr::eq(*regime, last)).nth(1);
            let to_ns = behind.map_or(end_ns, |next| next.began_ns);
            let mut pauses = regimes.iter().filter(|regime| regime.paused);
            let found = Self {
                bounds: Some((alike[0].began_ns, to_ns)),
                changes_ns: alike[1..].iter().map(|regime| regime.began_ns).collect(),
                is_forgotten: pauses.any(|pause| pause.began_ns >= to_ns),
            };
            let is_better = best.as_ref().is_none_or(|best| found.length_ns() >= best.length_ns());
            if !alike[0].paused && is_better {
                best = Some(found);
            }
        }
        best.unwrap_or_default()
    }

    fn length_ns(&self) -> u64 {
        self.bounds.map_or(u64::MAX, |(from_ns, to_ns)| to_ns.saturating_sub(from_ns))
    }

    /// From when to when, nanoseconds since the session began; `None` where all of it is judged.
    pub(super) fn bounds(&self) -> Option<(u64, u64)> {
        self.bounds
    }

    /// What a series did in it, without what spans a change of regimes.
    pub(super) fn within(&self, mut series: Series) -> Series {
        let Some((from_ns, to_ns)) = self.bounds else { return series };
        series.samples.retain(|sample| (from_ns..=to_ns).contains(&sample.at_ns));
        if self.is_forgotten {
            // They say what is left by the end: of blocks that nobody has seen die, nothing.
            series.cohorts.clear();
        }
        let mut skipped = [0_i128; 3];
        let mut least = [0_i128; 3];
        let mut levels = Vec::with_capacity(series.samples.len());
        let mut changes = self.changes_ns.iter().peekable();
        let mut before: Option<[i128; 3]> = None;
        for sample in &series.samples {
            let now = [sample.live_bytes, sample.live_blocks, sample.settled_bytes].map(i128::from);
            let mut is_change = false;
            while changes.next_if(|change_ns| **change_ns < sample.at_ns).is_some() {
                is_change = true;
            }
            let mut level = now;
            for place in 0..3 {
                if let Some(before) = before.filter(|_| is_change) {
                    skipped[place] += now[place] - before[place];
                }
                level[place] -= skipped[place];
                least[place] = least[place].min(level[place]);
            }
            before = Some(now);
            levels.push(level);
        }
        // A level below nothing is one that began higher.
        let told = |level: i128, least: i128| u64::try_from(level - least).unwrap_or(u64::MAX);
        for (sample, level) in series.samples.iter_mut().zip(levels) {
            sample.live_bytes = told(level[0], least[0]);
            sample.live_blocks = told(level[1], least[1]);
            sample.settled_bytes = told(level[2], least[2]);
        }
        series
    }
}

/// Whether both follow the same blocks, with the same stacks.
fn is_alike(a: &Regime, b: &Regime) -> bool {
    let scope = |regime: &Regime| (regime.min_size_bytes, regime.max_frames, regime.paused);
    scope(a) == scope(b)
}

/// How far apart draws were at most in a whole recording, bytes; `None` where every block was
/// followed all the time.
pub(super) fn drawn(recording: &Recording) -> Option<Drawn> {
    let means = recording.meta.regimes.iter().map(|regime| regime.sample_mean_bytes);
    let mean_bytes = means.max().filter(|mean| *mean > 0)?;
    Some(Drawn { mean_bytes })
}

/// Whether births were left out at any time, so that what an allocator keeps is no difference.
pub(super) fn leave_out(recording: &Recording) -> bool {
    let mut regimes = recording.meta.regimes.iter();
    recording.meta.settings.min_size_bytes > 0
        || regimes.any(|r| r.sample_mean_bytes > 0 || r.min_size_bytes > 0 || r.paused)
}

/// By how much a sum over all stacks may be wrong (95 %); `None` where it is exact. Bytes.
pub(super) fn error_bytes(recording: &Recording, bytes: u64, variance: u64) -> Option<u64> {
    drawn(recording).map(|drawn| drawn.error_bytes(bytes, variance).round() as u64)
}

/// What a report says of its sampling; `None` where every block was followed all the time.
pub(super) fn report(recording: &Recording, stretch: &Stretch) -> Option<SamplingReport> {
    let means = recording.meta.regimes.iter().map(|regime| regime.sample_mean_bytes);
    let end_ns = recording.meta.window.duration_ns;
    Some(SamplingReport {
        mean_bytes: drawn(recording)?.mean_bytes,
        least_mean_bytes: means.min().unwrap_or(0),
        judged_from_ns: stretch.bounds().map_or(0, |(from_ns, _)| from_ns),
        judged_until_ns: stretch.bounds().map_or(end_ns, |(_, to_ns)| to_ns),
    })
}

/// That numbers are estimates: a clause for the answer itself; empty where they are exact.
pub(super) fn clause(report: &Report) -> String {
    report.sampling.map_or(String::new(), |sampling| format!("; {}", estimated(&sampling)))
}

fn estimated(sampling: &SamplingReport) -> String {
    format!("estimated from a sample, one draw in {}", units::bytes(sampling.mean_bytes))
}

/// What is not known because blocks were left out, a sentence each.
pub(super) fn in_words(report: &Report) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(sampling) = report.sampling {
        told.push(format!(
            "numbers of blocks are {} on average: blocks are weighed by their chance to be drawn, ± is the error at 95 %, and counts are rounded",
            estimated(&sampling)
        ));
        told.push(
            "which blocks from before attach were freed is not known from a sample: a set that was full before and is replaced looks like growth until it has turned over once".to_owned(),
        );
    }
    if report.sampling.is_some() && report.findings.iter().any(|f| f.heap.reach.is_some()) {
        told.push(
            "whether something points to blocks was looked at for those that were drawn".to_owned(),
        );
    }
    // The first is as asked for.
    for pair in report.regimes.windows(2) {
        told.push(format!(
            "from {} on {} was followed: {}",
            units::duration(pair[1].began_ns),
            pair[1].words(),
            pair[1].reason
        ));
    }
    if let Some(sampling) = report.sampling.filter(|_| report.regimes.len() > 1) {
        told.push(format!(
            "growth was judged from {} to {}: numbers that were followed in other ways are not mixed",
            units::duration(sampling.judged_from_ns),
            units::duration(sampling.judged_until_ns)
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Cohort, Sample};
    use crate::tick::Tick;

    const SECOND: u64 = 1_000_000_000;

    fn recording(regimes: &[(u64, u64, u64, bool)]) -> Recording {
        let mut recording = Recording::default();
        let regime = |&(second, sample_mean_bytes, min_size_bytes, paused)| Regime {
            began_ns: second * SECOND,
            sample_mean_bytes,
            min_size_bytes,
            paused,
            ..Regime::default()
        };
        recording.meta.regimes = regimes.iter().map(regime).collect();
        recording.aggregate.apply(&Tick { at_ns: 100 * SECOND, ..Tick::default() });
        recording
    }

    fn bounds(regimes: &[(u64, u64, u64, bool)]) -> Option<(u64, u64)> {
        let stretch = Stretch::of(&recording(regimes));
        stretch.bounds().map(|(from_ns, to_ns)| (from_ns / SECOND, to_ns / SECOND))
    }

    #[test]
    fn the_longest_stretch_of_what_is_alike_is_judged() {
        assert_eq!(bounds(&[]), None);
        assert_eq!(bounds(&[(0, 65_536, 0, false)]), None);
        // Sampling alone does not divide.
        assert_eq!(bounds(&[(0, 0, 0, false), (30, 65_536, 0, false)]), Some((0, 100)));
        // A size floor does, and the latest of two that are as long is judged.
        assert_eq!(bounds(&[(0, 0, 0, false), (30, 0, 1024, false)]), Some((30, 100)));
        assert_eq!(bounds(&[(0, 0, 0, false), (50, 0, 1024, false)]), Some((50, 100)));
        assert_eq!(bounds(&[(0, 0, 0, false), (70, 0, 1024, false)]), Some((0, 70)));
        // Nothing is judged where nothing was followed.
        assert_eq!(bounds(&[(0, 0, 0, false), (20, 0, 0, true), (90, 0, 0, false)]), Some((0, 20)));
    }

    #[test]
    fn what_a_pause_has_forgotten_says_nothing_of_what_was_left() {
        let series = Series { cohorts: [(1, Cohort::default())].into(), ..Series::default() };
        let cohorts =
            |regimes: &[_]| Stretch::of(&recording(regimes)).within(series.clone()).cohorts.len();
        assert_eq!(cohorts(&[(0, 0, 0, false), (80, 0, 0, true), (90, 0, 1024, false)]), 0);
        assert_eq!(cohorts(&[(0, 0, 0, false), (5, 0, 0, true), (10, 0, 0, false)]), 1);
        assert_eq!(cohorts(&[(0, 0, 0, false), (80, 65_536, 0, false)]), 1);
    }

    #[test]
    fn what_spans_a_change_is_in_no_difference() {
        let recording = recording(&[(0, 0, 0, false), (3, 65_536, 0, false)]);
        let stretch = Stretch::of(&recording);
        assert_eq!(drawn(&recording), Some(Drawn { mean_bytes: 65_536 }));
        let live = [100_u64, 110, 120, 500, 510, 520];
        let samples = (1..).zip(live).map(|(second, live_bytes)| Sample {
            at_ns: second * SECOND,
            live_bytes,
            ..Sample::default()
        });
        let series = Series { samples: samples.collect(), ..Series::default() };
        let levels: Vec<u64> =
            stretch.within(series).samples.iter().map(|sample| sample.live_bytes).collect();
        assert_eq!(levels, [100, 110, 120, 120, 130, 140]);
    }

    #[test]
    fn a_fall_at_a_change_leaves_no_level_below_nothing() {
        let stretch = Stretch::of(&recording(&[(0, 0, 0, false), (1, 4096, 0, false)]));
        let samples = [(1, 10), (2, 500), (3, 90)].map(|(second, live_bytes)| Sample {
            at_ns: second * SECOND,
            live_bytes,
            ..Sample::default()
        });
        let series = Series { samples: samples.to_vec(), ..Series::default() };
        let levels: Vec<u64> =
            stretch.within(series).samples.iter().map(|sample| sample.live_bytes).collect();
        assert_eq!(levels, [410, 410, 0]);
    }
}
