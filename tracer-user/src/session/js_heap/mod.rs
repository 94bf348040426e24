//! The JavaScript heap of a session's target: what Node's own sampling heap profiler tells of the
//! objects that are alive, beside the blocks that probes see. The inspector is asked by a thread of
//! its own (`asker`), so that the session never waits for the program.

mod asker;
mod last_look;
mod launch;
mod ledger;
mod left_open;
mod naming;
mod opening;
mod order;
mod pace;
mod permission;
mod retainers;
mod snapshot;
mod weight;

pub use launch::environment;
pub use snapshot::look;

use super::{JsHeapMode, Whom, watch::Session};
use crate::{
    capture::{HeapMeta, HeapSpace, JsHeapMeta, Meta, NodeMeta},
    runtime::node::inspector::{HeapProfile, Statistics},
    stderr::say,
    tick::Tick,
};
use anyhow::Result;
use ledger::Ledger;
use order::{Command, HideKeys, Order, Told, Way};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError, unbounded_channel};

/// How long the last profile may take, and what V8 says of its heap.
const LAST_PROFILE_WITHIN: Duration = Duration::from_secs(10);
/// And in pauses, for heaps of which each takes long.
const LAST_PROFILE_PAUSES: u32 = 4;
/// How long closing the inspector may take, after the wait for a profile was given up.
const CLOSED_WITHIN: Duration = Duration::from_secs(9);
/// How long a snapshot may take with all that is made of it. Its own limits are shorter.
const RETAINERS_WITHIN: Duration = Duration::from_secs(3600);
/// How often the thread is asked whether it is done.
const GLANCE: Duration = Duration::from_millis(5);
/// Stack of the thread, in bytes: a profile is nested as deep as the program's calls.
const THREAD_STACK_BYTES: usize = 8 << 20;

/// Closes inspectors that an outlive which was killed has left open, and says so.
pub fn close_left_open() {
    for (pid, is_closed) in left_open::close_all() {
        match is_closed {
            true => say(&format!(
                "closed the inspector of process {pid}, which an outlive that was killed had opened"
            )),
            false => say(&format!(
                "warning: the inspector of process {pid}, which an outlive that was killed had opened, could not be closed; the next start tries again"
            )),
        }
    }
}

/// The JavaScript heap of the target.
pub struct JsHeap {
    commands: Option<Sender<Command>>,
    told: UnboundedReceiver<Told>,
    interrupted: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    has_ended: bool,
    ledger: Option<Ledger>,
    max_stacks: u32,
    meta: Option<JsHeapMeta>,
    statistics: Option<(Statistics, u32)>,
    /// Whether a collection that was asked for is still to come.
    collecting: bool,
    /// Whether the last profile has come, and a snapshot can be asked for.
    settled: bool,
    /// What a snapshot showed.
    retainers: Option<HeapMeta>,
}

/// What the inspector's thread tells next; never where there is none.
pub async fn told(js_heap: &mut Option<JsHeap>) -> Told {
    match js_heap {
        Some(js_heap) if !js_heap.has_ended => match js_heap.told.recv().await {
            Some(told) => told,
            // It has ended without a word.
            None => Told::Ended { closed: None },
        },
        _ => std::future::pending().await,
    }
}

impl JsHeap {
    /// Asks for a collection of all garbage and a profile behind it; whether that can be had.
    pub fn collect(&mut self) -> bool {
        let can = self.meta.is_some() && !self.has_ended;
        let commands = self.commands.as_ref().filter(|_| can);
        self.collecting = commands.is_some_and(|commands| commands.send(Command::Collect).is_ok());
        self.collecting
    }

    /// Whether what was asked for by [`JsHeap::collect`] is done, or will never be.
    pub fn has_collected(&self) -> bool {
        !self.collecting || self.has_ended
    }

    /// Counters that changed.
    pub fn add_to(&mut self, tick: &mut Tick) {
        if let Some(ledger) = &mut self.ledger {
            tick.sites.extend(ledger.readings());
            if ledger.lost() > 0 {
                tick.counters.user.insert("js_heap_samples_lost".into(), ledger.lost());
            }
        }
    }

