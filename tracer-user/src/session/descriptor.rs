//! Descriptors in the event loop: a process' end, and how many there may be.

use anyhow::{Context as _, Result};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use tokio::io::{Interest, unix::AsyncFd};

/// Sleeps until then, or for ever.
pub async fn sleep_until(then: Option<tokio::time::Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// Registers a descriptor with the event loop.
pub fn readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned, so it is open as long as registered.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}

/// Becomes readable when the process ends (pidfd_open(2), Linux 5.3); `None` when it has ended.
pub fn pidfd(tgid: u32) -> Result<Option<OwnedFd>> {
    // SAFETY: takes two numbers; returns a descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tgid, 0) };
    if fd >= 0 {
        // SAFETY: a descriptor that was just opened and that nobody else owns.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }));
    }
    let error = std::io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        return Ok(None);
    }
    Err(error).with_context(|| format!("watching for the end of process {tgid}"))
}

/// Raises the number of descriptors that we may have as far as it may be raised: every probe in
/// every process is one, and so is every code file. Commands that are started later inherit it.
pub fn raise_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads into, then from, a valid structure of ours.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            // Where it may not be raised, what does not fit is said when it comes to that.
            let _ = libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
