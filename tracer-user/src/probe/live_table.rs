//! The live map from outside: its size, what is in it, and what is taken out of it for images
//! that are gone. Blocks enter it in the kernel (`tracer_common::live` says how).

use super::{error::ProbeError, load, mapped::Mapping};
use aya::{Ebpf, maps::Map};
use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};
use tracer_common::{
    live::{self, Bucket, ENTRIES, Shared, buckets_for, unpack, unpack_key},
    slot::LiveBlock,
};

/// Buckets that are mapped at once, 4 MiB: pages of the map that stayed mapped would count as
/// memory of ours too. A multiple of those in a page.
const WINDOW_BUCKETS: usize = 32_768;

/// Most blocks for which a processor takes room at once. Each batch is one access to a line of
/// memory that all processors share.
const LARGEST_BATCH: u32 = 32;
/// Batches of which what all processors have set aside (two each, at most) is a small part of all.
const BATCHES_PER_PROCESSOR: u32 = 64;

/// The live map, not mapped.
pub struct LiveTable {
    buckets: OwnedFd,
    room: OwnedFd,
    bucket_count: usize,
}

/// One block in it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Number of its image.
    pub image: u16,
    /// Its address.
    pub avma: u64,
    /// Its size and its slot.
    pub block: LiveBlock,
}

/// Blocks for which a processor takes room at once, so that no more than a thirtieth of
/// `max_live` is set aside unused.
pub fn room_batch(max_live: u32, processors: usize) -> u32 {
    let processors = u32::try_from(processors).unwrap_or(u32::MAX).max(1);
    (max_live / processors.saturating_mul(BATCHES_PER_PROCESSOR)).clamp(1, LARGEST_BATCH)
}

impl LiveTable {
    /// That of a loaded object; makes room for `max_live` blocks.
    ///
    /// # Errors
    /// When it has none, or its maps cannot be mapped.
    pub fn new(ebpf: &Ebpf, max_live: u32) -> Result<Self, ProbeError> {
        let table = Self {
            buckets: descriptor(ebpf, "OUTLIVE_LIVE")?,
            room: descriptor(ebpf, "OUTLIVE_ROOM")?,
            bucket_count: buckets_for(max_live) as usize,
        };
        table.add_room(u64::from(max_live)).map_err(|error| ProbeError::Map(error.to_string()))?;
        Ok(table)
    }

    /// Visits every block that is alive all the while once; what is born or dies meanwhile once or
    /// not at all.
    ///
    /// # Errors
    /// When the map cannot be mapped.
    pub fn visit(&self, mut visit: impl FnMut(Entry)) -> io::Result<()> {
        self.windows(|bucket| {
            for at in 0..ENTRIES {
                if let Some((key, word)) = live::read(&bucket, at) {
                    let (avma, image) = unpack_key(key);
                    visit(Entry { image, avma, block: unpack(word) });
                }
            }
        })
    }

    /// Takes out all blocks of these images. Programs may run all the while.
    ///
    /// # Errors
    /// When a map cannot be mapped.
    pub fn forget(&self, images: &HashSet<u32>) -> io::Result<()> {
        let mut forgotten = 0;
        let outcome = self.windows(|bucket| {
            for at in 0..ENTRIES {
                let key = bucket.key(at);
                if key == live::EMPTY || !images.contains(&u32::from(unpack_key(key).1)) {
                    continue;
                }
                // Where it is another's by now, it has died by itself.
                if bucket.exchange(at, key, live::EMPTY) {
                    forgotten += 1;
                }
            }
        });
        self.add_room(forgotten)?;
        outcome
    }

    fn add_room(&self, blocks: u64) -> io::Result<()> {
        let mapping = Mapping::new(self.room.as_fd(), 0, size_of::<u64>())?;
        // SAFETY: the map's only element, aligned, which everybody changes atomically.
        let room = unsafe { AtomicU64::from_ptr(mapping.base().cast().as_ptr()) };
        room.fetch_add(blocks, Relaxed);
        Ok(())
    }

    fn windows(&self, mut visit: impl FnMut(InMap<'_>)) -> io::Result<()> {
        for first in (0..self.bucket_count).step_by(WINDOW_BUCKETS) {
            let count = WINDOW_BUCKETS.min(self.bucket_count - first);
            let bytes = size_of::<Bucket>();
            let window = Mapping::new(self.buckets.as_fd(), first * bytes, count * bytes)?;
            let cells = window.base().cast::<Cells>();
            for index in 0..count {
                // SAFETY: inside the mapping, which outlives the borrow; all access is atomic.
                visit(InMap(unsafe { cells.add(index).as_ref() }));
            }
        }
        Ok(())
    }
}

/// A descriptor of its own for an array.
fn descriptor(ebpf: &Ebpf, name: &str) -> Result<OwnedFd, ProbeError> {
    let Some(Map::Array(data)) = ebpf.map(name) else { return Err(load::no_map(name)) };
    data.fd().as_fd().try_clone_to_owned().map_err(|error| ProbeError::Map(error.to_string()))
}

/// A [`Bucket`] that the kernel side changes.
#[repr(C)]
struct Cells {
    keys: [AtomicU64; ENTRIES],
    words: [AtomicU64; ENTRIES],
}
const _: () = assert!(size_of::<Cells>() == size_of::<Bucket>());

struct InMap<'a>(&'a Cells);

impl Shared for InMap<'_> {
    fn key(&self, at: usize) -> u64 {
        self.0.keys[at].load(Acquire)
    }

    fn exchange(&self, at: usize, old: u64, new: u64) -> bool {
        self.0.keys[at].compare_exchange(old, new, AcqRel, Relaxed).is_ok()
    }

    fn set_key(&self, at: usize, key: u64) {
        self.0.keys[at].store(key, Release);
    }

    fn word(&self, at: usize) -> u64 {
        self.0.words[at].load(Acquire)
    }

    fn set_word(&self, at: usize, word: u64) {
        self.0.words[at].store(word, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::room_batch;

    #[test]
    fn what_processors_set_aside_is_a_small_part() {
        for processors in [1, 2, 64, 512] {
            for max_live in [1, 20, 10_000, 500_000, 100_000_000] {
                let batch = room_batch(max_live, processors);
                let aside = 2 * u64::from(batch) * processors as u64;
                assert!((1..=32).contains(&batch));
                assert!(batch == 1 || aside <= u64::from(max_live) / 30, "{processors} {max_live}");
            }
        }
        assert_eq!(room_batch(500_000, 2), 32);
    }
}
