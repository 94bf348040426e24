//! Keeps a long capture small: ticks are merged, two and two, so that its steps become coarser and
//! its span stays whole. Readings are cumulative, so what is lost is resolution and nothing else.

use super::{MAX_RECORD_BYTES, VERSION, crc::checksum, decode, encode, kind};
use crate::aggregate::MAX_TICKS;
use crate::stack::StackId;
use crate::tick::Tick;
use bytes::{Buf as _, BytesMut};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Write};

/// Bytes of ticks above which they are thinned, while steps are left to thin: a day of 20 stacks
/// that change in each second nearly fits unthinned.
pub(super) const TICK_BYTES: u64 = 64 << 20;
/// Steps below which ticks are not thinned for [`TICK_BYTES`]. Half of them are left then, a quarter
/// of the samples that a session keeps in memory at most: plenty for every estimator.
pub(super) const MANY_STEPS: u64 = MAX_TICKS as u64 / 2;
/// Steps below which nothing is thinned: a file that is full is full.
const FEWEST_STEPS: u64 = 8;

/// Bytes of a step besides its tick: two headers, and how many ticks it is.
pub(super) const STEP_BYTES: u64 = 12 + 12 + 8;

/// Which ticks of a capture are steps of their own, by their ordinals.
#[derive(Debug)]
pub(super) struct Steps {
    /// Every so many ticks one stays; a power of two.
    stride: u64,
    /// Ordinals of ticks that stay whatever the stride.
    pinned: BTreeSet<u64>,
}

impl Default for Steps {
    fn default() -> Self {
        Self { stride: 1, pinned: BTreeSet::new() }
    }
}

impl Steps {
    pub(super) fn stays(&self, ordinal: u64) -> bool {
        ordinal.is_multiple_of(self.stride) || self.pinned.contains(&ordinal)
    }

    pub(super) fn pin(&mut self, ordinal: u64) {
        self.pinned.insert(ordinal);
    }

    /// Ticks that a step stands for.
    pub(super) fn stride(&self) -> u64 {
        self.stride
    }

    /// Whether so many steps of so many bytes, `must_go` of which are more than the file may hold,
    /// are to be thinned now.
    pub(super) fn are_too_many(&self, steps: u64, tick_bytes: u64, must_go: bool) -> bool {
        let most = FEWEST_STEPS + self.pinned.len() as u64;
        (must_go && steps > most) || (tick_bytes > TICK_BYTES && steps >= most.max(MANY_STEPS))
    }

    pub(super) fn halve(&mut self) {
        self.stride = self.stride.saturating_mul(2);
    }
}

/// Ticks that are one step: what they add up to, and how many they are.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) tick: Tick,
    pub(super) ticks: u64,
    /// Where in `tick` a site is; of a single tick nobody asks.
    places: HashMap<(StackId, u32), usize>,
}

impl Step {
    /// Takes in `ticks` more ticks, added up to `later`. All is cumulative or a reading of a state,
    /// so the later word counts wherever there is one.
    pub(super) fn add(&mut self, mut later: Tick, ticks: u64) {
        if self.ticks == 0 {
            (self.tick, self.ticks) = (later, ticks);
            return;
        }
        self.ticks += ticks;
        if self.places.is_empty() {
            let sites = self.tick.sites.iter().enumerate();
            self.places = sites.map(|(place, site)| ((site.stack, site.epoch), place)).collect();
        }
        for site in std::mem::take(&mut later.sites) {
            match self.places.entry((site.stack, site.epoch)) {
                Entry::Occupied(place) => self.tick.sites[*place.get()] = site,
                Entry::Vacant(place) => {
                    place.insert(self.tick.sites.len());
                    self.tick.sites.push(site);
                }
            }
        }
        later.sites = std::mem::take(&mut self.tick.sites);
        let earlier = std::mem::replace(&mut self.tick, later);
        fill_in(&mut self.tick, earlier);
    }
}

/// Gives a tick what only the one before it says, sites aside.
fn fill_in(later: &mut Tick, earlier: Tick) {
    for (name, value) in earlier.counters.user {
        later.counters.user.entry(name).or_insert(value);
    }
    later.memory = later.memory.or(earlier.memory);
    later.overhead = later.overhead.or(earlier.overhead);
    for reading in earlier.processes {
        if !later.processes.iter().any(|known| known.process == reading.process) {
            later.processes.push(reading);
        }
    }
    for reading in earlier.v8 {
        match later.v8.iter_mut().find(|known| known.process == reading.process) {
            Some(known) => {
                known.heap_bytes = known.heap_bytes.or(reading.heap_bytes);
                known.full_collections = known.full_collections.or(reading.full_collections);
            }
            None => later.v8.push(reading),
        }
    }
}

