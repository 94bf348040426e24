//! bpf(2) itself, for what aya has no call for.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

/// One command; what the kernel answers.
///
/// # Safety
/// `attributes` are laid out as those of the command, and what they point to is there.
///
/// # Errors
/// What the kernel says.
///
/// # Sources
/// `union bpf_attr` in Linux include/uapi/linux/bpf.h.
pub unsafe fn command<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    let attributes = std::ptr::from_ref(attributes);
    // SAFETY: as the caller promises; the attributes are as long as said.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// One that answers with a descriptor.
///
/// # Safety
/// As for [`command`].
///
/// # Errors
/// What the kernel says.
pub unsafe fn descriptor<T>(number: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let answer = unsafe { command(number, attributes) }?;
    // SAFETY: a descriptor that comes back is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(answer as i32) })
}
