//! What one stack did over time, materialised: samples on the session's ticks and the survival of
//! its birth cohorts. Series on the same ticks can be added.

use std::collections::BTreeMap;

/// A stack at one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Nanoseconds since the session began.
    pub at_ns: u64,
    /// Requested bytes that were live.
    pub live_bytes: u64,
    /// Blocks that were live.
    pub live_blocks: u64,
    /// Variance of `live_bytes` by sampling, in [`VARIANCE_UNIT`](crate::tick::VARIANCE_UNIT); 0
    /// where they are exact.
    pub live_variance: u64,
    /// Requested bytes born by then.
    pub allocated_bytes: u64,
    /// Those of `live_bytes` whose blocks were born a while ago (see [`settled_age_ns`]), as the
    /// latest reading had it: what is transient is not in it.
    pub settled_bytes: u64,
}

/// A block that was born so long before `at_ns` has outlived what is transient: two seconds, and
/// two epochs of birth at least, which are a twenty-fourth of the session each. Nanoseconds.
pub fn settled_age_ns(at_ns: u64) -> u64 {
    (at_ns / 12).max(2_000_000_000)
}

/// The blocks that a stack bore in one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// The tick at which it was first seen, nanoseconds since the session began.
    pub born_ns: u64,
    /// The last tick at which one of its blocks was seen to have died; 0 when none was.
    pub last_death_ns: u64,
    /// Requested bytes born.
    pub allocated_bytes: u64,
    /// Requested bytes still live.
    pub live_bytes: u64,
    /// Blocks still live.
    pub live_blocks: u64,
    /// As [`Sample::live_variance`].
    pub live_variance: u64,
}

/// Samples in the order of time, and cohorts by birth epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// One per retained tick.
    pub samples: Vec<Sample>,
    /// By epoch of birth.
    pub cohorts: BTreeMap<u32, Cohort>,
}

impl Series {
    /// Adds another series of the same session, so that both are judged as one.
    pub fn add(&mut self, other: &Series) {
        if self.samples.is_empty() {
            self.samples.clone_from(&other.samples);
        } else {
            for (mine, theirs) in self.samples.iter_mut().zip(&other.samples) {
                mine.live_bytes = mine.live_bytes.saturating_add(theirs.live_bytes);
                mine.live_blocks = mine.live_blocks.saturating_add(theirs.live_blocks);
                mine.live_variance = mine.live_variance.saturating_add(theirs.live_variance);
                mine.allocated_bytes = mine.allocated_bytes.saturating_add(theirs.allocated_bytes);
                mine.settled_bytes = mine.settled_bytes.saturating_add(theirs.settled_bytes);
            }
        }
        for (epoch, theirs) in &other.cohorts {
            let mine = self
                .cohorts
                .entry(*epoch)
                .or_insert(Cohort { born_ns: theirs.born_ns, ..Cohort::default() });
            mine.born_ns = mine.born_ns.min(theirs.born_ns);
            mine.last_death_ns = mine.last_death_ns.max(theirs.last_death_ns);
            mine.allocated_bytes = mine.allocated_bytes.saturating_add(theirs.allocated_bytes);
            mine.live_bytes = mine.live_bytes.saturating_add(theirs.live_bytes);
            mine.live_blocks = mine.live_blocks.saturating_add(theirs.live_blocks);
            mine.live_variance = mine.live_variance.saturating_add(theirs.live_variance);
        }
    }
}
