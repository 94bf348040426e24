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
    /// Where in `tick` a site is.
    places: HashMap<(StackId, u32), usize>,
}

impl Step {
    /// Takes in `ticks` more ticks, added up to `later`. All is cumulative or a reading of a state,
    /// so the later word counts wherever there is one.
    pub(super) fn add(&mut self, mut later: Tick, ticks: u64) {
        self.ticks += ticks;
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

/// What became of a capture that was thinned.
#[derive(Debug, Default)]
pub(super) struct Thinned {
    /// Bytes of records that were written.
    pub(super) bytes: u64,
    /// Bytes of its ticks.
    pub(super) tick_bytes: u64,
    /// Ticks that it has now.
    pub(super) steps: u64,
    /// Those behind its last step.
    pub(super) rest: Step,
}

/// Copies the records of a capture whose ordinals begin at 0; only ticks that stay are steps, and
/// take in what comes before them. Everything else is copied as it is.
///
/// # Errors
/// When it cannot be read as it was written, or the copy cannot be written.
///
/// # Cost
/// About 0.3 microseconds for each reading of a site; memory for a step.
pub(super) fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    steps: &Steps,
) -> io::Result<Thinned> {
    let mut thinned = Thinned::default();
    let (mut ordinal, mut merged) = (0u64, 1);
    let mut payload = Vec::new();
    let mut encoded = BytesMut::new();
    while let Some(kind) = next(from, &mut payload)? {
        match kind {
            kind::MERGED => merged = payload.as_slice().try_get_u64_le().map_err(damaged)?,
            kind::TICK => {
                let tick = decode::tick(&payload, VERSION).map_err(damaged)?;
                thinned.rest.add(tick, merged);
                ordinal += merged;
                merged = 1;
                // The ordinal of the latest that is in it.
                if steps.stays(ordinal - 1) {
                    let step = std::mem::take(&mut thinned.rest);
                    encoded.clear();
                    encode::tick(&step.tick, &mut encoded);
                    let bytes = write_step(to, step.ticks, &encoded)?;
                    thinned.tick_bytes += bytes;
                    thinned.bytes += bytes;
                    thinned.steps += 1;
                }
            }
            _ => thinned.bytes += write_record(to, kind, &payload)?,
        }
    }
    Ok(thinned)
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
