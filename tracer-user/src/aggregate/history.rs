//! One stack: its cumulative counters by birth epoch, and its totals wherever they changed.
//! Which ticks are kept is the aggregate's decision.

use super::series::{Cohort, Sample, Series, settled_age_ns};
use crate::tick::{SiteReading, VARIANCE_UNIT};
use std::ops::{Add, Sub};

/// Cumulative counters, of a stack or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requested bytes born.
    pub allocated_bytes: u64,
    /// Blocks born.
    pub allocated_blocks: u64,
    /// Requested bytes of those freed.
    pub freed_bytes: u64,
    /// Those freed.
    pub freed_blocks: u64,
    /// Variance of `allocated_bytes`, in [`VARIANCE_UNIT`]; 0 where it is exact.
    pub allocated_variance: u64,
    /// What those freed have added to it.
    pub freed_variance: u64,
}

impl Totals {
    /// Requested bytes that are live.
    pub fn live_bytes(&self) -> u64 {
        self.allocated_bytes.saturating_sub(self.freed_bytes)
    }

    /// Blocks that are live.
    pub fn live_blocks(&self) -> u64 {
        self.allocated_blocks.saturating_sub(self.freed_blocks)
    }

    /// Variance of what is live, in [`VARIANCE_UNIT`].
    pub fn live_variance(&self) -> u64 {
        self.allocated_variance.saturating_sub(self.freed_variance)
    }

    /// Standard error of what is live, bytes; 0 where it is exact.
    pub fn live_error_bytes(&self) -> f64 {
        (self.live_variance() as f64 * VARIANCE_UNIT).sqrt()
    }

    /// The same of what was born.
    pub fn allocated_error_bytes(&self) -> f64 {
        (self.allocated_variance as f64 * VARIANCE_UNIT).sqrt()
    }
}

impl Add for Totals {
    type Output = Totals;
    fn add(self, other: Totals) -> Totals {
        Totals {
            allocated_bytes: self.allocated_bytes.saturating_add(other.allocated_bytes),
            allocated_blocks: self.allocated_blocks.saturating_add(other.allocated_blocks),
            freed_bytes: self.freed_bytes.saturating_add(other.freed_bytes),
            freed_blocks: self.freed_blocks.saturating_add(other.freed_blocks),
            allocated_variance: self.allocated_variance.saturating_add(other.allocated_variance),
            freed_variance: self.freed_variance.saturating_add(other.freed_variance),
        }
    }
}

impl Sub for Totals {
    type Output = Totals;
    fn sub(self, other: Totals) -> Totals {
        Totals {
            allocated_bytes: self.allocated_bytes.saturating_sub(other.allocated_bytes),
            allocated_blocks: self.allocated_blocks.saturating_sub(other.allocated_blocks),
            freed_bytes: self.freed_bytes.saturating_sub(other.freed_bytes),
            freed_blocks: self.freed_blocks.saturating_sub(other.freed_blocks),
            allocated_variance: self.allocated_variance.saturating_sub(other.allocated_variance),
            freed_variance: self.freed_variance.saturating_sub(other.freed_variance),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Epoch {
    totals: Totals,
    born_ns: u64,
    last_death_ns: u64,
}

/// Totals from a tick on, until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    ordinal: u64,
    totals: Totals,
    settled_bytes: u64,
}

/// Most stacks of a large session have one epoch and one change, so a stack takes no more than they
/// do: a hundred thousand are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// By their numbers, in order.
    epochs: Vec<(u32, Epoch)>,
    /// In order; the last one has the totals of now.
    changes: Vec<Change>,
}

impl History {
    /// Merges a reading made at the tick `ordinal`; changes later than `settled` (the retained
    /// tick before it) are overwritten, since no sample will be asked for between the two.
    pub(super) fn apply(
        &mut self,
        reading: &SiteReading,
        ordinal: u64,
        settled: Option<u64>,
        at_ns: u64,
    ) {
        let sum = self.totals();
        let epoch = self.epoch(reading.epoch, at_ns);
        let known = epoch.totals;
        epoch.totals = Totals {
            allocated_bytes: known.allocated_bytes.max(reading.allocated_bytes),
            allocated_blocks: known.allocated_blocks.max(reading.allocated_blocks),
            freed_bytes: known.freed_bytes.max(reading.freed_bytes),
            freed_blocks: known.freed_blocks.max(reading.freed_blocks),
            allocated_variance: known.allocated_variance.max(reading.allocated_variance),
            freed_variance: known.freed_variance.max(reading.freed_variance),
        };
        epoch.born_ns = epoch.born_ns.min(at_ns);
        if epoch.totals.freed_blocks > known.freed_blocks {
            epoch.last_death_ns = epoch.last_death_ns.max(at_ns);
        }
        if epoch.totals == known {
            return;
        }
        let totals = epoch.totals;
        let sum = Totals {
            allocated_bytes: exchange(
                sum.allocated_bytes,
                known.allocated_bytes,
                totals.allocated_bytes,
            ),
            allocated_blocks: exchange(
                sum.allocated_blocks,
                known.allocated_blocks,
                totals.allocated_blocks,
            ),
            freed_bytes: exchange(sum.freed_bytes, known.freed_bytes, totals.freed_bytes),
            freed_blocks: exchange(sum.freed_blocks, known.freed_blocks, totals.freed_blocks),
            allocated_variance: exchange(
                sum.allocated_variance,
                known.allocated_variance,
                totals.allocated_variance,
            ),
            freed_variance: exchange(
                sum.freed_variance,
                known.freed_variance,
                totals.freed_variance,
            ),
        };
        while self
            .changes
            .last()
            .is_some_and(|last| settled.is_none_or(|settled| last.ordinal > settled))
        {
            self.changes.pop();
        }
        let settled_bytes = self.settled_bytes(at_ns);
        if self.changes.is_empty() {
            self.changes.reserve_exact(1);
        }
        self.changes.push(Change { ordinal, totals: sum, settled_bytes });
    }

