//! A command that the kernel side stops when it has loaded libraries: whatever happens here, it
//! goes on.

use std::io;

/// Continues a stopped command; once more when dropped, so that no error leaves it stopped.
///
/// When outlive is killed, the kernel continues it, as [`go_on_without_us`] had it arranged. The
/// kernel forgets that when the command becomes another user or group: a command that does is no
/// longer stopped from then on, which is noticed when it is stopped next, or replaces its program.
/// So there is one case in which it stays stopped: outlive is killed with SIGKILL within the
/// milliseconds of the first stop after such a change, or the change was undone meanwhile and went
/// unnoticed. SIGCONT helps then.
#[derive(Debug)]
pub struct Held {
    tgid: u32,
    /// As whom it runs for as long as the kernel keeps its promise.
    identity: Option<Identity>,
    /// No more stops can come.
    is_over: bool,
}

/// The users and groups as which a process runs: real, effective, saved, of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity([String; 2]);

impl Identity {
    /// Ours.
    pub fn own() -> Option<Self> {
        Self::read("self")
    }

    /// Of process `tgid`; `None` when it is gone.
    pub fn of(tgid: u32) -> Option<Self> {
        Self::read(&tgid.to_string())
    }

    fn read(process: &str) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = |name| status.lines().find_map(|line| line.strip_prefix(name));
        Some(Self([line("Uid:")?.to_owned(), line("Gid:")?.to_owned()]))
    }
}

/// Should we die while the command is stopped, the kernel continues it. To a command that runs the
/// signal means nothing, unless it handles it. To be called in the command, before its program.
pub fn go_on_without_us() -> io::Result<()> {
    // SAFETY: a request that takes a number.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGCONT) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Held {
    /// Of the command `tgid`, our child.
    pub fn new(tgid: u32) -> Self {
        Self { tgid, identity: Identity::own(), is_over: false }
    }

    /// Whether the kernel continues it still, should we die. A process that is gone needs no such
    /// thing.
    pub fn may_be_stopped(&self) -> bool {
        Identity::of(self.tgid).is_none_or(|identity| Some(identity) == self.identity)
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        let Ok(pid) = libc::pid_t::try_from(self.tgid) else { return };
        // SAFETY: takes two numbers. The process is our child and has not been waited for, so its
        // number is still its own.
        unsafe { libc::kill(pid, libc::SIGCONT) };
    }

    /// All its stops are over.
    pub fn end(&mut self) {
        self.is_over = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_over {
            self.go_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
    };

    #[test]
    fn a_command_that_becomes_another_user_is_not_stopped() {
        // SAFETY: asks for a number.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: only root can become somebody else");
            return;
        }
        let cat = || {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            command
        };
        let mut same = cat().spawn().unwrap();
        let mut other_user = cat().uid(65534).spawn().unwrap();
        let mut other_group = cat().gid(65534).spawn().unwrap();
        assert!(Held::new(same.id()).may_be_stopped());
        assert!(!Held::new(other_user.id()).may_be_stopped());
        assert!(!Held::new(other_group.id()).may_be_stopped());
        for child in [&mut same, &mut other_user, &mut other_group] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
