//! Removes the blocks of images that are gone from the live map, in a thread of its own: half a
//! million of them take a while. In batches, since a walk from key to key begins anew whenever the
//! target frees the block it stands at.

use aya::maps::Map;
use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    sync::mpsc::{Receiver, Sender, channel},
};
use tracer_common::slot::LiveBlock;

/// `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_DELETE_BATCH` of bpf(2) (Linux 5.6).
const LOOKUP_BATCH: libc::c_long = 24;
const DELETE_BATCH: libc::c_long = 27;
/// Blocks in a batch; no bucket of the map holds as many.
const BATCH: usize = 4096;

/// `union bpf_attr`, as the batch commands read it.
#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// The thread; it ends with what it was asked for when this is dropped, and nobody waits.
pub struct Sweep(Sender<HashSet<u32>>);

impl Sweep {
    /// For the live map.
    ///
    /// # Errors
    /// When its descriptor cannot be duplicated.
    pub fn new(live: &Map) -> io::Result<Self> {
        let Map::HashMap(data) = live else { return Err(io::Error::other("not a hash map")) };
        let map = data.fd().as_fd().try_clone_to_owned()?;
        let (queue, waiting) = channel();
        std::thread::spawn(move || work(&map, &waiting));
        Ok(Self(queue))
    }

    /// Forgets the blocks of these images some time soon.
    pub fn forget(&self, images: HashSet<u32>) {
        // Without the thread the entries take room, and nothing else.
        let _ = self.0.send(images);
    }
}

fn work(map: &OwnedFd, waiting: &Receiver<HashSet<u32>>) {
    while let Ok(mut images) = waiting.recv() {
        images.extend(waiting.try_iter().flatten());
        // What cannot be removed takes room until the end, and nothing else.
        let _ = sweep(map, &images);
    }
}

fn sweep(map: &OwnedFd, images: &HashSet<u32>) -> io::Result<()> {
    let mut keys = vec![0_u64; BATCH];
    let mut values = vec![LiveBlock::default(); BATCH];
    let mut position = [0_u32; 2];
    let mut is_first = true;
    loop {
        let place = position.as_mut_ptr() as u64;
        let mut attributes = BatchAttributes {
            in_batch: if is_first { 0 } else { place },
            out_batch: place,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH as u32,
            map_fd: map.as_raw_fd() as u32,
            ..BatchAttributes::default()
        };
        is_first = false;
        let done = match batch(LOOKUP_BATCH, &mut attributes) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let found = &keys[..(attributes.count as usize).min(BATCH)];
        let gone: Vec<u64> =
            found.iter().copied().filter(|key| images.contains(&((key >> 48) as u32))).collect();
        remove(map, &gone);
        if done {
            return Ok(());
        }
    }
}

fn remove(map: &OwnedFd, mut keys: &[u64]) {
    while !keys.is_empty() {
        let mut attributes = BatchAttributes {
            keys: keys.as_ptr() as u64,
            count: keys.len() as u32,
            map_fd: map.as_raw_fd() as u32,
            ..BatchAttributes::default()
        };
        let outcome = batch(DELETE_BATCH, &mut attributes);
        // It stops at a key that is gone already.
        let removed = if outcome.is_ok() { keys.len() } else { attributes.count as usize + 1 };
        keys = keys.get(removed..).unwrap_or_default();
    }
}

fn batch(command: libc::c_long, attributes: &mut BatchAttributes) -> io::Result<()> {
    // SAFETY: the attributes are as long as said, and point to arrays of `count` elements of the
    // map's own sizes, which the callers keep alive.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<BatchAttributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
