//! Takes out probes, in a thread of its own: those of processes that have ended slowly, since the
//! kernel waits for a grace period for each while it holds a lock that placing a probe needs too;
//! those of living ones at the end, so that no thread of theirs has to wait for that.

use super::{
    grace::{Grace, Idle},
    links::Links,
    urgency::Urgency,
};
use aya::programs::uprobe::UProbeLink;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Between two probes. A process that is being adopted then waits for one grace period at most.
const PAUSE: Duration = Duration::from_millis(250);
/// More probes than this wait without pauses: each holds a descriptor.
const PATIENT_UNTIL: usize = 400;

/// A probe that is to be taken out.
pub struct Removal {
    pub(super) link: UProbeLink,
    /// Shared by the probes at one place of a process.
    pub(super) place: Arc<()>,
}

/// The thread. Dropping it takes out what is left, without pauses, and waits for that.
pub struct Detacher {
    queue: Option<Sender<Vec<Removal>>>,
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
        self.queue(links.into_each());
    }

    /// As [`Self::take`], for a probe of our own.
    pub fn take_own(&self, link: UProbeLink) {
        self.queue(vec![Removal { link, place: Arc::default() }]);
    }

    fn queue(&self, removals: Vec<Removal>) {
        if let Some(queue) = &self.queue {
            // A thread that is gone drops them here and now.
            let _ = queue.send(removals);
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

fn work(waiting: &Receiver<Vec<Removal>>) {
    let mut left: VecDeque<Removal> = VecDeque::new();
    loop {
        let next = if left.is_empty() {
            waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else if left.len() > PATIENT_UNTIL {
            waiting.recv_timeout(Duration::ZERO)
        } else {
            waiting.recv_timeout(PAUSE)
        };
        match next {
            Ok(removals) => left.extend(removals),
            Err(RecvTimeoutError::Timeout) => drop(left.pop_front()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let remover = Remover::new(!left.is_empty());
    // The last to come are those of living processes.
    while let Some(removal) = left.pop_back() {
        remover.remove(removal);
    }
}

/// Takes probes out of living processes, as fast as it goes; see [`super::grace`].
pub struct Remover {
    /// Without one, threads of living processes may wait as long as the kernel does.
    grace: Option<Grace>,
    used: Option<Sender<Idle>>,
    /// Takes out what `used` was: that takes a grace period too.
    idle: Option<JoinHandle<()>>,
    _urgency: Urgency,
}

impl Remover {
    /// One that is going to be used, or not.
    pub fn new(is_used: bool) -> Self {
        let grace = is_used.then(|| Grace::new().ok()).flatten();
        let (used, idle) = channel::<Idle>();
        let idle = std::thread::spawn(move || idle.into_iter().for_each(drop));
        Self { grace, used: Some(used), idle: Some(idle), _urgency: Urgency::begin() }
    }

    /// Takes out one; where it is the last at its place, behind a grace period.
    pub fn remove(&self, removal: Removal) {
        let is_last = Arc::strong_count(&removal.place) == 1;
        let grace = self.grace.as_ref().filter(|_| is_last);
        let waited = grace.and_then(|grace| grace.wait().ok());
        drop(removal.link);
        if let (Some(idle), Some(used)) = (waited, &self.used) {
            let _ = used.send(idle);
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.used = None;
        if let Some(idle) = self.idle.take() {
            let _ = idle.join();
        }
    }
}
