//! A recording whose later ticks were left out: what else a session would not have known had it
//! ended there.

use super::{EndReason, HeapMeta, ProcessEnd, Recording};
use crate::tick::MemorySplit;
use std::collections::BTreeSet;

/// `recording` as of its last tick; that is the last one that is not later than `until_ns`.
///
/// What only the end of a session tells (V8's own account of its heap, Python's list of arenas) is
/// not known of an earlier moment, and left out; what was used of a limit is less by what the target
/// took since, as `later` says. Warnings, and what outlive itself took, have no time and stay.
pub(super) fn cut_off(
    mut recording: Recording,
    until_ns: u64,
    later: Option<MemorySplit>,
) -> Recording {
    let end_ns = recording.aggregate.latest_ns();
    let meta = &mut recording.meta;
    meta.window.duration_ns = meta.window.duration_ns.min(end_ns);
    meta.end = EndReason::Duration;
    meta.regimes.retain(|regime| regime.began_ns <= until_ns);
    meta.marks.retain(|mark| mark.at_ns <= until_ns);
    meta.residency.retain(|reading| reading.at_ns <= until_ns);
    // What is known of a heap is known as of its last reading.
    let is_later = |heap: &HeapMeta| heap.readings.iter().any(|reading| reading.at_ns > until_ns);
    meta.heaps.retain(|heap| !is_later(heap));
    let then = recording.aggregate.memory().map(|(_, last)| last.resident_bytes);
    if let (Some(then_bytes), Some(later)) = (then, later) {
        for limit in &mut meta.memory_limits {
            let used_bytes = limit.used_bytes.saturating_add(then_bytes);
            limit.used_bytes = used_bytes.saturating_sub(later.resident_bytes);
        }
    }
    // The number of a process is its place in the list, so only the last ones can go.
    while meta.processes.len() > 1
        && meta.processes.last().is_some_and(|process| process.attached_ns > until_ns)
    {
        meta.processes.pop();
    }
    for process in &mut meta.processes {
        if process.ended_ns.is_some_and(|ended_ns| ended_ns > until_ns) {
            (process.ended_ns, process.end) = (None, ProcessEnd::Running);
        }
    }
    if let Some(python) = &mut meta.python_objects {
        python.unattributed_bytes = None;
    }
    if let Some(node) = &mut meta.node {
        node.spaces.clear();
        node.external_bytes = None;
    }
    let seen: BTreeSet<_> = recording.aggregate.stacks().map(|(id, _)| id).collect();
    recording.raw_stacks.retain(|id, _| seen.contains(id));
    recording.stacks.retain(|id, _| seen.contains(id));
    recording
}
