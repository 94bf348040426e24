//! How wrong a sampled number may be. V8's heap is seen by samples: an object is noticed when one of
//! the points of a Poisson process over allocated bytes falls into it.
//!
//! With a mean distance of R bytes between points an object of s bytes is noticed with probability
//! p = 1 - exp(-s / R), and counts for 1 / p objects. Of N objects n are noticed, binomially, so
//! that the number reported is n / p, whose variance is N (1 - p) / p. The interval is that of the
//! score: all N for which n lies within z standard deviations of N p. With M = N p and q = 1 - p it
//! ends at M = n + z²q/2 ± z √(nq + z²q²/4); unlike n ± z √(nq) it holds where few or none were
//! noticed, and it vanishes where objects are so large that none is missed.
//!
//! A stack's objects are taken to be of one size, their mean. Where they are not, the error is
//! overstated for objects up to about R and what is understated beyond is small against the whole.
//!
//! # Sources
//! - `SamplingHeapProfiler::ScaleSample` and `Observer::GetNextSampleInterval` in V8's
//!   src/profiler/sampling-heap-profiler.cc: the weight of a sample, and the distances.
//! - E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal
//!   of the American Statistical Association 22 (1927): the interval of the score.
//! - D. G. Horvitz, D. J. Thompson, "A generalization of sampling without replacement from a finite
//!   universe", ibid. 47 (1952): weights of 1 / p.

use super::slope::{Interval, Z_95};

/// The largest error of a growth that is believed, as a share of it: 15 samples of small objects.
const LARGEST_ERROR: f64 = 2.0 / 3.0;

/// How a number was sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Mean distance between two samples, bytes.
    pub interval_bytes: f64,
    /// Mean size of the sampled objects, bytes.
    pub object_bytes: f64,
}

impl Sampling {
    /// Of objects that are `bytes` in `blocks` together, by their estimates. Without any, the
    /// objects are taken for small ones, whose error is the largest.
    pub fn of(interval_bytes: u64, bytes: u64, blocks: u64) -> Self {
        let object_bytes = if blocks == 0 { 0.0 } else { bytes as f64 / blocks as f64 };
        Self { interval_bytes: interval_bytes.max(1) as f64, object_bytes }
    }

    /// The chance that an object is noticed: 0 to 1.
    fn probability(&self) -> f64 {
        -(-self.object_bytes / self.interval_bytes).exp_m1()
    }

    /// Bytes that a noticed object stands for.
    fn bytes_per_sample(&self) -> f64 {
        let probability = self.probability();
        // The limit for objects of no size.
        if probability > 0.0 { self.object_bytes / probability } else { self.interval_bytes }
    }

    /// Samples behind an estimate.
    fn samples(&self, bytes: f64) -> f64 {
        bytes.max(0.0) / self.bytes_per_sample()
    }

    /// By how much the truth may exceed an estimate of `bytes`, with 97.5 % confidence; it may fall
    /// short of it by less. Bytes.
    pub fn error_bytes(&self, bytes: f64) -> f64 {
        self.reach(self.samples(bytes)) * self.bytes_per_sample()
    }

    /// As [`Self::error_bytes`], in samples.
    fn reach(&self, samples: f64) -> f64 {
        let missed = 1.0 - self.probability();
        let lean = Z_95 * Z_95 * missed / 2.0;
        lean + (Z_95 * Z_95 * samples * missed + lean * lean).sqrt()
    }

    /// How many more samples a growth of `bytes` needs to be believed; `None` when it has enough.
    pub fn samples_missing(&self, bytes: f64) -> Option<u64> {
        let samples = self.samples(bytes);
        let is_enough = |samples: f64| self.reach(samples) <= LARGEST_ERROR * samples;
        // 15 are enough for every size.
        (0..=16_u32).map(f64::from).find(|more| is_enough(samples + more)).and_then(|more| {
            let more = more as u64;
            (more > 0).then_some(more)
        })
    }

    /// So many more samples as a share of those behind a growth of `bytes`, at most 10.
    pub(super) fn share_missing(&self, more: u64, bytes: f64) -> f64 {
        (more as f64 / self.samples(bytes).max(1.0)).min(10.0)
    }