/// A capture that is being thinned, and what became of it so far.
#[derive(Debug)]
pub(super) struct Thinning {
    /// Ordinal of the next tick, and how many the next record stands for.
    ordinal: u64,
    merged: u64,
    payload: Vec<u8>,
    /// Bytes of records that were written.
    pub(super) bytes: u64,
    /// Bytes of its ticks.
    pub(super) tick_bytes: u64,
    /// Ticks that it has now.
    pub(super) steps: u64,
    /// Those behind its last step.
    pub(super) rest: Step,
}

impl Default for Thinning {
    fn default() -> Self {
        Self {
            ordinal: 0,
            merged: 1,
            payload: Vec::new(),
            bytes: 0,
            tick_bytes: 0,
            steps: 0,
            rest: Step::default(),
        }
    }
}

impl Thinning {
    /// Copies the next `most_bytes` of a capture whose ordinals begin at 0, to the end of a record;
    /// only ticks that stay are steps, and take in what comes before them. Everything else is copied
    /// as it is. Whether that was all that is there now.
    ///
    /// # Errors
    /// When it cannot be read as it was written, or the copy cannot be written.
    ///
    /// # Cost
    /// About 0.3 microseconds for each reading of a site; memory for a step.
    pub(super) fn copy(
        &mut self,
        from: &mut impl Read,
        to: &mut impl Write,
        steps: &Steps,
        most_bytes: u64,
    ) -> io::Result<bool> {
        let mut copied = 0;
        while copied < most_bytes {
            let Some(kind) = next(from, &mut self.payload)? else { return Ok(true) };
            copied += self.payload.len() as u64;
            self.record(kind, to, steps)?;
        }
        Ok(false)
    }

    fn record(&mut self, kind: u32, to: &mut impl Write, steps: &Steps) -> io::Result<()> {
        match kind {
            kind::MERGED => {
                self.merged = self.payload.as_slice().try_get_u64_le().map_err(damaged)?;
            }
            kind::TICK => {
                let tick = decode::tick(&self.payload, VERSION).map_err(damaged)?;
                self.rest.add(tick, self.merged);
                self.ordinal += self.merged;
                self.merged = 1;
                // The ordinal of the latest that is in it.
                if steps.stays(self.ordinal - 1) {
                    let step = std::mem::take(&mut self.rest);
                    let mut encoded = BytesMut::new();
                    encode::tick(&step.tick, &mut encoded);
                    let bytes = write_step(to, step.ticks, &encoded)?;
                    self.tick_bytes += bytes;
                    self.bytes += bytes;
                    self.steps += 1;
                }
            }
            _ => self.bytes += write_record(to, kind, &self.payload)?,
        }
        Ok(())
    }
}

/// Writes a tick that stands for so many, with the word for that where it is more than one. Bytes
/// written, at most [`STEP_BYTES`] more than it takes itself.
pub(super) fn write_step(to: &mut impl Write, ticks: u64, encoded: &[u8]) -> io::Result<u64> {
    let mut bytes = 0;
    if ticks != 1 {
        bytes += write_record(to, kind::MERGED, &ticks.to_le_bytes())?;
    }
    Ok(bytes + write_record(to, kind::TICK, encoded)?)
}

/// Writes a record; how many bytes it takes.
pub(super) fn write_record(to: &mut impl Write, kind: u32, payload: &[u8]) -> io::Result<u64> {
    to.write_all(&kind.to_le_bytes())?;
    to.write_all(&(payload.len() as u32).to_le_bytes())?;
    to.write_all(&checksum(kind, payload).to_le_bytes())?;
    to.write_all(payload)?;
    Ok(payload.len() as u64 + 12)
}

/// The next record's kind, and its payload; `None` at the end.
fn next(from: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<Option<u32>> {
    let mut header = Vec::with_capacity(12);
    from.by_ref().take(12).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    let mut header = header.as_slice();
    let mut word = || header.try_get_u32_le().map_err(damaged);
    let (kind, length, expected) = (word()?, word()?, word()?);
    payload.clear();
    if length > MAX_RECORD_BYTES {
        return Err(damaged("a record is too long"));
    }
    from.by_ref().take(length.into()).read_to_end(payload)?;
    if payload.len() < length as usize || checksum(kind, payload) != expected {
        return Err(damaged("a record is not as it was written"));
    }
    Ok(Some(kind))
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
