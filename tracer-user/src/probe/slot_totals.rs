//! Sums slots of one (stack, birth epoch).
//!
//! Mostly there is one; a stack that was taken out of the stack table (ring buffer full) and
//! entered again within an epoch has two.

use crate::{
    stack::StackId,
    tick::{SiteReading, VARIANCE_UNIT},
};
use std::collections::{HashMap, HashSet};
use tracer_common::{
    sampling::{ONE_BLOCK, ONE_SQUARE},
    slot::Slot,
};

/// Running sums, and which of them changed.
#[derive(Debug, Default)]
pub struct SlotTotals {
    sums: HashMap<(u64, u32), SiteReading>,
    changed: HashSet<(u64, u32)>,
}

impl SlotTotals {
    /// A slot went from `before` to `after`; counters only grow.
    pub fn add(&mut self, before: &Slot, after: &Slot) {
        let (before, after) = (reading(before), reading(after));
        let key = (after.stack.0, after.epoch);
        let sum = self.sums.entry(key).or_insert(SiteReading::new(after.stack, after.epoch));
        sum.allocated_bytes += after.allocated_bytes.saturating_sub(before.allocated_bytes);
        sum.allocated_blocks += after.allocated_blocks.saturating_sub(before.allocated_blocks);
        sum.freed_bytes += after.freed_bytes.saturating_sub(before.freed_bytes);
        sum.freed_blocks += after.freed_blocks.saturating_sub(before.freed_blocks);
        sum.allocated_variance +=
            after.allocated_variance.saturating_sub(before.allocated_variance);
        sum.freed_variance += after.freed_variance.saturating_sub(before.freed_variance);
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

/// What a slot says. Sampled numbers are rounded; since they only grow, and as much for a block's death
/// as for its birth, nothing is live when all is freed.
fn reading(slot: &Slot) -> SiteReading {
    let mean = slot.sample_mean_bytes;
    let blocks = |count: u64| if mean == 0 { count } else { (count + ONE_BLOCK / 2) / ONE_BLOCK };
    let unit = u128::from(ONE_SQUARE * VARIANCE_UNIT as u64);
    let variance = |sum: u64| {
        let squared = u128::from(mean) * u128::from(mean) * u128::from(sum);
        u64::try_from(squared / unit).unwrap_or(u64::MAX)
    };
    SiteReading {
        stack: StackId(slot.stack_hash),
        epoch: slot.epoch,
        allocated_bytes: slot.allocated_bytes,
        allocated_blocks: blocks(slot.allocated_blocks),
        freed_bytes: slot.freed_bytes,
        freed_blocks: blocks(slot.freed_blocks),
        allocated_variance: variance(slot.allocated_variance),
        freed_variance: variance(slot.freed_variance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::sampling::weight;

    #[test]
    fn sampled_slots_are_read_as_what_they_stand_for() {
        let weight = weight(64, 65_536);
        let slot = |born: u64, freed: u64| Slot {
            stack_hash: 9,
            sample_mean_bytes: 65_536,
            allocated_bytes: born * weight.bytes,
            allocated_blocks: born * weight.blocks,
            allocated_variance: born * weight.variance,
            freed_bytes: freed * weight.bytes,
            freed_blocks: freed * weight.blocks,
            freed_variance: freed * weight.variance,
            ..Slot::default()
        };
        let mut totals = SlotTotals::default();
        totals.add(&Slot::default(), &slot(7, 3));
        totals.add(&slot(7, 3), &slot(10, 10));
        let [sum] = totals.take_changed()[..] else { panic!("one site") };
        // Ten blocks drawn stand for 10,245 of 64 bytes.
        assert_eq!((sum.allocated_blocks, sum.freed_blocks), (10_245, 10_245));
        assert!(sum.allocated_bytes.abs_diff(64 * 10_245) < 100, "{sum:?}");
        assert_eq!(sum.freed_bytes, sum.allocated_bytes);
        // Each adds the square of 64 KiB, or nearly.
        let squares = sum.allocated_variance as f64 * VARIANCE_UNIT / 65_536_f64.powi(2);
        assert!((9.98..10.0).contains(&squares), "{squares}");
        assert_eq!(sum.freed_variance, sum.allocated_variance);
    }

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
