//! What a pause of the allocator's probes means for the books: the frees in it pass unseen, so
//! nothing that was followed before it can be known to live. Those blocks count as freed from then
//! on, which is said beside, and the live map begins anew.

use super::probes::Probes;
use std::collections::HashSet;

/// What was live when it was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Blocks; sampled: about so many.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Probes {
    /// Counts all blocks that were born before the present epoch as gone, and begins to empty the
    /// live map. The hot probes are out by now.
    pub fn forget_followed(&mut self) -> Forgotten {
        let sum = |probes: &Self| {
            let sites = probes.totals.all();
            sites.fold(Forgotten::default(), |sum, site| Forgotten {
                blocks: sum.blocks + site.allocated_blocks.saturating_sub(site.freed_blocks),
                bytes: sum.bytes + site.allocated_bytes.saturating_sub(site.freed_bytes),
            })
        };
        self.refresh_totals();
        let before = sum(self);
        self.forgotten_before = self.epoch();
        self.refresh_totals();
        let after = sum(self);
        let images: HashSet<u32> =
            self.traced.values().flat_map(|traced| traced.images.iter().copied()).collect();
        self.sweep.forget(images);
        Forgotten {
            blocks: before.blocks.saturating_sub(after.blocks),
            bytes: before.bytes.saturating_sub(after.bytes),
        }
    }

    /// Whether the live map is empty of what was forgotten, so that blocks may be followed again.
    pub fn has_forgotten(&self) -> bool {
        self.sweep.is_done()
    }

    /// The allocator's probes may go in again ([`Self::place`]).
    pub fn let_in(&self) {
        self.reach.open();
    }
}
