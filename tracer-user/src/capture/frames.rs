//! The frames of recorded stacks: each is built once, however many stacks pass through it.

use super::MAX_FRAME_TEXT_BYTES;
use super::decode::{DecodeError, Result};
use super::encode::NO_TEXT;
use crate::same::Same;
use crate::stack::{Frame, FrameKind, Generated};
use bytes::Buf as _;
use std::collections::HashMap;

/// A frame as it is recorded: its texts are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    kind: u8,
    /// Of function, file, module and build ID.
    texts: [u32; 4],
    present: u8,
    line: u32,
    offset: u64,
    /// Number of the file, and line.
    pub(super) generated: Option<(u32, u32)>,
}

impl Record {
    /// What one takes in a capture, at least.
    pub(super) const BYTES: usize = 30;

    pub(super) fn read(buffer: &mut &[u8]) -> Result<Self> {
        let kind = buffer.try_get_u8()?;
        let mut texts = [0; 4];
        for text in &mut texts {
            *text = buffer.try_get_u32_le()?;
        }
        let present = buffer.try_get_u8()?;
        let (line, offset) = (buffer.try_get_u32_le()?, buffer.try_get_u64_le()?);
        Ok(Self { kind, texts, present, line, offset, generated: None })
    }
}

/// The texts of a capture so far, by number, and the frames that were made of them.
#[derive(Debug)]
pub(super) struct Frames {
    texts: Vec<String>,
    /// Each with the bytes of its texts.
    known: HashMap<Record, (Same<Frame>, usize)>,
    /// What those to come may take of texts, each time that one is named: a report writes them out.
    text_bytes_left: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self::within(MAX_FRAME_TEXT_BYTES)
    }
}

impl Frames {
    /// So many bytes of text in all stacks together.
    pub(super) fn within(text_bytes: usize) -> Self {
        Self { texts: Vec::new(), known: HashMap::new(), text_bytes_left: text_bytes }
    }

    /// The next text.
    pub(super) fn add_text(&mut self, text: String) {
        self.texts.push(text);
    }

    /// The frame that a record stands for.
    pub(super) fn frame(&mut self, record: Record) -> Result<Same<Frame>> {
        if let Some((frame, text_bytes)) = self.known.get(&record) {
            self.text_bytes_left = less(self.text_bytes_left, *text_bytes)?;
            return Ok(frame.clone());
        }
        let before = self.text_bytes_left;
        let frame = Same::from(self.made(&record)?);
        self.known.insert(record, (frame.clone(), before - self.text_bytes_left));
        Ok(frame)
    }

    fn made(&mut self, record: &Record) -> Result<Frame> {
        let kind = match record.kind {
            0 => FrameKind::Native,
            1 => FrameKind::Python,
            2 => FrameKind::Js,
            3 => FrameKind::Kernel,
            other => return Err(DecodeError::Number(other.into(), "kind of frame")),
        };
        let [function, file, module, build_id] = record.texts;
        let generated = record
            .generated
            .map(|(file, line)| Ok::<_, DecodeError>(Generated { file: self.text(file)?, line }));
        let generated = generated.transpose()?;
        Ok(Frame {
            kind,
            function: self.text(function)?,
            file: self.optional(file)?,
            line: (record.present & 1 != 0).then_some(record.line),
            module: self.optional(module)?,
            build_id: self.optional(build_id)?,
            offset: (record.present & 2 != 0).then_some(record.offset),
            generated,
            line_is_of_function: record.present & 4 != 0,
        })
    }

    fn optional(&mut self, number: u32) -> Result<Option<String>> {
        if number == NO_TEXT { Ok(None) } else { self.text(number).map(Some) }
    }

    /// A copy of a recorded text, out of what is left for them.
    fn text(&mut self, number: u32) -> Result<String> {
        let text = self.texts.get(number as usize);
        let text = text.ok_or(DecodeError::Number(number, "text"))?;
        self.text_bytes_left = less(self.text_bytes_left, text.len())?;
        Ok(text.clone())
    }
}

fn less(left: usize, bytes: usize) -> Result<usize> {
    left.checked_sub(bytes).ok_or(DecodeError::Texts)
}
