//! The PID namespace that outlive lives in: the kernel side must know whose numbers /proc shows.

use super::TargetError;
use std::os::unix::fs::MetadataExt as _;

/// Inode number of the initial PID namespace.
///
/// # Sources
/// `PROC_PID_INIT_INO` of the kernel's include/linux/proc_ns.h.
const INITIAL: u64 = 0xEFFF_FFFC;

/// Inode number of outlive's own PID namespace; 0 when it is the initial one.
///
/// # Errors
/// When /proc shows the numbers of another namespace: none of them could be believed.
pub fn own() -> Result<u32, TargetError> {
    let shown = std::fs::read_link("/proc/self").ok();
    let shown = shown.and_then(|link| link.to_str()?.parse().ok());
    if shown != Some(std::process::id()) {
        return Err(TargetError::ForeignProc);
    }
    let inode = std::fs::metadata("/proc/self/ns/pid").map_or(INITIAL, |found| found.ino());
    Ok(if inode == INITIAL { 0 } else { inode as u32 })
}
