//! Looks at the heap of what is watched, from outside: while a session goes on at Python's objects,
//! to see which containers grow, and once at its end, in a bounded stop, at who holds what.

mod last;
mod lengths;
mod poll;
mod reading;

pub use last::LastCopy;

use crate::{
    capture::{GrownContainer, HeapMeta},
    runtime::python::PythonRuntime,
    target::Target,
};
use poll::Poll;
use reading::{Looking, Seen};
use std::time::{Duration, Instant};

/// How long the session's end waits for a look that is under way.
const PATIENCE: Duration = Duration::from_secs(30);
/// Notes that are kept.
const MAX_NOTES: usize = 32;

/// How heaps are to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At all.
    pub read: bool,
    /// How long the process may be stopped for the last look; `None`: never.
    pub max_stop: Option<Duration>,
    /// Whether keys of dictionaries are left out.
    pub hide_keys: bool,
    /// Whether it is a command that the session started.
    pub is_command: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            read: true,
            max_stop: Some(Duration::from_millis(250)),
            hide_keys: false,
            is_command: false,
        }
    }
}

/// The looks of a session at its target's heap.
#[derive(Debug)]
pub struct Heap {
    due: [Duration; 2],
    began: Instant,
    looking: Option<Looking>,
    first: Option<Seen>,
    poll: Option<Poll>,
    /// How containers that grew were reached when that was looked at last.
    reached: Vec<GrownContainer>,
    hide_keys: bool,
    free_threaded: bool,
    meta: HeapMeta,
    /// No look is made any more while the session goes on.
    is_done: bool,
}

impl Heap {
    /// Looks as the settings say; `None` where they say not to.
    pub fn new(settings: Settings, duration: Option<Duration>, began: Instant) -> Option<Self> {
        settings.read.then(|| Self {
            due: settings.due(duration),
            began,
            looking: None,
            first: None,
            poll: None,
            reached: Vec::new(),
            hide_keys: settings.hide_keys,
            free_threaded: false,
            meta: HeapMeta::default(),
            is_done: false,
        })
    }

    /// Looks from now on, as long apart as it would have from the beginning.
    pub fn starting_now(self) -> Self {
        let [first, second] = self.due;
        let now = self.began.elapsed();
        let due = [now, now.saturating_add(second.saturating_sub(first))];
        Self { due, ..self }
    }

    /// Whether a look is under way.
    pub fn is_looking(&self) -> bool {
        self.looking.is_some()
    }

    /// Whether containers are followed, which takes no copy.
    pub fn is_followed(&self) -> bool {
        self.poll.is_some()
    }

    /// A number of cycles of `outlive check` have ended: it is looked at behind those that do not
    /// count, and when a part of the others is over.
    pub fn cycles_ended(&mut self, ended: u32, warm_up: u32, cycles: u32) {
        let counted = [0, (cycles / 3).max(1)];
        for (due, counted) in self.due.iter_mut().zip(counted) {
            let is_due = ended >= warm_up.saturating_add(counted);
            *due = if is_due { Duration::ZERO } else { Duration::MAX };
        }
    }

    /// Looks, when it is time to; takes a moment, since what takes longer is done by a thread.
    pub fn look(&mut self, target: Option<&Target>, python: Option<&PythonRuntime>) {
        let now = self.began.elapsed();
        if let Some(poll) = &mut self.poll {
            poll.look(now.as_nanos() as u64);
            return;
        }
        if let Some(answer) = self.looking.as_ref().and_then(Looking::answer) {
            self.take(answer);
        }
        let is_due = now >= self.due[usize::from(self.first.is_some())];
        let (Some(target), Some(python)) = (target, python) else { return };
        if !is_due || self.is_done || self.looking.is_some() || self.poll.is_some() {
            return;
        }
        self.meta.pid = target.tgid;
        self.free_threaded = python.free_threaded;
        self.meta.runtime = format!("CPython {}", python.version);
        let before = self.first.as_ref().map(|first| first.moment.clone());
        let (target, python) = (target.clone(), python.clone());
        self.looking = Some(Looking::begin(target, python, before, self.began, self.hide_keys));
    }

    fn take(&mut self, answer: Result<Seen, String>) {
        self.looking = None;
        let seen = match answer {
            Ok(seen) => seen,
            Err(reason) => {
                self.is_done = true;
                return self.note(format!("the heap was not looked at: {reason}"));
            }
        };
        self.meta.readings.push(seen.reading.clone());
        match &self.first {
            None => self.first = Some(seen),
            Some(first) => {
                self.reached = seen.reached;
                self.meta.census = seen.census;
                let moments = [first.reading.at_ns, seen.reading.at_ns];
                self.poll = Some(Poll::new(self.meta.pid, self.free_threaded, seen.grown, moments));
            }
        }
    }

    /// What was seen so far.
    pub fn so_far(&self) -> HeapMeta {
        let mut meta = self.meta.clone();
        let followed = self.poll.iter().flat_map(|poll| &poll.containers);
        meta.containers = followed
            .filter_map(|one| {
                let known = self.reached.iter().find(|known| known.avma == one.grown.avma)?;
                let last = one.lengths.last().map_or(one.grown.now, |(_, length)| *length);
                let per_entry = known.held_bytes as f64 / one.grown.now.max(1) as f64;
                Some(GrownContainer {
                    lengths: one.lengths.clone(),
                    // As it would be with entries like those that it had then.
                    held_bytes: (per_entry * last as f64) as u64,
                    ..known.clone()
                })
            })
            .collect();
        meta
    }

    fn note(&mut self, note: String) {
        if self.meta.notes.len() < MAX_NOTES && !self.meta.notes.contains(&note) {
            self.meta.notes.push(note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::lengths::Grown;
    use super::*;
    use crate::capture::{Chain, HeapReading};

    /// Seen twice, and followed; `is_named`: chains were looked for.
    fn heap(is_named: bool) -> Heap {
        let mut heap = Heap::new(Settings::default(), None, Instant::now()).expect("looks");
        let reading = |at_ns| HeapReading { at_ns, ..HeapReading::default() };
        heap.take(Ok(Seen { reading: reading(1), ..Seen::default() }));
        let grown = Grown { avma: 0x70, type_avma: 1, length_avma: 0, before: 10, now: 40 };
        let steps = vec!["app.STORE".to_owned()];
        let chain = Chain { steps, ..Chain::default() };
        let known =
            GrownContainer { avma: 0x70, chain, held_bytes: 4000, ..GrownContainer::default() };
        let reached = if is_named { vec![known] } else { Vec::new() };
        heap.take(Ok(Seen { reading: reading(9), grown: vec![grown], reached, ..Seen::default() }));
        if let Some(poll) = &mut heap.poll {
            poll.containers[0].lengths.push((20, 80));
        }
        heap
    }

    #[test]
    fn a_process_that_ended_is_told_by_the_chains_of_an_earlier_look() {
        let meta = heap(true).without_last("it ended".into()).expect("readings");
        assert_eq!(meta.readings.len(), 2);
        let container = &meta.containers[0];
        assert_eq!(container.chain.steps, ["app.STORE"]);
        assert_eq!(container.lengths, [(1, 10), (9, 40), (20, 80)]);
        assert_eq!(container.held_bytes, 8000);
        assert!(meta.notes[0].contains("it ended") && meta.notes[0].contains("earlier look"));
        let bare = heap(false).without_last("it ended".into()).expect("readings");
        assert!(bare.containers.is_empty());
        assert!(bare.notes[0].contains("who holds what is not known"), "{:?}", bare.notes);
    }
}
