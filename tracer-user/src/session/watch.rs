//! The loop of a session: events as they come, a tick an interval, an end for a reason.

use super::{
    Config, Outcome,
    console::{Console, Ending},
    cycles::{self, Cycles},
    describe::describe,
    descriptor::{readable, sleep_until},
    epoch::Epochs,
    first_thread::FirstThreads,
    governor::{self, Governed},
    heap::Heap,
    held::Held,
    js_heap::{self, JsHeap},
    measure,
    output::Folder,
    own_memory,
    processes::Processes,
    python_objects::Observer,
    recorder::Recorder,
    regime,
    residency::Residencies,
    setup::Started,
    v8_outside::V8Outside,
};
use crate::{
    capture::EndReason,
    probe::{Event, Probes, kernel_memory_bytes},
    stack::RawStack,
};
use anyhow::{Context as _, Result};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};
use tracer_common::regime::Regime;

/// How long our programs are timed at a stretch, and how often.
const OVERHEAD_WINDOW: Duration = Duration::from_millis(200);
const OVERHEAD_PERIOD: Duration = Duration::from_secs(5);
/// How long new stacks are looked at before a tick gets its turn.
pub(super) const AT_A_STRETCH: Duration = Duration::from_millis(50);

/// Watches until the end, then detaches and hands back what was seen.
pub async fn watch(
    config: Config,
    started: Started,
    probes: Probes,
    folder: Option<Folder>,
) -> Result<Outcome> {
    let mut ending = Ending::listen()?;
    let mut session = Session::begin(config, started, probes, folder)?;
    let reason = session.run(&mut ending).await?;
    session.finish(reason)
}

/// A session under way.
pub struct Session {
    pub(super) config: Config,
    pub(super) probes: Probes,
    /// The command, where we started it. Behind the probes, since they stop it.
    pub(super) held: Option<Held>,
    pub(super) processes: Processes,
    pub(super) recorder: Recorder,
    /// New stacks that have not been looked at.
    pub(super) unobserved: VecDeque<RawStack>,
    /// Those that were still there at the end.
    pub(super) not_looked_at: u64,
    pub(super) epochs: Epochs,
    /// How births are followed now; changed by `begin_regime`.
    pub(super) regime: Regime,
    /// No other regime can begin.
    pub(super) has_used_up_regimes: bool,
    /// Blocks are freed unseen, and what was followed before has not been forgotten.
    pub(super) is_blind: bool,
    /// Even the last step was too dear.
    pub(super) is_left_alone: bool,
    pub(super) began: Instant,
    pub(super) tgid: u32,
    /// Children of the target that ran already and are not followed.
    pub(super) early_children: usize,
    pub(super) child: Option<std::process::Child>,
    overhead_next: Instant,
    overhead_until: Option<Instant>,
    pub(super) kernel_peak_bytes: u64,
    pub(super) python_objects: Option<Observer>,
    first_threads: FirstThreads,
    pub(super) js_heap: Option<JsHeap>,
    v8_outside: V8Outside,
    pub(super) cycles: Option<Cycles>,
    pub(super) residencies: Residencies,
    pub(super) governed: Option<Governed>,
    /// By process: the target's from the beginning, those of others once they are seen to grow.
    pub(super) heaps: BTreeMap<u32, Heap>,
}

