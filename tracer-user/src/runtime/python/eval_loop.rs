//! The native code of the interpreter loop: one large function, its cold part, and in builds that
//! go from instruction to instruction by tail calls (GCC 15, clang 19 and later) a function for
//! each instruction.

use super::decode;
use crate::runtime::memory::{read_vec, u64_in};
use crate::target::elf::{Elf, Symbol};
use crate::target::function_table::FunctionTable;
use std::collections::BTreeSet;

/// Code of the loop that is read, in bytes: the largest function seen has 57 kB.
const MAX_LOOP_BYTES: u64 = 4 << 20;
/// Code of one handler that is read, in bytes.
const MAX_HANDLER_BYTES: u64 = 64 << 10;
/// Entries of a table of handlers: one an opcode.
const TABLE_ENTRIES: usize = 256;
/// Distinct handlers that a table has at least.
const MIN_HANDLERS: usize = 64;
/// Functions that are taken for handlers or parts of them.
const MAX_FUNCTIONS: usize = 8192;
/// How often what handlers jump to is followed: into cold parts, shared endings, and their parts.
const MAX_ROUNDS: usize = 4;
/// Jumps into one other function that make it a part of the loop, all going to its first byte.
const MIN_JUMPS: usize = 8;

/// Native code of the interpreter, `[start_avma, end_avma)`, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvalCode {
    /// The loop: one native frame for each entry from C.
    pub loops: Vec<(u64, u64)>,
    /// Functions that it tail-calls: their frame stands above the loop's.
    pub handlers: Vec<(u64, u64)>,
}

/// Finds the loop in `elf`, mapped at `bias` in process `tgid`.
///
/// # Cost
/// Some 20 ms; 100 ms for builds with tail calls.
pub fn find(
    tgid: u32,
    elf: &Elf,
    bias: u64,
    eval: Option<Symbol>,
    cold: Option<Symbol>,
) -> EvalCode {
    let Some(eval) = eval.filter(|eval| eval.length_bytes > 0) else { return EvalCode::default() };
    let functions = FunctionTable::read(elf);
    let mut loops = vec![(eval.svma, eval.svma.saturating_add(eval.length_bytes))];
    match cold {
        // A named cold part may have grown no symbol size; its unwind table has one.
        Some(cold) if cold.length_bytes > 0 => {
            loops.push((cold.svma, cold.svma.saturating_add(cold.length_bytes)))
        }
        _ => loops.extend(cold_parts(elf, &functions, loops[0])),
    }
    tidy(&mut loops);
    let mut handlers = handlers(tgid, elf, &functions, bias, &loops);
    for range in loops.iter_mut().chain(&mut handlers) {
        *range = (range.0.wrapping_add(bias), range.1.wrapping_add(bias));
    }
    EvalCode { loops, handlers }
}

/// The functions (by unwind table) that are the loop's own: it jumps into their middle, or to them
/// from many places. Tail calls reach other functions once or twice each, at their first byte.
fn cold_parts(elf: &Elf, functions: &FunctionTable, hot: (u64, u64)) -> Vec<(u64, u64)> {
    let jumps = decode::jumps_out(&code_of(elf, hot, MAX_LOOP_BYTES), hot.0);
    let is_part = |((start, end), count): &((u64, u64), usize)| {
        let is_entered_inside = jumps.iter().any(|jump| start < jump && jump < end);
        *count >= MIN_JUMPS || is_entered_inside
    };
    let holding = functions.holding_any(&jumps);
    holding.into_iter().filter(is_part).map(|(range, _)| range).collect()
}

