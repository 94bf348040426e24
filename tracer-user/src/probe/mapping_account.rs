//! Accounts for mappings that the target makes itself: an interval map, so that parts of a
//! mapping can go away on their own.

use crate::{stack::StackId, tick::SiteReading};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use tracer_common::record::{Mapping, mapping_op};

/// `PROT_WRITE` and `MAP_ANONYMOUS` (mmap(2)).
const PROT_WRITE: u32 = 2;
const MAP_ANONYMOUS: u32 = 0x20;

/// What one call mapped and what is left of it.
#[derive(Clone, Copy, Debug)]
struct Region {
    stack: StackId,
    epoch: u32,
    left_bytes: u64,
}

/// Live mappings and their counters by (stack, epoch of birth).
#[derive(Debug, Default)]
pub struct MappingAccount {
    /// Start of a piece to (its end, its region).
    pieces: BTreeMap<u64, (u64, u64)>,
    regions: HashMap<u64, Region>,
    next_region: u64,
    counters: HashMap<(StackId, u32), SiteReading>,
    changed: HashSet<(StackId, u32)>,
}

impl MappingAccount {
    /// Books one event; births belong to `epoch`.
    pub fn apply(&mut self, mapping: &Mapping, epoch: u32) {
        let stack = StackId(mapping.stack_hash);
        let Mapping { address, length_bytes, old_address, old_length_bytes, .. } = *mapping;
        match mapping.op {
            mapping_op::MAP => {
                // Whatever was there is gone now (MAP_FIXED).
                self.remove(address, page_aligned(length_bytes));
                if counts_as_memory(mapping) {
                    self.insert(address, page_aligned(length_bytes), stack, epoch);
                }
            }
            mapping_op::UNMAP => self.remove(address, page_aligned(length_bytes)),
            mapping_op::REMAP => {
                self.remove(old_address, page_aligned(old_length_bytes));
                self.remove(address, page_aligned(length_bytes));
                self.insert(address, page_aligned(length_bytes), stack, epoch);
            }
            mapping_op::BREAK if address > old_address && old_address != 0 => {
                self.insert(old_address, address - old_address, stack, epoch);
            }
            mapping_op::BREAK => self.remove(address, old_address.saturating_sub(address)),
            _ => {}
        }
    }

    /// Forgets every mapping: the image they belonged to is gone.
    pub fn clear(&mut self) {
        let all: Vec<(u64, u64)> =
            self.pieces.iter().map(|(start, (end, _))| (*start, end - start)).collect();
        for (start, length) in all {
            self.remove(start, length);
        }
    }

    /// What is mapped now, in the order of addresses; pieces of different calls are apart.
    pub fn live(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.pieces.iter().map(|(start, (end, _))| *start..*end)
    }

    /// Counters that changed since the last call.
    pub fn take_changed(&mut self) -> Vec<SiteReading> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| self.counters.get(&key).copied()).collect()
    }

    fn insert(&mut self, start: u64, length: u64, stack: StackId, epoch: u32) {
        let Some(end) = start.checked_add(length).filter(|_| length > 0) else { return };
        let region = self.next_region;
        self.next_region += 1;
        self.regions.insert(region, Region { stack, epoch, left_bytes: length });
        self.pieces.insert(start, (end, region));
        let counter = self.counter(stack, epoch);
        counter.allocated_bytes += length;
        counter.allocated_blocks += 1;
    }

    fn remove(&mut self, start: u64, length: u64) {
        let Some(end) = start.checked_add(length).filter(|_| length > 0) else { return };
        let overlapping: Vec<(u64, u64, u64)> = self
            .pieces
            .range(..end)
            .rev()
            // Pieces do not overlap, so the first that ends before `start` is the last of interest.
            .take_while(|(_, (piece_end, _))| *piece_end > start)
            .map(|(piece, (piece_end, region))| (*piece, *piece_end, *region))
            .collect();
        for (piece, piece_end, region) in overlapping {
            self.pieces.remove(&piece);
            if piece < start {
                self.pieces.insert(piece, (start, region));
            }
            if piece_end > end {
                self.pieces.insert(end, (piece_end, region));
            }
            self.book_death(region, piece_end.min(end) - piece.max(start));
        }
    }

    fn book_death(&mut self, region: u64, bytes: u64) {
        let Some(found) = self.regions.get_mut(&region) else { return };
        found.left_bytes = found.left_bytes.saturating_sub(bytes);
        let Region { stack, epoch, left_bytes } = *found;
        if left_bytes == 0 {
            self.regions.remove(&region);
        }
        let counter = self.counter(stack, epoch);
        counter.freed_bytes += bytes;
        counter.freed_blocks += u64::from(left_bytes == 0);
    }

    fn counter(&mut self, stack: StackId, epoch: u32) -> &mut SiteReading {
        self.changed.insert((stack, epoch));
        self.counters.entry((stack, epoch)).or_insert(SiteReading::new(stack, epoch))
    }
}

