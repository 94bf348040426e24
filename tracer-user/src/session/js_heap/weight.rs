//! How many objects a sample stands for. V8 tells only the bytes: the object's size times the number
//! of such objects that one sample stands for, rounded. That is undone here.

use crate::heap::v8::objects_of_sample as count_of;
use std::collections::HashMap;

/// Sizes of objects that are told apart by their exact product, in multiples of the distance
/// between samples; larger objects are sampled each.
const MAX_DISTANCES: u64 = 4;
/// And in bytes, however large that distance is.
const MAX_SIZE_BYTES: u64 = 1 << 20;
/// Objects begin at multiples of this many bytes, and are as long.
const ALIGNMENT_BYTES: u64 = 8;
/// Smallest object of V8 that is sampled: a word of header and a word.
const SMALLEST_BYTES: u64 = 16;

/// The way back from bytes to objects, for one distance between samples.
#[derive(Clone, Debug)]
pub struct Weights {
    distance_bytes: u64,
    /// By the bytes that a sample stands for: the logarithms of the counts that give them, summed,
    /// and how many there are. Objects of different sizes can stand for as many bytes.
    counts: HashMap<u64, (f64, u32)>,
}

impl Weights {
    /// For samples at a mean distance of so many bytes.
    ///
    /// # Cost
    /// An entry for each size of objects that are not sampled each: 16,384 for 32 KiB.
    pub fn new(distance_bytes: u64) -> Self {
        let largest = (distance_bytes.saturating_mul(MAX_DISTANCES)).min(MAX_SIZE_BYTES);
        let mut counts: HashMap<u64, (f64, u32)> = HashMap::new();
        for size in (SMALLEST_BYTES..=largest).step_by(ALIGNMENT_BYTES as usize) {
            let count = count_of(size, distance_bytes);
            let entry = counts.entry(size * count).or_default();
            entry.0 += (count as f64).ln();
            entry.1 += 1;
        }
        Self { distance_bytes, counts }
    }

    /// Objects that a sample of so many bytes stands for; where several numbers would do, their geometric
    /// mean, which is within a factor of two for most and ten for all but a few.
    pub fn objects(&self, weight_bytes: u64) -> u64 {
        match self.counts.get(&weight_bytes) {
            Some((sum, ways)) => ((sum / f64::from(*ways)).exp().round() as u64).max(1),
            // Larger than those, or of another V8's arithmetic.
            None if weight_bytes > 2 * self.distance_bytes => 1,
            None => 1.max(self.distance_bytes / weight_bytes.clamp(SMALLEST_BYTES, 1 << 20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_behind_a_weight_is_found_but_for_its_ambiguity() {
        for distance in [1 << 10, 16 << 10, 32 << 10, 512 << 10] {
            let weights = Weights::new(distance);
            let sizes: Vec<u64> = (SMALLEST_BYTES..distance * 2).step_by(8).collect();
            let factor = |size: &u64| {
                let count = count_of(*size, distance);
                let found = weights.objects(size * count) as f64 / count as f64;
                found.max(1.0 / found)
            };
            let mut factors: Vec<f64> = sizes.iter().map(factor).collect();
            factors.sort_by(f64::total_cmp);
            let (median, most) = (factors[factors.len() / 2], factors[factors.len() * 99 / 100]);
            assert!(median < 2.5 && most < 10.0, "{distance}: {median} {most}");
        }
    }

    #[test]
    fn an_object_that_is_always_sampled_stands_for_itself() {
        let weights = Weights::new(32 << 10);
        assert_eq!(weights.objects(10 << 20), 1);
        assert_eq!(weights.objects(200_000), 1);
        assert!(weights.objects(0) > 0 && weights.objects(u64::MAX) == 1);
    }
}
