//! The kernel side's table of traced processes, and the code ranges of each.

use super::mapped::MappedArray;
use crate::target::keep_most_useful;
use aya::maps::{HashMap as BpfHashMap, MapData, MapError};
use tracer_common::{
    limits::MAX_CODE_RANGES,
    process::{MAX_PROCESSES, ProcessEntry},
    python::PythonLayout,
    slot::CodeRange,
    v8::V8Layout,
};

/// Traced processes, as the kernel side sees them.
pub struct ProcessTable {
    entries: MappedArray<ProcessEntry>,
    tgids: BpfHashMap<MapData, u32, u32>,
    ranges: MappedArray<CodeRange>,
    places: Vec<Place>,
    salt: u64,
}

/// Where the ranges of an entry lie, and where they lay before: a program may still be reading
/// those when they are replaced, so they stay for one change more.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    now: Region,
    before: Region,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Region {
    first: usize,
    count: usize,
}

/// Why a process could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// As many processes as fit are traced.
    #[error("{MAX_PROCESSES} processes are traced already, which is as many as outlive can")]
    Full,
    /// The map of thread-group IDs.
    #[error("a process could not be entered: {0}")]
    Map(#[from] MapError),
}

impl ProcessTable {
    /// An empty table.
    pub fn new(
        entries: MappedArray<ProcessEntry>,
        tgids: BpfHashMap<MapData, u32, u32>,
        ranges: MappedArray<CodeRange>,
    ) -> Self {
        let places = vec![Place::default(); entries.len()];
        Self { entries, tgids, ranges, places, salt: 0 }
    }

    /// Enters process `tgid`, whose image has number `image` (1 to 65535). Its code ranges come
    /// next ([`Self::set_code_ranges`]).
    ///
    /// # Errors
    /// When the table is full.
    pub fn add(
        &mut self,
        tgid: u32,
        image: u32,
        python: PythonLayout,
        v8: V8Layout,
    ) -> Result<u32, TableError> {
        let is_free = |index: &usize| self.entries.get(*index).is_some_and(|e| e.image == 0);
        let index = (0..self.entries.len()).find(is_free).ok_or(TableError::Full)?;
        let salt = self.next_salt();
        let entry =
            ProcessEntry { tgid, image, python, v8, cache_salt: salt, ..Default::default() };
        // SAFETY: element `index`, which no program uses before its ID leads there.
        self.entries.update(index, |place| unsafe { place.write_volatile(entry) });
        if let Err(error) = self.tgids.insert(tgid, index as u32, 0) {
            self.remove(index as u32);
            return Err(error.into());
        }
        Ok(index as u32)
    }

    /// Takes a process out; its number may be used again.
    pub fn remove(&mut self, index: u32) {
        // The process itself, and children that shared its memory and have outlived it.
        let leads_here = |(tgid, place): (u32, u32)| (place == index).then_some(tgid);
        let tgids: Vec<u32> = self.tgids.iter().flatten().filter_map(leads_here).collect();
        for tgid in tgids {
            // Gone already is as good.
            let _ = self.tgids.remove(&tgid);
        }
        let blank = ProcessEntry::default();
        // SAFETY: element `index`; programs take an image number of 0 for no process.
        self.entries.update(index as usize, |place| unsafe { place.write_volatile(blank) });
        self.places[index as usize] = Place::default();
    }

    /// How Python frames of the process are walked from now on.
    pub fn set_python(&mut self, index: u32, python: PythonLayout) {
        // The kind last: it is what programs look at first.
        let without = PythonLayout { kind: 0, ..python };
        let salt = self.next_salt();
        // SAFETY: fields of element `index`, each an aligned word. The salt behind them: no stack
        // that was walked by other ones is remembered under it.
        self.entries.update(index as usize, |entry| unsafe {
            (&raw mut (*entry).python).write_volatile(without);
            (&raw mut (*entry).python.kind).write_volatile(python.kind);
            (&raw mut (*entry).cache_salt).write_volatile(salt);
        });
    }

