//! How much memory CPython's arenas hold, read from the interpreter's own list of them in a
//! running target. What is in them is not looked at.

use super::PythonRuntime;
use crate::runtime::memory::{read_vec, u32_in, u64_in};
use crate::target::Target;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

/// `struct arena_object` of all versions from 3.8 to 3.15: address, pool address, numbers of free
/// and of all pools, free pools, next, previous.
const ENTRY_BYTES: u64 = 48;
/// How many entries of the list are read at a time.
const ENTRIES_AT_ONCE: u64 = 512;
/// What one look may cost, in reads of the target's memory and in bytes of them: memory that lies
/// holds as many lists as there are candidates, each as long as it pleases. The bytes suffice for
/// a million entries.
const MAX_READS: u32 = 50_000;
const MAX_READ_BYTES: u64 = 64 << 20;
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
/// arena, in free-threaded builds (which have none), with an allocator of another kind, or where
/// the search would take too long.
///
/// # Cost
/// Some 10,000 small reads of the target's memory: 10-20 ms. Never more than 50,000 reads, of
/// 64 MiB together.
pub fn held_bytes(target: &Target, runtime: &PythonRuntime) -> Option<u64> {
    let arenas = ranges(target, runtime)?;
    Some(arenas.iter().map(|arena| arena.end - arena.start).sum())
}

/// Where these arenas are, sorted; `None` and cost as for [`held_bytes`].
pub fn ranges(target: &Target, runtime: &PythonRuntime) -> Option<Vec<Range<u64>>> {
    let has_large_arenas = (runtime.version.major, runtime.version.minor) >= (3, 10);
    let list = List {
        tgid: target.tgid,
        anonymous: anonymous(target),
        arena_bytes: if has_large_arenas { 1 << 20 } else { 256 << 10 },
        left: Cell::new(Some((MAX_READS, MAX_READ_BYTES))),
    };
    let mut starts = list.longest(&candidates(target, runtime, &list))?;
    starts.sort_unstable();
    starts.dedup();
    Some(starts.into_iter().map(|start| start..start.saturating_add(list.arena_bytes)).collect())
}

struct List {
    tgid: u32,
    /// Private writable memory that is no file's, sorted.
    anonymous: Vec<Range<u64>>,
    arena_bytes: u64,
    /// Reads, and bytes of them, that the look may still cost; `None` when it wanted more.
    left: Cell<Option<(u32, u64)>>,
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
            let bytes = list.read(at, length).unwrap_or_default();
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
    /// Memory of the target; `None` also when the look has cost enough.
    fn read(&self, avma: u64, length_bytes: u64) -> Option<Vec<u8>> {
        let left = self.left.get().and_then(|(reads, bytes)| {
            Some((reads.checked_sub(1)?, bytes.checked_sub(length_bytes)?))
        });
        self.left.set(left);
        left.and_then(|_| read_vec(self.tgid, avma, length_bytes as usize))
    }

    /// Where the arenas of the longest list around a candidate begin; `None` where there is none,
    /// or where not all of them could be looked at.
    fn longest(&self, candidates: &[u64]) -> Option<Vec<u64>> {
        let mut best = Vec::new();
        // Starts of the lists by their ends.
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        for candidate in candidates {
            let next = seen.range(candidate.saturating_add(1)..).next();
            if next.is_some_and(|(_, start)| start <= candidate) || !self.is_arena_at(*candidate) {
                continue;
            }
            let (range, arenas) = self.around(*candidate);
            seen.insert(range.end, range.start);
            if arenas.len() > best.len() {
                best = arenas;
            }
        }
        (!best.is_empty() && self.left.get().is_some()).then_some(best)
    }

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
        self.read(avma, ENTRY_BYTES).is_some_and(|entry| self.is_arena(&entry))
    }

    /// The part of the list around an arena of it: arenas, and entries whose arena was given back.
    fn around(&self, avma: u64) -> (Range<u64>, Vec<u64>) {
        let (mut start, mut end, mut arenas) = (avma, avma, Vec::new());
        'before: while let Some(entries) = self.piece(|bytes| start.checked_sub(bytes)) {
            for entry in entries.chunks_exact(ENTRY_BYTES as usize).rev() {
                let Some(arena) = self.arena_in(entry) else { break 'before };
                arenas.extend(arena);
                start -= ENTRY_BYTES;
            }
        }
        'behind: while let Some(entries) = self.piece(|_| Some(end)) {
            for entry in entries.chunks_exact(ENTRY_BYTES as usize) {
                let Some(arena) = self.arena_in(entry) else { break 'behind };
                arenas.extend(arena);
                end += ENTRY_BYTES;
            }
        }
        (start..end, arenas)
    }

    /// Entries from where `at` says that so many bytes of them begin; near the end of the memory
    /// the list is read entry by entry.
    fn piece(&self, at: impl Fn(u64) -> Option<u64>) -> Option<Vec<u8>> {
        [ENTRIES_AT_ONCE * ENTRY_BYTES, ENTRY_BYTES]
            .into_iter()
            .find_map(|bytes| self.read(at(bytes)?, bytes))
    }

    /// Where the arena of an entry begins, if it has not been given back; `None` for what is not of
    /// the list.
    fn arena_in(&self, entry: &[u8]) -> Option<Option<u64>> {
        match self.is_arena(entry) {
            true => Some(u64_in(entry, 0)),
            false => (u64_in(entry, 0) == Some(0)).then_some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARENA_BYTES: u64 = 256 << 10;

    /// Lists of `lengths` arenas in memory of our own, something else before each and behind all;
    /// and where they begin.
    fn lists(lengths: &[usize]) -> (List, Vec<u64>, Vec<u64>) {
        let own = 1 << 40;
        let arena = [own, own, 64 << 32, 0, 0, 0];
        let mut words = Vec::new();
        let mut at = Vec::new();
        for length in lengths {
            words.extend([u64::MAX; 6]);
            at.push(words.len());
            words.extend(arena.repeat(*length));
        }
        words.extend([u64::MAX; 6]);
        let starts = at.iter().map(|at| words.as_ptr() as u64 + *at as u64 * 8).collect();
        let list = List {
            tgid: std::process::id(),
            anonymous: std::iter::once(own..own + ARENA_BYTES).collect(),
            arena_bytes: ARENA_BYTES,
            left: Cell::new(Some((MAX_READS, MAX_READ_BYTES))),
        };
        (list, starts, words)
    }

    #[test]
    fn the_longest_list_counts_wherever_one_begins_to_look() {
        let (list, starts, _words) = lists(&[3, 5000, 7]);
        let count = |candidates: &[u64]| list.longest(candidates).map(|arenas| arenas.len());
        assert_eq!(count(&starts), Some(5000));
        let middle = starts[1] + 2500 * ENTRY_BYTES;
        assert_eq!(count(&[middle, middle + ENTRY_BYTES]), Some(5000));
        assert_eq!(count(&[starts[0], middle + 8]), Some(3));
        assert_eq!(count(&[]), None);
        let (reads, _) = list.left.get().unwrap();
        assert!(MAX_READS - reads < 4000, "{reads}");
    }

    #[test]
    fn memory_full_of_lists_costs_no_more_than_allowed() {
        let (list, starts, _words) = lists(&[1; MAX_CANDIDATES]);
        assert_eq!(list.longest(&starts), None);
        assert_eq!(list.left.get(), None);
        // Enough reads, too many bytes.
        let (list, starts, _words) = lists(&[(MAX_READ_BYTES / ENTRY_BYTES) as usize]);
        assert_eq!(list.longest(&starts), None);
        assert_eq!(list.left.get(), None);
    }
}
