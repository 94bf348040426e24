//! Takes out the probes of processes that have ended, in a thread of its own and slowly: the kernel
//! waits for a grace period for each while it holds a lock that placing a probe needs too.

use super::links::Links;
use aya::programs::uprobe::UProbeLink;
use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

/// Between two probes. A process that is being adopted then waits for one grace period at most.
const PAUSE: Duration = Duration::from_millis(250);
/// More probes than this wait without pauses: each holds a descriptor.
const PATIENT_UNTIL: usize = 400;

/// The thread. Dropping it takes out what is left, without pauses, and waits for that.
pub struct Detacher {
    queue: Option<Sender<Links>>,
    thread: Option<JoinHandle<()>>,
}

impl Default for Detacher {
    fn default() -> Self {
        let (queue, waiting) = channel();
        let thread = std::thread::spawn(move || work(&waiting));
        Self { queue: Some(queue), thread: Some(thread) }
    }
}

impl Detacher {
    /// Takes these out some time.
    pub fn take(&self, links: Links) {
        if let Some(queue) = &self.queue {
            // A thread that is gone drops them here and now.
            let _ = queue.send(links);
        }
    }

    /// Takes out these, then all that is left, without pauses.
    pub fn finish(&mut self, links: Vec<Links>) {
        links.into_iter().for_each(|links| self.take(links));
        self.queue = None;
    }
}

impl Drop for Detacher {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(waiting: &Receiver<Links>) {
    let mut left: VecDeque<UProbeLink> = VecDeque::new();
    loop {
        let next = if left.is_empty() {
            waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else if left.len() > PATIENT_UNTIL {
            waiting.recv_timeout(Duration::ZERO)
        } else {
            waiting.recv_timeout(PAUSE)
        };
        match next {
            Ok(links) => left.extend(links.into_each()),
            Err(RecvTimeoutError::Timeout) => drop(left.pop_front()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // The last to come are those of living processes.
    while left.pop_back().is_some() {}
}
