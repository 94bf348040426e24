//! The processes of a session: who is followed, what each runs, how each is named in the recording.
//! How they come to be followed is `newcomer`'s business.

use super::{
    address_space::AddressSpace,
    descriptor::{pidfd, readable},
    images::Images,
    lane::Line,
    late_node::LateNode,
    late_python::LatePython,
    measure,
    newcomer::Newcomer,
    setup::{self, Started},
    watch::Session,
};
use crate::{
    capture::{Meta, ProcessEnd, ProcessMeta},
    plan::ProbePlan,
    probe::Probes,
    runtime::Runtimes,
    symbol::Resolver,
    target::Target,
    tick::{Counters, MemorySplit, ProcessReading},
    warning::Warning,
};
use anyhow::{Context as _, Result};
use std::{collections::BTreeMap, os::fd::OwnedFd, process::Child, time::Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracer_common::{
    record::{Mapping, mapping_op},
    regime::Regime,
};

/// A process that is followed.
pub struct Followed {
    /// Its place in [`Meta::processes`].
    pub number: u32,
    /// Its present image.
    pub image: u32,
    /// What is probed in it.
    pub plan: ProbePlan,
    /// To the fast lane's library in it, of its present image.
    line: Option<Line>,
    address_space: AddressSpace,
    late_python: LatePython,
    late_node: LateNode,
    /// Its memory as it was read last.
    memory: Option<MemorySplit>,
}

impl Followed {
    fn look_for_python(&mut self, probes: &mut Probes, resolver: &mut Resolver) -> Vec<Warning> {
        let warnings = self.late_python.look(resolver.target().tgid, probes, resolver);
        // Its children will run the same.
        self.plan.python = resolver.python().cloned();
        warnings
    }

    fn look_for_node(&mut self, probes: &mut Probes, resolver: &mut Resolver) -> Vec<Warning> {
        let warnings = self.late_node.look(&mut self.plan, probes, resolver);
        self.plan.node = resolver.node().cloned();
        warnings
    }

    fn reading(&self) -> Option<ProcessReading> {
        Some(ProcessReading { process: self.number, memory: self.memory? })
    }
}

/// All processes of a session.
pub struct Processes {
    pub(super) followed: BTreeMap<u32, Followed>,
    /// Those that cannot be traced yet.
    pub(super) newcomers: Vec<Newcomer>,
    /// Who names their stacks.
    pub(super) images: Images,
    metas: Vec<ProcessMeta>,
    /// Of processes that have ended since the last tick.
    last_readings: Vec<ProcessReading>,
    /// Children that were never followed.
    pub(super) missed: u64,
    /// What [`Self::add_lane_losses`] said last.
    lane_set_full: u64,
    endings: (UnboundedSender<u32>, UnboundedReceiver<u32>),
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            followed: BTreeMap::new(),
            newcomers: Vec::new(),
            images: Images::default(),
            metas: Vec::new(),
            last_readings: Vec::new(),
            missed: 0,
            lane_set_full: 0,
            endings: unbounded_channel(),
        }
    }
}

