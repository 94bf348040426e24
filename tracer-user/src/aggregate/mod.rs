//! The state of a session: what every tick so far adds up to. A state machine without clock and
//! I/O; live sessions and replayed captures join here. Judges nothing and names nothing.

mod history;
mod resident;
mod series;
#[cfg(test)]
mod tests;
mod unknown;
mod v8;

pub use history::Totals;
pub use series::{Cohort, Sample, Series, settled_age_ns};
pub use unknown::UnknownFreed;
pub use v8::{Between, V8History};

use crate::stack::StackId;
use crate::tick::{Counters, MemorySplit, OverheadReading, Tick};
use history::History;
use resident::ResidentHistory;
use std::collections::{BTreeMap, BTreeSet};

/// Ticks of which samples are kept. When there are more, every second one is dropped and from
/// then on only every second (fourth, eighth...) tick is kept, besides the latest: resolution
/// halves, the span stays whole, spacing stays even. Larger costs memory in proportion.
pub const MAX_TICKS: usize = 1024;

/// Everything known about a session from its ticks.
///
/// Readings are cumulative and merged field by field with `max`, so that a tick applied twice, or
/// after a later one, changes nothing. A tick that is not later than the latest adds no sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    stacks: BTreeMap<StackId, History>,
    /// Retained ticks: ordinal and time. The last one is always the latest tick.
    ticks: Vec<(u64, u64)>,
    /// For each of them.
    unknown: Vec<UnknownFreed>,
    applied: u64,
    stride: u64,
    /// Ordinals of ticks that are kept whatever the stride.
    pinned: BTreeSet<u64>,
    counters: Counters,
    overhead: Option<OverheadReading>,
    memory: Span,
    resident: ResidentHistory,
    /// By number of the process.
    processes: BTreeMap<u32, Span>,
    /// By number of the process.
    v8: BTreeMap<u32, V8History>,
}

/// A process' memory at the earliest and the latest tick that could read it, with their times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Span {
    first: Option<(u64, MemorySplit)>,
    last: Option<(u64, MemorySplit)>,
}

impl Span {
    fn extend(&mut self, at_ns: u64, memory: MemorySplit) {
        if self.first.is_none_or(|(first_ns, _)| at_ns < first_ns) {
            self.first = Some((at_ns, memory));
        }
        if self.last.is_none_or(|(last_ns, _)| at_ns >= last_ns) {
            self.last = Some((at_ns, memory));
        }
    }

    fn ends(&self) -> Option<(MemorySplit, MemorySplit)> {
        Some((self.first?.1, self.last?.1))
    }
}

impl Default for Aggregate {
    fn default() -> Self {
        Self::new()
    }
}

impl Aggregate {
    /// Of a session that has not ticked yet.
    pub fn new() -> Self {
        Self {
            stacks: BTreeMap::new(),
            ticks: Vec::new(),
            unknown: Vec::new(),
            applied: 0,
            stride: 1,
            pinned: BTreeSet::new(),
            counters: Counters::default(),
            overhead: None,
            memory: Span::default(),
            resident: ResidentHistory::default(),
            processes: BTreeMap::new(),
            v8: BTreeMap::new(),
        }
    }

    /// Takes in a tick.
    ///
    /// # Cost
    /// In proportion to the readings in the tick, but for the rare thinning.
    pub fn apply(&mut self, tick: &Tick) {
        self.apply_merged(tick, 1);
    }

    /// Takes in a tick that stands for so many (at least one): what a long capture keeps of them.
    ///
    /// # Cost
    /// As [`Self::apply`].
    pub fn apply_merged(&mut self, tick: &Tick, ticks: u32) {
        let ordinal = self.advance(tick.at_ns, ticks);
        // Changes behind this tick can still be told from the present one.
        let settled = self.ticks.len().checked_sub(2).map(|index| self.ticks[index].0);
        for reading in &tick.sites {
            self.stacks
                .entry(reading.stack)
                .or_default()
                .apply(reading, ordinal, settled, tick.at_ns);
        }
        self.merge_counters(&tick.counters);
        let unknown = UnknownFreed::of(self.latest_ns(), &self.counters);
        if let Some(last) = self.unknown.last_mut() {
            *last = unknown;
        }
        if let Some(overhead) = tick.overhead
            && self.overhead.is_none_or(|known| overhead.hits >= known.hits)
        {
            self.overhead = Some(overhead);
        }
        if let Some(memory) = tick.memory {
            self.memory.extend(tick.at_ns, memory);
            self.resident.apply(tick.at_ns, memory.resident_bytes);
        }
        for reading in &tick.processes {
            self.processes.entry(reading.process).or_default().extend(tick.at_ns, reading.memory);
        }
        for reading in &tick.v8 {
            self.v8.entry(reading.process).or_default().apply(tick.at_ns, reading);
        }
    }