    /// Writes into the recording how it was looked into.
    pub fn describe(&self, meta: &mut Meta) {
        meta.heaps.extend(self.retainers.clone());
        let Some(found) = &self.meta else { return };
        let node = meta.node.get_or_insert_with(NodeMeta::default);
        node.js_heap = Some(found.clone());
        let Some((statistics, isolates)) = &self.statistics else { return };
        node.isolates = Some(*isolates);
        node.external_bytes = Some(statistics.external_bytes);
        if node.v8_version.is_empty() {
            node.v8_version.clone_from(&statistics.v8_version);
        }
        let space = |space: &crate::runtime::node::inspector::Space| HeapSpace {
            name: space.name.clone(),
            used_bytes: space.used_bytes,
            size_bytes: space.size_bytes,
        };
        node.spaces = statistics.spaces.iter().map(space).collect();
    }
}

impl Drop for JsHeap {
    /// Nothing is left open, whatever has failed.
    fn drop(&mut self) {
        self.interrupted.store(true, Ordering::Relaxed);
        self.commands = None;
        let deadline = Instant::now() + CLOSED_WITHIN;
        while let Some(thread) =
            self.thread.take_if(|thread| thread.is_finished() || Instant::now() < deadline)
        {
            if thread.is_finished() {
                let _ = thread.join();
                return;
            }
            self.thread = Some(thread);
            thread::sleep(GLANCE);
        }
    }
}

impl Session {
    /// Has a thread look into the target's JavaScript heap, where that is wanted and there is one.
    pub(super) fn begin_js_heap(&mut self) {
        let Some(target) = self.processes.target_of(self.tgid).cloned() else { return };
        let config = &self.config;
        let permission = permission::judge(config.js_heap, &config.whom, &target, &mut self.probes);
        let Some(permission) = permission else { return };
        let (commands, orders) = channel();
        let (tell, told) = unbounded_channel();
        let interrupted = Arc::new(AtomicBool::new(false));
        let order = Order {
            target,
            permission,
            interval_bytes: config.js_heap_interval_bytes,
            samples: true,
            retainers: config.js_retainers.then_some(HideKeys(config.heap.hide_keys)),
            holders: Vec::new(),
            duration: config.duration,
            interrupted: interrupted.clone(),
        };
        let thread = thread::Builder::new()
            .name("outlive-js-heap".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || asker::run(order, &orders, &tell));
        self.js_heap = Some(JsHeap {
            commands: Some(commands),
            told,
            interrupted,
            // Without a thread the channel is closed, which is its end.
            thread: thread.ok(),
            has_ended: false,
            ledger: None,
            max_stacks: config.limits.max_stacks,
            meta: None,
            statistics: None,
            collecting: false,
            settled: false,
            retainers: None,
        });
    }

    /// Takes in what the inspector's thread tells.
    pub(super) fn js_heap_told(&mut self, told: Told) -> Result<()> {
        let image = self.processes.followed.get(&self.tgid).map(|followed| followed.image);
        let epoch = self.epochs.present();
        let Some(js_heap) = &mut self.js_heap else { return Ok(()) };
        match told {
            Told::Began { way, port, interval_bytes } => {
                let Some(image) = image else { return Ok(()) };
                js_heap.ledger = Some(Ledger::new(image, interval_bytes, js_heap.max_stacks));
                js_heap.meta = Some(JsHeapMeta {
                    way: way.name().to_owned(),
                    sampling_interval_bytes: interval_bytes,
                    ..JsHeapMeta::default()
                });
                self.recorder.console.say(&how(way, port));
            }
            Told::Profiles(profiles, originals) => {
                let (Some(ledger), Some(meta)) = (&mut js_heap.ledger, &mut js_heap.meta) else {
                    return Ok(());
                };
                ledger.learn(originals);
                for profile in &profiles {
                    meta.profiles += 1;
                    meta.longest_pause_ns =
                        meta.longest_pause_ns.max(profile.pause.as_nanos() as u64);
                    for (raw, stack) in ledger.take(profile, epoch).stacks {
                        self.recorder.stack(raw)?;
                        self.recorder.resolved(stack)?;
                    }
                }
            }
            Told::Collected => js_heap.collecting = false,
            Told::Gone(isolates) => {
                if let Some(ledger) = &mut js_heap.ledger {
                    isolates.into_iter().for_each(|isolate| ledger.end_isolate(isolate));
                }
            }
            Told::Less(warning) => self.recorder.warn(&warning)?,
            Told::Say(text) => self.recorder.console.say(&text),
            Told::Settled => js_heap.settled = true,
            Told::Retainers(heap, profile, ago) => {
                let at = self.began.elapsed().saturating_sub(ago);
                js_heap.retainers =
                    Some(in_session(*heap, profile, js_heap.ledger.as_ref(), at.as_nanos() as u64));
            }
            Told::Statistics(statistics, isolates) => {
                js_heap.statistics = Some((statistics, isolates));
            }
            Told::Ended { closed } => {
                js_heap.has_ended = true;
                if let Some(meta) = &mut js_heap.meta {
                    meta.closed = closed;
                }
                // After an exec the heap is gone, as the blocks of the old program are.
                if let Some(ledger) = &mut js_heap.ledger
                    && image.is_some_and(|image| image != ledger.image())
                {
                    ledger.end();
                }
            }
        }
        Ok(())
    }