    /// What is known of an epoch; where that is nothing, it is born now.
    fn epoch(&mut self, number: u32, at_ns: u64) -> &mut Epoch {
        let place = self.epochs.binary_search_by_key(&number, |(known, _)| *known);
        let place = place.unwrap_or_else(|place| {
            if self.epochs.is_empty() {
                self.epochs.reserve_exact(1);
            }
            self.epochs.insert(place, (number, Epoch { born_ns: at_ns, ..Epoch::default() }));
            place
        });
        &mut self.epochs[place].1
    }

    /// What is live of the epochs that began long enough before.
    fn settled_bytes(&self, at_ns: u64) -> u64 {
        let Some(until_ns) = at_ns.checked_sub(settled_age_ns(at_ns)) else { return 0 };
        let settled =
            self.epochs.iter().map(|(_, epoch)| epoch).filter(|epoch| epoch.born_ns <= until_ns);
        settled.fold(0, |sum, epoch| sum.saturating_add(epoch.totals.live_bytes()))
    }

    /// Forgets what can only be seen at ticks that are not in `kept` (sorted ordinals).
    pub(super) fn thin(&mut self, kept: &[u64]) {
        let mut thinned: Vec<Change> = Vec::with_capacity(self.changes.len().min(kept.len() + 1));
        for change in &self.changes {
            let visible_from = kept.partition_point(|ordinal| *ordinal < change.ordinal);
            let hides_last = thinned.last().is_some_and(|last| {
                kept.partition_point(|ordinal| *ordinal < last.ordinal) == visible_from
            });
            if hides_last {
                thinned.pop();
            }
            thinned.push(*change);
        }
        self.changes = thinned;
    }

    pub(super) fn totals(&self) -> Totals {
        self.changes.last().map(|last| last.totals).unwrap_or_default()
    }

    pub(super) fn series(&self, ticks: &[(u64, u64)]) -> Series {
        let mut changes = self.changes.iter().peekable();
        let (mut now, mut settled_bytes) = (Totals::default(), 0);
        let mut samples = Vec::with_capacity(ticks.len());
        for (ordinal, at_ns) in ticks {
            while let Some(change) = changes.next_if(|change| change.ordinal <= *ordinal) {
                (now, settled_bytes) = (change.totals, change.settled_bytes);
            }
            samples.push(Sample {
                at_ns: *at_ns,
                live_bytes: now.live_bytes(),
                live_blocks: now.live_blocks(),
                live_variance: now.live_variance(),
                allocated_bytes: now.allocated_bytes,
                settled_bytes,
            });
        }
        let cohorts = self.epochs.iter().map(|(number, epoch)| {
            let cohort = Cohort {
                born_ns: epoch.born_ns,
                last_death_ns: epoch.last_death_ns,
                allocated_bytes: epoch.totals.allocated_bytes,
                live_bytes: epoch.totals.live_bytes(),
                live_blocks: epoch.totals.live_blocks(),
                live_variance: epoch.totals.live_variance(),
            };
            (*number, cohort)
        });
        Series { samples, cohorts: cohorts.collect() }
    }
}

/// `sum` with `old` taken out and `new` put in. Saturates, since captures may hold anything.
fn exchange(sum: u64, old: u64, new: u64) -> u64 {
    sum.saturating_sub(old).saturating_add(new)
}
