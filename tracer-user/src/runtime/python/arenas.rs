//! How much memory CPython's arenas hold, read from the interpreter's own list of them in a
//! running target. What is in them is not looked at.

use super::PythonRuntime;
use crate::runtime::memory::{read_vec, u32_in, u64_in};
use crate::target::Target;
use std::ops::Range;

/// `struct arena_object` of all versions from 3.8 to 3.15: address, pool address, numbers of free
/// and of all pools, free pools, next, previous.
const ENTRY_BYTES: u64 = 48;
/// Most entries of the list that are believed, and how many are read at a time.
const MAX_ENTRIES: u64 = 1 << 20;
const ENTRIES_AT_ONCE: u64 = 512;
/// Most of the interpreter's variables that are searched for the list, in bytes.
const MAX_VARIABLE_BYTES: u64 = 8 << 20;
/// Variables are read in pieces of this many bytes.
const PIECE_BYTES: u64 = 64 << 10;
/// Most places at which the list is looked for: some thousand words of the variables look like
/// pointers into the heap.
const MAX_CANDIDATES: usize = 20_000;
/// Pools in an arena, the last of which is lost where the arena is not aligned to pools.
const POOLS: [u32; 2] = [63, 64];

/// Bytes of the arenas that exist now; `None` where the list cannot be found: before the first
/// arena, in free-threaded builds (which have none), with an allocator of another kind.
///
/// # Cost
/// Some 10,000 small reads of the target's memory: 10-20 ms.
pub fn held_bytes(target: &Target, runtime: &PythonRuntime) -> Option<u64> {
    let has_large_arenas = (runtime.version.major, runtime.version.minor) >= (3, 10);
    let list = List {
        tgid: target.tgid,
        anonymous: anonymous(target),
        arena_bytes: if has_large_arenas { 1 << 20 } else { 256 << 10 },
    };
    let mut best = 0;
    let mut seen: Vec<Range<u64>> = Vec::new();
    for candidate in candidates(target, runtime, &list) {
        if seen.iter().any(|range| range.contains(&candidate)) || !list.is_arena_at(candidate) {
            continue;
        }
        let (range, count) = list.around(candidate);
        seen.push(range);
        best = best.max(count);
    }
    (best > 0).then(|| best * list.arena_bytes)
}

struct List {
    tgid: u32,
    /// Private writable memory that is no file's, sorted.
    anonymous: Vec<Range<u64>>,
    arena_bytes: u64,
}

fn anonymous(target: &Target) -> Vec<Range<u64>> {
    let mappings = target.mappings.iter();
    mappings
        .filter(|mapping| mapping.file.is_none() && mapping.readable && mapping.writable)
        .map(|mapping| mapping.start_avma..mapping.end_avma)
        .collect()
}

/// Words among the interpreter's variables that point into anonymous memory.
fn candidates(target: &Target, runtime: &PythonRuntime, list: &List) -> Vec<u64> {
    let mut found = Vec::new();
    let mut left = MAX_VARIABLE_BYTES;
    let mut end_of_file = None;
    for mapping in target.mappings.iter().filter(|mapping| mapping.readable && mapping.writable) {
        // Variables that begin as zero (.bss) follow those of the file.
        let is_variables = match mapping.file {
            Some(_) => mapping.path == runtime.module,
            None => end_of_file == Some(mapping.start_avma),
        };
        if !is_variables {
            continue;
        }
        end_of_file = mapping.file.map(|_| mapping.end_avma);
        let mut at = mapping.start_avma;
        while at < mapping.end_avma && left > 0 {
            let length = (mapping.end_avma - at).min(PIECE_BYTES).min(left);
            left -= length;
            let bytes = read_vec(list.tgid, at, length as usize).unwrap_or_default();
            at += length;
            let words = (0..bytes.len()).step_by(8).filter_map(|offset| u64_in(&bytes, offset));
            found.extend(words.filter(|word| word % 16 == 0 && list.is_anonymous(*word)));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_CANDIDATES);
    found
}

impl List {
    fn is_anonymous(&self, avma: u64) -> bool {
        let behind = self.anonymous.partition_point(|range| range.start <= avma);
        self.anonymous[..behind].last().is_some_and(|range| avma < range.end)
    }

    /// Whether the entry is an arena that exists.
    fn is_arena(&self, entry: &[u8]) -> bool {
        let (Some(address), Some(pool), Some(free), Some(all)) =
            (u64_in(entry, 0), u64_in(entry, 8), u32_in(entry, 16), u32_in(entry, 20))
        else {
            return false;
        };
        let end = address.saturating_add(self.arena_bytes);
        address != 0
            && address.is_multiple_of(4096)
            && POOLS.contains(&all)
            && free <= all
            && (address..=end).contains(&pool)
            && self.is_anonymous(address)
            && self.is_anonymous(end - 1)
    }

    fn is_arena_at(&self, avma: u64) -> bool {
        read_vec(self.tgid, avma, ENTRY_BYTES as usize).is_some_and(|entry| self.is_arena(&entry))
    }

    /// The part of the list around an arena of it: arenas, and entries whose arena was given back.
    fn around(&self, avma: u64) -> (Range<u64>, u64) {
        let mut start = avma;
        let mut count = 0;
        for _ in 0..MAX_ENTRIES {
            let Some(before) = start.checked_sub(ENTRY_BYTES) else { break };
            let Some(entry) = read_vec(self.tgid, before, ENTRY_BYTES as usize) else { break };
            let is_arena = self.is_arena(&entry);
            if !is_arena && u64_in(&entry, 0) != Some(0) {
                break;
            }
            count += u64::from(is_arena);
            start = before;
        }
        let mut end = avma;
        let mut left = MAX_ENTRIES / ENTRIES_AT_ONCE;
        'list: while left > 0 {
            left -= 1;
            // Near the end of its memory the list is read entry by entry.
            let most = (ENTRIES_AT_ONCE * ENTRY_BYTES) as usize;
            let entries = read_vec(self.tgid, end, most)
                .or_else(|| read_vec(self.tgid, end, ENTRY_BYTES as usize));
            let Some(entries) = entries else { break };
            for entry in entries.chunks_exact(ENTRY_BYTES as usize) {
                let is_arena = self.is_arena(entry);
                if !is_arena && u64_in(entry, 0) != Some(0) {
                    break 'list;
                }
                count += u64::from(is_arena);
                end += ENTRY_BYTES;
            }
        }
        (start..end, count)
    }
}
