//! Removes the blocks of images that are gone from the live map, in a thread of its own: half a
//! million of them take a while.

use super::batches::Batches;
use std::{
    collections::HashSet,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};
use tracer_common::slot::LiveBlock;

/// The thread; it ends with what it was asked for when this is dropped, and nobody waits.
pub struct Sweep {
    queue: Sender<HashSet<u32>>,
    /// What was asked for and is not done.
    left: Arc<AtomicUsize>,
}

impl Sweep {
    /// For the live map.
    pub fn new(live: OwnedFd) -> Self {
        let (queue, waiting) = channel();
        let left = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&left);
        std::thread::spawn(move || work(live, &waiting, &done));
        Self { queue, left }
    }

    /// Forgets the blocks of these images some time soon.
    pub fn forget(&self, images: HashSet<u32>) {
        self.left.fetch_add(1, Ordering::SeqCst);
        // Without the thread the entries take room, and nothing else.
        if self.queue.send(images).is_err() {
            self.left.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether all that was asked for is done.
    pub fn is_done(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

fn work(live: OwnedFd, waiting: &Receiver<HashSet<u32>>, left: &AtomicUsize) {
    let mut batches = Batches::new(live);
    while let Ok(mut images) = waiting.recv() {
        let mut requests = 1;
        for more in waiting.try_iter() {
            images.extend(more);
            requests += 1;
        }
        // What cannot be removed takes room until the end, and nothing else.
        let _ = sweep(&mut batches, &images);
        left.fetch_sub(requests, Ordering::SeqCst);
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
