//! Sums slots of one (stack, birth epoch).
//!
//! Mostly there is one; a stack that was taken out of the stack table (ring buffer full) and
//! entered again within an epoch has two.

use crate::{stack::StackId, tick::SiteReading};
use std::collections::{HashMap, HashSet};
use tracer_common::slot::Slot;

/// Running sums, and which of them changed.
#[derive(Debug, Default)]
pub struct SlotTotals {
    sums: HashMap<(u64, u32), SiteReading>,
    changed: HashSet<(u64, u32)>,
}

impl SlotTotals {
    /// A slot went from `before` to `after`; counters only grow.
    pub fn add(&mut self, before: &Slot, after: &Slot) {
        let key = (after.stack_hash, after.epoch);
        let sum = self.sums.entry(key).or_insert(SiteReading {
            stack: StackId(after.stack_hash),
            epoch: after.epoch,
            allocated_bytes: 0,
            allocated_blocks: 0,
            freed_bytes: 0,
            freed_blocks: 0,
        });
        sum.allocated_bytes += after.allocated_bytes.saturating_sub(before.allocated_bytes);
        sum.allocated_blocks += after.allocated_blocks.saturating_sub(before.allocated_blocks);
        sum.freed_bytes += after.freed_bytes.saturating_sub(before.freed_bytes);
        sum.freed_blocks += after.freed_blocks.saturating_sub(before.freed_blocks);
        if sum.allocated_blocks > 0 {
            self.changed.insert(key);
        }
    }

    /// The sums that changed since the last call.
    pub fn take_changed(&mut self) -> Vec<SiteReading> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| self.sums.get(&key).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_slots_of_one_key_add_up() {
        let slot = |blocks| Slot {
            stack_hash: 9,
            epoch: 2,
            allocated_blocks: blocks,
            allocated_bytes: 10 * blocks,
            ..Slot::default()
        };
        let mut totals = SlotTotals::default();
        totals.add(&Slot::default(), &slot(3));
        totals.add(&Slot::default(), &slot(4));
        totals.add(&slot(3), &slot(5));
        let readings = totals.take_changed();
        assert_eq!((readings.len(), readings[0].allocated_blocks), (1, 9));
        assert!(totals.take_changed().is_empty());
    }
}
