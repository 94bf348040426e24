//! Files of the target by the paths that it knows them by: looked up under its own root, which no
//! link leads out of. They are the target's, and may be anything.

use super::path::{decoded_path, display_path};
use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// The bytes of a regular file of at most `max_bytes`; `None` for anything else, without opening
/// it: a device or a pipe could block or act.
///
/// # Kernel
/// 5.6: `openat2`.
pub(super) fn read_bounded(tgid: u32, path: &Path, max_bytes: u64) -> Option<Vec<u8>> {
    let root = File::open(format!("/proc/{tgid}/root")).ok()?;
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
    if !metadata.is_file() || metadata.len() > max_bytes {
        return None;
    }
    let file = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd())).ok()?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= max_bytes).then_some(bytes)
}

/// The path that `reference`, found in a file of `folder`, leads to; `None` when that is elsewhere
/// (`https:`, `webpack:`).
pub(super) fn resolve(folder: &Path, reference: &str) -> Option<PathBuf> {
    let path = match has_scheme(reference) {
        true => display_path(reference),
        false => decoded_path(reference),
    };
    (!has_scheme(&path)).then(|| normalised(&folder.join(path)))
}

/// `webpack://app/src/a.ts`, but not `C:` or a name with a colon further back.
fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme.len() > 1
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// Without `.` and `..`, by the names alone.
fn normalised(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_from_their_folder() {
        let folder = Path::new("/srv/app/dist");
        for (reference, expected) in [
            ("app.js.map", Some("/srv/app/dist/app.js.map")),
            ("../src/./app.ts", Some("/srv/app/src/app.ts")),
            ("a%20b.map?v=1", Some("/srv/app/dist/a b.map")),
            ("../../../../x", Some("/x")),
            ("/abs/a.ts", Some("/abs/a.ts")),
            ("file:///abs/a%20b.ts", Some("/abs/a b.ts")),
            ("https://host/a.map", None),
            ("webpack:///./src/a.ts", None),
            ("c:d.ts", Some("/srv/app/dist/c:d.ts")),
            ("/odd%3A/a.ts", Some("/odd:/a.ts")),
        ] {
            assert_eq!(resolve(folder, reference), expected.map(PathBuf::from), "{reference}");
        }
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let own = std::process::id();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.map");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_bounded(own, &file, 5).as_deref(), Some(&b"12345"[..]));
        assert_eq!(read_bounded(own, &file, 4), None);
        assert_eq!(read_bounded(own, folder.path(), 5), None);
        assert_eq!(read_bounded(own, Path::new("/dev/zero"), 5), None);
        assert_eq!(read_bounded(own, &folder.path().join("none"), 5), None);
        // Links of /proc lead anywhere: they are not followed.
        assert_eq!(read_bounded(own, Path::new("/proc/self/exe"), 1 << 30), None);
        assert_eq!(read_bounded(u32::MAX, &file, 5), None);
    }
}
