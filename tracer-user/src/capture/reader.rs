//! Reads a capture back into a recording. The file may be anything.

use super::decode::{self, DecodeError};
use super::frames::Frames;
use super::{
    MAGIC, MAX_RECORD_BYTES, RecordedWarning, Recording, VERSION, crc::checksum, cut::cut_off, kind,
};
use crate::tick::MemorySplit;
use bytes::Buf;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("the capture cannot be read: {0}; check its path and permissions")]
    Io(#[from] io::Error),
    /// Something else.
    #[error(
        "this is not an outlive capture; give the capture.outlive file that `outlive attach --out DIR` wrote"
    )]
    Foreign,
    /// Of a later format.
    #[error(
        "the capture was made by a newer outlive (format {0}, this one reads up to {VERSION}); use that version"
    )]
    Newer(u32),
    /// It ends too early.
    #[error(
        "the capture is truncated after {ticks} ticks: the copy is incomplete or the recording was cut off; copy it again or record again"
    )]
    Truncated {
        /// Ticks before the end.
        ticks: u64,
    },
    /// A checksum does not match or a length is absurd.
    #[error(
        "the capture is damaged after {ticks} ticks (record at byte {at_bytes}); copy it again or record again"
    )]
    Damaged {
        /// Ticks before the damage.
        ticks: u64,
        /// Where the damaged record begins.
        at_bytes: u64,
    },
    /// Its checksum matches, but it makes no sense.
    #[error(
        "the capture makes no sense after {ticks} ticks: {source}; it was not written by outlive as it is, record again"
    )]
    Malformed {
        /// Ticks before it.
        ticks: u64,
        /// What is wrong.
        source: DecodeError,
    },
}

/// Reads the capture at `path`.
///
/// # Errors
/// A sentence that says what is wrong with the file and what to do.
pub fn read(path: &Path) -> Result<Recording, CaptureError> {
    read_from(BufReader::new(File::open(path)?))
}

/// As [`read`], of the session as it would have been had it ended at the last tick that is not
/// later than `until_ns` (nanoseconds since it began).
///
/// # Errors
/// As [`read`].
pub fn read_until(path: &Path, until_ns: u64) -> Result<Recording, CaptureError> {
    let input = BufReader::new(File::open(path)?);
    let (recording, cut) = read_ticks_until(input, until_ns)?;
    Ok(match cut {
        Cut { ticks: 0, .. } => recording,
        cut => cut_off(recording, until_ns, cut.memory),
    })
}

/// Reads a capture from a stream; see [`read`].
///
/// # Errors
/// As [`read`].
pub fn read_from(input: impl Read) -> Result<Recording, CaptureError> {
    read_ticks_until(input, u64::MAX).map(|(recording, _)| recording)
}

/// What was left out.
#[derive(Clone, Copy, Default)]
struct Cut {
    ticks: u64,
    /// As the last tick that was left out had it.
    memory: Option<MemorySplit>,
}

fn read_ticks_until(input: impl Read, until_ns: u64) -> Result<(Recording, Cut), CaptureError> {
    let mut reader = Reader {
        input,
        at_bytes: 0,
        version: 0,
        until_ns,
        cut: Cut::default(),
        ticks: 0,
        merged: 1,
        unknown: 0,
        frames: Frames::default(),
        recording: Recording::default(),
    };
    reader.preamble()?;
    while !reader.record()? {}
    if reader.unknown > 0 {
        reader.recording.aggregate.note_loss("unknown_capture_records", reader.unknown);
    }
    Ok((reader.recording, reader.cut))
}

struct Reader<R> {
    input: R,
    at_bytes: u64,
    version: u32,
    /// Ticks behind this time are left out.
    until_ns: u64,
    cut: Cut,
    ticks: u64,
    /// Ticks that the next one stands for.
    merged: u32,
    unknown: u64,
    frames: Frames,
    recording: Recording,
}

impl<R: Read> Reader<R> {
    /// Up to `count` bytes; fewer at the end of the file. Memory grows with what is really there.
    fn take(&mut self, count: u64) -> Result<Vec<u8>, CaptureError> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(count).read_to_end(&mut bytes)?;
        self.at_bytes += bytes.len() as u64;
        Ok(bytes)
    }

    fn preamble(&mut self) -> Result<(), CaptureError> {
        let magic = self.take(8)?;
        if magic.is_empty() || !MAGIC.starts_with(&magic) {
            return Err(CaptureError::Foreign);
        }
        let version = self.take(4)?;
        match version.as_slice().try_get_u32_le() {
            Err(_) => Err(CaptureError::Truncated { ticks: 0 }),
            Ok(0) => Err(CaptureError::Foreign),
            Ok(version) if version > VERSION => Err(CaptureError::Newer(version)),
            Ok(version) => {
                self.version = version;
                Ok(())
            }
        }
    }

    /// Takes in a record; whether it was the last.
    fn record(&mut self) -> Result<bool, CaptureError> {
        let ticks = self.ticks;
        let damaged = CaptureError::Damaged { ticks, at_bytes: self.at_bytes };
        let header = self.take(12)?;
        if header.len() < 12 {
            return Err(CaptureError::Truncated { ticks });
        }
        let mut header = header.as_slice();
        let (kind, length, expected) =
            (header.get_u32_le(), header.get_u32_le(), header.get_u32_le());
        if length > MAX_RECORD_BYTES {
            return Err(damaged);
        }
        let payload = self.take(length.into())?;
        if payload.len() < length as usize {
            return Err(CaptureError::Truncated { ticks });
        }
        if checksum(kind, &payload) != expected {
            return Err(damaged);
        }
        self.accept(kind, &payload).map_err(|source| CaptureError::Malformed { ticks, source })
    }

    fn accept(&mut self, kind: u32, payload: &[u8]) -> Result<bool, DecodeError> {
        let recording = &mut self.recording;
        match kind {
            kind::META => recording.meta = decode::json(payload)?,
            kind::TICK => {
                let tick = decode::tick(payload, self.version)?;
                let merged = std::mem::replace(&mut self.merged, 1);
                if tick.at_ns <= self.until_ns {
                    recording.aggregate.apply_merged(&tick, merged);
                } else {
                    self.cut.ticks += 1;
                    self.cut.memory = tick.memory.or(self.cut.memory);
                }
                self.ticks += 1;
            }
            kind::MERGED => {
                let mut payload = payload;
                // More than any session has are no session's.
                self.merged = u32::try_from(payload.try_get_u64_le()?).unwrap_or(u32::MAX).max(1);
            }
            kind::RAW_STACK => {
                let stack = decode::raw_stack(payload, self.version)?;
                recording.raw_stacks.insert(stack.id, stack);
            }
            kind::TEXT => self.frames.add_text(decode::frame_text(payload)?),
            kind::STACK => {
                let stack = decode::stack(payload, self.version, &mut self.frames)?;
                recording.stacks.insert(stack.id, stack);
            }
            kind::WARNING => recording.warnings.push(decode::json::<RecordedWarning>(payload)?),
            kind::MAPPINGS => recording.mappings = decode::json(payload)?,
            kind::END => {
                let mut payload = payload;
                let _ticks = payload.try_get_u64_le()?;
                let refused_bytes = payload.try_get_u64_le()?;
                if refused_bytes > 0 {
                    recording.aggregate.note_loss("capture_bytes_refused", refused_bytes);
                }
                return Ok(true);
            }
            _ => self.unknown += 1,
        }
        Ok(false)
    }
}
