//! Takes the blocks of images that are gone out of the live map, in a thread of its own: millions
//! of them take a while.

use super::live_table::LiveTable;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};

/// The thread; it ends with what it was asked for when this is dropped, and nobody waits.
pub struct Sweep {
    queue: Sender<HashSet<u32>>,
    /// What was asked for and is not done.
    left: Arc<AtomicUsize>,
}

impl Sweep {
    /// For the live map.
    pub fn new(live: Arc<LiveTable>) -> Self {
        let (queue, waiting) = channel();
        let left = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&left);
        std::thread::spawn(move || work(&live, &waiting, &done));
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

fn work(live: &LiveTable, waiting: &Receiver<HashSet<u32>>, left: &AtomicUsize) {
    while let Ok(mut images) = waiting.recv() {
        let mut requests = 1;
        for more in waiting.try_iter() {
            images.extend(more);
            requests += 1;
        }
        // What cannot be taken out takes room until the end, and nothing else.
        let _ = live.forget(&images);
        left.fetch_sub(requests, Ordering::SeqCst);
    }
}
