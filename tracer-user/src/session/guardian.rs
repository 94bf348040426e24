//! A process that waits for outlive's end, to continue a command that outlive may have stopped.
//!
//! The kernel's own means (`PR_SET_PDEATHSIG`) does not serve: it acts when the thread that started
//! the command ends, which can be before the last probe is gone, so that the command is stopped
//! once more; and it is cleared when the command changes its credentials.

use super::descriptor::pidfd;
use anyhow::{Context as _, Result};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// The guardian; dropping it sends it away.
#[derive(Debug)]
pub struct Guardian {
    pid: libc::pid_t,
}

impl Guardian {
    /// Starts one for process `command`. To be called before any probe is loaded: it keeps nothing
    /// of ours open, but what the kernel has to copy for it is little then.
    ///
    /// # Errors
    /// When a process cannot be made; `None` when the command has ended.
    pub fn of(command: u32) -> Result<Option<Self>> {
        let (Some(command), Some(outlive)) = (pidfd(command)?, pidfd(std::process::id())?) else {
            return Ok(None);
        };
        // SAFETY: the child makes system calls only, until it ends.
        match unsafe { libc::fork() } {
            -1 => Err(std::io::Error::last_os_error())
                .context("starting the process that guards the command"),
            0 => guard(&command, &outlive),
            pid => Ok(Some(Self { pid })),
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // SAFETY: takes numbers and no pointer; it is our child and has not been waited for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

/// What the guardian does: nothing until outlive's last thread has ended, when all its probes are
/// gone; then it continues the command and ends.
fn guard(command: &OwnedFd, outlive: &OwnedFd) -> ! {
    /// Where the two descriptors stay; all others are closed.
    const COMMAND: RawFd = 0;
    const OUTLIVE: RawFd = 1;
    // SAFETY: system calls that take numbers, and a structure that lives long enough. A session of
    // its own, so that what is meant for outlive (Ctrl-C, a signal to its group) spares it.
    unsafe {
        libc::setsid();
        // Both were opened by us while descriptors 0 to 2 were in use, so neither is 0 or 1.
        libc::dup2(command.as_raw_fd(), COMMAND);
        libc::dup2(outlive.as_raw_fd(), OUTLIVE);
        libc::syscall(libc::SYS_close_range, 2, u32::MAX, 0);
        let mut end = libc::pollfd { fd: OUTLIVE, events: libc::POLLIN, revents: 0 };
        while libc::poll(&raw mut end, 1, -1) < 0 {}
        let no_details = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, COMMAND, libc::SIGCONT, no_details, 0);
        libc::_exit(0)
    }
}
