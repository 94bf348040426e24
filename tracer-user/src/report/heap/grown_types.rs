//! Types that grew while no container explains it: what hangs in a chain of objects, or is held by
//! a structure of C. Memory for small objects that grows is told by them then.

use super::about::{MOSTLY, together};
use super::containers::JudgedContainer;
use crate::capture::{Held, Recording, TypeCount};
use crate::report::model::*;
use std::cmp::Reverse;

/// Growth of a type below which it is not told, bytes.
const LEAST_BYTES: i64 = 64 << 10;
/// Types that are told of what grows.
const MAX_TYPES: usize = 8;

/// What a finding about memory for small objects has to say once it is known what fills that: the
/// type that grew most, the program's own before those of Python, which are what it consists of.
/// `growing` are the containers that grow: what lies in them is told of them.
pub(super) fn filled_by_types(
    recording: &Recording,
    growing: &[&JudgedContainer<'_>],
    finding: Finding,
) -> Finding {
    let pids: Vec<u32> = finding.processes.iter().map(|part| part.pid).collect();
    let is_of = |pid: u32| pids.is_empty() || pids.contains(&pid);
    let heaps: Vec<_> = recording.meta.heaps.iter().filter(|heap| is_of(heap.pid)).collect();
    let all = heaps.iter().filter_map(|heap| heap.census.as_ref()).flat_map(|of| &of.types);
    let unexplained = all.filter_map(|of| less_explained(of, growing));
    let mut types: Vec<TypeCount> =
        unexplained.filter(|of| of.bytes_change >= LEAST_BYTES && of.count_change > 0).collect();
    types.sort_by_key(|of| (Reverse(is_own(of)), Reverse(of.bytes_change)));
    types.truncate(MAX_TYPES);
    let grew = types.iter().fold(0_i64, |sum, of| sum.saturating_add(of.bytes_change));
    // What came and went before the first look, or lies in containers, may be most of it.
    if (grew as f64) < MOSTLY * finding.live_bytes as f64 {
        return finding;
    }
    let Some(first) = types.first() else { return finding };
    let is_first = |held: &&Held| held.subject.type_name.as_ref() == Some(&first.name);
    let held: Vec<&Held> = heaps.iter().flat_map(|heap| &heap.held).filter(is_first).collect();
    let mut finding = finding;
    finding.application_frame.function.clone_from(&first.name);
    finding.application_frame.module = None;
    finding.heap.subject = Subject::Type;
    finding.heap.held_by = together(&held);
    finding.heap.nature = match &finding.heap.held_by {
        Some(held) if !held.chains.is_empty() => Some(Nature::Accumulation),
        _ => None,
    };
    finding.heap.what = types;
    finding
}

/// Whether it is a class of the program or of a package, not one of Python's own.
fn is_own(of: &TypeCount) -> bool {
    of.name.contains('.')
}

/// What grew of a type beside what the containers that grow gained of it; `None` where that is most.
fn less_explained(of: &TypeCount, growing: &[&JudgedContainer<'_>]) -> Option<TypeCount> {
    let in_containers: f64 = growing.iter().map(|container| container.gained_of(&of.name)).sum();
    let count = of.count_change as f64;
    if in_containers > MOSTLY * count {
        return None;
    }
    let share = if count > 0.0 { 1.0 - in_containers / count } else { 1.0 };
    let less = |change: i64| (change as f64 * share) as i64;
    let (count_change, bytes_change) = (less(of.count_change), less(of.bytes_change));
    Some(TypeCount { count_change, bytes_change, ..of.clone() })
}
