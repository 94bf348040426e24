//! Writes an initramfs: a cpio archive in the "newc" form that kernels unpack at boot. Knows
//! nothing of what is in it.
//!
//! # Sources
//! Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};

/// Bits of `st_mode` that tell what an entry is.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Headers, names and contents begin at multiples of this many bytes.
const ALIGNMENT_BYTES: u64 = 4;

/// An archive that is being written. Every path is absolute, and as the guest will see it.
pub struct Archive {
    out: BufWriter<File>,
    inode: u32,
    written_bytes: u64,
    present: BTreeSet<Vec<u8>>,
}

impl Archive {
    /// Begins an archive in a new file.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 20, file),
            inode: 0,
            written_bytes: 0,
            present: BTreeSet::new(),
        })
    }

    /// Adds a folder, and those above it.
    ///
    /// # Errors
    /// When it cannot be written, or `path` is not absolute and plain.
    pub fn folder(&mut self, path: &Path) -> Result<()> {
        if let Some(above) = path.parent().filter(|above| above.parent().is_some()) {
            self.folder(above)?;
        }
        self.entry(path, DIRECTORY | 0o755, &[])
    }

    /// Adds a file with these contents, and the folders above it.
    ///
    /// # Errors
    /// As [`Archive::folder`].
    pub fn bytes(&mut self, path: &Path, contents: &[u8], permissions: u32) -> Result<()> {
        self.above(path)?;
        self.entry(path, REGULAR | (permissions & 0o777), contents)
    }

    /// Adds a copy of the file at `from`, which may be a link to it.
    ///
    /// # Errors
    /// As [`Archive::folder`], and when `from` cannot be read.
    pub fn copy(&mut self, path: &Path, from: &Path) -> Result<()> {
        let reading = || format!("reading {}", from.display());
        let permissions = fs::metadata(from).with_context(reading)?.permissions().mode();
        self.bytes(path, &fs::read(from).with_context(reading)?, permissions)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As [`Archive::folder`].
    pub fn link(&mut self, path: &Path, to: &Path) -> Result<()> {
        self.above(path)?;
        self.entry(path, SYMLINK | 0o777, to.as_os_str().as_bytes())
    }

    /// Ends the archive and returns its length in bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<u64> {
        self.record(b"TRAILER!!!", 0, &[]).context("writing the end of the archive")?;
        self.out.flush().context("writing the archive")?;
        Ok(self.written_bytes)
    }

    fn above(&mut self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), |above| self.folder(above))
    }

    /// Writes one entry, unless its path is there already.
    fn entry(&mut self, path: &Path, mode: u32, contents: &[u8]) -> Result<()> {
        let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        if !path.is_absolute() || !path.components().all(plain) {
            bail!("{} cannot be put into the archive under this name", path.display());
        }
        let name = path.as_os_str().as_bytes()[1..].to_vec();
        if name.is_empty() || !self.present.insert(name.clone()) {
            return Ok(());
        }
        self.record(&name, mode, contents)
            .with_context(|| format!("writing {} to the archive", path.display()))
    }

    fn record(&mut self, name: &[u8], mode: u32, contents: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::other("longer than the form of the archive can say");
        let length_bytes = u32::try_from(contents.len()).map_err(too_long)?;
        let name_bytes = u32::try_from(name.len() + 1).map_err(too_long)?;
        self.inode += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        // inode, mode, user, group, links, time, length, device (2), special device (2), name, check
        let fields = [self.inode, mode, 0, 0, links, 0, length_bytes, 0, 0, 0, 0, name_bytes, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.put(header.as_bytes())?;
        self.put(name)?;
        self.put(&[0])?;
        self.align()?;
        self.put(contents)?;
        self.align()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written_bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        let missing = self.written_bytes.wrapping_neg() % ALIGNMENT_BYTES;
        self.put(&[0; ALIGNMENT_BYTES as usize][..missing as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;
    use crate::command;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn busybox_lists_what_was_put_in() {
        let Some(busybox) = command::which("busybox") else {
            return eprintln!("SKIPPED: no busybox to read the archive with");
        };
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("archive.cpio");
        let mut archive = Archive::create(&path).unwrap();
        archive.bytes(Path::new("/usr/bin/five"), b"12345", 0o755).unwrap();
        archive.bytes(Path::new("/usr/bin/four"), b"1234", 0o644).unwrap();
        archive.link(Path::new("/bin"), Path::new("usr/bin")).unwrap();
        archive.bytes(Path::new("/usr/bin/five"), b"twice", 0o755).unwrap();
        let length_bytes = archive.finish().unwrap();
        assert_eq!(length_bytes, path.metadata().unwrap().len());
        let unpack = format!("{} cpio -idm < archive.cpio 2>/dev/null", busybox.display());
        command::output(Command::new("sh").args(["-c", &unpack]).current_dir(&scratch)).unwrap();
        let read = |name: &str| std::fs::read_to_string(scratch.path().join(name)).unwrap();
        assert_eq!((read("usr/bin/five"), read("bin/four")), ("12345".into(), "1234".into()));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let mut archive = Archive::create(&scratch.path().join("archive.cpio")).unwrap();
        assert!(archive.bytes(Path::new("relative"), b"", 0o644).is_err());
        assert!(archive.bytes(Path::new("/usr/../etc/file"), b"", 0o644).is_err());
    }
}
