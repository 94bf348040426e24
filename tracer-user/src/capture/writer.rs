//! Writes a capture beside its final name and renames it at the end, so that no file is ever half
//! written. Bounded: ticks that become too many are thinned, and what does not fit even so is
//! refused and counted.

use super::rewrite::Rewrite;
use super::thin::{self, Step, Steps};
use super::{
    MAGIC, MAX_FRAMES, MAX_RECORD_BYTES, MAX_TEXT_BYTES, MappedFile, Meta, RecordedWarning,
    VERSION, encode, kind,
};
use crate::stack::{RawStack, Stack};
use crate::tick::Tick;
use bytes::{BufMut, BytesMut};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Size that no capture exceeds unless asked otherwise. That of ticks is kept below an eighth of it
/// where that costs no resolution that matters ([`thin::TICK_BYTES`]); the rest is for stacks.
pub const DEFAULT_MAX_BYTES: u64 = 512 * 1024 * 1024;

/// A buffer up to this size is used again; a larger one was for a flood of new stacks. Bytes.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// Bytes of a file that is being thinned that are gone through with each tick, at least: some 50 ms,
/// in which nothing else is done.
const REWRITTEN_BYTES: u64 = 8 << 20;

/// Magic and version.
pub(super) const PREAMBLE_BYTES: u64 = 12;

