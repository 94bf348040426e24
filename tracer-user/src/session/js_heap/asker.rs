//! The thread that talks to an inspector: it may wait and enter another network, the session's own
//! may not. Samples and closes (`opening` opens); tells the session by a channel and is told by
//! another (`order`).

use super::{
    left_open::{Note, is_gone},
    naming::Originals,
    order::{Command, Order, Told, Way},
    pace::{self, Pace},
    permission::Permission,
};
use crate::{
    runtime::node::{
        FileMaps,
        inspector::{
            self, Client, Endpoint, Heap, HeapProfile, InspectorError, JsPlace, enter_network,
        },
    },
    warning::Warning,
};
use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc::UnboundedSender;

/// How long a process may take to end whose connection broke.
const DIES_WITHIN: Duration = Duration::from_millis(500);
const GLANCE: Duration = Duration::from_millis(10);
/// Places that are looked for in source maps.
const MAX_PLACES: usize = 1 << 20;
/// How long the program may take to close its inspector when a snapshot was given up: V8 makes it to
/// its end before it looks at anything else, for 50 s per 100 MB of heap on a busy machine. Whoever
/// cannot wait interrupts once more.
const CLOSES_AFTER_SNAPSHOT_WITHIN: Duration = Duration::from_secs(600);
/// How long workers are waited for before commands are looked at.
const WORKERS_FOR: Duration = Duration::from_millis(100);

/// The thread's life.
pub fn run(order: Order, commands: &Receiver<Command>, told: &UnboundedSender<Told>) {
    let maps = FileMaps::new(order.target.tgid);
    let mut asker = Asker {
        order,
        commands,
        told,
        finish: None,
        collect: false,
        note: None,
        way: None,
        before: None,
        maps,
        places: HashSet::new(),
    };
    let closed = asker.live();
    // Whoever listens has gone when outlive itself ends.
    let _ = told.send(Told::Ended { closed });
}

/// The thread at work.
pub(super) struct Asker<'a> {
    pub(super) order: Order,
    pub(super) commands: &'a Receiver<Command>,
    told: &'a UnboundedSender<Told>,
    /// Set when the session wants the end; `None` inside where it does not wait for anything.
    pub(super) finish: Option<Option<Command>>,
    /// Whether the session waits for a collection.
    collect: bool,
    pub(super) note: Option<Note>,
    pub(super) way: Option<Way>,
    /// Where the process listened before it was told to open its inspector, if it was.
    pub(super) before: Option<Vec<SocketAddr>>,
    maps: FileMaps,
    /// Those that were looked for in them.
    places: HashSet<JsPlace>,
}

