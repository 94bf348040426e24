//! Writes files beside and renames them, so that nobody ever finds half a file. Captures and
//! reports say a lot about a program: they are readable by their owner alone.

use crate::report::{self, Detail, Report, View};
use anyhow::{Context as _, Result, ensure};
use std::{
    fs::File,
    io::{BufWriter, Write as _},
    os::unix::fs::{PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

/// The folder of `--out`.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Whether this session made it.
    made: bool,
    kept: bool,
}

impl Folder {
    /// Makes it where needed, and checks that it can be written to.
    ///
    /// # Errors
    /// A sentence when it cannot.
    pub fn prepare(path: PathBuf) -> Result<Self> {
        let made = !path.exists();
        let shown = path.display().to_string();
        std::fs::create_dir_all(&path)
            .with_context(|| format!("--out {shown} cannot be made or is no directory; name a folder that can be written to"))?;
        ensure!(path.is_dir(), "--out {shown} is no directory; name a folder");
        tempfile::tempfile_in(&path)
            .with_context(|| format!("--out {shown} cannot be written to; name another folder"))?;
        Ok(Self { path, made, kept: false })
    }

    /// Where the capture goes.
    pub fn capture(&self) -> PathBuf {
        self.path.join("capture.outlive")
    }

    /// The session has begun: the folder stays from now on.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.made && !self.kept {
            // Not empty, or gone already: leave it.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// Writes report.json, report.txt (of so much detail), live.svg and growth.svg.
///
/// # Errors
/// The first file that could not be written.
pub fn write_reports(folder: &Path, report: &Report, detail: Detail) -> Result<()> {
    let svg = |view| report::svg(report, view).context("drawing the flamegraph");
    write_with(&folder.join("report.json"), |file| report::write_json(report, file))?;
    let text = report::text(report, false, detail);
    write_beside(&folder.join("report.txt"), text.as_bytes())?;
    write_beside(&folder.join("live.svg"), &svg(View::Live)?)?;
    write_beside(&folder.join("growth.svg"), &svg(View::Growth)?)
}

/// Writes a whole file beside its place, then renames it.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write_beside(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write_beside`] a file that others are to read: the next steps of a job, whoever reviews a
/// change. It belongs to whoever called sudo.
///
/// # Errors
/// As [`write_beside`].
pub fn write_for_others(path: &Path, bytes: &[u8]) -> Result<()> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    write_with(path, |out| {
        out.write_all(bytes)?;
        let file = out.get_ref();
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        match (number("SUDO_UID"), number("SUDO_GID")) {
            (Some(user), Some(group)) => fchown(file, Some(user), Some(group)),
            _ => Ok(()),
        }
    })
}

/// As [`write_beside`], piece by piece.
///
/// # Errors
/// As [`write_beside`], and what `fill` says.
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        let file = tempfile::NamedTempFile::new_in(folder)?;
        let mut out = BufWriter::new(file.as_file());
        fill(&mut out)?;
        out.flush()?;
        drop(out);
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}
