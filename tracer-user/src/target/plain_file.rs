//! Files of the target by the paths that it knows them by: looked up under its own root, which no
//! link leads out of. They are the target's, and may be anything; only regular files are opened.

use std::ffi::CString;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// File systems whose files the kernel makes up when they are read. They are regular by type, and
/// some wait for what is not there yet, or take it from others (`/proc/kmsg`, `trace_pipe`).
const MADE_UP: [libc::c_long; 19] = [
    libc::PROC_SUPER_MAGIC,
    libc::SYSFS_MAGIC,
    libc::TRACEFS_MAGIC,
    libc::DEBUGFS_MAGIC,
    libc::CGROUP_SUPER_MAGIC,
    libc::CGROUP2_SUPER_MAGIC,
    libc::SECURITYFS_MAGIC,
    libc::BPF_FS_MAGIC,
    libc::SELINUX_MAGIC,
    libc::SMACK_MAGIC,
    libc::NSFS_MAGIC,
    libc::RDTGROUP_SUPER_MAGIC,
    // These libc does not name: binfmt_misc, configfs, pstore, efivarfs, fusectl, mqueue, and usbfs.
    0x4249_4e4d,
    0x6265_6570,
    0x6165_676c,
    0xde5e_81e4,
    0x6573_5543,
    0x1980_0202,
    0x9fa2,
];

/// A regular file that was found, and not opened for reading yet.
#[derive(Debug)]
pub struct PlainFile {
    handle: File,
    metadata: Metadata,
}

/// The root of process `tgid`; `None` when it is gone, or may not be read.
pub fn root_of(tgid: u32) -> Option<File> {
    File::open(format!("/proc/{tgid}/root")).ok()
}

/// The regular file that `path` leads to under `root`; `None` for anything else, without opening
/// it: a device or a pipe could block or act, and so could a file that the kernel makes up.
///
/// # Kernel
/// 5.6: `openat2`.
pub fn open(root: &File, path: &Path) -> Option<PlainFile> {
    let name = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: `open_how` is made of integers, for which zero is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: `name` ends with a zero byte, `how` is as large as is said, and both live through
    // the call.
    let handle = unsafe {
        libc::syscall(libc::SYS_openat2, root.as_raw_fd(), name.as_ptr(), &how, size_of_val(&how))
    };
    let handle = i32::try_from(handle).ok().filter(|handle| *handle >= 0)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    let handle = File::from(unsafe { OwnedFd::from_raw_fd(handle) });
    let metadata = handle.metadata().ok()?;
    (metadata.is_file() && !is_made_up(&handle)).then_some(PlainFile { handle, metadata })
}

impl PlainFile {
    /// As it was when it was found.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Its bytes; `None` where it is empty, or there are more than `max_bytes`. What grows
    /// meanwhile is read to where it ended.
    pub fn read(&self, max_bytes: u64) -> Option<Vec<u8>> {
        // What is made up has often no length.
        if !(1..=max_bytes).contains(&self.metadata.len()) {
            return None;
        }
        let file = File::open(format!("/proc/self/fd/{}", self.handle.as_raw_fd())).ok()?;
        let mut bytes = Vec::new();
        file.take(self.metadata.len()).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Whether it lies in a file system that the kernel makes up, or in one that is not told.
fn is_made_up(handle: &File) -> bool {
    // SAFETY: `statfs` is made of integers, for which zero is a value.
    let mut system: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and `system` is the structure that the call fills.
    let status = unsafe { libc::fstatfs(handle.as_raw_fd(), &mut system) };
    status != 0 || MADE_UP.contains(&system.f_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tgid: u32, path: &Path, max_bytes: u64) -> Option<Vec<u8>> {
        open(&root_of(tgid)?, path)?.read(max_bytes)
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let own = std::process::id();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.map");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(own, &file, 5).as_deref(), Some(&b"12345"[..]));
        assert_eq!(read(own, &file, 4), None);
        assert_eq!(read(own, folder.path(), 5), None);
        assert_eq!(read(own, Path::new("/dev/zero"), 5), None);
        assert_eq!(read(own, &folder.path().join("none"), 5), None);
        // Links of /proc lead anywhere: they are not followed.
        assert_eq!(read(own, Path::new("/proc/self/exe"), 1 << 30), None);
        assert_eq!(read(u32::MAX, &file, 5), None);
        std::fs::write(&file, "").unwrap();
        assert_eq!(read(own, &file, 5), None);
    }

    #[test]
    fn what_the_kernel_makes_up_is_not_read() {
        let own = std::process::id();
        // Regular files by type, the second of 4096 bytes.
        for path in [
            "/proc/self/status",
            "/sys/kernel/notes",
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "/sys/fs/cgroup/cgroup.procs",
        ] {
            let path = Path::new(path);
            let Ok(metadata) = path.metadata() else { continue };
            assert!(metadata.is_file(), "{}", path.display());
            assert_eq!(read(own, path, 1 << 20), None, "{}", path.display());
        }
        assert!(is_made_up(&File::open("/proc/self/status").unwrap()));
        assert!(is_made_up(&File::open("/sys/kernel").unwrap()));
        let file = tempfile::tempfile().unwrap();
        assert!(!is_made_up(&file));
    }
}
