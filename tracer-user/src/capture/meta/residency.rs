//! Where the resident memory of the target was, at some moments of a session.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Resident memory of the target by what it is for, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Residency {
    /// Nanoseconds since the session began.
    pub at_ns: u64,
    /// Bytes that are resident or swapped out, by the name of a class of mappings
    /// (`ledger::Class::name`): classes may be added, and those that are not known count as
    /// unexplained.
    pub classes: BTreeMap<String, u64>,
    /// Address space of the same classes, bytes: what is mapped and never touched included.
    pub mapped: BTreeMap<String, u64>,
    /// Those of `classes` that are swapped out, bytes.
    pub swapped_bytes: u64,
    /// Blocks freed by then that were born before the attach, of all processes that are followed.
    pub freed_unknown_blocks: u64,
    /// Their bytes, as far as they are known.
    pub freed_unknown_bytes: u64,
    /// Those of the blocks whose size is not known.
    pub freed_unknown_unsized: u64,
    /// Heap memory of glibc's arenas beside the main one, bytes that are resident or swapped out,
    /// the largest first; a bounded number of them.
    pub arenas: Vec<u64>,
    /// How many such arenas there are.
    pub arena_count: u32,
    /// What glibc's free chunks are, where its heaps were walked (at the session's end).
    pub free_chunks: Option<FreeChunks>,
}

/// What lies free in glibc's heaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FreeChunks {
    /// Bytes of chunks that no block uses, the unused ends of heaps included.
    pub free_bytes: u64,
    /// Those of whole pages that are resident: what trimming gives back.
    pub trimmable_bytes: u64,
    /// Bytes of heap that were looked at.
    pub walked_bytes: u64,
    /// Bytes of heap that were not, because they were too many or made no sense.
    pub unwalked_bytes: u64,
}

/// What bounds the target's memory, and how near it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryLimit {
    /// `cgroup` or `machine`.
    pub kind: String,
    /// Which: the control group's path, or empty.
    pub name: String,
    /// The bound, bytes.
    pub limit_bytes: u64,
    /// What was used of it at the session's end, by whoever shares it; bytes that the kernel could
    /// take back (page cache) left out.
    pub used_bytes: u64,
}
