//! What `outlive check` does to its target: waits until it is ready, runs the cycle command again
//! and again, lets each cycle settle, and stops a command that it started. Each cycle's births are
//! an epoch of their own, and a tick is read at its end.
//!
//! A cycle has settled when two readings in a row say the same of what is live, at the latest when
//! the time for it is over: a target that works without cease never says the same twice.

use super::{
    cycle_commands::{Running, Started, in_words},
    descriptor::sleep_until,
    watch::Session,
};
use crate::{
    aggregate::Totals,
    capture::{EndReason, Mark},
    units,
};
use anyhow::{Context as _, Result};
use std::{
    ffi::OsString,
    io,
    process::ExitStatus,
    time::{Duration, Instant},
};

/// Time between two tries of the ready command.
const READY_EVERY: Duration = Duration::from_millis(200);
/// Time between two readings while something settles.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How long a target without a ready command is left alone at first, at least.
const FIRST_CALM: Duration = Duration::from_secs(1);
/// How long a collection in V8 is waited for.
const COLLECTED_WITHIN: Duration = Duration::from_secs(20);
/// How often it is asked whether V8 is done.
const GLANCE: Duration = Duration::from_millis(10);

/// What is to be done to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Succeeds when the target is ready; `None` for one that is ready soon.
    pub ready: Option<OsString>,
    /// What is run in each cycle; `None` to watch only.
    pub cycle: Option<OsString>,
    /// Cycles that do not count, at the beginning.
    pub warm_up: u32,
    /// Cycles that count.
    pub cycles: u32,
    /// How long a cycle may take to settle.
    pub settle: Duration,
    /// How long the target may take to be ready, and a cycle command to end.
    pub timeout: Duration,
    /// How long it is watched where there is no cycle command.
    pub duration: Duration,
    /// Whether each cycle is worth a line on stderr.
    pub tell: bool,
}

/// How a schedule went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// Cycles that came to their end, warm-up included.
    pub ended: u32,
    /// Those of them that had not settled by then.
    pub unsettled: u32,
    /// Why it was not carried out to its end.
    pub setback: Option<Setback>,
}

/// Why a schedule was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setback {
    /// The ready command never succeeded; what it said last.
    NotReady(String),
    /// The target ended; how, where that is known.
    TargetEnded(Option<String>),
    /// The cycle command failed: number of the cycle, and how.
    CycleFailed(u32, String),
    /// A signal to outlive.
    Interrupted,
}

/// A schedule under way.
pub struct Cycles {
    schedule: Schedule,
    stage: Stage,
    story: Story,
    /// The command that this session started, until it has been stopped.
    started: Option<Started>,
}

/// Where it stands.
enum Stage {
    /// The ready command is run, or will be at that time; how it failed the last time.
    Trying { running: Option<Running>, next: Instant, until: Instant, last: Option<String> },
    /// Waits for stillness, before the first cycle (`None`) or after one.
    Settling {
        cycle: Option<u32>,
        known: Option<Totals>,
        next: Instant,
        not_before: Instant,
        until: Instant,
    },
    /// The cycle command runs.
    Cycling { cycle: u32, running: Running, until: Instant },
    /// V8 collects its garbage.
    Collecting { cycle: u32, next: Instant, until: Instant },
    /// The target is watched.
    Watching { until: Instant },
}

/// What has come.
pub enum Due {
    /// The time for the next look.
    Time,
    /// The end of a command.
    Ended(io::Result<ExitStatus>),
}

/// What is next; never without a schedule.
pub async fn due(cycles: &mut Option<Cycles>) -> Due {
    let Some(cycles) = cycles else { return std::future::pending().await };
    let (running, then) = match &mut cycles.stage {
        Stage::Trying { running: Some(running), until, .. }
        | Stage::Cycling { running, until, .. } => (Some(running), *until),
        Stage::Trying { running: None, next, .. }
        | Stage::Settling { next, .. }
        | Stage::Collecting { next, .. }
        | Stage::Watching { until: next } => (None, *next),
    };
    let then = sleep_until(Some(tokio::time::Instant::from_std(then)));
    match running {
        None => {
            then.await;
            Due::Time
        }
        Some(running) => tokio::select! {
            ended = running.child.wait() => Due::Ended(ended),
            () = then => Due::Time,
        },
    }
}

