//! Takes out probes, in a thread of its own: those of processes that have ended slowly, since the
//! kernel waits for a grace period for each while it holds a lock that placing a probe needs too;
//! those of living ones at the end, while their breakpoints are kept in place ([`super::keeper`]).

use super::{keeper::Kept, links::Links, urgency::Urgency};
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

/// What is to be taken out.
enum Removal {
    /// One by one.
    Links(Vec<UProbeLink>),
    /// When all else is.
    Kept(Vec<Kept>),
}

/// The thread. Dropping it takes out what is left, without pauses, and waits for that.
pub struct Detacher {
    queue: Option<Sender<Removal>>,
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
        self.queue(Removal::Links(links.into_each()));
    }

    /// As [`Self::take`], for a probe of our own.
    pub fn take_own(&self, link: UProbeLink) {
        self.queue(Removal::Links(vec![link]));
    }

    fn queue(&self, removal: Removal) {
        if let Some(queue) = &self.queue {
            // A thread that is gone drops it here and now.
            let _ = queue.send(removal);
        }
    }

    /// Takes out these, then all that is left, without pauses, and then what kept their breakpoints
    /// in place.
    pub fn finish(&mut self, links: Vec<Links>, kept: Vec<Kept>) {
        self.queue(Removal::Kept(kept));
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

fn work(waiting: &Receiver<Removal>) {
    let mut left: VecDeque<UProbeLink> = VecDeque::new();
    let mut last = Vec::new();
    loop {
        let next = if left.is_empty() {
            waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else if left.len() > PATIENT_UNTIL {
            waiting.recv_timeout(Duration::ZERO)
        } else {
            waiting.recv_timeout(PAUSE)
        };
        match next {
            Ok(Removal::Links(links)) => left.extend(links),
            Ok(Removal::Kept(kept)) => last.extend(kept),
            Err(RecvTimeoutError::Timeout) => drop(left.pop_front()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let _urgency = Urgency::begin();
    // The last to come are those of living processes.
    while left.pop_back().is_some() {}
    drop(last);
}
