//! How a process comes to be followed: a child that was forked or found, and a new image after an
//! exec. A newcomer whose loader is still at work is looked at again until it can be probed.

use super::{
    descriptor::pidfd,
    lane::{Lane, Line},
    measure,
    python_objects::Observer,
    setup::{self, Started},
    watch::Session,
};
use crate::{
    capture::ProcessMeta,
    plan,
    target::{self, Target},
    units,
    warning::Warning,
};
use anyhow::Result;
use std::time::{Duration, Instant};

/// How long a newcomer without an allocator is looked at before it is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// A process that is about to be followed.
#[derive(Clone, Debug)]
pub struct Newcomer {
    tgid: u32,
    what: What,
    first_look: Instant,
    /// When it is looked at again.
    pub next_look: Instant,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// A child of `parent`, forked at `at_ns` (CLOCK_MONOTONIC) where that is known.
    Child { parent: u32, at_ns: Option<u64> },
    /// The image that a followed process has now.
    Image { image: u32, by_thread: bool, at_ns: u64 },
}

/// What came of a look.
enum Outcome {
    Done,
    /// Nothing to probe yet.
    NotYet,
    /// The process ended.
    Gone,
    /// It will never be followed, for this reason.
    Refused(String),
}

impl Session {
    /// The children that a process has already, and theirs.
    ///
    /// # Errors
    /// When the recording cannot be written; so for all that follow.
    pub(super) fn adopt_descendants(&mut self, tgid: u32) -> Result<()> {
        for child in target::children(tgid) {
            let is_known = self.processes.followed.contains_key(&child)
                || self.processes.newcomers.iter().any(|newcomer| newcomer.tgid == child);
            if !is_known {
                self.welcome(child, What::Child { parent: tgid, at_ns: None })?;
            }
        }
        Ok(())
    }

    /// The kernel side saw a fork.
    pub(super) fn announced(&mut self, parent: u32, child: u32, at_ns: u64) -> Result<()> {
        if self.processes.followed.contains_key(&child) {
            return Ok(());
        }
        self.processes.newcomers.retain(|newcomer| newcomer.tgid != child);
        self.welcome(child, What::Child { parent, at_ns: Some(at_ns) })
    }

    /// The kernel side saw an exec of a followed process.
    pub(super) fn begin_image(&mut self, tgid: u32, image: u32, by_thread: bool) -> Result<()> {
        if tgid == self.tgid && self.processes.is_in_lane(tgid) {
            self.leave_lane()?;
        }
        self.processes.begin_image(tgid, image);
        let now = Instant::now();
        // The latest exec counts, but probes once lost stay lost.
        let mut anew = by_thread;
        self.processes.newcomers.retain(|newcomer| match newcomer.what {
            What::Image { by_thread, .. } if newcomer.tgid == tgid => {
                anew |= by_thread;
                false
            }
            _ => true,
        });
        let what = What::Image { image, by_thread: anew, at_ns: measure::monotonic_ns() };
        self.processes.newcomers.push(Newcomer { tgid, what, first_look: now, next_look: now });
        Ok(())
    }

    /// The command has replaced its program, as `env` and scripts of a shell do: the library of the
    /// fast lane does not come along.
    fn leave_lane(&mut self) -> Result<()> {
        let reason = "the command replaced its program by another (exec), as env and scripts do; name that program itself to have it in the lane";
        let lane = Lane::Refused(reason.to_owned());
        self.recorder.recording.meta.lane = lane.recorded();
        lane.warning().iter().try_for_each(|warning| self.recorder.warn(warning))
    }

    fn welcome(&mut self, tgid: u32, what: What) -> Result<()> {
        let now = Instant::now();
        self.look_at(Newcomer { tgid, what, first_look: now, next_look: now })
    }

    /// Looks at the newcomers whose time has come.
    pub(super) fn look_at_newcomers(&mut self) -> Result<()> {
        let now = Instant::now();
        let (due, later) =
            self.processes.newcomers.drain(..).partition(|newcomer| newcomer.next_look <= now);
        self.processes.newcomers = later;
        let due: Vec<Newcomer> = due;
        due.into_iter().try_for_each(|newcomer| self.look_at(newcomer))?;
        self.take_events()
    }