    /// The last profile, and the inspector's end.
    pub(super) fn finish_js_heap(&mut self) -> Result<()> {
        let Some(js_heap) = &mut self.js_heap else { return Ok(()) };
        let pause = js_heap.meta.as_ref().map_or(0, |meta| meta.longest_pause_ns);
        let within = LAST_PROFILE_WITHIN + Duration::from_nanos(pause) * LAST_PROFILE_PAUSES;
        if let Some(commands) = &js_heap.commands {
            // Where nobody receives it the thread has ended.
            let _ = commands.send(Command::Finish { force_gc: self.config.force_gc });
        }
        if !self.js_heap_ends_until(Instant::now() + within)? {
            if let Some(js_heap) = &self.js_heap {
                js_heap.interrupted.store(true, Ordering::Relaxed);
            }
            self.js_heap_ends_until(Instant::now() + CLOSED_WITHIN)?;
        }
        Ok(())
    }

    /// The snapshot of `--js-retainers`, after the probes are gone: what V8 allocates for it is
    /// nobody's leak. It has the time that it takes, unless the session is asked to hurry.
    pub(super) fn finish_js_retainers(&mut self) -> Result<()> {
        let Some(js_heap) = &mut self.js_heap else { return Ok(()) };
        if !std::mem::take(&mut js_heap.settled) || js_heap.has_ended {
            return Ok(());
        }
        if let Some(commands) = &js_heap.commands {
            let _ = commands.send(Command::Retainers);
        }
        self.js_heap_ends_until(Instant::now() + RETAINERS_WITHIN)?;
        Ok(())
    }

    /// Takes in what the thread tells to its end; whether that has come in time.
    fn js_heap_ends_until(&mut self, deadline: Instant) -> Result<bool> {
        loop {
            let Some(js_heap) = &mut self.js_heap else { return Ok(true) };
            if js_heap.has_ended || js_heap.settled {
                return Ok(true);
            }
            match js_heap.told.try_recv() {
                Ok(told) => self.js_heap_told(told)?,
                Err(TryRecvError::Disconnected) => {
                    self.js_heap_told(Told::Ended { closed: None })?
                }
                Err(TryRecvError::Empty) if Instant::now() >= deadline => return Ok(false),
                Err(TryRecvError::Empty) => thread::sleep(GLANCE),
            }
        }
    }
}

/// What a snapshot showed, with the session's times and numbers of stacks.
fn in_session(
    mut heap: HeapMeta,
    profile: Option<HeapProfile>,
    ledger: Option<&Ledger>,
    at_ns: u64,
) -> HeapMeta {
    heap.readings.iter_mut().for_each(|reading| reading.at_ns = at_ns);
    let lengths = heap.containers.iter_mut().flat_map(|container| &mut container.lengths);
    lengths.for_each(|(of, _)| *of = at_ns);
    let Some((profile, ledger)) = profile.zip(ledger) else {
        heap.held.retain(|held| held.subject.stack.is_none());
        heap.blocks.clear();
        return heap;
    };
    let stacks = heap.held.iter_mut().filter_map(|held| held.subject.stack.as_mut());
    for stack in stacks.chain(heap.blocks.iter_mut().map(|of| &mut of.stack)) {
        *stack = ledger.stack_of(&profile, *stack as usize).0;
    }
    heap
}

/// What is said when sampling begins.
fn how(way: Way, port: u16) -> String {
    match way {
        Way::Listening => format!(
            "its inspector listens on port {port}: the JavaScript heap is sampled too (--no-js-heap leaves it alone)"
        ),
        Way::Signal => format!(
            "opened its inspector on port {port} by SIGUSR1, to sample the JavaScript heap; it is closed again at the end"
        ),
        Way::Launched => {
            format!("its inspector listens on port {port}: the JavaScript heap is sampled too")
        }
    }
}