/// Address space that is only reserved, and files that are only read, hold no memory of their own.
fn counts_as_memory(mapping: &Mapping) -> bool {
    mapping.prot != 0 && (mapping.flags & MAP_ANONYMOUS != 0 || mapping.prot & PROT_WRITE != 0)
}

fn page_aligned(length: u64) -> u64 {
    length.checked_next_multiple_of(4096).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(op: u32, address: u64, length: u64, old: (u64, u64)) -> Mapping {
        Mapping {
            stack_hash: 7,
            op,
            prot: 3,
            flags: MAP_ANONYMOUS,
            address,
            length_bytes: length,
            old_address: old.0,
            old_length_bytes: old.1,
            ..Mapping::default()
        }
    }

    /// Live bytes and blocks after `events`.
    fn check(events: &[Mapping], live_bytes: u64, live_blocks: u64) {
        let mut account = MappingAccount::default();
        for event in events {
            account.apply(event, 1);
        }
        let (mut bytes, mut blocks) = (0, 0);
        for reading in account.take_changed() {
            bytes += reading.allocated_bytes - reading.freed_bytes;
            blocks += reading.allocated_blocks - reading.freed_blocks;
        }
        assert_eq!((bytes, blocks), (live_bytes, live_blocks), "{events:?}");
    }

    const K: u64 = 4096;

    #[test]
    fn a_hole_leaves_both_ends_and_one_block() {
        let map = event(mapping_op::MAP, 16 * K, 4 * K, (0, 0));
        let hole = event(mapping_op::UNMAP, 17 * K, K, (0, 0));
        check(&[map, hole], 3 * K, 1);
        check(&[map, hole, event(mapping_op::UNMAP, 16 * K, 4 * K, (0, 0))], 0, 0);
    }

    #[test]
    fn unmapping_across_neighbours_takes_parts_of_both() {
        check(
            &[
                event(mapping_op::MAP, 16 * K, 2 * K, (0, 0)),
                event(mapping_op::MAP, 18 * K, 2 * K, (0, 0)),
                event(mapping_op::UNMAP, 17 * K, 2 * K, (0, 0)),
            ],
            2 * K,
            2,
        );
    }

    #[test]
    fn mapping_over_a_mapping_replaces_it() {
        let map = event(mapping_op::MAP, 16 * K, 2 * K, (0, 0));
        check(&[map, map], 2 * K, 1);
    }

    #[test]
    fn remap_moves_and_the_break_shrinks() {
        let map = event(mapping_op::MAP, 16 * K, 2 * K, (0, 0));
        check(&[map, event(mapping_op::REMAP, 64 * K, 3 * K, (16 * K, 2 * K))], 3 * K, 1);
        let grow = event(mapping_op::BREAK, 100 * K, 0, (90 * K, 0));
        let shrink = event(mapping_op::BREAK, 95 * K, 0, (100 * K, 0));
        check(&[grow, shrink], 5 * K, 1);
    }

    #[test]
    fn reservations_and_nonsense_change_nothing() {
        let reserve = Mapping { prot: 0, ..event(mapping_op::MAP, 16 * K, 2 * K, (0, 0)) };
        check(&[reserve], 0, 0);
        check(&[event(mapping_op::UNMAP, u64::MAX - 10, u64::MAX, (0, 0))], 0, 0);
    }
}
