//! Removes the blocks of images that are gone from the live map, in a thread of its own: half a
//! million of them take a while.

use super::batches::Batches;
use std::{
    collections::HashSet,
    io,
    os::fd::OwnedFd,
    sync::mpsc::{Receiver, Sender, channel},
};
use tracer_common::slot::LiveBlock;

/// The thread; it ends with what it was asked for when this is dropped, and nobody waits.
pub struct Sweep(Sender<HashSet<u32>>);

impl Sweep {
    /// For the live map.
    pub fn new(live: OwnedFd) -> Self {
        let (queue, waiting) = channel();
        std::thread::spawn(move || work(live, &waiting));
        Self(queue)
    }

    /// Forgets the blocks of these images some time soon.
    pub fn forget(&self, images: HashSet<u32>) {
        // Without the thread the entries take room, and nothing else.
        let _ = self.0.send(images);
    }
}

fn work(live: OwnedFd, waiting: &Receiver<HashSet<u32>>) {
    let mut batches = Batches::new(live);
    while let Ok(mut images) = waiting.recv() {
        images.extend(waiting.try_iter().flatten());
        // What cannot be removed takes room until the end, and nothing else.
        let _ = sweep(&mut batches, &images);
    }
}

fn sweep(batches: &mut Batches<LiveBlock>, images: &HashSet<u32>) -> io::Result<()> {
    while let Some((keys, _)) = batches.next()? {
        let gone: Vec<u64> =
            keys.iter().copied().filter(|key| images.contains(&((key >> 48) as u32))).collect();
        batches.remove(&gone);
    }
    Ok(())
}
