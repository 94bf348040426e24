//! Which blocks of a process are alive, by the live map.

use super::{batches::Batches, error::ProbeError, load, probes::Probes};
use crate::heap::native::LiveBlock;
use aya::maps::Map;
use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};
use tracer_common::slot;

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
    /// Half a second of a processor and 24 MB for a million blocks. Buckets of the live map are locked one by one,
    /// each for as long as it takes to copy it.
    ///
    /// # Kernel
    /// 5.6 (BPF_MAP_LOOKUP_BATCH).
    pub fn live_blocks(&self, tgid: u32, at_most: usize) -> Result<LiveBlocks, ProbeError> {
        let mut found = LiveBlocks::default();
        let image = self.traced.get(&tgid).and_then(|traced| traced.images.last());
        let Some(image) = image.copied() else { return Ok(found) };
        let at_most = at_most.min(MAX_LIVE_BLOCKS);
        let failed = |error: io::Error| ProbeError::Map(error.to_string());
        let live = self.ebpf.map("OUTLIVE_LIVE").ok_or_else(|| load::no_map("OUTLIVE_LIVE"))?;
        let mut batches = Batches::<slot::LiveBlock>::new(descriptor(live).map_err(failed)?);
        while let Some((keys, values)) = batches.next().map_err(failed)? {
            for (key, value) in keys.iter().zip(values) {
                if (key >> 48) as u32 != image {
                    continue;
                }
                if found.blocks.len() >= at_most {
                    found.left_out += 1;
                    continue;
                }
                let stack = self.slots.get(value.slot as usize).map_or(0, |slot| slot.stack_hash);
                let avma = key & 0x0000_ffff_ffff_ffff;
                found.blocks.push(LiveBlock { avma, size_bytes: value.size_bytes, stack });
            }
        }
        found.blocks.sort_unstable_by_key(|block| block.avma);
        Ok(found)
    }
}

/// A descriptor of its own for a hash map.
pub(super) fn descriptor(map: &Map) -> io::Result<OwnedFd> {
    let Map::HashMap(data) = map else { return Err(io::Error::other("not a hash map")) };
    data.fd().as_fd().try_clone_to_owned()
}
