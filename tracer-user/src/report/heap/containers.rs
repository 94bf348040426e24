//! Whether a container grows: its entries over time, each as heavy as the mean of all, are judged
//! as what a stack holds is.

use super::super::groups::Level;
use super::alike::{Alike, together};
use super::name::{self, Name, leads_through};
use crate::aggregate::{Sample, Series};
use crate::capture::{GrownContainer, HeapMeta, Recording};
use crate::growth::{self, Judgement, Limits, Verdict};

/// Containers of a heap that are judged: those with the most bytes behind their growth.
const MAX_CONTAINERS: usize = 512;
/// Readings of a length that are looked at.
pub(super) const MAX_READINGS: usize = 4096;

/// A container with what is to be said of it.
#[derive(Clone, Debug)]
pub(in crate::report) struct JudgedContainer<'a> {
    pub(super) heap: &'a HeapMeta,
    /// One, or the sums of those that are reached alike.
    pub(super) container: GrownContainer,
    /// How many these are.
    pub(super) count: u64,
    pub(super) name: Name,
    pub(in crate::report) judgement: Judgement,
    pub(super) bytes_per_entry: f64,
}

impl JudgedContainer<'_> {
    pub(super) fn lengths(&self) -> (u64, u64) {
        ends(&self.container)
    }

    pub(super) fn estimate(&self) -> f64 {
        self.judgement.rate.map_or(0.0, |rate| rate.estimate)
    }

    pub(super) fn grows(&self) -> bool {
        self.judgement.verdict == Verdict::Growing
    }

    /// Whether it is reached through the other one.
    pub(super) fn is_within(&self, outer: &Self) -> bool {
        let (path, of) = (&self.container.chain.steps, &outer.container.chain.steps);
        self.heap.pid == outer.heap.pid && path.len() > of.len() && leads_through(path, of)
    }

    /// Objects of a type that came into it since the first look, about.
    pub(super) fn gained_of(&self, type_name: &str) -> f64 {
        let (first, last) = self.lengths();
        let gained = last.saturating_sub(first) as f64 / last.max(1) as f64;
        let inside = self.container.contents.iter().filter(|of| of.name == type_name);
        inside.map(|of| of.count as f64 * gained).sum()
    }

    /// As far as it is sure enough among all that is judged in the report.
    pub(in crate::report) fn hold(&mut self, level: &Level, watched_ns: u64) {
        self.judgement = level.hold(self.judgement.clone(), watched_ns);
    }
}

/// Every container that was followed, those together that are reached alike.
pub(in crate::report) fn judge<'a>(
    recording: &'a Recording,
    limits: &Limits,
) -> Vec<JudgedContainer<'a>> {
    let heaps = recording.meta.heaps.iter();
    let all = heaps.flat_map(|heap| {
        let alike = together(heap.containers.iter().take(MAX_CONTAINERS));
        alike.into_iter().map(move |alike| (heap, alike))
    });
    all.map(|(heap, Alike { container, count })| {
        let bytes_per_entry = bytes_per_entry(&container);
        JudgedContainer {
            heap,
            count,
            name: name::of_container(&container),
            judgement: growth::judge(&series(&container, bytes_per_entry), limits),
            container,
            bytes_per_entry,
        }
    })
    .collect()
}

/// Those that are judged to grow, or where none is, since there were too few readings to judge by,
/// those that are longer than at first; without what is reached through another one of them.
pub(super) fn grown_most<'a>(
    containers: &'a [JudgedContainer<'a>],
) -> Vec<&'a JudgedContainer<'a>> {
    let growing: Vec<&JudgedContainer<'_>> = containers.iter().filter(|of| of.grows()).collect();
    let gained = |of: &JudgedContainer<'_>| {
        let (first, last) = of.lengths();
        last.saturating_sub(first) as f64 * of.bytes_per_entry
    };
    let mut grown = match growing.is_empty() {
        true => containers.iter().filter(|of| gained(of) > 0.0).collect(),
        false => growing,
    };
    grown.sort_by(|a, b| gained(b).total_cmp(&gained(a)));
    let most = grown.iter().filter(|inner| !grown.iter().any(|outer| inner.is_within(outer)));
    most.copied().collect()
}

fn ends(container: &GrownContainer) -> (u64, u64) {
    let length = |reading: Option<&(u64, u64)>| reading.map_or(0, |(_, length)| *length);
    (length(container.lengths.first()), length(container.lengths.last()))
}

/// What an entry takes at the last reading, with its part of the table.
fn bytes_per_entry(container: &GrownContainer) -> f64 {
    match ends(container).1 {
        0 => 0.0,
        length => container.held_bytes as f64 / length as f64,
    }
}

fn series(container: &GrownContainer, bytes_per_entry: f64) -> Series {
    let mut lengths = container.lengths.clone();
    lengths.truncate(MAX_READINGS);
    lengths.sort_unstable();
    lengths.dedup_by_key(|(at_ns, _)| *at_ns);
    let mut born: u64 = 0;
    let mut before = 0;
    let samples = lengths.into_iter().map(|(at_ns, length)| {
        let live_bytes = (length as f64 * bytes_per_entry) as u64;
        born = born.saturating_add(live_bytes.saturating_sub(before));
        before = live_bytes;
        Sample {
            at_ns,
            live_bytes,
            live_blocks: length,
            live_variance: 0,
            allocated_bytes: born,
            settled_bytes: live_bytes,
        }
    });
    Series { samples: samples.collect(), ..Series::default() }
}