    /// A rate of growth (bytes per second) with the error of the samples behind it: of what grew by
    /// `growth_bytes` in `seconds`. The two errors do not depend on each other.
    pub fn widen(&self, rate: Interval, growth_bytes: f64, seconds: f64) -> Interval {
        rate.widened(self.error_bytes(growth_bytes) / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 32 << 10;

    /// What V8 would report of `count` objects of `size` bytes: bytes and blocks.
    fn sampled(random: &mut fastrand::Rng, count: u64, size: u64) -> (u64, u64) {
        let distance = |random: &mut fastrand::Rng| -(1.0 - random.f64()).ln() * INTERVAL as f64;
        let mut noticed = 0;
        let mut next = distance(random);
        for _ in 0..count {
            if next < size as f64 {
                noticed += 1;
            }
            // Points that fall into the same object count once; the process has no memory.
            while next < size as f64 {
                next += distance(random);
            }
            next -= size as f64;
        }
        let probability = 1.0 - (-(size as f64) / INTERVAL as f64).exp();
        // ScaleSample rounds.
        let blocks = (f64::from(noticed) / probability + 0.5) as u64;
        (blocks * size, blocks)
    }

    #[test]
    fn the_interval_holds_the_truth_in_95_of_100_runs() {
        let mut random = fastrand::Rng::with_seed(4);
        for (count, size) in [
            (20_000, 64),
            (3_000, 200),
            (200_000, 64),
            (300, 4096),
            (100, 30_000),
            (60, 100_000),
            (40, 300_000),
        ] {
            let truth = (count * size) as f64;
            let mut held = 0;
            for _ in 0..400 {
                let (bytes, blocks) = sampled(&mut random, count, size);
                let sampling = Sampling::of(INTERVAL, bytes, blocks);
                let error = sampling.error_bytes(bytes as f64);
                held += u32::from((bytes as f64 - truth).abs() <= error);
            }
            // 0.95 of 400 less three standard deviations.
            assert!(held >= 367, "{count} objects of {size} bytes: {held} of 400");
        }
    }

    #[test]
    fn the_interval_is_no_wider_than_it_must_be() {
        // 200,000 objects of 64 bytes: 390 samples, so about ±10 %.
        let sampling = Sampling::of(INTERVAL, 12_800_000, 200_000);
        let error = sampling.error_bytes(12_800_000.0) / 12_800_000.0;
        assert!((0.09..0.115).contains(&error), "{error}");
        // Objects that are never missed.
        let sampling = Sampling::of(INTERVAL, 100 << 20, 100);
        assert!(sampling.error_bytes((100 << 20) as f64) < 1024.0);
    }

    #[test]
    fn degenerate_numbers_have_an_error_too() {
        let nothing = Sampling::of(INTERVAL, 0, 0);
        // None of small objects noticed: fewer than 3.84 samples' worth are there.
        let error = nothing.error_bytes(0.0) / INTERVAL as f64;
        assert!((3.8..3.9).contains(&error), "{error}");
        for (interval, bytes, blocks) in
            [(0, 0, 0), (0, 5, 1), (u64::MAX, u64::MAX, 1), (1, u64::MAX, u64::MAX), (7, 0, 9)]
        {
            let sampling = Sampling::of(interval, bytes, blocks);
            let error = sampling.error_bytes(bytes as f64);
            assert!(error.is_finite() && error >= 0.0, "{interval} {bytes} {blocks}: {error}");
            assert!(sampling.samples_missing(bytes as f64).is_none_or(|more| more <= 16));
        }
        let rate = Interval { estimate: 5.0, low: 4.0, high: 6.0 };
        assert_eq!(nothing.widen(rate, 100.0, 0.0), rate);
    }

    #[test]
    fn small_objects_need_15_samples_and_large_ones_one() {
        let small = Sampling::of(INTERVAL, 6400, 100);
        assert_eq!(small.samples_missing(5.0 * small.bytes_per_sample()), Some(10));
        assert_eq!(small.samples_missing(15.0 * small.bytes_per_sample()), None);
        let large = Sampling::of(INTERVAL, 1 << 20, 1);
        assert_eq!(large.samples_missing((1 << 20) as f64), None);
    }

    #[test]
    fn a_rate_is_widened_by_the_error_of_its_samples() {
        let mut random = fastrand::Rng::with_seed(11);
        let (count, size, seconds) = (5_000_u64, 100_u64, 60.0);
        let truth = (count * size) as f64 / seconds;
        let held = (0..300)
            .filter(|_| {
                let (bytes, blocks) = sampled(&mut random, count, size);
                let sampling = Sampling::of(INTERVAL, bytes, blocks);
                let estimate = bytes as f64 / seconds;
                let exact = Interval { estimate, low: estimate, high: estimate };
                let rate = sampling.widen(exact, bytes as f64, seconds);
                (rate.low..=rate.high).contains(&truth)
            })
            .count();
        assert!(held >= 274, "{held} of 300");
    }
}
