//! One look at a heap while its process runs, by a thread of its own: the session's loop goes on.

use super::{
    Settings,
    lengths::{Grown, grown_since},
    poll::MAX_FOLLOWED,
};
use crate::{
    capture::{Census, GrownContainer, HeapReading},
    heap::{
        plan_of,
        python::{
            Moment, PythonHeap,
            graph::{Graph, Roots},
        },
    },
    runtime::python::PythonRuntime,
    target::Target,
};
use std::{
    sync::mpsc::{Receiver, TryRecvError, channel},
    time::{Duration, Instant},
};

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How it was read.
    pub reading: HeapReading,
    /// What there was, to compare a later look with.
    pub moment: Moment,
    /// The containers that grew since the reading before.
    pub grown: Vec<Grown>,
    /// How those that gained the most are reached, should there be no later look: as far as that can
    /// be told of a process that runs.
    pub reached: Vec<GrownContainer>,
    /// What there was, and how much of it came since the reading before.
    pub census: Option<Census>,
}

/// Containers that grew of which is told at once how they are reached.
const MAX_REACHED: usize = 20;
/// In a larger heap it is not told before the end: containers are to be followed soon. Bytes.
const MAX_NAMED_BYTES: u64 = 256 << 20;

/// A look under way.
#[derive(Debug)]
pub struct Looking {
    receiver: Receiver<Result<Seen, String>>,
}

impl Looking {
    /// Looks; `before` is what is compared with, and `began` when the session did.
    pub fn begin(
        target: Target,
        runtime: PythonRuntime,
        before: Option<Moment>,
        began: Instant,
        hide_keys: bool,
    ) -> Self {
        let (sender, receiver) = channel();
        let look = move || {
            // Nobody waits for a look at the end of a session.
            let _ = sender.send(look(&target, &runtime, before, began, hide_keys));
        };
        let started = std::thread::Builder::new().name("heap".into()).spawn(look);
        // Where there is no thread to be had nothing comes, which is an answer.
        drop(started);
        Self { receiver }
    }

    /// What came of it; `None` while it goes on.
    pub fn answer(&self) -> Option<Result<Seen, String>> {
        match self.receiver.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("no thread could be had for it".into())),
        }
    }

    /// The same, waiting for it at most so long.
    pub fn answer_within(&self, patience: Duration) -> Option<Result<Seen, String>> {
        self.receiver.recv_timeout(patience).ok()
    }
}

fn look(
    target: &Target,
    runtime: &PythonRuntime,
    before: Option<Moment>,
    began: Instant,
    hide_keys: bool,
) -> Result<Seen, String> {
    let from = Instant::now();
    let at_ns = (from - began).as_nanos() as u64;
    let plan = plan_of(target.clone()).map_err(|error| error.to_string())?;
    let copied = plan.live().map_err(|error| error.to_string())?;
    let heap =
        PythonHeap::read(&copied.image, target, runtime).map_err(|error| error.to_string())?;
    let grown = before.as_ref().map(|before| grown_since(&heap, before, MAX_FOLLOWED));
    let grown = grown.unwrap_or_default();
    let reached = match copied.reading.copied_bytes <= MAX_NAMED_BYTES {
        true => reached(&heap, &grown, &Roots::of(target, runtime), hide_keys),
        false => Vec::new(),
    };
    let census = before.map(|before| heap.census_since(&before));
    let moment = heap.moment();
    let took_ns = from.elapsed().as_nanos() as u64;
    let reading = HeapReading { at_ns, took_ns, ..copied.reading };
    Ok(Seen { reading, moment, grown, reached, census })
}

/// How containers are reached and what they hold.
fn reached(
    heap: &PythonHeap<'_>,
    grown: &[Grown],
    roots: &Roots,
    hide_keys: bool,
) -> Vec<GrownContainer> {
    if grown.is_empty() {
        return Vec::new();
    }
    let Some(mut graph) = Graph::new(heap, roots) else { return Vec::new() };
    graph.hide_keys(hide_keys);
    let few = grown.iter().take(MAX_REACHED);
    few.filter_map(|one| Some(graph.container(heap.objects.find(one.avma)?))).collect()
}

impl Settings {
    /// When the first and the second look are due, from the session's begin: never, until it is
    /// said, where the window has no end that is known. A command is left to start up.
    pub fn due(&self, duration: Option<Duration>) -> [Duration; 2] {
        let whole = duration.unwrap_or(UNBOUNDED);
        if whole == Duration::MAX {
            return [whole; 2];
        }
        let first = if self.is_command { (whole / 10).min(START_UP) } else { Duration::ZERO };
        [first, (whole / 4).max(first + SHORTEST_BETWEEN).min(LATEST)]
    }
}

/// A session without an end is looked at as one of this length.
const UNBOUNDED: Duration = Duration::from_secs(120);
/// How long a command may take to start up.
const START_UP: Duration = Duration::from_secs(10);
/// Between the first look and the second, at least.
const SHORTEST_BETWEEN: Duration = Duration::from_secs(2);
/// Containers are followed from then on at the latest.
const LATEST: Duration = Duration::from_secs(600);