impl Session {
    fn begin(
        config: Config,
        mut started: Started,
        probes: Probes,
        folder: Option<Folder>,
    ) -> Result<Self> {
        let python_objects =
            Observer::new(&config, &started.target, &started.plan, started.python_refusal);
        let console = Console::new(config.progress, config.duration);
        let recorder = Recorder::new(describe(&config, &started), console, folder)?;
        let tgid = started.target.tgid;
        let now = Instant::now();
        let mut session = Self {
            probes,
            held: started.child.is_some().then(|| Held::new(tgid, started.guardian.take())),
            processes: Processes::default(),
            recorder,
            unobserved: VecDeque::new(),
            not_looked_at: 0,
            epochs: Epochs::default(),
            regime: regime::first(&config),
            has_used_up_regimes: false,
            is_blind: false,
            is_left_alone: false,
            began: now,
            tgid,
            early_children: 0,
            child: None,
            overhead_next: now,
            overhead_until: None,
            kernel_peak_bytes: 0,
            python_objects,
            first_threads: FirstThreads::default(),
            js_heap: None,
            v8_outside: V8Outside::default(),
            cycles: config.schedule.clone().map(Cycles::new),
            residencies: Residencies::default(),
            governed: started.governed.take(),
            heaps: Heap::new(config.heap.clone(), config.heap_window(), now)
                .map(|heap| (tgid, heap))
                .into_iter()
                .collect(),
            config,
        };
        for warning in std::mem::take(&mut started.warnings) {
            session.recorder.warn(&warning)?;
        }
        session.child = session.enter_target(started)?;
        session.begin_cycles();
        if session.config.follow {
            session.adopt_descendants(tgid)?;
        } else {
            session.early_children = crate::target::children(tgid).len();
        }
        session.begin_js_heap();
        // Unwind information and symbols of whole libraries were gone through.
        own_memory::return_free();
        session.recorder.console.say(&format!("attached to PID {tgid}"));
        session.say_who_is_followed();
        Ok(session)
    }

