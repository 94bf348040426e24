//! The commands of a check: those that ask and work, and the one that is checked. None of them
//! outlives the check.

use crate::units;
use anyhow::{Context as _, Result};
use std::{
    io::{self, IsTerminal as _, Read as _, Seek as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _, unix::process::ExitStatusExt as _},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How long a command that was asked to end may take.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is asked whether a process has ended.
const GLANCE: Duration = Duration::from_millis(10);
/// Bytes of what a failed ready command said that are repeated.
const SAID_BYTES: u64 = 400;

/// A command of the user's, in a group of its own, which ends with it when it is given up.
pub(super) struct Running {
    pub(super) child: tokio::process::Child,
    pid: Option<u32>,
    has_ended: bool,
    /// What it said, where that is kept.
    said: Option<std::fs::File>,
}

impl Running {
    /// Starts it by the shell. What a `quiet` one says is kept, that of another goes to stderr.
    pub(super) fn start(
        command: &std::ffi::OsStr,
        tgid: u32,
        cycle: Option<u32>,
        quiet: bool,
    ) -> Result<Self> {
        let said = quiet.then(tempfile::tempfile).transpose().context("making a scratch file")?;
        let (out, err) = match &said {
            Some(file) => (file.try_clone()?.into(), file.try_clone()?.into()),
            None => (to_stderr()?, Stdio::inherit()),
        };
        let mut shell = tokio::process::Command::new("sh");
        shell.arg("-c").arg(command).env("OUTLIVE_PID", tgid.to_string());
        if let Some(cycle) = cycle {
            shell.env("OUTLIVE_CYCLE", cycle.to_string());
        }
        shell.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).kill_on_drop(true);
        let shown = || format!("running `{}`", command.display());
        let child = shell.spawn().with_context(shown)?;
        Ok(Self { pid: child.id(), child, has_ended: false, said })
    }

    /// Whether it succeeded; if not, how it ended and what it said.
    pub(super) fn outcome(&mut self, ended: &io::Result<ExitStatus>) -> Result<(), String> {
        self.has_ended = true;
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(in_words(*status) + &self.said()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) fn still_runs(&mut self, timeout: Duration) -> String {
        let time = units::duration(timeout.as_nanos() as u64);
        format!("still running after {time}{}", self.said())
    }

    fn said(&mut self) -> String {
        let Some(file) = &mut self.said else { return String::new() };
        let mut bytes = Vec::new();
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let read = file
            .seek(io::SeekFrom::Start(length.saturating_sub(SAID_BYTES)))
            .and_then(|_| file.take(SAID_BYTES).read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        match (read, text.trim()) {
            (Ok(_), text) if !text.is_empty() => format!(", saying: {text}"),
            _ => String::new(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = self.pid.filter(|_| !self.has_ended) {
            kill_group(pid);
        }
    }
}

/// A command that was started to be checked; stopped when dropped, with all of its group.
pub(super) struct Started {
    pid: u32,
    /// How it ended, once it has been waited for: from then on its number is nobody's.
    ended: Option<ExitStatus>,
}

impl Started {
    /// A child of ours.
    pub(super) fn new(pid: u32) -> Self {
        Self { pid, ended: None }
    }

    /// Whether it has ended; it has not been waited for then, so that its number is still its own.
    fn has_ended(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            // SAFETY: all zeros is a valid value of the plain structure.
            let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            // SAFETY: asks about our own child; `found` is a valid place.
            let asked = unsafe { libc::waitid(libc::P_PID, self.pid, &raw mut found, options) };
            // SAFETY: the kernel has filled it in, or left the zero that says nothing has ended.
            if asked != 0 || unsafe { found.si_pid() } != 0 {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Asks it to end, makes it where it does not, and waits for it; how it ended, where that was
    /// by itself.
    pub(super) fn stop(&mut self) -> Option<ExitStatus> {
        if self.ended.is_some() {
            return self.ended;
        }
        let by_itself = self.has_ended(Duration::ZERO);
        let pid = libc::pid_t::try_from(self.pid).ok()?;
        if !by_itself {
            // SAFETY: takes two numbers; our child has not been waited for.
            unsafe { libc::kill(pid, libc::SIGTERM) };
            if !self.has_ended(ENDS_WITHIN) {
                // SAFETY: as above.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                self.has_ended(ENDS_WITHIN);
            }
        }
        kill_group(self.pid);
        let mut status = 0;
        // SAFETY: waits for our own child; `status` is a valid place.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        self.ended = Some(ExitStatus::from_raw(status));
        self.ended.filter(|_| by_itself && waited > 0)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Puts a command that will be stopped into a group of its own, unless it is somebody's at a
/// terminal, and keeps what it prints out of the report.
pub fn set_apart(command: &mut std::process::Command) -> Result<()> {
    if !io::stdin().is_terminal() {
        command.process_group(0);
    }
    command.stdout(to_stderr()?);
    Ok(())
}

fn to_stderr() -> Result<Stdio> {
    Ok(io::stderr().as_fd().try_clone_to_owned().context("sharing stderr")?.into())
}

/// Ends all of a group, if it is one.
fn kill_group(leader: u32) {
    if let Ok(leader) = libc::pid_t::try_from(leader).map(|leader| leader.max(2)) {
        // SAFETY: takes two numbers; without such a group nothing happens.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
}

pub(super) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