impl Cycles {
    /// Begins with the ready command.
    pub fn new(schedule: Schedule) -> Self {
        let now = Instant::now();
        let stage = match schedule.ready {
            Some(_) => Stage::Trying {
                running: None,
                next: now,
                until: now + schedule.timeout,
                last: None,
            },
            None => settling(None, &schedule, now),
        };
        Self { schedule, stage, story: Story::default(), started: None }
    }

    fn all(&self) -> u32 {
        self.schedule.warm_up.saturating_add(self.schedule.cycles)
    }
}

fn settling(cycle: Option<u32>, schedule: &Schedule, now: Instant) -> Stage {
    let calm =
        if cycle.is_none() && schedule.ready.is_none() { FIRST_CALM } else { Duration::ZERO };
    let until = now + schedule.settle.max(calm);
    Stage::Settling { cycle, known: None, next: now, not_before: now + calm, until }
}

impl Session {
    /// From here on a command that this session started is stopped whatever happens.
    pub(super) fn begin_cycles(&mut self) {
        let (Some(cycles), Some(child)) = (&mut self.cycles, &self.child) else { return };
        cycles.started = Some(Started::new(child.id()));
    }

    /// Goes on; a reason when it is over.
    pub(super) fn cycle_due(&mut self, due: Due) -> Result<Option<EndReason>> {
        let Some(mut cycles) = self.cycles.take() else { return Ok(None) };
        let done = if self.processes.followed.contains_key(&self.tgid) {
            self.go_on(&mut cycles, due)
        } else {
            Ok(Some(EndReason::TargetExited))
        };
        self.cycles = Some(cycles);
        done
    }

    fn go_on(&mut self, cycles: &mut Cycles, due: Due) -> Result<Option<EndReason>> {
        let now = Instant::now();
        let schedule = &cycles.schedule;
        match &mut cycles.stage {
            Stage::Trying { running, next, until, last } => {
                let ended = match (&due, running.as_mut()) {
                    (Due::Ended(status), Some(running)) => Some(running.outcome(status)),
                    // One that was begun a moment ago says less than the one before.
                    (Due::Time, Some(running)) => {
                        let how = last.take();
                        Some(Err(how.unwrap_or_else(|| running.still_runs(schedule.timeout))))
                    }
                    _ => None,
                };
                match ended {
                    Some(Ok(())) => cycles.stage = settling(None, schedule, now),
                    Some(Err(how)) if now >= *until => {
                        cycles.story.setback = Some(Setback::NotReady(how));
                        return Ok(Some(EndReason::Interrupted));
                    }
                    Some(Err(how)) => {
                        (*running, *next, *last) = (None, now + READY_EVERY, Some(how));
                    }
                    None => {
                        let command = schedule.ready.as_ref().context("no ready command")?;
                        *running = Some(Running::start(command, self.tgid, None, true)?);
                    }
                }
            }
            Stage::Settling { cycle, known, next, not_before, until } => {
                self.tick()?;
                let found = self.recorder.recording.aggregate.totals();
                let same = known.is_some_and(|known| {
                    (known.live_bytes(), known.live_blocks())
                        == (found.live_bytes(), found.live_blocks())
                });
                if now < *until && !(same && now >= *not_before) {
                    (*known, *next) = (Some(found), (now + LOOK_EVERY).min(*until));
                    return Ok(None);
                }
                let cycle = *cycle;
                cycles.story.unsettled += u32::from(cycle.is_some() && !same);
                return self.settled(cycles, cycle);
            }
            Stage::Cycling { cycle, running, .. } => {
                let cycle = *cycle;
                let ended = match &due {
                    Due::Ended(status) => running.outcome(status),
                    Due::Time => Err(running.still_runs(schedule.timeout)),
                };
                if let Err(how) = ended {
                    let target = self.processes.target_of(self.tgid);
                    if target.is_none_or(|target| !target.is_alive()) {
                        return Ok(Some(EndReason::TargetExited));
                    }
                    cycles.story.setback = Some(Setback::CycleFailed(cycle, how));
                    return Ok(Some(EndReason::Interrupted));
                }
                let collects = self.js_heap.as_mut().is_some_and(super::js_heap::JsHeap::collect);
                cycles.stage = match collects {
                    true => Stage::Collecting { cycle, next: now, until: now + COLLECTED_WITHIN },
                    false => settling(Some(cycle), schedule, now),
                };
            }
            Stage::Collecting { cycle, next, until } => {
                let has = self.js_heap.as_ref().is_none_or(super::js_heap::JsHeap::has_collected);
                *next = now + GLANCE;
                if has || now >= *until {
                    cycles.stage = settling(Some(*cycle), schedule, now);
                }
            }
            Stage::Watching { .. } => return Ok(Some(EndReason::Duration)),
        }
        Ok(None)
    }