/// A capture being written. Dropped without [`Writer::finish`], it leaves no file.
#[derive(Debug)]
pub struct Writer {
    out: BufWriter<File>,
    partial: Option<PathBuf>,
    path: PathBuf,
    written_bytes: u64,
    max_bytes: u64,
    refused_bytes: u64,
    /// Ticks taken in, and those of them that are steps in the file.
    ticks: u64,
    written_steps: u64,
    tick_bytes: u64,
    steps: Steps,
    /// Where it is being thinned.
    rewrite: Option<Rewrite>,
    /// Ticks behind the last step.
    rest: Step,
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
        let partial = beside(path, ".partial");
        let mut writer = Self {
            out: BufWriter::new(create(&partial)?),
            partial: Some(partial),
            path: path.to_owned(),
            written_bytes: PREAMBLE_BYTES,
            max_bytes,
            refused_bytes: 0,
            ticks: 0,
            written_steps: 0,
            tick_bytes: 0,
            steps: Steps::default(),
            rewrite: None,
            rest: Step::default(),
            texts: HashMap::new(),
            buffer: BytesMut::new(),
        };
        write_preamble(&mut writer.out)?;
        Ok(writer)
    }

    /// Ticks that a step in the file stands for; more than one where it was thinned.
    pub fn stride(&self) -> u64 {
        self.steps.stride()
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
        self.rest.add(tick.clone(), 1);
        self.ticks += 1;
        let before = self.written_bytes;
        if self.steps.stays(self.ticks - 1) {
            self.end_step()?;
        }
        // Faster than the file grows.
        let grown = self.written_bytes.saturating_sub(before);
        self.rewrite_on(REWRITTEN_BYTES.max(grown.saturating_mul(4)))
    }

    /// The latest tick stays a step of its own, since it has a meaning. Whoever calls this bounds
    /// the number of such ticks.
    pub fn pin_latest(&mut self) -> io::Result<()> {
        self.steps.pin(self.ticks.saturating_sub(1));
        self.end_step()
    }

    /// No tick comes any more: records those behind the last step. [`Writer::finish`] does so too.
    pub fn end_ticks(&mut self) -> io::Result<()> {
        self.rewrite_on(u64::MAX)?;
        self.end_step_within(self.max_bytes / 8 * 7, true)
    }

    fn end_step(&mut self) -> io::Result<()> {
        self.end_step_within(self.tick_limit(), false)
    }

    /// Writes what came behind the last step as one, unless it stops being one because others had
    /// to go, or does not fit: then it waits for the next.
    fn end_step_within(&mut self, limit: u64, is_last: bool) -> io::Result<()> {
        if self.rest.ticks == 0 {
            return Ok(());
        }
        let mut encoded = std::mem::take(&mut self.buffer);
        loop {
            encoded.clear();
            encode::tick(&self.rest.tick, &mut encoded);
            if !self.thin_for(encoded.len() as u64 + thin::STEP_BYTES, limit, is_last)? {
                break;
            }
            if !is_last && !self.steps.stays(self.ticks - 1) {
                self.buffer = encoded;
                return Ok(());
            }
        }
        let bytes = encoded.len() as u64 + thin::STEP_BYTES;
        let fits = encoded.len() <= MAX_RECORD_BYTES as usize
            && self.written_bytes.saturating_add(bytes) <= limit;
        if fits {
            let written = thin::write_step(&mut self.out, self.rest.ticks, &encoded)?;
            self.written_bytes += written;
            self.tick_bytes += written;
            self.written_steps += 1;
        } else if is_last {
            self.refused_bytes += bytes;
        }
        if fits || is_last {
            self.rest = Step::default();
        }
        if encoded.capacity() <= KEPT_BUFFER_BYTES {
            self.buffer = encoded;
        }
        Ok(())
    }

    fn tick_limit(&self) -> u64 {
        self.max_bytes / 4 * 3
    }

    /// Thins the file where so many bytes more are too many: at once where there is no room, else with
    /// the ticks to come. Whether steps became fewer by that.
    fn thin_for(&mut self, bytes: u64, limit: u64, is_last: bool) -> io::Result<bool> {
        let full_at = self.written_bytes.saturating_add(bytes);
        let tick_bytes = self.tick_bytes.saturating_add(bytes);
        let is_full = full_at > limit;
        let is_nearly_full = full_at > limit / 4 * 3 && tick_bytes > thin::TICK_BYTES;
        let must_go = is_full || is_nearly_full;
        let is_due = self.steps.are_too_many(self.written_steps, tick_bytes, must_go);
        // With the ticks to come: there must be some, and one copy is enough.
        if !is_due || (!is_full && (is_last || self.rewrite.is_some())) {
            return Ok(false);
        }
        if self.rewrite.is_none() {
            self.begin_rewrite()?;
        }
        if is_full {
            self.rewrite_on(u64::MAX)?;
        }
        Ok(true)
    }

    /// From now on half as many ticks are steps; those before go as the file is written anew.
    fn begin_rewrite(&mut self) -> io::Result<()> {
        let Some(partial) = &self.partial else { return Ok(()) };
        self.rewrite = Some(Rewrite::begin(partial)?);
        self.steps.halve();
        Ok(())
    }

    /// Writes up to so many bytes more of the file anew; with the last of them it takes its place.
    fn rewrite_on(&mut self, most_bytes: u64) -> io::Result<()> {
        let Some(mut rewrite) = self.rewrite.take() else { return Ok(()) };
        self.out.flush()?;
        if !rewrite.go_on(&self.steps, most_bytes)? {
            self.rewrite = Some(rewrite);
            return Ok(());
        }
        let (out, mut thinned) = rewrite.replace()?;
        self.out = out;
        self.written_bytes = PREAMBLE_BYTES + thinned.bytes;
        self.tick_bytes = thinned.tick_bytes;
        self.written_steps = thinned.steps;
        let waiting = std::mem::take(&mut self.rest);
        if waiting.ticks > 0 {
            thinned.rest.add(waiting.tick, waiting.ticks);
        }
        self.rest = thinned.rest;
        Ok(())
    }

    /// Records a stack as the kernel side saw it.
    pub fn stack(&mut self, stack: &RawStack) -> io::Result<()> {
        let mut encoded = std::mem::take(&mut self.buffer);
        encoded.clear();
        encode::raw_stack(stack, &mut encoded);
        let limit = self.tick_limit();
        while self.thin_for(encoded.len() as u64 + thin::STEP_BYTES, limit, false)? {}
        self.record(kind::RAW_STACK, &encoded, limit)?;
        self.buffer = encoded;
        Ok(())
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
        self.end_ticks()?;
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

    /// Whether it was recorded.
    fn record(&mut self, kind: u32, payload: &[u8], limit: u64) -> io::Result<bool> {
        let bytes = payload.len() as u64 + 12;
        if payload.len() > MAX_RECORD_BYTES as usize
            || self.written_bytes.saturating_add(bytes) > limit
        {
            self.refused_bytes += bytes;
            return Ok(false);
        }
        self.written_bytes += thin::write_record(&mut self.out, kind, payload)?;
        Ok(true)
    }
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Makes a file anew, readable by its owner only. What an earlier, killed session left goes; a
/// link there must not be followed.
pub(super) fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

pub(super) fn write_preamble(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())
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
