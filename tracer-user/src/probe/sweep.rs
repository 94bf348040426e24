//! Takes the blocks of images that are gone out of the live map, in a thread of its own: millions
//! of them take a while.

use super::live_table::LiveTable;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

/// The thread; it ends with what it was asked for when this is dropped, and nobody waits.
pub struct Sweep(Sender<HashSet<u32>>);

impl Sweep {
    /// For the live map.
    pub fn new(live: Arc<LiveTable>) -> Self {
        let (queue, waiting) = channel();
        std::thread::spawn(move || work(&live, &waiting));
        Self(queue)
    }

    /// Forgets the blocks of these images some time soon.
    pub fn forget(&self, images: HashSet<u32>) {
        // Without the thread the entries take room, and nothing else.
        let _ = self.0.send(images);
    }
}

fn work(live: &LiveTable, waiting: &Receiver<HashSet<u32>>) {
    while let Ok(mut images) = waiting.recv() {
        images.extend(waiting.try_iter().flatten());
        // What cannot be taken out takes room until the end, and nothing else.
        let _ = live.forget(&images);
    }
}
