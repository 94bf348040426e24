//! From the places of a recording to what each held at the ends of the cycles that count.

use super::judge::Levels;
use crate::aggregate::{Sample, Series};
use crate::capture::{Mark, Recording};
use crate::report::{Place, comparable};

/// The moments between which cycles lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moments {
    /// Before the first cycle that counts, and the end of each; nanoseconds since the session began.
    ends_ns: Vec<u64>,
}

impl Moments {
    /// Those of a recording whose first `warm_up` cycles do not count.
    pub(super) fn of(recording: &Recording, warm_up: u32) -> Self {
        let marks = &recording.meta.marks;
        let first = marks.iter().rposition(|mark| match warm_up {
            0 => mark.kind == Mark::READY,
            _ => mark.kind == Mark::CYCLE && mark.cycle == warm_up - 1,
        });
        let Some(first) = first else { return Self::default() };
        let counts = |mark: &&Mark| mark.kind == Mark::CYCLE && mark.cycle >= warm_up;
        let mut ends_ns = vec![marks[first].at_ns];
        ends_ns.extend(marks[first..].iter().filter(counts).map(|mark| mark.at_ns));
        // Cycles that were followed in different ways are not compared.
        if let Some((from_ns, to_ns)) = comparable(recording) {
            ends_ns.retain(|end_ns| (from_ns..=to_ns).contains(end_ns));
        }
        // A capture may hold anything.
        ends_ns.dedup();
        if !ends_ns.is_sorted() {
            return Self::default();
        }
        Self { ends_ns }
    }

    /// Cycles that count.
    pub(super) fn cycles(&self) -> usize {
        self.ends_ns.len().saturating_sub(1)
    }

    /// Bytes that these places allocated in each cycle.
    pub(super) fn work(&self, places: &[&Place]) -> Vec<u64> {
        let mut series = Series::default();
        places.iter().for_each(|place| series.add(&place.series));
        let at = |at_ns: &u64| sample_at(&series.samples, *at_ns).allocated_bytes;
        let allocated: Vec<u64> = self.ends_ns.iter().map(at).collect();
        allocated.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect()
    }

    /// What these places held together.
    pub(super) fn levels(&self, places: &[&Place]) -> Levels {
        let mut series = Series::default();
        places.iter().for_each(|place| series.add(&place.series));
        let at = |at_ns: &u64| sample_at(&series.samples, *at_ns);
        let samples: Vec<Sample> = self.ends_ns.iter().map(at).collect();
        let mut survivors = vec![(0_u64, 0_u64); self.cycles()];
        for cohort in series.cohorts.values() {
            let index = self.ends_ns.partition_point(|end_ns| *end_ns < cohort.born_ns);
            // Those before the first, and behind the last, are of no cycle that counts.
            let Some(index) = index.checked_sub(1).filter(|index| *index < survivors.len()) else {
                continue;
            };
            let (bytes, blocks) = &mut survivors[index];
            *bytes = bytes.saturating_add(cohort.live_bytes);
            *blocks = blocks.saturating_add(cohort.live_blocks);
        }
        let collected = places.iter().filter_map(|place| place.collections);
        let collected = collected.map(|collections| {
            let last_ns = collections.last_ns.unwrap_or(0);
            self.ends_ns.iter().skip(1).filter(|end_ns| **end_ns <= last_ns).count()
        });
        Levels {
            bytes: samples.iter().map(|sample| sample.live_bytes).collect(),
            blocks: samples.iter().map(|sample| sample.live_blocks).collect(),
            survivors,
            work: Vec::new(),
            is_sampled: places.iter().any(|place| place.is_sampled),
            collected: collected.min(),
        }
    }
}

/// The last sample at that time or before it.
fn sample_at(samples: &[Sample], at_ns: u64) -> Sample {
    let behind = samples.partition_point(|sample| sample.at_ns <= at_ns);
    behind.checked_sub(1).map_or_else(Sample::default, |index| samples[index])
}
