//! Sampling by bytes: the chance that a block is drawn, and what a drawn block stands for. Integers
//! only, since the kernel side computes here too.
//!
//! A Poisson process lays points over the bytes that are allocated, `mean` bytes apart on average; a
//! block is drawn when a point falls into it, with chance p = 1 - exp(-size / mean). A drawn block
//! stands for 1/p blocks and size/p bytes. Whoever draws by [`chance`] and weighs by [`weight`] is
//! without bias however p is rounded, because the weight is the reciprocal of the very number drawn
//! with. Whoever draws by distances (the chance is then 1 - exp itself) is biased by the rounding:
//! by less than 0.1 %, but for blocks below 16 bytes where the mean is in megabytes.
//!
//! # Sources
//! - D. G. Horvitz, D. J. Thompson, "A generalization of sampling without replacement from a finite
//!   universe", Journal of the American Statistical Association 47 (1952): weights of 1/p, and the
//!   variance (1-p)/p² that each drawn unit adds.

/// A chance of 1, as [`chance`] writes it: chances are multiples of 2⁻³².
pub const CERTAIN: u64 = 1 << 32;
/// A block as [`Weight::blocks`] counts it.
pub const ONE_BLOCK: u64 = 1 << 16;
/// The square of the mean distance, as [`Weight::variance`] counts it.
pub const ONE_SQUARE: u64 = 1 << 16;
/// The least mean distance, bytes: below, nothing is gained.
pub const MIN_MEAN_BYTES: u64 = 1024;
/// The largest, bytes: above, the chances of small blocks have too few digits.
pub const MAX_MEAN_BYTES: u64 = 64 << 20;
/// Blocks of so many mean distances and more are always drawn; of those just below one in 8.9
/// million would be missed.
pub const ALWAYS_DRAWN: u64 = 16;

/// Steps of [`DRAWN`] for one mean distance.
const STEPS: u64 = 16;
/// 1 - exp(-k / [`STEPS`]) in 2⁻³², by k.
static DRAWN: [u32; (STEPS * ALWAYS_DRAWN) as usize] = drawn();

const fn drawn() -> [u32; (STEPS * ALWAYS_DRAWN) as usize] {
    // exp(-1/16)
    const STEP: f64 = 0.939_413_062_813_475_8;
    let mut table = [0; (STEPS * ALWAYS_DRAWN) as usize];
    let (mut index, mut left) = (0, 1.0);
    while index < table.len() {
        table[index] = ((1.0 - left) * CERTAIN as f64 + 0.5) as u32;
        left *= STEP;
        index += 1;
    }
    table
}

/// The chance that a block of `size_bytes` is drawn, in 2⁻³²: 1 to [`CERTAIN`]. Draw it where a
/// random number of 32 bits is below. A block of no bytes has the chance of one of a single byte.
///
/// `mean_bytes` is 0 (everything is drawn) or [`MIN_MEAN_BYTES`] to [`MAX_MEAN_BYTES`].
///
/// # Cost
/// A division and five multiplications.
#[inline(always)]
pub fn chance(size_bytes: u64, mean_bytes: u64) -> u64 {
    if mean_bytes == 0 || size_bytes >= ALWAYS_DRAWN * mean_bytes {
        return CERTAIN;
    }
    let distances = distances(size_bytes, mean_bytes);
    // The sizes are bounded, so the mask changes nothing; it shows the verifier that the index is.
    let index = (distances / (CERTAIN / STEPS)) as usize & (DRAWN.len() - 1);
    let rest = distances % (CERTAIN / STEPS);
    // 1 - exp(-r) = r (1 - r/2 (1 - r/3 (1 - r/4))): what is left out is below 2e-8 of it.
    let inner = CERTAIN - rest / 4;
    let inner = CERTAIN - product(rest / 3, inner);
    let inner = CERTAIN - product(rest / 2, inner);
    let near = product(rest, inner);
    let table = DRAWN[index] as u64;
    let chance = table + product(CERTAIN - table, near);
    if chance == 0 { 1 } else { chance }
}

/// What a drawn block stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes: size/p, rounded.
    pub bytes: u64,
    /// Blocks in [`ONE_BLOCK`]: 1/p, rounded.
    pub blocks: u64,
    /// What it adds to the variance of a sum of `bytes`: size²(1-p)/p², which is at most the square
    /// of the mean distance, in [`ONE_SQUARE`] to that. A sum of 2⁴⁸ blocks does not overflow.
    pub variance: u64,
}

/// What a block of `size_bytes` that was drawn stands for; `mean_bytes` as for [`chance`].
///
/// # Cost
/// That of [`chance`] and four divisions.
#[inline(always)]
pub fn weight(size_bytes: u64, mean_bytes: u64) -> Weight {
    let chance = chance(size_bytes, mean_bytes);
    if chance == CERTAIN {
        return Weight { bytes: size_bytes, blocks: ONE_BLOCK, variance: 0 };
    }
    // size/p in mean distances: 1 to 16.
    let bytes = ((distances(size_bytes, mean_bytes) << 16) / chance).min(ALWAYS_DRAWN << 16);
    Weight {
        bytes: ((size_bytes << 32) + chance / 2) / chance,
        blocks: ((CERTAIN << 16) + chance / 2) / chance,
        variance: (((bytes * bytes) >> 16) * (CERTAIN - chance)) >> 32,
    }
}

/// A size below [`ALWAYS_DRAWN`] means, in 2⁻³² of the mean.
#[inline(always)]
fn distances(size_bytes: u64, mean_bytes: u64) -> u64 {
    let size_bytes = if size_bytes == 0 { 1 } else { size_bytes };
    (size_bytes << 32) / mean_bytes
}

