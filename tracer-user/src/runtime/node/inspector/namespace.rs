//! The network of a container: a thread of ours enters it for good.

use std::{fs::File, io, os::fd::AsRawFd as _};

/// Has the calling thread, and only that, use the network namespace of process `tgid` from now on.
///
/// # Errors
/// When it may not be entered, or the process is gone.
pub fn enter(tgid: u32) -> io::Result<()> {
    let identity = |whose: &str| std::fs::read_link(format!("/proc/{whose}/ns/net"));
    if identity("thread-self")? == identity(&tgid.to_string())? {
        return Ok(());
    }
    let namespace = File::open(format!("/proc/{tgid}/ns/net"))?;
    // SAFETY: a system call that takes a descriptor of ours and changes the calling thread only.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