    /// Counts a loss that happened in user space, outside any tick. Cumulative, as in ticks.
    pub fn note_loss(&mut self, name: &str, count: u64) {
        let known = self.counters.user.entry(name.to_owned()).or_default();
        *known = (*known).max(count);
    }

    fn advance(&mut self, at_ns: u64, ticks: u32) -> u64 {
        match self.ticks.last().copied() {
            Some((ordinal, latest_ns)) if at_ns <= latest_ns => return ordinal,
            Some((ordinal, _)) if !self.stays(ordinal) => {
                self.ticks.pop();
                self.unknown.pop();
            }
            _ => {}
        }
        self.applied = self.applied.saturating_add(u64::from(ticks.max(1)));
        // Of the latest that is in it.
        let ordinal = self.applied - 1;
        if self.ticks.len() >= MAX_TICKS + self.pinned.len() {
            self.stride = self.stride.saturating_mul(2);
            let (stride, pinned) = (self.stride, &self.pinned);
            let stays = |ordinal: &u64| ordinal.is_multiple_of(stride) || pinned.contains(ordinal);
            let mut kept = self.ticks.iter().map(|(ordinal, _)| stays(ordinal));
            self.unknown.retain(|_| kept.next().unwrap_or(false));
            self.ticks.retain(|(ordinal, _)| stays(ordinal));
            let kept: Vec<u64> = self.ticks.iter().map(|(ordinal, _)| *ordinal).collect();
            for history in self.stacks.values_mut() {
                history.thin(&kept);
            }
        }
        self.ticks.push((ordinal, at_ns));
        self.unknown.push(UnknownFreed::default());
        ordinal
    }

    fn stays(&self, ordinal: u64) -> bool {
        ordinal.is_multiple_of(self.stride) || self.pinned.contains(&ordinal)
    }

    /// Keeps the sample of the latest tick however long the session gets: that tick has a meaning.
    /// Each such tick is memory that nobody takes back, so whoever calls this bounds their number.
    pub fn pin_latest(&mut self) {
        self.pinned.extend(self.ticks.last().map(|(ordinal, _)| *ordinal));
    }

    fn merge_counters(&mut self, counters: &Counters) {
        if counters.kernel.len() > self.counters.kernel.len() {
            self.counters.kernel.resize(counters.kernel.len(), 0);
        }
        for (known, new) in self.counters.kernel.iter_mut().zip(&counters.kernel) {
            *known = (*known).max(*new);
        }
        for (name, value) in &counters.user {
            self.note_loss(name, *value);
        }
    }

    /// Stacks seen so far, in the order of their identities.
    pub fn stacks(&self) -> impl Iterator<Item = (StackId, Totals)> + '_ {
        self.stacks.iter().map(|(id, history)| (*id, history.totals()))
    }

    /// What one stack adds up to; zeros for a stack that was never seen.
    pub fn stack_totals(&self, stack: StackId) -> Totals {
        self.stacks.get(&stack).map(History::totals).unwrap_or_default()
    }

    /// What all stacks add up to.
    pub fn totals(&self) -> Totals {
        self.stacks.values().fold(Totals::default(), |sum, history| sum + history.totals())
    }

    /// One stack over time, a sample for every retained tick.
    pub fn series(&self, stack: StackId) -> Series {
        self.stacks.get(&stack).map_or_else(
            || History::default().series(&self.ticks),
            |history| history.series(&self.ticks),
        )
    }

    /// What was freed by then of what had been allocated unseen, at every retained tick.
    pub fn unknown_frees(&self) -> &[UnknownFreed] {
        &self.unknown
    }

    /// Counters, cumulative.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The latest measurement of what the probes cost.
    pub fn overhead(&self) -> Option<OverheadReading> {
        self.overhead
    }

    /// The target's memory at the earliest and the latest tick that could read it.
    pub fn memory(&self) -> Option<(MemorySplit, MemorySplit)> {
        self.memory.ends()
    }

    /// The same of a followed process, by its number.
    pub fn process_memory(&self, process: u32) -> Option<(MemorySplit, MemorySplit)> {
        self.processes.get(&process)?.ends()
    }

    /// The target's resident memory over time: nanoseconds since the session began, and bytes. A
    /// bounded number of points.
    pub fn resident(&self) -> &[(u64, u64)] {
        self.resident.points()
    }

    /// What was seen from outside of the V8 in a process, by its number; `None` where there is none.
    pub fn v8(&self, process: u32) -> Option<&V8History> {
        self.v8.get(&process)
    }

    /// Ticks taken in, without repetitions.
    pub fn tick_count(&self) -> u64 {
        self.applied
    }

    /// Time of the latest tick, nanoseconds since the session began.
    pub fn latest_ns(&self) -> u64 {
        self.ticks.last().map_or(0, |(_, at_ns)| *at_ns)
    }
}
