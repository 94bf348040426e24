//! What a report says of heaps that were looked at from outside, and what they answer about a
//! finding.

use super::FrameReport;
use crate::capture::{Chain, PointedFrom, TypeCount};
use serde::Serialize;

/// What a finding is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Sites that share a function.
    #[default]
    Stack,
    /// A container that grows, whoever allocates what it holds.
    Container,
    /// A type of objects that grew while no container explains it.
    Type,
}

/// What kind of leak it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Nature {
    /// The program still holds it.
    Accumulation,
    /// Nothing points to most of it any more: all memory that the process may write was read while
    /// it stood.
    Lost,
    /// No pointer to most of it was seen, but it ran meanwhile, or not all of its memory was read.
    Unseen,
}

impl Nature {
    /// What a place has to do with memory of this kind: `held since`.
    pub const fn verb(of: Option<Self>) -> &'static str {
        match of {
            Some(Nature::Lost) => "lost since",
            Some(Nature::Unseen) => "left (no pointer to it was seen) since",
            Some(Nature::Accumulation) | None => "held since",
        }
    }
}

/// What a heap that was looked at from outside has to say of a finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct HeapAnswers {
    pub subject: Subject,
    /// `None` where it is not known.
    pub nature: Option<Nature>,
    /// The container that grows, where it is known to hold this.
    pub container: Option<ContainerReport>,
    /// Where that is the subject: the functions that allocate what it holds, as far as they are
    /// seen; fastest first.
    pub allocated_at: Vec<FrameReport>,
    /// What it consists of, most bytes first.
    pub what: Vec<TypeCount>,
    /// Who holds it.
    pub held_by: Option<HeldReport>,
    /// Whether anything points to its blocks.
    pub reach: Option<ReachReport>,
    /// How much of it is the same.
    pub duplicates: Option<DuplicatesReport>,
}

/// A container that grows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ContainerReport {
    pub pid: u32,
    /// How code names it: `gateway.SESSIONS`, `AIAgent._session_messages`.
    pub name: String,
    /// `dict`, `list`...
    pub type_name: String,
    /// The function whose results it keeps, where it is the cache of one.
    pub cached_function: Option<String>,
    /// From a root to it.
    pub path: Vec<String>,
    /// Entries when it was first looked at, and at the last look.
    pub first_length: u64,
    pub last_length: u64,
    /// Bytes that are first reached through it, its table included.
    pub held_bytes: u64,
    /// Containers that these numbers are of: those that are reached alike are told as one.
    pub alike: u64,
}

/// Who holds something.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct HeldReport {
    /// That were looked at.
    pub objects: u64,
    pub bytes: u64,
    /// Those whose every reference was found.
    pub explained: u64,
    /// Most objects first.
    pub chains: Vec<Chain>,
    /// Objects of chains that are left out.
    pub other_objects: u64,
    /// Those that only each other hold: garbage that the collector has yet to find.
    pub unreachable: u64,
    /// Those to which no chain was found though something points at them.
    pub unknown: u64,
}

/// Whether anything points to the blocks of a finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ReachReport {
    /// That were looked at.
    pub blocks: u64,
    pub bytes: u64,
    /// Nothing points to them.
    pub lost_blocks: u64,
    pub lost_bytes: u64,
    /// Only lost ones point to them.
    pub lost_indirectly_blocks: u64,
    pub lost_indirectly_bytes: u64,
    pub reachable_blocks: u64,
    pub reachable_bytes: u64,
    /// Whether the process stood while it was read: in one that runs, pointers move.
    pub was_stopped: bool,
    /// Memory of the process that could not be read; bytes.
    pub unread_bytes: u64,
    /// From where those are pointed to, most blocks first.
    pub from: Vec<PointedFrom>,
}

impl ReachReport {
    /// Whether blocks to which no pointer was found are lost for certain.
    pub(in crate::report) fn is_proof(&self) -> bool {
        self.was_stopped && self.unread_bytes == 0
    }
}

/// How much of a finding is the same content more than once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct DuplicatesReport {
    /// Whose content another one has that was counted.
    pub blocks: u64,
    pub bytes: u64,
    /// Distinct contents that there are more than once.
    pub contents: u64,
    /// That were compared.
    pub compared_blocks: u64,
    pub compared_bytes: u64,
    /// `bytes` over `compared_bytes`.
    pub share: f64,
}