impl Processes {
    /// Nobody is followed any more, and nobody about to be.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty() && self.newcomers.is_empty()
    }

    /// Processes that are followed now.
    pub fn count(&self) -> usize {
        self.followed.len()
    }

    /// When the next newcomer is due.
    pub fn next_look(&self) -> Option<Instant> {
        self.newcomers.iter().map(|newcomer| newcomer.next_look).min()
    }

    /// The number of a process that has ended, as soon as there is one.
    pub async fn ended(&mut self) -> u32 {
        match self.endings.1.recv().await {
            Some(number) => number,
            // Never: the other end is held beside this one.
            None => std::future::pending().await,
        }
    }

    /// Enters a process whose probes are placed; `exit` becomes readable when it ends. Hands back
    /// the command, where it is one that this session started.
    ///
    /// # Errors
    /// When its end cannot be watched.
    pub fn enter(
        &mut self,
        meta: ProcessMeta,
        started: Started,
        exit: OwnedFd,
    ) -> Result<Option<Child>> {
        let Started { target, plan, image, forked_from, child, line, .. } = started;
        let late_python = LatePython::new(plan.python.as_ref(), child.is_some());
        let number = self.metas.len() as u32;
        let exit = readable(exit).context("watching for the end of a process")?;
        let ended = self.endings.0.clone();
        tokio::spawn(async move {
            // An error is an end too: nothing more can be said about the process.
            let _ = exit.readable().await;
            let _ = ended.send(number);
        });
        self.images.begin(image, &target, plan.runtimes(), forked_from);
        self.metas.push(described(meta, &target));
        let followed = Followed {
            number,
            image,
            plan,
            line,
            address_space: AddressSpace::new(target.tgid),
            late_python,
            late_node: LateNode::new(&target),
            memory: measure::target_memory(target.tgid),
        };
        // One that had the same PID, and whose end is still to be told.
        if let Some(before) = self.followed.insert(target.tgid, followed) {
            self.images.end(before.image);
        }
        Ok(child)
    }

    /// What a followed process runs now.
    pub fn target_of(&self, tgid: u32) -> Option<&Target> {
        let image = self.followed.get(&tgid)?.image;
        self.images.get(image).map(Resolver::target)
    }

    /// Reads the address space of a followed process again, for both sides.
    pub fn refresh(&mut self, tgid: u32, probes: &mut Probes) -> Vec<Warning> {
        let Some(image) = self.followed.get(&tgid).map(|followed| followed.image) else {
            return Vec::new();
        };
        let Some(resolver) = self.images.get_mut(image) else { return Vec::new() };
        let observed = resolver.look_again();
        let mut warnings = observed.warnings;
        if observed.mappings_changed {
            warnings.extend(self.refresh_code_ranges(image, probes));
        }
        warnings
    }

    /// Whether the fast lane's library is at work in a process.
    pub fn is_in_lane(&self, tgid: u32) -> bool {
        self.followed.get(&tgid).is_some_and(|followed| followed.line.is_some())
    }

    /// A process begins an image. Until it has been looked at it is taken for what it was: the
    /// address space is read again when an address is not in it.
    pub fn begin_image(&mut self, tgid: u32, image: u32) {
        let Some(target) = self.target_of(tgid).cloned() else { return };
        if let Some(followed) = self.followed.get_mut(&tgid) {
            self.images.end(std::mem::replace(&mut followed.image, image));
            // The new one is another program.
            followed.line = None;
            followed.plan.lane_control_avma = None;
            self.metas[followed.number as usize].images.push(image);
            self.images.begin(image, &target, Runtimes::default(), None);
        }
    }

    /// What the present image of a process is, now that it has been looked at.
    pub fn learn_image(&mut self, tgid: u32, target: &Target, plan: ProbePlan) {
        let Some(followed) = self.followed.get_mut(&tgid) else { return };
        self.images.begin(followed.image, target, plan.runtimes(), None);
        // Its loader may be at work still.
        followed.late_python = LatePython::new(plan.python.as_ref(), true);
        followed.late_node = LateNode::new(target);
        followed.plan = plan;
        let meta = &mut self.metas[followed.number as usize];
        *meta = described(std::mem::take(meta), target);
    }

    /// Tells the kernel side where the code of an image is now, if it is a present one.
    pub fn refresh_code_ranges(&mut self, image: u32, probes: &mut Probes) -> Vec<Warning> {
        let found = self.followed.values_mut().find(|followed| followed.image == image);
        let Some((followed, resolver)) = found.zip(self.images.get_mut(image)) else {
            return Vec::new();
        };
        // First: where V8's own code lies is part of the ranges.
        let mut warnings = followed.look_for_node(probes, resolver);
        let (ranges, more) = setup::set_code_ranges(probes, resolver.target(), resolver.node());
        followed.plan.code_ranges = ranges;
        warnings.extend(more);
        warnings.extend(followed.look_for_python(probes, resolver));
        warnings
    }

    /// Looks again at interpreters that did not say all when they were looked at.
    pub fn look_for_python(&mut self, probes: &mut Probes) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for followed in self.followed.values_mut().filter(|found| found.late_python.is_due()) {
            if let Some(resolver) = self.images.get_mut(followed.image) {
                warnings.extend(followed.look_for_python(probes, resolver));
            }
        }
        warnings
    }

    /// Reads again the address spaces that may have changed (all of `tgid`'s, where one is named),
    /// so that code that was mapped since is walked and named.
    pub fn look_at_mappings(&mut self, tgid: Option<u32>, probes: &mut Probes) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut changed = Vec::new();
        for (known, followed) in &mut self.followed {
            let Some(resolver) = self.images.get_mut(followed.image) else { continue };
            let wanted = match tgid {
                Some(tgid) => tgid == *known,
                None => followed.address_space.may_have_changed(resolver.is_behind()),
            };
            if !wanted {
                continue;
            }
            let observed = match tgid {
                Some(_) => followed.address_space.reading_at_any_cost(|| resolver.look_again()),
                None => followed.address_space.reading(|| resolver.look_again()),
            };
            warnings.extend(observed.warnings);
            if observed.mappings_changed {
                changed.push(followed.image);
            }
        }
        for image in changed {
            warnings.extend(self.refresh_code_ranges(image, probes));
        }
        warnings
    }

    /// An image has mapped code by itself, as V8 does when it starts: that is walked soon, not from
    /// the next tick on.
    fn look_at_code(&mut self, image: u32, probes: &mut Probes) -> Vec<Warning> {
        let found = self.followed.values_mut().find(|followed| followed.image == image);
        let Some((followed, resolver)) = found.zip(self.images.get_mut(image)) else {
            return Vec::new();
        };
        // A JIT may map code all the time.
        if !followed.address_space.may_have_changed(true) {
            return Vec::new();
        }
        let observed = followed.address_space.reading(|| resolver.look_again());
        let mut warnings = observed.warnings;
        if observed.mappings_changed {
            warnings.extend(self.refresh_code_ranges(image, probes));
        }
        warnings
    }

    /// Processes that have code which is still unknown.
    pub fn behind(&self) -> Vec<u32> {
        let is_behind = |image| self.images.get(image).is_some_and(Resolver::is_behind);
        let behind = self.followed.iter().filter(|(_, followed)| is_behind(followed.image));
        behind.map(|(tgid, _)| *tgid).collect()
    }

    /// Memory of the processes that live, and the last that is known of those that have ended since
    /// the last call.
    pub fn memory(&mut self) -> Vec<ProcessReading> {
        let mut readings = std::mem::take(&mut self.last_readings);
        for (tgid, followed) in &mut self.followed {
            followed.memory = measure::target_memory(*tgid).or(followed.memory);
            readings.extend(followed.reading());
        }
        readings
    }

    /// Tells the fast lane's libraries how to draw from now on.
    pub fn order(&mut self, number: u32, regime: &Regime) {
        for followed in self.followed.values() {
            if let Some(line) = &followed.line {
                // A program that is gone draws nothing any more.
                let _ = line.order(number, regime);
            }
        }
    }

    /// Lets them draw nothing any more.
    pub fn hang_up(&mut self) {
        self.followed
            .values()
            .filter_map(|followed| followed.line.as_ref())
            .for_each(Line::hang_up);
    }

    /// Adds the blocks that the fast lane has drawn and could not follow, where there is a lane.
    pub fn add_lane_losses(&mut self, counters: &mut Counters) {
        let lines = self.followed.values_mut().filter_map(|followed| followed.line.as_mut());
        let Some(now) = lines.map(Line::set_full_blocks).max() else { return };
        // Children begin with what their parent had counted, and go on by themselves: at least this.
        self.lane_set_full = self.lane_set_full.max(now);
        counters.user.insert("lane_set_full_blocks".into(), self.lane_set_full);
    }

    /// Writes who was followed into the recording.
    pub fn describe(&mut self, meta: &mut Meta) {
        for process in &mut self.metas {
            if process.ended_ns.is_none() {
                process.end = ProcessEnd::Running;
            }
        }
        meta.processes = std::mem::take(&mut self.metas);
        meta.children_missed = self.missed;
    }
}