    /// A cycle is over, or the target is ready for the first one.
    fn settled(&mut self, cycles: &mut Cycles, cycle: Option<u32>) -> Result<Option<EndReason>> {
        self.mark(cycle)?;
        cycles.story.ended += u32::from(cycle.is_some());
        let is_by_cycles = cycles.schedule.cycle.is_some();
        if let Some(heap) = self.heaps.get_mut(&self.tgid).filter(|_| is_by_cycles) {
            let Schedule { warm_up, cycles: counted, .. } = cycles.schedule;
            heap.cycles_ended(cycle.map_or(0, |cycle| cycle + 1), warm_up, counted);
        }
        if cycles.schedule.tell {
            self.tell_of(cycles, cycle);
        }
        let Some(command) = &cycles.schedule.cycle else {
            cycles.stage = Stage::Watching { until: Instant::now() + cycles.schedule.duration };
            return Ok(None);
        };
        let next = cycle.map_or(0, |cycle| cycle + 1);
        if next >= cycles.all() {
            return Ok(Some(EndReason::Duration));
        }
        let epoch = self.epochs.begin_by_hand(self.began.elapsed());
        self.probes.set_epoch(epoch);
        let running = Running::start(command, self.tgid, Some(next), false)?;
        let until = Instant::now() + cycles.schedule.timeout;
        cycles.stage = Stage::Cycling { cycle: next, running, until };
        Ok(None)
    }

    /// The tick that was just read has a meaning.
    fn mark(&mut self, cycle: Option<u32>) -> Result<()> {
        self.recorder.pin_latest()?;
        let recording = &mut self.recorder.recording;
        recording.meta.marks.push(Mark {
            at_ns: recording.aggregate.latest_ns(),
            kind: if cycle.is_some() { Mark::CYCLE } else { Mark::READY }.to_owned(),
            cycle: cycle.unwrap_or(0),
        });
        Ok(())
    }

    fn tell_of(&self, cycles: &Cycles, cycle: Option<u32>) {
        let console = &self.recorder.console;
        let live = units::bytes(self.recorder.recording.aggregate.totals().live_bytes());
        let after = units::duration(self.began.elapsed().as_nanos() as u64);
        match cycle {
            None => console.say(&format!("ready after {after}: {live} live")),
            Some(cycle) => console.say(&format!(
                "cycle {} of {}{}: {live} live",
                cycle + 1,
                cycles.all(),
                if cycle < cycles.schedule.warm_up { " (warm-up)" } else { "" },
            )),
        }
    }

    /// Stops what this session started, and says how it went.
    pub(super) fn end_cycles(&mut self, reason: EndReason) -> Option<Story> {
        let mut cycles = self.cycles.take()?;
        let status = cycles.started.take().and_then(|mut started| started.stop());
        let story = &mut cycles.story;
        if story.setback.is_none() {
            story.setback = match reason {
                EndReason::TargetExited => Some(Setback::TargetEnded(status.map(in_words))),
                EndReason::Interrupted => Some(Setback::Interrupted),
                EndReason::Duration | EndReason::TooDear | EndReason::Unknown => None,
            };
        }
        Some(cycles.story)
    }
}
