//! Writes a capture anew beside its place, piece by piece, while it still grows: a session must not
//! stand still for the time that it takes.

use super::thin::{Steps, Thinning};
use super::writer::{PREAMBLE_BYTES, beside, create, write_preamble};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// A copy that is being made. Dropped without [`Rewrite::replace`], it leaves no file.
#[derive(Debug)]
pub(super) struct Rewrite {
    from: BufReader<File>,
    /// `None` once it has taken its place.
    to: Option<BufWriter<File>>,
    path: PathBuf,
    beside: PathBuf,
    thinning: Thinning,
}

impl Rewrite {
    /// Begins one of the capture at `path`.
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        let mut from = BufReader::new(File::open(path)?);
        from.seek(SeekFrom::Start(PREAMBLE_BYTES))?;
        let beside = beside(path, ".thinned");
        let to = Some(BufWriter::new(create(&beside)?));
        let mut rewrite =
            Self { from, to, path: path.to_owned(), beside, thinning: Thinning::default() };
        rewrite.to.as_mut().map_or(Ok(()), write_preamble)?;
        Ok(rewrite)
    }

    /// Copies up to so many bytes more; whether that was all of the file, which ends with a record.
    pub(super) fn go_on(&mut self, steps: &Steps, most_bytes: u64) -> io::Result<bool> {
        let Some(to) = &mut self.to else { return Ok(true) };
        self.thinning.copy(&mut self.from, to, steps, most_bytes)
    }

    /// Puts the copy into the place of the file. What writes to it from now on, and what is in it.
    pub(super) fn replace(mut self) -> io::Result<(BufWriter<File>, Thinning)> {
        std::fs::rename(&self.beside, &self.path)?;
        let to = self.to.take().ok_or_else(|| io::Error::other("replaced twice"))?;
        Ok((to, std::mem::take(&mut self.thinning)))
    }
}

impl Drop for Rewrite {
    fn drop(&mut self) {
        if self.to.is_some() {
            // Nothing else can be done about it.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}