/// The circumstances that the target knows.
fn described(meta: ProcessMeta, target: &Target) -> ProcessMeta {
    ProcessMeta {
        pid: target.tgid,
        exe: target.exe.display().to_string(),
        cmdline: target.cmdline.join(" "),
        container: target.container.clone(),
        start_time_ticks: target.start_time_ticks,
        ..meta
    }
}

impl Session {
    /// Enters the target itself; hands back the command, where this session started it.
    pub(super) fn enter_target(&mut self, started: Started) -> Result<Option<Child>> {
        let tgid = started.target.tgid;
        let Some(exit) = pidfd(tgid)? else { return Ok(started.child) };
        let meta = ProcessMeta { images: vec![started.image], ..ProcessMeta::default() };
        self.processes.enter(meta, started, exit)
    }

    /// A followed process has mapped memory by itself.
    pub(super) fn mapped(&mut self, mapping: &Mapping) -> Result<()> {
        if mapping.op != mapping_op::MAP || mapping.prot & libc::PROT_EXEC as u32 == 0 {
            return Ok(());
        }
        let warnings = self.processes.look_at_code(mapping.image, &mut self.probes);
        warnings.iter().try_for_each(|warning| self.recorder.warn(warning))
    }

    /// A followed process has ended.
    pub(super) fn process_ended(&mut self, number: u32) -> Result<()> {
        // What it did last, forks included.
        self.take_events()?;
        let found = self.processes.followed.iter().find(|(_, found)| found.number == number);
        let Some((tgid, _)) = found else { return Ok(()) };
        let tgid = *tgid;
        if let Some(ended) = self.processes.followed.remove(&tgid) {
            self.processes.last_readings.extend(ended.reading());
            self.processes.images.end(ended.image);
        }
        self.probes.release(tgid);
        let meta = &mut self.processes.metas[number as usize];
        meta.end = ProcessEnd::Exited;
        meta.ended_ns = Some(self.began.elapsed().as_nanos() as u64);
        if self.config.follow && tgid != self.tgid {
            self.recorder.console.say(&format!("process {tgid} has ended"));
        }
        Ok(())
    }
}