    async fn run(&mut self, ending: &mut Ending) -> Result<EndReason> {
        let events =
            self.probes.events_fd().try_clone_to_owned().context("sharing the ring buffer")?;
        let events = readable(events).context("watching the ring buffer")?;
        let mut log = self.config.kernel_log.then(|| self.probes.kernel_log()).flatten();
        let mut ticks = tokio::time::interval(self.config.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let duration = self.config.duration;
        let end = duration.map(|duration| tokio::time::Instant::from_std(self.began + duration));
        loop {
            if self.processes.is_empty() {
                return Ok(EndReason::TargetExited);
            }
            if self.has_used_up_regimes {
                return Ok(EndReason::TooDear);
            }
            let overhead = self.overhead_until.map(tokio::time::Instant::from_std);
            let look = self.processes.next_look().map(tokio::time::Instant::from_std);
            tokio::select! {
                biased;
                () = ending.wait() => return Ok(EndReason::Interrupted),
                () = sleep_until(end) => return Ok(EndReason::Duration),
                ready = events.readable() => {
                    self.take_events()?;
                    ready.context("watching the ring buffer")?.clear_ready();
                }
                told = governor::told(&mut self.governed) => {
                    if let Some(reason) = self.governed(told)? {
                        return Ok(reason);
                    }
                }
                told = js_heap::told(&mut self.js_heap) => self.js_heap_told(told)?,
                number = self.processes.ended() => self.process_ended(number)?,
                due = cycles::due(&mut self.cycles) => {
                    if let Some(reason) = self.cycle_due(due)? {
                        return Ok(reason);
                    }
                }
                () = sleep_until(look) => self.look_at_newcomers()?,
                () = sleep_until(overhead) => {
                    self.probes.close_overhead_window();
                    self.overhead_until = None;
                }
                _ = ticks.tick() => {
                    self.tick()?;
                    if let Some(log) = &mut log {
                        log.flush();
                    }
                }
                () = std::future::ready(()), if !self.unobserved.is_empty() => {
                    self.take_events()?;
                }
            }
        }
    }

    pub(super) fn tick(&mut self) -> Result<()> {
        // Of those that ended before this: their stacks have come with it.
        self.take_events()?;
        self.processes.images.let_go(&self.unobserved);
        // There may have been a flood.
        self.unobserved.shrink_to(2 * self.unobserved.len());
        self.look_around()?;
        self.put_probes_in()?;
        self.read(false)
    }

    /// A reading out of turn.
    pub(super) fn read_now(&mut self) -> Result<()> {
        self.take_events()?;
        self.read(false)
    }

    /// What has come to the processes without an event.
    pub(super) fn look_around(&mut self) -> Result<()> {
        let warnings = self.processes.look_for_python(&mut self.probes);
        warnings.iter().try_for_each(|warning| self.recorder.warn(warning))?;
        let warnings = self.first_threads.look(self.processes.followed.keys().copied());
        warnings.iter().try_for_each(|warning| self.recorder.warn(warning))?;
        self.look_at_mappings(None)
    }

    /// Reads what changed since the last time.
    pub(super) fn read(&mut self, is_last: bool) -> Result<()> {
        let now = self.began.elapsed();
        let mut tick = self.probes.tick(now.as_nanos() as u64)?;
        if self.not_looked_at > 0 {
            tick.counters.user.insert("stacks_not_looked_at".into(), self.not_looked_at);
        }
        if self.first_threads.count() > 0 {
            tick.counters.user.insert("first_threads_ended".into(), self.first_threads.count());
        }
        self.processes.add_lane_losses(&mut tick.counters);
        if let Some(js_heap) = &mut self.js_heap {
            js_heap.add_to(&mut tick);
        }
        tick.memory = measure::target_memory(self.tgid);
        if self.config.follow {
            tick.processes = self.processes.memory();
        }
        tick.v8 = self.v8_outside.readings(&self.processes, &self.probes, is_last);
        self.residencies.look(&self.processes, &self.probes, self.tgid, &tick, is_last);
        self.kernel_peak_bytes = self.kernel_peak_bytes.max(kernel_memory_bytes());
        self.look_at_heap();
        self.recorder.tick(&tick)?;
        self.begin_due_regime()?;
        if let Some(epoch) = self.epochs.advance(now) {
            self.probes.set_epoch(epoch);
        }
        if self.overhead_until.is_none() && Instant::now() >= self.overhead_next {
            self.probes.open_overhead_window();
            self.overhead_until = Some(Instant::now() + OVERHEAD_WINDOW);
            self.overhead_next = Instant::now() + OVERHEAD_PERIOD;
        }
        if let Some(observer) = &mut self.python_objects {
            observer.look(false);
        }
        self.recorder.console.progress(now, &self.recorder.recording.aggregate);
        Ok(())
    }

    /// New processes and new stacks are looked at at once: the ones run unseen until then, the code
    /// objects that the others name may not live long.
    pub(super) fn take_events(&mut self) -> Result<()> {
        self.take_events_until(Instant::now() + AT_A_STRETCH)
    }

    pub(super) fn take_events_until(&mut self, until: Instant) -> Result<()> {
        loop {
            let mut stacks = Vec::new();
            for event in self.probes.drain() {
                match event {
                    Event::NewStack(raw) => stacks.push(raw),
                    Event::Exec { tgid, image, by_thread } => {
                        self.begin_image(tgid, image, by_thread)?;
                    }
                    Event::Fork { tgid, child, at_ns } => self.announced(tgid, child, at_ns)?,
                    Event::Libraries { tgid } => {
                        self.look_at_mappings(Some(tgid))?;
                        if let Some(held) = &self.held {
                            held.go_on();
                        }
                    }
                    Event::Mapping(mapping) => self.mapped(&mapping)?,
                }
            }
            if !stacks.is_empty() {
                self.processes.images.read_ahead(&stacks);
                self.unobserved.extend(stacks);
            }
            // One at a time: a child that comes meanwhile must not wait for hundreds of stacks.
            match self.unobserved.pop_front() {
                Some(raw) => self.observe(raw)?,
                // What came while a child was adopted has left the ring, so nothing wakes us for it.
                None if self.probes.has_waiting() => {}
                None => return Ok(()),
            }
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    fn observe(&mut self, raw: RawStack) -> Result<()> {
        if let Some(observed) = self.processes.images.observe(&raw) {
            for warning in &observed.warnings {
                self.recorder.warn(warning)?;
            }
            if observed.mappings_changed {
                let warnings = self.processes.refresh_code_ranges(raw.image, &mut self.probes);
                warnings.iter().try_for_each(|warning| self.recorder.warn(warning))?;
            }
        }
        self.recorder.stack(raw)
    }

    /// Code that was mapped since is walked and named from now on.
    pub(super) fn look_at_mappings(&mut self, tgid: Option<u32>) -> Result<()> {
        let warnings = self.processes.look_at_mappings(tgid, &mut self.probes);
        warnings.iter().try_for_each(|warning| self.recorder.warn(warning))
    }

    fn say_who_is_followed(&self) {
        let console = &self.recorder.console;
        match (self.config.follow, self.processes.count().saturating_sub(1), self.early_children) {
            (true, 0, _) => console.say("its children will be followed as they come"),
            (true, count, _) => console.say(&format!("{count} of its children are followed too")),
            (false, _, 0) => {}
            (false, _, count) => console
                .say(&format!("{count} of its children are not followed (--follow traces them)")),
        }
    }
}
