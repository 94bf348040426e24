//! How wrong a number may be whose blocks were drawn by the probes: each block that was drawn adds to
//! the variance, by its own size, so nothing is assumed of sizes (where V8's sampler tells no more
//! than sums, [`Sampling`](super::Sampling) has to).
//!
//! The interval is that of the score, as there: with a sum S of variance V a unit that was missed
//! weighs V/S on average, and the interval ends at S + L ± √(z²V + L²) with L = z²V/2S; half its
//! upper part is told on both sides. Where nothing was drawn, 3.84 mean distances may be there.
//!
//! A growth is the difference of two sums that have blocks in common: what lived at both ends adds
//! nothing to its error, what was born or died between them does.

use super::slope::Z_95;
use super::{Judgement, Verdict, shape::after_warm_up};
use crate::aggregate::{Sample, Series};
use crate::tick::VARIANCE_UNIT;

/// The largest error of a growth that is believed, as a share of it: 15 draws of small blocks.
const LARGEST_ERROR: f64 = 2.0 / 3.0;
/// Deviate of the chance (one in ten) with which a growth that has fallen to half may pass for one
/// that goes on.
const Z_90_ONE_SIDED: f64 = 1.281_552;
/// The longest that is asked to be watched for, in windows like this one.
const LONGEST: f64 = 10.0;

/// How blocks were drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Mean distance between two draws, bytes; the largest where there were several.
    pub mean_bytes: u64,
}

impl Drawn {
    /// By how much the truth may exceed a sum of `bytes`, with 97.5 % confidence; it may fall short
    /// of it by less. `variance` is in [`VARIANCE_UNIT`]. Bytes.
    pub fn error_bytes(&self, bytes: u64, variance: u64) -> f64 {
        self.error(bytes as f64, variance as f64 * VARIANCE_UNIT)
    }

    fn error(&self, bytes: f64, variance: f64) -> f64 {
        let missed = match bytes > 0.0 {
            // What is drawn for sure weighs nothing here, and no block more than a mean distance.
            true => (variance / bytes).min(self.mean_bytes as f64),
            false => self.mean_bytes as f64,
        };
        let lean = Z_95 * Z_95 * missed / 2.0;
        lean + (Z_95 * Z_95 * variance + lean * lean).sqrt()
    }

    /// The judgement, as far as the draws allow: its rate with their error, and growth only where
    /// that leaves no doubt.
    pub(super) fn believe(&self, judgement: Judgement, series: &Series) -> Judgement {
        let samples = after_warm_up(&series.samples);
        let ([first, .., last], Some(rate)) = (samples, judgement.rate) else { return judgement };
        let span_ns = last.at_ns.saturating_sub(first.at_ns);
        let seconds = span_ns as f64 / 1e9;
        let growth = (rate.estimate * seconds).max(0.0);
        let variance = variance_of_growth(series, first, last);
        let error = self.error(growth, variance);
        let judgement = Judgement { rate: Some(rate.widened(error / seconds)), ..judgement };
        if judgement.verdict != Verdict::Growing {
            return judgement;
        }
        let too_wide = error / (LARGEST_ERROR * growth);
        let more = (too_wide * too_wide - 1.0).clamp(0.25, LONGEST);
        let needs_ns = Some((span_ns as f64 * more) as u64);
        if too_wide > 1.0 || judgement.rate.is_none_or(|rate| rate.low <= 0.0) {
            let reason = "its growth rests on too few blocks that were drawn: sample finer, or watch for longer";
            return judgement.doubted(reason.into(), needs_ns);
        }
        if may_be_filling(samples, variance) {
            let reason = "by the blocks that were drawn it may be slowing down, as what is being filled does: sample finer, or watch for longer";
            return judgement.doubted(reason.into(), needs_ns);
        }
        judgement
    }
}

/// Of the difference between two moments, in squared bytes.
fn variance_of_growth(series: &Series, first: &Sample, last: &Sample) -> f64 {
    let at_both = series.cohorts.values().filter(|cohort| cohort.born_ns <= first.at_ns);
    let at_both = at_both.fold(0_u64, |sum, cohort| sum.saturating_add(cohort.live_variance));
    let born = last.live_variance.saturating_sub(at_both) as f64;
    let died = first.live_variance.saturating_sub(at_both) as f64;
    (born + died) * VARIANCE_UNIT
}

