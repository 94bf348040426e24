//! A set that was full before the session began, and is replaced as old entries are evicted, looks
//! like a leak until it has turned over once: its births are seen, and none of them dies; what dies
//! was born unseen. But that it died is seen. Where blocks from before the session kept being freed
//! at a rate that is comparable to the growth of a site, bytes and blocks alike, in each part of the
//! window, its growth may be their replacement.

use crate::aggregate::{Series, UnknownFreed};

/// Parts of the window, each of which has to show it.
const PARTS: usize = 3;
/// What is freed unseen, as a share of the growth, from which on the two are comparable.
const COMPARABLE: f64 = 0.5;

/// Bytes and blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Amount {
    bytes: f64,
    blocks: f64,
}

/// What was freed in each part of the window of what had been allocated unseen, as far as nothing
/// else has been explained by it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnknownFrees {
    from_ns: u64,
    to_ns: u64,
    parts: [Amount; PARTS],
}

impl UnknownFrees {
    /// Of what the ticks tell; `None` where bytes were not counted, since blocks alone may be those
    /// below the size floor.
    pub fn of(ticks: &[UnknownFreed]) -> Option<Self> {
        let [first, .., last] = ticks else { return None };
        let amount = |tick: &UnknownFreed| {
            Some(Amount { bytes: tick.bytes? as f64, blocks: tick.blocks as f64 })
        };
        let (from_ns, to_ns) = (first.at_ns, last.at_ns);
        let mut parts = [Amount::default(); PARTS];
        for (number, part) in parts.iter_mut().enumerate() {
            let [from, until] = ends(from_ns, to_ns, number)
                .map(|at_ns| ticks.partition_point(|tick| tick.at_ns <= at_ns).max(1) - 1);
            *part = difference(amount(&ticks[from])?, amount(&ticks[until])?);
        }
        Some(Self { from_ns, to_ns, parts })
    }

    /// Whether the growth of this series may be the replacement of what was freed unseen.
    pub(super) fn may_explain(&self, series: &Series) -> bool {
        let growth = self.growth(series);
        growth.iter().any(|part| part.bytes > 0.0)
            && self.parts.iter().zip(growth).all(|(freed, grown)| {
                freed.bytes > 0.0
                    && freed.bytes >= COMPARABLE * grown.bytes
                    && freed.blocks >= COMPARABLE * grown.blocks
            })
    }

    /// What is left once the growth of this series has been explained.
    #[must_use]
    pub fn less(mut self, series: &Series) -> Self {
        let growth = self.growth(series);
        for (freed, grown) in self.parts.iter_mut().zip(growth) {
            freed.bytes = (freed.bytes - grown.bytes).max(0.0);
            freed.blocks = (freed.blocks - grown.blocks).max(0.0);
        }
        self
    }

    fn growth(&self, series: &Series) -> [Amount; PARTS] {
        std::array::from_fn(|number| {
            let [from, until] = ends(self.from_ns, self.to_ns, number).map(|at_ns| {
                let behind = series.samples.partition_point(|sample| sample.at_ns <= at_ns);
                series.samples.get(behind.max(1) - 1).map_or_else(Amount::default, |sample| {
                    Amount { bytes: sample.live_bytes as f64, blocks: sample.live_blocks as f64 }
                })
            });
            difference(from, until)
        })
    }
}

fn ends(from_ns: u64, to_ns: u64, part: usize) -> [u64; 2] {
    let span = u128::from(to_ns.saturating_sub(from_ns));
    [part, part + 1].map(|end| from_ns + (span * end as u128 / PARTS as u128) as u64)
}

fn difference(from: Amount, until: Amount) -> Amount {
    Amount {
        bytes: (until.bytes - from.bytes).max(0.0),
        blocks: (until.blocks - from.blocks).max(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Sample;

    const SECOND: u64 = 1_000_000_000;

    fn frees(blocks_by: impl Fn(u64) -> u64) -> UnknownFrees {
        let tick = |second: u64| UnknownFreed {
            at_ns: second * SECOND,
            bytes: Some(blocks_by(second) * 4096),
            blocks: blocks_by(second),
        };
        UnknownFrees::of(&(0..60).map(tick).collect::<Vec<_>>()).expect("bytes")
    }

    fn growing(blocks: u64, size: u64) -> Series {
        let sample = |second: u64| Sample {
            at_ns: second * SECOND,
            live_bytes: second * blocks * size,
            live_blocks: second * blocks,
            ..Sample::default()
        };
        Series { samples: (0..60).map(sample).collect(), ..Series::default() }
    }

    #[test]
    fn only_what_goes_on_at_a_comparable_rate_explains() {
        let cache = growing(10, 4096);
        assert!(frees(|second| second * 10).may_explain(&cache));
        assert!(frees(|second| second * 6).may_explain(&cache));
        assert!(!frees(|second| second * 4).may_explain(&cache), "far smaller");
        assert!(!frees(|second| second.min(15) * 100).may_explain(&cache), "at the beginning");
        assert!(!frees(|_| 0).may_explain(&cache));
        assert!(!frees(|second| second * 10).may_explain(&growing(100, 410)), "fewer blocks");
        assert!(!frees(|second| second * 10).may_explain(&growing(0, 0)), "nothing to explain");
    }

    #[test]
    fn each_free_explains_once() {
        let (cache, leak) = (growing(10, 4096), growing(2, 4096));
        let freed = frees(|second| second * 11);
        assert!(freed.may_explain(&cache) && freed.may_explain(&leak));
        assert!(!freed.less(&cache).less(&cache).may_explain(&leak));
        assert!(freed.less(&cache).may_explain(&growing(1, 4096)));
    }

    #[test]
    fn without_bytes_or_ticks_there_is_nothing_to_go_by() {
        let blocks_only = UnknownFreed { at_ns: 1, bytes: None, blocks: 5 };
        assert_eq!(UnknownFrees::of(&[blocks_only; 3]), None);
        assert_eq!(UnknownFrees::of(&[]), None);
        assert!(!frees(|second| second).may_explain(&Series::default()));
    }
}
