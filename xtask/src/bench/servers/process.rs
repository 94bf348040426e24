//! A server with whoever follows it, and what both have used.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::table::{Programs, Who};
use crate::bench::peer::{self, Heaptrack};
use crate::bench::program::PATIENCE;
use crate::bench::tracer::{self, Attached};
use crate::bench::usage;
use crate::child::{Guarded, bound_command};

/// How long a server that is asked to end may take: some write what they recorded.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs, and what follows it from inside or from its start on.
pub(super) struct Process {
    /// What was started: the server, or outlive, which started it.
    started: Guarded,
    pub(super) port: u16,
    /// The server.
    pub(super) pid: u32,
    heaptrack: Option<Heaptrack>,
    _folder: TempDir,
}

/// Who follows for the time of one measurement.
pub(super) enum Visitor {
    Nobody,
    Outlive(Attached),
    Peer(Guarded),
}

/// CPU time of target and tracer, seconds, and what both have resident, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) target_cpu_s: f64,
    pub(super) tracer_cpu_s: f64,
    pub(super) target_bytes: u64,
    pub(super) tracer_bytes: u64,
}

impl Process {
    /// Starts a server the way `who` has it started, and lets in who attaches once and stays.
    ///
    /// # Errors
    /// When it does not start, or `who` cannot be had.
    pub(super) fn start(who: Who, programs: &Programs) -> Result<Self> {
        let folder = tracer::folder()?;
        let mut heaptrack = None;
        let option = |option: &str| programs.command(&[option.to_owned()]);
        let mut command = match who {
            Who::Lane => {
                let mut lane = tracer::lane(&folder)?;
                lane.args(programs.command(&[])?);
                lane
            }
            Who::Heaptrack => heaptrack.insert(Heaptrack::start()?).follow(&programs.command(&[])?),
            Who::MemrayRun => {
                let python = programs.memray()?.display().to_string();
                bound(&peer::memray_run(&python, &programs.script()?, folder.path()))?
            }
            Who::Tracemalloc1 => bound(&option("-Xtracemalloc=1")?)?,
            Who::Tracemalloc25 => bound(&option("-Xtracemalloc=25")?)?,
            Who::HeapProf => {
                let to = format!("--heap-prof-dir={}", folder.path().display());
                bound(&programs.command(&["--heap-prof".to_owned(), to])?)?
            }
            _ => bound(&programs.command(&[])?)?,
        };
        let mut started = Guarded::start(who.label(), &mut command)?;
        let ready: Value = started.wait_for("ready line", PATIENCE, |line| {
            serde_json::from_str(line).ok().filter(|ready: &Value| ready["port"].is_u64())
        })?;
        let port = ready["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let pid = ready["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let process = Self {
            started,
            port: port.context("no port")?,
            pid: pid.context("no pid")?,
            heaptrack,
            _folder: folder,
        };
        if who == Who::MemrayAttach {
            peer::memray_attach(programs.memray()?, process.pid, process._folder.path())?;
        }
        Ok(process)
    }

    /// Lets in who comes and goes.
    ///
    /// # Errors
    /// When it does not attach.
    pub(super) fn visit(&self, who: Who) -> Result<Visitor> {
        Ok(match who {
            Who::Exact => Visitor::Outlive(tracer::exact(self.pid, &[])?),
            Who::Sampled => {
                tracer::can_sample()?;
                Visitor::Outlive(tracer::sampled(self.pid)?)
            }
            Who::Budgeted => Visitor::Outlive(tracer::budgeted(self.pid)?),
            Who::Bpftrace => Visitor::Peer(peer::bpftrace(self.pid)?),
            _ => Visitor::Nobody,
        })
    }

    /// What server and follower have used by now.
    ///
    /// # Errors
    /// When one of them has gone.
    pub(super) fn used(&self, visitor: &Visitor) -> Result<Used> {
        let tracer = match visitor {
            Visitor::Outlive(outlive) => Some(outlive.pid()),
            Visitor::Peer(peer) => Some(peer.pid()),
            Visitor::Nobody => match &self.heaptrack {
                Some(heaptrack) => Some(heaptrack.interpreter.pid()),
                // The lane: outlive started the server.
                None => (self.started.pid() != self.pid).then(|| self.started.pid()),
            },
        };
        let mut used = Used {
            target_cpu_s: usage::cpu_s(self.pid)?,
            target_bytes: usage::resident_bytes(self.pid)?,
            ..Used::default()
        };
        if let Some(tracer) = tracer {
            used.tracer_cpu_s = usage::cpu_s(tracer)?;
            used.tracer_bytes = usage::resident_bytes(tracer)?;
        }
        Ok(used)
    }

    /// Ends the server.
    pub(super) fn end(mut self) {
        // What it still records is no part of the bench, and who hangs is killed.
        self.started.close_input();
        let _ = self.started.wait(END_PATIENCE);
    }
}

impl Visitor {
    /// Sends it away.
    ///
    /// # Errors
    /// When outlive failed; or a peer did not go.
    pub(super) fn leave(self) -> Result<()> {
        match self {
            Visitor::Nobody => {}
            Visitor::Outlive(outlive) => outlive.end()?,
            Visitor::Peer(mut peer) => {
                peer.end("INT")?;
                // What it had in the target takes a moment to go.
                thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }
}

fn bound(program: &[String]) -> Result<Command> {
    let (first, rest) = program.split_first().context("an empty command")?;
    let mut command = bound_command(first, "KILL");
    command.args(rest);
    Ok(command)
}
