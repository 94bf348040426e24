//! Strings of the same content. V8 names the node of a string by its content, and equal names are
//! one string of the snapshot; so contents are compared without being read.

use super::columns::{NodeIndex, NodeKind, Snapshot};

/// Characters by which V8 names a string, unless told otherwise (--heap-snapshot-string-limit).
pub(super) const COMPARED_CHARS: u64 = 1024;
/// Shorter strings are left out; bytes. Their copies are many and small.
const MIN_BYTES: u64 = 64;

/// What is there more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Duplicates {
    /// Strings that were compared, and their bytes.
    pub(super) compared: u64,
    pub(super) compared_bytes: u64,
    /// Those that are a copy of another one, which is not counted, and their bytes.
    pub(super) copies: u64,
    pub(super) copied_bytes: u64,
    /// Distinct contents of which there are copies.
    pub(super) contents: u64,
    /// Copies of the content that takes the most, and their bytes.
    pub(super) most: u64,
    pub(super) most_bytes: u64,
    /// Copies among those that are too long to be compared whole; bytes.
    pub(super) cut_bytes: u64,
}

/// Compares all strings.
///
/// # Cost
/// Eight bytes of memory for each string.
pub(super) fn duplicates(snapshot: &Snapshot) -> Duplicates {
    duplicates_of(snapshot, snapshot.nodes())
}

/// Compares the strings among these nodes.
pub(super) fn duplicates_of(
    snapshot: &Snapshot,
    nodes: impl Iterator<Item = NodeIndex>,
) -> Duplicates {
    let strings = nodes.filter(|node| {
        snapshot.kind(*node) == NodeKind::String && snapshot.size_bytes(*node) >= MIN_BYTES
    });
    // Equal in content means equal in size too, since both begin alike and have one form.
    let mut strings: Vec<(u32, u32)> = strings
        .map(|node| {
            let size = u32::try_from(snapshot.size_bytes(node)).unwrap_or(u32::MAX);
            (snapshot.name(node), size)
        })
        .collect();
    strings.sort_unstable();
    let mut found = Duplicates::default();
    for same in strings.chunk_by(|a, b| a == b) {
        let (count, size) = (same.len() as u64, u64::from(same[0].1));
        found.compared += count;
        found.compared_bytes = found.compared_bytes.saturating_add(count.saturating_mul(size));
        if count < 2 {
            continue;
        }
        let bytes = (count - 1).saturating_mul(size);
        found.contents += 1;
        found.copies += count - 1;
        found.copied_bytes = found.copied_bytes.saturating_add(bytes);
        if bytes > found.most_bytes {
            (found.most, found.most_bytes) = (count, bytes);
        }
        if size > COMPARED_CHARS {
            found.cut_bytes = found.cut_bytes.saturating_add(bytes);
        }
    }
    found
}
