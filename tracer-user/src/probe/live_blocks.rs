//! Which blocks of a process are alive, by the live map.

use super::{error::ProbeError, probes::Probes};
use crate::heap::native::LiveBlock;

/// Blocks that are listed at most: half a gigabyte of them.
pub const MAX_LIVE_BLOCKS: usize = 20_000_000;

/// Blocks of one process that are alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveBlocks {
    /// By address.
    pub blocks: Vec<LiveBlock>,
    /// How many more there are, which are not listed.
    pub left_out: u64,
}

impl Probes {
    /// The blocks of a process that are alive and were born under our eyes, at most so many; they
    /// are there whether probes still act or not, until the process is released. What is born or
    /// dies meanwhile may be in it or not.
    ///
    /// # Errors
    /// When the live map cannot be read.
    ///
    /// # Cost
    /// A walk through the map's memory, and a sort. No program waits.
    pub fn live_blocks(&self, tgid: u32, at_most: usize) -> Result<LiveBlocks, ProbeError> {
        let mut found = LiveBlocks::default();
        let image = self.traced.get(&tgid).and_then(|traced| traced.images.last());
        let Some(image) = image.copied() else { return Ok(found) };
        let at_most = at_most.min(MAX_LIVE_BLOCKS);
        let outcome = self.live.visit(|entry| {
            if u32::from(entry.image) != image {
                return;
            }
            if found.blocks.len() >= at_most {
                found.left_out += 1;
                return;
            }
            let slot = self.slots.get(entry.block.slot as usize);
            let stack = slot.map_or(0, |slot| slot.stack_hash);
            let (avma, size_bytes) = (entry.avma, entry.block.size_bytes);
            found.blocks.push(LiveBlock { avma, size_bytes, stack });
        });
        outcome.map_err(|error| ProbeError::Map(error.to_string()))?;
        found.blocks.sort_unstable_by_key(|block| block.avma);
        // Of a block that moves while it is looked at (freed, and born again), and of a program that
        // gives one away twice.
        found.blocks.dedup_by_key(|block| block.avma);
        Ok(found)
    }
}
