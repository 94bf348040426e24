//! The recording of a session: what is kept of it in memory ([`Recording`]) and in a file
//! ([`Writer`], [`read`]). A replayed capture yields the recording that the live session had.
//! Renders nothing.

mod crc;
mod cut;
#[cfg(test)]
mod cut_tests;
mod decode;
mod encode;
mod frames;
mod meta;
mod reader;
mod rewrite;
#[cfg(test)]
mod tests;
mod thin;
#[cfg(test)]
mod thin_tests;
mod writer;

pub use decode::DecodeError;
pub use meta::{
    BlocksOfStack, Census, Chain, EndReason, FreeChunks, GovernorMeta, GovernorStep,
    GrownContainer, HeapMeta, HeapReading, HeapSpace, Held, HeldSubject, Host, JsHeapMeta,
    LaneMeta, MappedFile, Mark, MemoryLimit, Meta, NodeMeta, PointedFrom, ProcessEnd, ProcessMeta,
    PythonObjects, RecordedWarning, Regime, Residency, Settings, SourceLine, TargetMeta,
    TracerMemory, TypeCount, Window,
};
pub use reader::{CaptureError, read, read_from, read_until};
pub use writer::{DEFAULT_MAX_BYTES, Writer};

use crate::aggregate::Aggregate;
use crate::stack::{RawStack, Stack, StackId};
use std::collections::BTreeMap;

/// First bytes of a capture.
const MAGIC: [u8; 8] = *b"OUTLIVE\0";
/// Version of the format; a reader refuses later ones.
const VERSION: u32 = 4;
/// The first version whose ticks and stacks name processes.
const WITH_PROCESSES: u32 = 2;
/// The first version whose stacks have JavaScript frames, and whose ticks tell of V8.
const WITH_JAVASCRIPT: u32 = 3;
/// The first version whose numbers may be sampled: ticks have their variances, and the
/// circumstances name regimes.
const WITH_REGIMES: u32 = 4;
/// Longest record that is written or believed, in bytes. A tick of a full counter table
/// (262,144 slots of 44 bytes) fits.
const MAX_RECORD_BYTES: u32 = 32 * 1024 * 1024;
/// Longest text of a frame, in bytes.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Most frames of a stack: walks see fewer than 300, and inlining adds some.
const MAX_FRAMES: usize = 4096;
/// Bytes of text in the frames of all stacks together. Many frames may name one recorded text, and
/// a report writes out each: without this bound a small file could ask for any amount.
const MAX_FRAME_TEXT_BYTES: usize = 1 << 30;

/// Kinds of records. Never reused; unknown ones are skipped and counted.
mod kind {
    pub(super) const META: u32 = 1;
    pub(super) const TICK: u32 = 2;
    pub(super) const RAW_STACK: u32 = 3;
    pub(super) const TEXT: u32 = 4;
    pub(super) const STACK: u32 = 5;
    pub(super) const WARNING: u32 = 6;
    pub(super) const MAPPINGS: u32 = 7;
    pub(super) const END: u32 = 8;
    /// How many ticks the next one stands for, in a capture that was thinned.
    pub(super) const MERGED: u32 = 12;
}

/// Everything that a report is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Circumstances.
    pub meta: Meta,
    /// What the ticks add up to.
    pub aggregate: Aggregate,
    /// Stacks as the kernel side recorded them.
    pub raw_stacks: BTreeMap<StackId, RawStack>,
    /// Stacks as people read them.
    pub stacks: BTreeMap<StackId, Stack>,
    /// Warnings, in the order of their appearance.
    pub warnings: Vec<RecordedWarning>,
    /// Mapped files of the target, with build IDs, so that a capture can be resolved elsewhere.
    pub mappings: Vec<MappedFile>,
}

impl Recording {
    /// Of a session that begins.
    pub fn new(meta: Meta) -> Self {
        Self { meta, ..Self::default() }
    }
}
