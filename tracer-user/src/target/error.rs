//! Why a process cannot be traced, each a sentence: what is wrong, why, and what to do.

use super::elf::ElfError;
use std::io;

/// Why a process cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Nothing has that number.
    #[error(
        "There is no process {0}: it has ended, or lives in another PID namespace. Look it up again, with pgrep for instance."
    )]
    NoSuchProcess(u32),
    /// A thread of the kernel.
    #[error(
        "Process {pid} ({name}) is a kernel thread: it has no user memory and no allocator. Name a user process."
    )]
    KernelThread {
        /// Its number.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// Ended, not yet reaped.
    #[error(
        "Process {pid} ({name}) is a zombie: it has ended and only waits for its parent to notice. Start it again, or name another process."
    )]
    Zombie {
        /// Its number.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// Not 64-bit x86.
    #[error(
        "Process {pid} runs {exe}, which is built for {machine}: outlive traces 64-bit x86 programs only. Run a 64-bit build of it."
    )]
    OtherArchitecture {
        /// Its number.
        pid: u32,
        /// Its program.
        exe: String,
        /// What it is built for.
        machine: String,
    },
    /// Not allowed.
    #[error(
        "Process {pid} may not be inspected ({what}: {error}): it belongs to another user, or a security module forbids it. Run outlive as root."
    )]
    Permission {
        /// Its number.
        pid: u32,
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Outlive itself.
    #[error(
        "Process {0} is outlive itself: its probes would report their own work. Name another process."
    )]
    Itself(u32),
    /// It ended meanwhile.
    #[error(
        "Process {0} ended while it was being inspected. Start it again, or use `outlive run` to trace it from its first instruction."
    )]
    Exited(u32),
    /// Its program is not readable as ELF.
    #[error(
        "The program of process {pid}, {exe}, cannot be read: {error}. Without it no allocator can be found; check that the file is intact."
    )]
    Program {
        /// Its number.
        pid: u32,
        /// Its program.
        exe: String,
        /// What is wrong with it.
        error: ElfError,
    },
    /// Anything else that reading /proc can fail with.
    #[error(
        "Process {pid} cannot be inspected ({what}: {error}). Check that /proc is mounted and shows all processes (no hidepid)."
    )]
    Proc {
        /// Its number.
        pid: u32,
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Numbers of another namespace.
    #[error(
        "/proc shows the processes of another PID namespace than outlive's own, so no process could be told from another. Mount it anew (unshare --mount-proc), or run outlive outside of the container."
    )]
    ForeignProc,
    /// No process matches a name.
    #[error(
        "No running process has a command line that matches '{0}'. Try the pattern with `pgrep -af`."
    )]
    NoMatch(String),
    /// Several do.
    #[error("{} processes match '{pattern}'; name one by its PID, or make the pattern narrower:\n{}", .candidates.len(), super::find::list(.candidates))]
    ManyMatches {
        /// The pattern.
        pattern: String,
        /// Who matches it: PID and command line.
        candidates: Vec<(u32, String)>,
    },
    /// Not a regular expression.
    #[error(
        "'{pattern}' is not a regular expression: {error}. Quote special characters with a backslash."
    )]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        error: regex::Error,
    },
    /// No such unit, or it has no process.
    #[error(
        "The systemd unit '{0}' has no running process (no control group of that name has one). Check `systemctl status {0}`."
    )]
    NoUnit(String),
}

impl TargetError {
    /// Files an I/O error of a /proc read under its meaning.
    pub(super) fn from_io(pid: u32, what: &str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Self::Exited(pid),
            Some(libc::EACCES | libc::EPERM) => {
                Self::Permission { pid, what: what.to_owned(), error }
            }
            _ => Self::Proc { pid, what: what.to_owned(), error },
        }
    }
}