    /// How JavaScript frames of the process are told from now on.
    pub fn set_v8(&mut self, index: u32, v8: V8Layout) {
        // The kind last: it is what programs look at first.
        let without = V8Layout { kind: 0, ..v8 };
        let salt = self.next_salt();
        // SAFETY: as above.
        self.entries.update(index as usize, |entry| unsafe {
            (&raw mut (*entry).v8).write_volatile(without);
            (&raw mut (*entry).v8.kind).write_volatile(v8.kind);
            (&raw mut (*entry).cache_salt).write_volatile(salt);
        });
    }

    /// Where its loader says that its list of libraries is whole; see [`ProcessEntry`].
    pub fn set_loader_state(&self, index: u32, avma: u64) {
        // SAFETY: an aligned field of element `index`.
        self.entries.update(index as usize, |entry| unsafe {
            (&raw mut (*entry).loader_state_avma).write_volatile(avma);
        });
    }

    /// Where the fast lane's library in it has its control, if there is one; see [`ProcessEntry`].
    pub fn set_lane(&self, index: u32, control_avma: Option<u64>) {
        // SAFETY: an aligned field of element `index`.
        self.entries.update(index as usize, |entry| unsafe {
            (&raw mut (*entry).lane_control_avma).write_volatile(control_avma.unwrap_or(0));
        });
    }

    /// Replaces the executable ranges of a process (sorted, not overlapping). What exceeds the
    /// table is left out; the number of those is returned.
    pub fn set_code_ranges(&mut self, index: u32, ranges: &[CodeRange]) -> usize {
        let wanted = ranges.len().min(MAX_CODE_RANGES);
        let Some(place) = self.places.get_mut(index as usize) else { return ranges.len() };
        place.before = place.now;
        let (first, count) = self.free_region(wanted).unwrap_or_default();
        let mut kept = ranges.to_vec();
        keep_most_useful(&mut kept, count, |range| (range.walk, range.start_avma));
        for (offset, range) in kept.iter().enumerate() {
            // SAFETY: an element of a region that no entry points to.
            self.ranges.update(first + offset, |place| unsafe { place.write_volatile(*range) });
        }
        let salt = self.next_salt();
        // SAFETY: aligned fields of element `index`. A program that reads one new and one old
        // field misses a look-up at worst: that stack is cut, and says so.
        self.entries.update(index as usize, |entry| unsafe {
            (&raw mut (*entry).code_ranges_count).write_volatile(0);
            (&raw mut (*entry).code_ranges_first).write_volatile(first as u32);
            (&raw mut (*entry).cache_salt).write_volatile(salt);
            (&raw mut (*entry).code_ranges_count).write_volatile(count as u32);
        });
        self.places[index as usize].now = Region { first, count };
        ranges.len() - count
    }

    /// A region of `count` elements that nobody uses, or the largest there is.
    fn free_region(&self, count: usize) -> Option<(usize, usize)> {
        let mut used: Vec<Region> = self.places.iter().flat_map(|p| [p.now, p.before]).collect();
        used.retain(|region| region.count > 0);
        used.push(Region { first: self.ranges.len(), count: 1 });
        used.sort_by_key(|region| region.first);
        let mut free_from = 0;
        let mut best: Option<(usize, usize)> = None;
        for region in used {
            let length = region.first.saturating_sub(free_from);
            if length >= count {
                return Some((free_from, count));
            }
            if best.is_none_or(|(_, most)| length > most) {
                best = Some((free_from, length));
            }
            free_from = free_from.max(region.first + region.count);
        }
        best
    }

    /// Another salt, for the tags of the unwind cache and for stacks that are remembered: an odd constant's multiples, which differ in
    /// all bits.
    fn next_salt(&mut self) -> u64 {
        self.salt = self.salt.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.salt
    }
}
