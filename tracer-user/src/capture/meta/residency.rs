//! Where the resident memory of the target was, at some moments of a session.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Resident memory of the target by what it is for, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Residency {
    /// Nanoseconds since the session began.
    pub at_ns: u64,
    /// Resident bytes by the name of a class of mappings (`ledger::Class::name`): classes may be
    /// added, and those that are not known count as unexplained.
    pub classes: BTreeMap<String, u64>,
    /// Swapped out, bytes, of all classes.
    pub swapped_bytes: u64,
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