/// Whether the second half may have gained only half as much as the first; of halves that have half
/// of the variance each.
fn may_be_filling(samples: &[Sample], variance: f64) -> bool {
    let ([first, .., last], true) = (samples, variance > 0.0) else { return false };
    let middle_ns = first.at_ns + last.at_ns.saturating_sub(first.at_ns) / 2;
    let middle = &samples[samples.partition_point(|sample| sample.at_ns < middle_ns)];
    // What is transient fluctuates.
    let held = |sample: &Sample| match last.settled_bytes {
        0 => sample.live_bytes as f64,
        _ => sample.settled_bytes as f64,
    };
    let (early, late) = (held(middle) - held(first), held(last) - held(middle));
    let error = (variance * (0.5 + 0.5 * 0.25)).sqrt();
    late - early / 2.0 < Z_90_ONE_SIDED * error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Cohort;
    use crate::growth::{Evidence, Limits, judge_with};
    use tracer_common::sampling::{CERTAIN, ONE_SQUARE, chance, weight};

    const SECOND: u64 = 1_000_000_000;
    const MEAN: u64 = 65_536;

    /// What is seen of a site that allocates `count` blocks of `size` bytes a second, of which one in
    /// `kept` stays and the others live for a second.
    fn site(seed: u64, seconds: u64, size: u64, count: u64, kept: impl Fn(u64) -> u64) -> Series {
        let mut random = fastrand::Rng::with_seed(seed);
        let weight = weight(size, MEAN);
        let variance = |drawn: u64| {
            let square = (MEAN * MEAN) as f64 / ONE_SQUARE as f64 / VARIANCE_UNIT;
            (drawn as f64 * weight.variance as f64 * square) as u64
        };
        let mut series = Series::default();
        let (mut stays, mut allocated) = (0, 0);
        for second in 1..=seconds {
            let mut draw = |blocks: u64| -> u64 {
                (0..blocks).map(|_| u64::from(random.u64(0..CERTAIN) < chance(size, MEAN))).sum()
            };
            let keeps = kept(second).min(count);
            let (kept, passing) = (draw(keeps), draw(count - keeps));
            let before = stays;
            stays += kept;
            allocated += kept + passing;
            series.samples.push(Sample {
                at_ns: second * SECOND,
                live_bytes: (stays + passing) * weight.bytes,
                live_blocks: stays + passing,
                live_variance: variance(stays + passing),
                allocated_bytes: allocated * weight.bytes,
                settled_bytes: before * weight.bytes,
            });
            let cohort = Cohort {
                born_ns: second * SECOND,
                last_death_ns: (second + 1) * SECOND,
                allocated_bytes: (kept + passing) * weight.bytes,
                live_bytes: kept * weight.bytes,
                live_blocks: kept,
                live_variance: variance(kept),
            };
            series.cohorts.insert(second as u32, cohort);
        }
        series
    }

    fn judged(series: &Series) -> Judgement {
        let evidence = Evidence { drawn: Some(Drawn { mean_bytes: MEAN }), ..Evidence::default() };
        judge_with(series, &Limits::default(), &evidence)
    }

    #[test]
    fn the_interval_holds_the_truth_in_95_of_100_runs() {
        let mut random = fastrand::Rng::with_seed(11);
        for (size, count) in [(64_u64, 20_000_u64), (3000, 1000), (70_000, 60), (500_000, 20)] {
            let weight = weight(size, MEAN);
            let truth = (size * count) as f64;
            let mut held = 0;
            for _ in 0..400 {
                let drawn: u64 = (0..count)
                    .map(|_| u64::from(random.u64(0..CERTAIN) < chance(size, MEAN)))
                    .sum();
                let square = (MEAN * MEAN) as f64 / ONE_SQUARE as f64 / VARIANCE_UNIT;
                let variance = (drawn as f64 * weight.variance as f64 * square) as u64;
                let bytes = drawn * weight.bytes;
                let error = Drawn { mean_bytes: MEAN }.error_bytes(bytes, variance);
                held += u32::from((bytes as f64 - truth).abs() <= error + 1.0);
            }
            // 0.95 of 400 less three standard deviations.
            assert!(held >= 367, "{count} blocks of {size} bytes: {held} of 400");
        }
    }

    #[test]
    fn a_leak_with_enough_draws_is_found_and_its_interval_holds_the_rate() {
        let (mut found, mut held) = (0, 0);
        for seed in 0..60 {
            // 100 KB a second of 200 bytes: some 90 draws in a minute.
            let judgement = judged(&site(seed, 60, 200, 2000, |_| 500));
            let rate = judgement.rate.expect("a rate");
            found += u32::from(judgement.verdict == Verdict::Growing);
            held += u32::from(rate.low <= 100_000.0 && 100_000.0 <= rate.high);
        }
        assert!(found >= 50, "{found} of 60");
        assert!(held >= 54, "{held} of 60");
    }

    #[test]
    fn few_draws_are_not_enough_and_churn_is_no_growth() {
        for seed in 0..60 {
            // 6 KB a second: five draws in a minute.
            let few = judged(&site(seed, 60, 200, 30, |_| 30));
            assert_ne!(few.verdict, Verdict::Growing, "{few:?}");
            let churn = judged(&site(seed, 60, 200, 4000, |_| 0));
            assert_ne!(churn.verdict, Verdict::Growing, "{churn:?}");
        }
    }

    #[test]
    fn a_cache_that_fills_is_not_called_growing() {
        for seed in 0..60 {
            let fills = |second: u64| (1500.0 * (-(second as f64) / 25.0).exp()) as u64;
            let judgement = judged(&site(seed, 60, 200, 1500, fills));
            assert_ne!(judgement.verdict, Verdict::Growing, "{judgement:?}");
        }
    }

    #[test]
    fn exact_numbers_have_no_error_and_nothing_drawn_has_one() {
        let drawn = Drawn { mean_bytes: MEAN };
        assert_eq!(drawn.error_bytes(1 << 20, 0), 0.0);
        let nothing = drawn.error_bytes(0, 0) / MEAN as f64;
        assert!((3.8..3.9).contains(&nothing), "{nothing}");
        for (bytes, variance) in [(u64::MAX, u64::MAX), (1, u64::MAX), (u64::MAX, 1)] {
            assert!(drawn.error_bytes(bytes, variance).is_finite());
        }
    }
}
