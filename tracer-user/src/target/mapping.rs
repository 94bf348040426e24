//! The target's address space: /proc/PID/maps, parsed, and nothing about what is in the files.

use std::path::{Path, PathBuf};

/// Lines of /proc/PID/maps that are read; the kernel's own default limit is 65,530 mappings.
const MAX_MAPPINGS: usize = 262_144;

/// Identity of a file: device and inode, as /proc/PID/maps prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Inode number.
    pub inode: u64,
}

/// One line of /proc/PID/maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start_avma: u64,
    /// First address behind it.
    pub end_avma: u64,
    /// Readable.
    pub readable: bool,
    /// Writable.
    pub writable: bool,
    /// Executable.
    pub executable: bool,
    /// Written to for all who map it, not for this process alone.
    pub shared: bool,
    /// Offset in the file, in bytes.
    pub file_offset: u64,
    /// The file; `None` for anonymous memory and the kernel's own mappings.
    pub file: Option<FileId>,
    /// Path as the target sees it, or a name such as `[heap]`; empty for anonymous memory.
    pub path: PathBuf,
    /// The file has been unlinked since it was mapped.
    pub deleted: bool,
}

impl Mapping {
    /// Whether `avma` lies in it.
    pub fn contains(&self, avma: u64) -> bool {
        (self.start_avma..self.end_avma).contains(&avma)
    }

    /// Length in bytes.
    pub fn length_bytes(&self) -> u64 {
        self.end_avma.saturating_sub(self.start_avma)
    }

    /// Whether it belongs to no file and has no name, or one that the program chose
    /// (PR_SET_VMA_ANON_NAME).
    pub fn is_anonymous(&self) -> bool {
        let name = self.path.as_os_str().as_encoded_bytes();
        self.file.is_none() && (name.is_empty() || name.starts_with(b"[anon:"))
    }

    /// Whether it is one of the kernel's own (`[vdso]`, `[uprobes]`, ...).
    pub fn is_special(&self) -> bool {
        self.file.is_none() && self.path.as_os_str().as_encoded_bytes().starts_with(b"[")
    }
}

/// All mappings in the text of a maps file, sorted by address. Lines that make no sense are
/// left out.
pub fn parse(text: &[u8]) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> =
        text.split(|byte| *byte == b'\n').filter_map(parse_line).take(MAX_MAPPINGS).collect();
    mappings.sort_by_key(|mapping| mapping.start_avma);
    mappings
}

/// One line of it; `None` when it makes no sense.
pub fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        let length =
            rest[start..].iter().position(|byte| *byte == b' ').unwrap_or(rest.len() - start);
        let (taken, left) = rest[start..].split_at(length);
        rest = left;
        std::str::from_utf8(taken).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?.as_bytes();
    let file_offset = u64::from_str_radix(field()?, 16).ok()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode: u64 = field()?.parse().ok()?;
    let path = rest.iter().position(|byte| *byte != b' ').map_or(&[][..], |at| &rest[at..]);
    let (path, deleted) = match path.strip_suffix(b" (deleted)") {
        Some(path) if inode != 0 => (path, true),
        _ => (path, false),
    };
    let (start_avma, end_avma) =
        (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let (major, minor) =
        (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    if start_avma >= end_avma || permissions.len() < 3 {
        return None;
    }
    Some(Mapping {
        start_avma,
        end_avma,
        readable: permissions[0] == b'r',
        writable: permissions[1] == b'w',
        executable: permissions[2] == b'x',
        shared: permissions.get(3) == Some(&b's'),
        file_offset,
        file: (inode != 0).then_some(FileId { major, minor, inode }),
        path: unescape(path),
        deleted,
    })
}

/// The kernel writes a newline in a path as `\012`.
fn unescape(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"\\012") {
            bytes.push(b'\n');
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// `path` as seen from outside the target's mount namespace.
pub fn through_root(tgid: u32, path: &Path) -> PathBuf {
    let relative = path.strip_prefix("/").unwrap_or(path);
    Path::new("/proc").join(tgid.to_string()).join("root").join(relative)
}

/// The kernel's link to the very file of a mapping, whatever has become of its path.
pub fn through_map_files(tgid: u32, mapping: &Mapping) -> PathBuf {
    PathBuf::from(format!("/proc/{tgid}/map_files/{:x}-{:x}", mapping.start_avma, mapping.end_avma))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\
00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/a b (deleted)\n\
7ffff7fc1000-7ffff7fc3000 r-xp 00000000 00:00 0                          [vdso]\n\
00e24000-011f7000 rw-p 00000000 00:00 0 \n";

    #[test]
    fn files_names_and_anonymous_memory_are_told_apart() {
        let mappings = parse(SAMPLE);
        assert_eq!(mappings.len(), 3);
        assert_eq!(mappings[0].path, Path::new("/usr/bin/a b"));
        assert!(mappings[0].deleted && mappings[0].executable && !mappings[0].writable);
        assert_eq!(mappings[0].file, Some(FileId { major: 8, minor: 2, inode: 173521 }));
        assert_eq!(mappings[0].file_offset, 0x1000);
        assert!(mappings[1].file.is_none() && mappings[1].path.as_os_str().is_empty());
        assert!(mappings[2].is_special());
    }

    #[test]
    fn a_cut_or_garbled_line_is_left_out_and_does_not_panic() {
        for length in 0..SAMPLE.len() {
            let _ = parse(&SAMPLE[..length]);
        }
        assert!(parse(b"zz-10 r-xp 0 0:0 0\n10-5 r-xp 0 0:0 0\n\xff\xfe").is_empty());
    }

    #[test]
    fn an_escaped_newline_is_restored() {
        let mappings = parse(b"1000-2000 r--p 00000000 08:02 7 /tmp/a\\012b\n");
        assert_eq!(mappings[0].path, Path::new("/tmp/a\nb"));
    }
}
