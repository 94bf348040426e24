//! Writes a capture beside its final name and renames it at the end, so that no file is ever half
//! written. Bounded: what does not fit is refused and counted.

use super::{
    MAGIC, MAX_FRAMES, MAX_RECORD_BYTES, MAX_TEXT_BYTES, MappedFile, Meta, RecordedWarning,
    VERSION, crc::checksum, encode, kind,
};
use crate::stack::{RawStack, Stack};
use crate::tick::Tick;
use bytes::{BufMut, BytesMut};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Size of a capture unless asked otherwise: an hour of 2,000 changing stacks a second.
pub const DEFAULT_MAX_BYTES: u64 = 512 * 1024 * 1024;

/// A capture being written. Dropped without [`Writer::finish`], it leaves no file.
#[derive(Debug)]
pub struct Writer {
    out: BufWriter<File>,
    partial: Option<PathBuf>,
    path: PathBuf,
    written_bytes: u64,
    max_bytes: u64,
    refused_bytes: u64,
    ticks: u64,
    texts: HashMap<String, u32>,
    buffer: BytesMut,
}

impl Writer {
    /// Begins a capture at `path` (by way of `path` + `.partial`, readable by its owner only) of
    /// at most about `max_bytes`. A quarter of them is kept for what comes at the end.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        // What an earlier, killed session left; a link there must not be followed.
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        let mut writer = Self {
            out: BufWriter::new(file),
            partial: Some(partial),
            path: path.to_owned(),
            written_bytes: 0,
            max_bytes,
            refused_bytes: 0,
            ticks: 0,
            texts: HashMap::new(),
            buffer: BytesMut::new(),
        };
        writer.out.write_all(&MAGIC)?;
        writer.out.write_all(&VERSION.to_le_bytes())?;
        writer.written_bytes = 12;
        Ok(writer)
    }

    /// Bytes of records that did not fit; a loss.
    pub fn refused_bytes(&self) -> u64 {
        self.refused_bytes
    }

    /// Records the circumstances. May be called again: the last one counts.
    ///
    /// # Errors
    /// What the file system says; so for all that follow.
    pub fn meta(&mut self, meta: &Meta) -> io::Result<()> {
        let json = serde_json::to_vec(meta)?;
        self.record(kind::META, &json, self.max_bytes).map(drop)
    }

    /// Records a tick. The last quarter of the file is not for ticks.
    pub fn tick(&mut self, tick: &Tick) -> io::Result<()> {
        let recorded =
            self.encoded(kind::TICK, self.max_bytes / 4 * 3, |out| encode::tick(tick, out))?;
        self.ticks += u64::from(recorded);
        Ok(())
    }

    /// Records a stack as the kernel side saw it.
    pub fn stack(&mut self, stack: &RawStack) -> io::Result<()> {
        self.encoded(kind::RAW_STACK, self.max_bytes / 4 * 3, |out| encode::raw_stack(stack, out))
            .map(drop)
    }

    /// Records a stack as people read it. May be called again: the last one counts.
    pub fn resolved(&mut self, stack: &Stack) -> io::Result<()> {
        if stack.frames.len() > MAX_FRAMES {
            self.refused_bytes += size_of_val(stack.frames.as_slice()) as u64;
            return Ok(());
        }
        let mut fresh: Vec<String> = Vec::new();
        let mut texts = std::mem::take(&mut self.texts);
        let mut number = |text: &str| {
            let text = cut(text);
            match texts.get(text) {
                Some(number) => *number,
                None => {
                    let number = texts.len() as u32;
                    texts.insert(text.to_owned(), number);
                    fresh.push(text.to_owned());
                    number
                }
            }
        };
        let mut out = BytesMut::new();
        encode::stack(stack, &mut number, &mut out);
        self.texts = texts;
        for text in fresh {
            // A text that is refused would shift the numbers of all that follow.
            self.record(kind::TEXT, text.as_bytes(), u64::MAX)?;
        }
        self.record(kind::STACK, &out, self.max_bytes).map(drop)
    }

    /// Records a warning.
    pub fn warning(&mut self, warning: &RecordedWarning) -> io::Result<()> {
        let json = serde_json::to_vec(warning)?;
        self.record(kind::WARNING, &json, self.max_bytes).map(drop)
    }

    /// Records the mapped files of the target. May be called again: the last call counts.
    pub fn mappings(&mut self, mappings: &[MappedFile]) -> io::Result<()> {
        let json = serde_json::to_vec(mappings)?;
        self.record(kind::MAPPINGS, &json, self.max_bytes).map(drop)
    }

    /// Ends the capture, syncs it and gives it its name.
    pub fn finish(mut self) -> io::Result<PathBuf> {
        let mut payload = [0; 16];
        (&mut payload[..8]).put_u64_le(self.ticks);
        (&mut payload[8..]).put_u64_le(self.refused_bytes);
        self.record(kind::END, &payload, u64::MAX)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        if let Some(partial) = &self.partial {
            std::fs::rename(partial, &self.path)?;
        }
        self.partial = None;
        Ok(self.path.clone())
    }

    fn encoded(
        &mut self,
        kind: u32,
        limit: u64,
        fill: impl FnOnce(&mut BytesMut),
    ) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        fill(&mut buffer);
        let outcome = self.record(kind, &buffer, limit);
        self.buffer = buffer;
        outcome
    }

    /// Whether it was recorded.
    fn record(&mut self, kind: u32, payload: &[u8], limit: u64) -> io::Result<bool> {
        let bytes = payload.len() as u64 + 12;
        if payload.len() > MAX_RECORD_BYTES as usize
            || self.written_bytes.saturating_add(bytes) > limit
        {
            self.refused_bytes += bytes;
            return Ok(false);
        }
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&(payload.len() as u32).to_le_bytes())?;
        self.out.write_all(&checksum(kind, payload).to_le_bytes())?;
        self.out.write_all(payload)?;
        self.written_bytes += bytes;
        Ok(true)
    }
}

/// As much of a text as a capture may hold.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Nothing can be done about it here, and the next session removes it.
            let _ = std::fs::remove_file(partial);
        }
    }
}