/// The product of two numbers in 2⁻³², rounded to the nearest; not both are 1.
#[inline(always)]
fn product(one: u64, other: u64) -> u64 {
    (one * other + (1 << 31)) >> 32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const MEANS: [u64; 8] =
        [MIN_MEAN_BYTES, 4096, 10_000, 65_536, 100_003, 1 << 20, 8 << 20, MAX_MEAN_BYTES];

    fn sizes() -> impl Iterator<Item = u64> {
        let powers = (0..40).flat_map(|power| [(1_u64 << power) - 1, 1 << power, (1 << power) + 1]);
        powers.chain((0..4000).map(|step| 16 + step * 977)).chain(1..300)
    }

    fn truth(size: u64, mean: u64) -> f64 {
        -(-(size.max(1) as f64) / mean as f64).exp_m1()
    }

    #[test]
    fn the_chance_is_that_of_the_exponential() {
        for mean in MEANS {
            for size in sizes() {
                let found = chance(size, mean) as f64 / CERTAIN as f64;
                let truth = truth(size, mean);
                // A step of the chances is 2⁻³², and always drawn is what nearly always would be.
                let allowed = 1e-5 * truth + 1.5 / CERTAIN as f64;
                assert!((found - truth).abs() <= allowed, "{size} at {mean}: {found} {truth}");
            }
        }
    }

    #[test]
    fn weights_by_rounded_chances_are_off_by_less_than_a_thousandth() {
        for mean in MEANS.into_iter().filter(|mean| *mean <= 16 << 20) {
            for size in sizes().filter(|size| *size >= 16) {
                let found = weight(size, mean);
                let truth = truth(size, mean);
                let bytes = size as f64 / truth;
                assert!((found.bytes as f64 / bytes - 1.0).abs() < 1e-3, "{size} at {mean}");
                let blocks = found.blocks as f64 / ONE_BLOCK as f64;
                assert!((blocks * truth - 1.0).abs() < 1e-3, "{size} at {mean}: {blocks}");
                let variance = bytes * bytes * (1.0 - truth) / (mean * mean) as f64;
                let found = found.variance as f64 / ONE_SQUARE as f64;
                assert!((found - variance).abs() < 2e-4, "{size} at {mean}: {found} {variance}");
            }
        }
    }

    #[test]
    fn what_is_drawn_by_the_chance_is_without_bias_by_the_weight() {
        // The expectation of what one block is told to be, to the last digit that the weight has.
        for mean in MEANS {
            for size in sizes().filter(|size| *size < 1 << 34) {
                let chance = chance(size, mean) as f64 / CERTAIN as f64;
                let weight = weight(size, mean);
                let expected = chance * weight.bytes as f64;
                assert!((expected - size as f64).abs() <= 0.5 * chance + 1e-6 * size as f64);
            }
        }
    }

    #[test]
    fn all_is_drawn_where_nothing_is_sampled_and_what_is_large() {
        for (size, mean) in [(0, 0), (1, 0), (u64::MAX, 0), (u64::MAX, 65_536), (1 << 20, 65_536)] {
            assert_eq!(chance(size, mean), CERTAIN);
            assert_eq!(weight(size, mean), Weight { bytes: size, blocks: ONE_BLOCK, variance: 0 });
        }
    }

    #[test]
    fn a_block_of_no_bytes_adds_none() {
        let found = weight(0, 65_536);
        assert_eq!(found.bytes, 0);
        assert!((65_536 * 99 / 100..65_536 * 101 / 100).contains(&(found.blocks / ONE_BLOCK)));
    }

    /// Draws as the kernel side does; sums of what was drawn.
    fn drawn_sums(random: &mut u64, blocks: &[u64], mean: u64) -> (f64, f64, f64) {
        let (mut bytes, mut count, mut variance) = (0, 0, 0);
        for size in blocks {
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            if *random >> 32 < chance(*size, mean) {
                let weight = weight(*size, mean);
                bytes += weight.bytes;
                count += weight.blocks;
                variance += weight.variance;
            }
        }
        let square = (mean * mean) as f64 / ONE_SQUARE as f64;
        (bytes as f64, count as f64 / ONE_BLOCK as f64, variance as f64 * square)
    }

    #[test]
    fn sums_come_out_right_and_the_error_holds_the_truth_in_95_of_100_runs() {
        let mut random = 88_172_645_463_325_252;
        let mixed: std::vec::Vec<u64> = (0..6000).map(|index| 24 + index % 7 * 5000).collect();
        for blocks in [std::vec![64; 100_000], std::vec![3000; 5000], std::vec![90_000; 300], mixed]
        {
            let truth = blocks.iter().sum::<u64>() as f64;
            let (runs, mut held, mut sum, mut sum_of_blocks) = (400, 0, 0.0, 0.0);
            for _ in 0..runs {
                let (bytes, count, variance) = drawn_sums(&mut random, &blocks, 65_536);
                held += u32::from((bytes - truth).abs() <= 1.96 * variance.sqrt());
                sum += bytes / truth;
                sum_of_blocks += count / blocks.len() as f64;
            }
            // 0.95 of 400 less four standard deviations; sums of runs are within 2 %.
            assert!(held >= 362, "{held} of {runs}");
            assert!((sum / f64::from(runs) - 1.0).abs() < 0.02, "{sum}");
            assert!((sum_of_blocks / f64::from(runs) - 1.0).abs() < 0.04, "{sum_of_blocks}");
        }
    }
}
