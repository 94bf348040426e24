//! Bytes into records. The bytes may be anything: each length is compared with what is there
//! before anything is taken or allocated.

use super::frames::{Frames, Record};
use super::{MAX_FRAMES, MAX_TEXT_BYTES, WITH_JAVASCRIPT, WITH_PROCESSES, WITH_REGIMES};
use crate::stack::{Domain, RawStack, Stack, StackId, WalkEnd};
use crate::tick::{
    Counters, MemorySplit, OverheadReading, ProcessReading, SiteReading, Tick, V8Reading,
};
use bytes::Buf;
use tracer_common::record::{PythonFrame, domain};
use tracer_common::v8::JsFrame;

/// What is wrong with a record's content.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends before its content does.
    #[error("a record ends before its content does")]
    Short(#[from] bytes::TryGetError),
    /// It goes on after its content.
    #[error("a record has {0} bytes too many")]
    Long(usize),
    /// A list is longer than its record.
    #[error("a list of {0} entries does not fit into its record")]
    List(u32),
    /// A stack is deeper than any walk.
    #[error("a stack of {0} frames is too deep")]
    Frames(usize),
    /// A text of a frame is longer than any name.
    #[error("a text of {0} bytes is too long")]
    LongText(usize),
    /// The frames' texts do not fit into memory.
    #[error("the frames of its stacks have too much text")]
    Texts,
    /// A number that stands for nothing.
    #[error("{0} is no {1}")]
    Number(u32, &'static str),
    /// Text that is none.
    #[error("a text is not UTF-8")]
    Text,
    /// JSON that does not parse.
    #[error("its description does not parse ({0})")]
    Json(String),
}

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

/// Reads the length of a list whose entries take at least `entry_bytes` each.
fn length(buffer: &mut &[u8], entry_bytes: usize) -> Result<usize> {
    let count = buffer.try_get_u32_le()?;
    if count as usize > buffer.remaining() / entry_bytes {
        return Err(DecodeError::List(count));
    }
    Ok(count as usize)
}

/// As [`length`], for the frames of a stack.
fn depth(buffer: &mut &[u8], entry_bytes: usize) -> Result<usize> {
    let count = length(buffer, entry_bytes)?;
    if count > MAX_FRAMES { Err(DecodeError::Frames(count)) } else { Ok(count) }
}

fn finished<T>(value: T, buffer: &[u8]) -> Result<T> {
    if buffer.is_empty() { Ok(value) } else { Err(DecodeError::Long(buffer.len())) }
}

fn flag(buffer: &mut &[u8]) -> Result<bool> {
    match buffer.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Number(other.into(), "flag")),
    }
}

fn domain_of(number: u32) -> Result<Domain> {
    match number {
        domain::MALLOC => Ok(Domain::Malloc),
        domain::MMAP => Ok(Domain::Mmap),
        domain::PYTHON => Ok(Domain::Python),
        domain::V8 => Ok(Domain::V8),
        other => Err(DecodeError::Number(other, "domain")),
    }
}

/// `version` is the format's, as in the functions below.
pub(super) fn tick(mut buffer: &[u8], version: u32) -> Result<Tick> {
    let buffer = &mut buffer;
    let at_ns = buffer.try_get_u64_le()?;
    let mut sites: Vec<SiteReading> =
        (0..length(buffer, 44)?).map(|_| site(buffer)).collect::<Result<_>>()?;
    let kernel =
        (0..length(buffer, 8)?).map(|_| Ok(buffer.try_get_u64_le()?)).collect::<Result<_>>()?;
    let mut counters = Counters { kernel, ..Counters::default() };
    for _ in 0..length(buffer, 12)? {
        let bytes = length(buffer, 1)?;
        let name = text(&buffer[..bytes])?;
        buffer.advance(bytes);
        counters.user.insert(name, buffer.try_get_u64_le()?);
    }
    let memory = if flag(buffer)? { Some(memory_of(buffer)?) } else { None };
    let overhead = if flag(buffer)? { Some(overhead(buffer)?) } else { None };
    let processes = if version < WITH_PROCESSES {
        Vec::new()
    } else {
        (0..length(buffer, 36)?)
            .map(|_| {
                Ok(ProcessReading { process: buffer.try_get_u32_le()?, memory: memory_of(buffer)? })
            })
            .collect::<Result<_>>()?
    };
    let v8 = if version < WITH_JAVASCRIPT {
        Vec::new()
    } else {
        (0..length(buffer, 22)?).map(|_| v8_reading(buffer)).collect::<Result<_>>()?
    };
    if version >= WITH_REGIMES {
        for _ in 0..length(buffer, 20)? {
            let place = buffer.try_get_u32_le()?;
            let site = sites.get_mut(place as usize).ok_or(DecodeError::Number(place, "site"))?;
            site.allocated_variance = buffer.try_get_u64_le()?;
            site.freed_variance = buffer.try_get_u64_le()?;
        }
    }
    finished(Tick { at_ns, sites, counters, memory, overhead, processes, v8 }, buffer)
}