    fn look_at(&mut self, mut newcomer: Newcomer) -> Result<()> {
        let outcome = match newcomer.what {
            What::Child { parent, at_ns } => self.adopt(newcomer.tgid, parent, at_ns)?,
            What::Image { image, by_thread, at_ns } => {
                self.follow_image(newcomer.tgid, image, by_thread, at_ns)?
            }
        };
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::NotYet if newcomer.first_look.elapsed() < PATIENCE => {
                let waited = newcomer.first_look.elapsed();
                newcomer.next_look = Instant::now() + pause_after(waited);
                self.processes.newcomers.push(newcomer);
                Ok(())
            }
            Outcome::NotYet => self.refuse(&newcomer, "it has no allocator that can be probed"),
            Outcome::Gone => {
                self.processes.missed += u64::from(matches!(newcomer.what, What::Child { .. }));
                Ok(())
            }
            Outcome::Refused(reason) => self.refuse(&newcomer, &reason),
        }
    }

    fn refuse(&mut self, newcomer: &Newcomer, reason: &str) -> Result<()> {
        let tgid = newcomer.tgid;
        let reason = reason.trim_end_matches('.');
        let warning = match newcomer.what {
            What::Child { .. } => {
                self.processes.missed += 1;
                let message = format!("Child {tgid} is not followed: {reason}.");
                Warning::new("child-not-followed", message, "")
            }
            What::Image { .. } => Warning::new(
                "exec-not-followed",
                format!(
                    "Process {tgid} has replaced its program (exec), and the new one is not followed: {reason}."
                ),
                "",
            ),
        };
        self.recorder.warn(&warning)
    }

    fn adopt(&mut self, tgid: u32, parent: u32, at_ns: Option<u64>) -> Result<Outcome> {
        // First, so that no other process of the same number is taken for it.
        let Some(exit) = pidfd(tgid)? else { return Ok(Outcome::Gone) };
        let mut started = match self.plan_child(tgid, parent) {
            Ok(started) => started,
            Err(error) if setup::is_missing_allocator(&error) => return Ok(Outcome::NotYet),
            Err(_) if pidfd(tgid)?.is_none() || !is_running(tgid) => return Ok(Outcome::Gone),
            Err(error) => return Ok(Outcome::Refused(error.to_string())),
        };
        for warning in std::mem::take(&mut started.warnings) {
            self.recorder.warn(&warning)?;
        }
        let ranges = &started.plan.code_ranges;
        let (tables, warnings) = setup::missing_tables(&self.probes, &started.target, ranges);
        for warning in &warnings {
            self.recorder.warn(warning)?;
        }
        let (image, warnings) = match self.probes.adopt(tgid, &started.plan, &tables) {
            Ok(adopted) => adopted,
            Err(_) if !started.target.is_alive() => return Ok(Outcome::Gone),
            Err(error) => return Ok(Outcome::Refused(error.to_string())),
        };
        started.image = image;
        if let Some(control_avma) = started.plan.lane_control_avma {
            // A child that has called exec meanwhile is no longer in the lane.
            started.line = Line::open(tgid, control_avma).ok();
        }
        for warning in &warnings {
            self.recorder.warn(warning)?;
        }
        let now_ns = measure::monotonic_ns();
        let unseen_ns = at_ns.map(|at_ns| now_ns.saturating_sub(at_ns));
        let meta = ProcessMeta {
            parent_pid: parent,
            images: vec![image],
            attached_ns: self.began.elapsed().as_nanos() as u64,
            followed_from_ns: unseen_ns,
            ..ProcessMeta::default()
        };
        let exec_unseen = !started.target.keeps_its_code() && started.target.is_alive();
        self.processes.enter(meta, started, exit)?;
        self.processes.order(self.probes.regime_number(), &self.regime);
        if let Some(unseen_ns) = unseen_ns {
            let unseen = units::duration(unseen_ns);
            self.recorder.console.say(&format!("follows process {tgid}, {unseen} after its fork"));
        }
        // An exec that came before the kernel side knew the process went unseen.
        if exec_unseen {
            self.begin_image_unseen(tgid, image);
        }
        self.adopt_descendants(tgid)?;
        Ok(Outcome::Done)
    }

    /// Looks at a process again that has called exec while it was being adopted.
    fn begin_image_unseen(&mut self, tgid: u32, image: u32) {
        let now = Instant::now();
        let what = What::Image { image, by_thread: false, at_ns: measure::monotonic_ns() };
        self.processes.newcomers.push(Newcomer { tgid, what, first_look: now, next_look: now });
    }

    /// What a child is, and what to probe in it: as in its parent where it still runs the same
    /// code, which needs no file to be read.
    fn plan_child(&mut self, tgid: u32, parent: u32) -> Result<Started> {
        if let Some(found) = self.plan_forked(tgid, parent) {
            return Ok(found);
        }
        // Its parent may have mapped more than we know.
        let warnings = self.processes.refresh(parent, &mut self.probes);
        warnings.iter().try_for_each(|warning| self.recorder.warn(warning))?;
        if let Some(found) = self.plan_forked(tgid, parent) {
            return Ok(found);
        }
        let open = self.processes.target_of(parent).or_else(|| self.processes.target_of(self.tgid));
        let open = open.map(|target| target.files.clone()).unwrap_or_default();
        let mut started = setup::prepare_beside(tgid, &open, &self.config)?;
        if self.config.lane {
            // It may have been forked from a command in the fast lane; else it is not taken.
            let _ = plan::lane::take(&started.target, &mut started.plan);
        }
        Ok(started)
    }

    fn plan_forked(&self, tgid: u32, parent: u32) -> Option<Started> {
        let known = self.processes.target_of(parent)?;
        let target = known.forked(tgid).ok()?;
        let mut plan = self.processes.followed.get(&parent)?.plan.clone();
        if !has_same_code(known, &target) {
            plan.code_ranges = plan::code_ranges(&target, plan.node.as_ref()).0;
        }
        Some(Started {
            target,
            plan,
            warnings: Vec::new(),
            image: 0,
            forked_from: Some(parent),
            python_refusal: None,
            child: None,
            governed: None,
            guardian: None,
            lane: Lane::default(),
            line: None,
        })
    }

    fn follow_image(
        &mut self,
        tgid: u32,
        image: u32,
        by_thread: bool,
        at_ns: u64,
    ) -> Result<Outcome> {
        match self.processes.followed.get(&tgid) {
            Some(followed) if followed.image == image => {}
            _ => return Ok(Outcome::Gone),
        }
        let open = self.processes.target_of(tgid).map(|target| target.files.clone());
        let started = match setup::prepare_beside(tgid, &open.unwrap_or_default(), &self.config) {
            Ok(started) => started,
            Err(error) if setup::is_missing_allocator(&error) => return Ok(Outcome::NotYet),
            Err(_) if !is_running(tgid) => return Ok(Outcome::Gone),
            Err(error) => return Ok(Outcome::Refused(error.to_string())),
        };
        let Started { target, plan, mut warnings, python_refusal, .. } = started;
        let (tables, more) = setup::missing_tables(&self.probes, &target, &plan.code_ranges);
        warnings.extend(more);
        match self.probes.follow_exec(tgid, &plan, &tables, by_thread) {
            Ok(more) => warnings.extend(more),
            Err(_) if !target.is_alive() => return Ok(Outcome::Gone),
            Err(error) => return Ok(Outcome::Refused(error.to_string())),
        }
        if tgid == self.tgid
            && let Some(hook) = plan::loader::hook(&target)
        {
            self.probes.move_loader_state(hook.state_avma);
        }
        for warning in &warnings {
            self.recorder.warn(warning)?;
        }
        if tgid == self.tgid
            && let Some(observer) = Observer::new(&self.config, &target, &plan, python_refusal)
        {
            self.python_objects = Some(observer);
        }
        self.processes.learn_image(tgid, &target, plan);
        let unseen = units::duration(measure::monotonic_ns().saturating_sub(at_ns));
        self.recorder.warn(&Warning::new(
            "target-exec",
            format!(
                "Process {tgid} replaced its program (exec): blocks of the old one are counted as gone. What the new one, {}, allocated in its first {unseen} may be missing, and is without Python frames.",
                target.exe.display()
            ),
            "",
        ))?;
        Ok(Outcome::Done)
    }
}

/// When to look again at a process that cannot be traced yet: soon at first.
fn pause_after(waited: Duration) -> Duration {
    (waited / 4).clamp(Duration::from_millis(2), Duration::from_millis(100))
}

fn has_same_code(one: &Target, other: &Target) -> bool {
    let code = |target: &Target| {
        let plain = target.mappings.iter().filter(|mapping| mapping.executable);
        let plain = plain.filter(|mapping| !mapping.is_special());
        plain.map(|mapping| (mapping.start_avma, mapping.end_avma)).collect::<Vec<_>>()
    };
    code(one) == code(other)
}

fn is_running(tgid: u32) -> bool {
    std::fs::read_link(format!("/proc/{tgid}/exe")).is_ok()
}