/// The functions that the loop dispatches to by tail calls, with all they jump to; none where it
/// dispatches within itself.
fn handlers(
    tgid: u32,
    elf: &Elf,
    functions: &FunctionTable,
    bias: u64,
    loops: &[(u64, u64)],
) -> Vec<(u64, u64)> {
    let is_in_loop = |svma: &u64| loops.iter().any(|(start, end)| (start..end).contains(&svma));
    let tables: BTreeSet<u64> = loops
        .iter()
        .flat_map(|range| decode::constants(&code_of(elf, *range, MAX_LOOP_BYTES), range.0))
        .collect();
    let mut wanted: Vec<u64> = Vec::new();
    for table in tables {
        let Some(mut entries) = handler_table(tgid, elf, bias, table) else { continue };
        entries.retain(|entry| !is_in_loop(entry));
        if entries.len() >= MIN_HANDLERS {
            wanted.extend(entries);
        }
    }
    // Pointers into other functions' middle (a procedure linkage table's) are no handlers.
    let mut round: Vec<(u64, u64)> = functions
        .holding_any(&wanted)
        .into_iter()
        .map(|(range, _)| range)
        .filter(|(start, _)| wanted.contains(start))
        .collect();
    if round.len() < MIN_HANDLERS {
        return Vec::new();
    }
    let mut found: BTreeSet<(u64, u64)> = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let mut jumps = Vec::new();
        for range in round {
            if found.len() < MAX_FUNCTIONS && !is_in_loop(&range.0) && found.insert(range) {
                let code = code_of(elf, range, MAX_HANDLER_BYTES);
                jumps.extend(decode::jumps_out(&code, range.0));
            }
        }
        jumps.sort_unstable();
        jumps.dedup();
        jumps.retain(|jump| {
            let before = found.range(..=(*jump, u64::MAX)).next_back();
            before.is_none_or(|(_, end)| jump >= end)
        });
        if jumps.is_empty() {
            break;
        }
        round = functions.holding_any(&jumps).into_iter().map(|(range, _)| range).collect();
    }
    let mut found: Vec<_> = found.into_iter().collect();
    tidy(&mut found);
    found
}

/// The distinct functions that a table of one pointer an opcode leads to, file numbering; `None`
/// when there is no such table at `svma`.
fn handler_table(tgid: u32, elf: &Elf, bias: u64, svma: u64) -> Option<Vec<u64>> {
    if !svma.is_multiple_of(8) || !elf.segments.iter().any(|s| s.svma <= svma && !s.executable) {
        return None;
    }
    // From memory, since the file of a library has none of its pointers yet.
    let bytes = read_vec(tgid, svma.wrapping_add(bias), 8 * TABLE_ENTRIES)?;
    let is_code = |svma: &u64| {
        let holds = |s: &&crate::target::elf::Segment| {
            svma.checked_sub(s.svma).is_some_and(|delta| delta < s.file_bytes)
        };
        elf.segments.iter().find(holds).is_some_and(|segment| segment.executable)
    };
    let mut entries = BTreeSet::new();
    for index in 0..TABLE_ENTRIES {
        entries.insert(
            Some(u64_in(&bytes, 8 * index)?.wrapping_sub(bias)).filter(|svma| is_code(svma))?,
        );
    }
    (entries.len() >= MIN_HANDLERS).then(|| entries.into_iter().collect())
}

fn code_of(elf: &Elf, (start, end): (u64, u64), most: u64) -> Vec<u8> {
    elf.bytes_at_svma(start, end.saturating_sub(start).min(most)).unwrap_or_default()
}

/// Sorts ranges, and makes one of those that touch.
fn tidy(ranges: &mut Vec<(u64, u64)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let touches = next.0 <= last.1;
        if touches {
            last.1 = last.1.max(next.1);
        }
        touches
    });
}

impl EvalCode {
    /// Whether `avma` lies in the loop.
    pub fn is_loop(&self, avma: u64) -> bool {
        contains(&self.loops, avma)
    }

    /// Whether `avma` lies in a function that the loop tail-calls.
    pub fn is_handler(&self, avma: u64) -> bool {
        contains(&self.handlers, avma)
    }
}

fn contains(ranges: &[(u64, u64)], avma: u64) -> bool {
    let behind = ranges.partition_point(|(start, _)| *start <= avma);
    ranges[..behind].last().is_some_and(|(_, end)| avma < *end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one_and_are_searched() {
        let mut ranges = vec![(30, 40), (10, 20), (20, 25), (12, 18)];
        tidy(&mut ranges);
        assert_eq!(ranges, [(10, 25), (30, 40)]);
        let expected = [(9, false), (10, true), (24, true), (25, false), (39, true), (40, false)];
        for (avma, inside) in expected {
            assert_eq!(contains(&ranges, avma), inside, "{avma}");
        }
        assert!(!contains(&[], 0));
    }
}