fn v8_reading(buffer: &mut &[u8]) -> Result<V8Reading> {
    let process = buffer.try_get_u32_le()?;
    let mut optional = || {
        let is_known = flag(buffer)?;
        let value = buffer.try_get_u64_le()?;
        Ok::<_, DecodeError>(is_known.then_some(value))
    };
    Ok(V8Reading { process, heap_bytes: optional()?, full_collections: optional()? })
}

fn site(buffer: &mut &[u8]) -> Result<SiteReading> {
    Ok(SiteReading {
        stack: StackId(buffer.try_get_u64_le()?),
        epoch: buffer.try_get_u32_le()?,
        allocated_bytes: buffer.try_get_u64_le()?,
        allocated_blocks: buffer.try_get_u64_le()?,
        freed_bytes: buffer.try_get_u64_le()?,
        freed_blocks: buffer.try_get_u64_le()?,
        allocated_variance: 0,
        freed_variance: 0,
    })
}

fn memory_of(buffer: &mut &[u8]) -> Result<MemorySplit> {
    Ok(MemorySplit {
        resident_bytes: buffer.try_get_u64_le()?,
        anonymous_bytes: buffer.try_get_u64_le()?,
        file_bytes: buffer.try_get_u64_le()?,
        shared_bytes: buffer.try_get_u64_le()?,
    })
}

fn overhead(buffer: &mut &[u8]) -> Result<OverheadReading> {
    Ok(OverheadReading {
        hits: buffer.try_get_u64_le()?,
        program_ns_per_hit: buffer.try_get_f64_le()?,
        trap_ns_per_hit: buffer.try_get_f64_le()?,
    })
}

pub(super) fn raw_stack(mut buffer: &[u8], version: u32) -> Result<RawStack> {
    let buffer = &mut buffer;
    let id = StackId(buffer.try_get_u64_le()?);
    let domain = domain_of(buffer.try_get_u32_le()?)?;
    let native_end = WalkEnd::from_number(buffer.try_get_u32_le()?);
    let python_end = WalkEnd::from_number(buffer.try_get_u32_le()?);
    let native =
        (0..depth(buffer, 8)?).map(|_| Ok(buffer.try_get_u64_le()?)).collect::<Result<_>>()?;
    let python = (0..depth(buffer, 16)?)
        .map(|_| {
            Ok(PythonFrame {
                code_avma: buffer.try_get_u64_le()?,
                instr_offset: buffer.try_get_i32_le()?,
                is_entry: buffer.try_get_u32_le()?,
            })
        })
        .collect::<Result<_>>()?;
    let image = if version < WITH_PROCESSES { 0 } else { buffer.try_get_u32_le()? };
    let js = if version < WITH_JAVASCRIPT {
        Vec::new()
    } else {
        (0..depth(buffer, 24)?).map(|_| js_frame(buffer)).collect::<Result<_>>()?
    };
    finished(RawStack { id, image, domain, native, native_end, js, python, python_end }, buffer)
}

fn js_frame(buffer: &mut &[u8]) -> Result<JsFrame> {
    Ok(JsFrame {
        shared_avma: buffer.try_get_u64_le()?,
        cookie: buffer.try_get_u32_le()?,
        position: buffer.try_get_i32_le()?,
        kind: buffer.try_get_u32_le()?,
        native_index: buffer.try_get_u32_le()?,
    })
}

/// Its frames are those of `known`, where equal ones were read before.
pub(super) fn stack(mut buffer: &[u8], version: u32, known: &mut Frames) -> Result<Stack> {
    let buffer = &mut buffer;
    let id = StackId(buffer.try_get_u64_le()?);
    let domain = domain_of(buffer.try_get_u32_le()?)?;
    let is_truncated = flag(buffer)?;
    let end = WalkEnd::from_number(buffer.try_get_u32_le()?);
    let mut frames = (0..depth(buffer, Record::BYTES)?)
        .map(|_| Record::read(buffer))
        .collect::<Result<Vec<Record>>>()?;
    let generated = if version < WITH_JAVASCRIPT { 0 } else { depth(buffer, 12)? };
    for _ in 0..generated {
        let index = buffer.try_get_u32_le()?;
        let frame = frames.get_mut(index as usize).ok_or(DecodeError::Number(index, "frame"))?;
        frame.generated = Some((buffer.try_get_u32_le()?, buffer.try_get_u32_le()?));
    }
    let frames = frames.into_iter().map(|frame| known.frame(frame)).collect::<Result<_>>()?;
    finished(Stack { id, domain, frames, truncated: is_truncated.then_some(end) }, buffer)
}

/// A text of frames.
pub(super) fn frame_text(bytes: &[u8]) -> Result<String> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(DecodeError::LongText(bytes.len()));
    }
    text(bytes)
}

fn text(bytes: &[u8]) -> Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Text)
}

pub(super) fn json<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Json(error.to_string()))
}