impl Asker<'_> {
    /// Whether the inspector is closed again at the end; `None` where it was not ours to close.
    fn live(&mut self) -> Option<bool> {
        let tgid = self.order.target.tgid;
        if let Err(error) = enter_network(tgid) {
            self.less(
                "js-heap-network",
                format!("The network of process {tgid} cannot be entered ({error}), so its inspector cannot be reached."),
                "",
            );
            return None;
        }
        let endpoint = self.open()?;
        let connected = Client::connect(&endpoint, self.order.interrupted.clone());
        let client = match connected.and_then(|mut client| {
            client.go_when_the_program_ends()?;
            Ok(client)
        }) {
            Ok(client) => client,
            Err(error) => {
                self.failed(&error);
                return self.closed(&endpoint, None);
            }
        };
        if !self.order.samples {
            let client = self.retainers(client);
            return self.closed(&endpoint, client);
        }
        let began = self.interval(client).and_then(|(client, interval_bytes)| {
            Ok((Heap::begin(client, interval_bytes)?, interval_bytes))
        });
        let (mut heap, interval_bytes) = match began {
            Ok(begun) => begun,
            Err(error) => {
                self.failed(&error);
                return self.closed(&endpoint, None);
            }
        };
        if let Permission::Launched(before) = &self.order.permission
            && let Err(error) = heap.restore_node_options(before.as_deref())
        {
            self.less(
                "js-heap-inherited",
                format!("NODE_OPTIONS of the command could not be put back to what it was ({error}): its children may open inspectors too."),
                "",
            );
        }
        if let Some(way) = self.way {
            self.tell(Told::Began { way, port: endpoint.address.port(), interval_bytes });
        }
        let sampled = self.sample(&mut heap);
        let client = match sampled {
            Ok(()) if self.is_snapshot_wanted() => self.retainers_of_samples(heap, interval_bytes),
            Ok(()) => Some(heap.end()),
            Err(error) => {
                self.failed(&error);
                (!matches!(error, InspectorError::Closed)).then(|| heap.end())
            }
        };
        self.closed(&endpoint, client)
    }

    /// The distance between two samples: as it was asked for, else by how much the program allocates,
    /// since each sample costs it the walk of a stack.
    fn interval(&self, mut client: Client) -> Result<(Client, u64), InspectorError> {
        if let Some(interval_bytes) = self.order.interval_bytes {
            return Ok((client, interval_bytes));
        }
        if self.way == Some(Way::Launched) {
            // Nothing is known of it yet, and what it allocates first is wanted.
            return Ok((client, pace::USUAL_INTERVAL_BYTES));
        }
        let mut readings = Vec::new();
        let began = Instant::now();
        while began.elapsed() < pace::LOOK_FOR && self.order.target.is_alive() {
            readings.push((began.elapsed(), inspector::used_bytes(&mut client)?));
            std::thread::sleep(pace::LOOK_EVERY);
        }
        Ok((client, pace::interval_bytes(&readings)))
    }

    /// Takes a command in, if one comes in time.
    pub(super) fn listen_for(&mut self, time: Duration) {
        match self.commands.recv_timeout(time) {
            Ok(Command::Collect) => self.collect = true,
            // It comes after the last profile.
            Ok(Command::Retainers) => {}
            Ok(command) => self.finish = Some(Some(command)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.finish = Some(None),
        }
    }

    /// Fetches profiles until the session wants the end.
    fn sample(&mut self, heap: &mut Heap) -> Result<(), InspectorError> {
        let mut pace = Pace::new(heap.used_bytes()?, self.order.duration);
        let began = Instant::now();
        let mut due = began + pace.first();
        while self.finish.is_none() {
            let gone = heap.watch_workers(Instant::now() + WORKERS_FOR)?;
            if !gone.is_empty() {
                self.tell(Told::Gone(gone));
            }
            self.listen_for(Duration::ZERO);
            if std::mem::take(&mut self.collect) {
                heap.collect_garbage()?;
                self.fetch(heap)?;
                self.tell(Told::Collected);
            }
            if self.finish.is_none() && Instant::now() >= due {
                let pause = self.fetch(heap)?;
                due = Instant::now() + pace.next(pause);
            }
        }
        if let Some(Some(Command::Finish { force_gc })) = self.finish {
            if force_gc {
                heap.collect_garbage()?;
            }
            self.fetch(heap)?;
            match heap.statistics() {
                Ok(statistics) => self.tell(Told::Statistics(statistics, heap.isolates())),
                Err(InspectorError::Closed) => return Err(InspectorError::Closed),
                Err(error) => log::info!("no statistics of V8's heap: {error}"),
            }
        }
        Ok(())
    }

    /// The longest pause of the profiles that were fetched.
    fn fetch(&mut self, heap: &mut Heap) -> Result<Duration, InspectorError> {
        let profiles = heap.profiles()?;
        let pause = profiles.iter().map(|profile| profile.pause).max().unwrap_or_default();
        let originals = self.originals(&profiles);
        self.tell(Told::Profiles(profiles, originals));
        Ok(pause)
    }

    /// The originals of places that are new, from the source maps of their scripts.
    fn originals(&mut self, profiles: &[HeapProfile]) -> Originals {
        let mut found = Originals::new();
        for place in profiles.iter().flat_map(|profile| profile.profile.places()) {
            if self.places.len() >= MAX_PLACES {
                break;
            }
            if place.url.is_empty() || !self.places.insert(place.clone()) {
                continue;
            }
            let position = (u32::try_from(place.line_number), u32::try_from(place.column_number));
            if let (Ok(line), Ok(column)) = position
                && let Some(original) = self.maps.original(&place.url, line, column)
            {
                found.insert(place.clone(), original);
            }
        }
        found
    }

    /// Closes what this session has opened.
    fn closed(&mut self, endpoint: &Endpoint, client: Option<Client>) -> Option<bool> {
        if !matches!(self.way, Some(Way::Signal | Way::Launched)) {
            return None;
        }
        let tgid = self.order.target.tgid;
        let within = match self.order.interrupted.load(Ordering::Relaxed) && !self.order.samples {
            true => CLOSES_AFTER_SNAPSHOT_WITHIN,
            false => inspector::CLOSES_WITHIN,
        };
        if !self.order.target.is_alive() {
            self.forget_note();
            return Some(true);
        }
        // Nothing may interrupt this: a flag that nobody else knows, since a signal may come now.
        let undisturbed = Arc::new(AtomicBool::new(false));
        let client = client.map_or_else(|| Client::connect(endpoint, undisturbed.clone()), Ok);
        let closed = client.and_then(|mut client| {
            client.heed(undisturbed.clone());
            inspector::close(&mut client, within)
        });
        if closed.is_ok() && is_gone(tgid, endpoint.address.port()) || !self.order.target.is_alive()
        {
            self.forget_note();
            return Some(true);
        }
        let reason = closed.err().map(|error| format!(" ({error})")).unwrap_or_default();
        self.less(
            "js-heap-left-open",
            format!("The inspector of process {tgid} could not be closed again{reason}; it listens on {}.", endpoint.address),
            "The next start of outlive tries again.",
        );
        Some(false)
    }

    fn failed(&self, error: &InspectorError) {
        let tgid = self.order.target.tgid;
        let broke = matches!(error, InspectorError::Closed | InspectorError::Io(_));
        if !self.order.target.is_alive() || broke && self.dies() {
            return self.less(
                "js-heap-ended",
                format!(
                    "Process {tgid} has ended; of its JavaScript heap the last profile counts."
                ),
                "",
            );
        }
        let message = match error {
            InspectorError::Interrupted => return,
            InspectorError::Timeout { .. } => format!(
                "The inspector of process {tgid} does not answer ({error}): the program's main thread is busy in native code, or stopped. From here on its JavaScript heap is not followed."
            ),
            _ => format!(
                "The JavaScript heap of process {tgid} is not followed from here on: {error}."
            ),
        };
        self.less("js-heap-lost", message, "");
    }

    /// Whether the process ends soon: its connections go before it does.
    fn dies(&self) -> bool {
        let deadline = Instant::now() + DIES_WITHIN;
        while self.order.target.is_alive() && Instant::now() < deadline {
            std::thread::sleep(GLANCE);
        }
        !self.order.target.is_alive()
    }

    pub(super) fn less(&self, code: &'static str, message: String, advice: &str) {
        self.tell(Told::Less(Warning::new(code, message, advice)));
    }

    pub(super) fn tell(&self, what: Told) {
        // Nobody listens any more when the session has failed; what is left is to close.
        let _ = self.told.send(what);
    }
}
