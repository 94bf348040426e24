//! By how much resident memory grew: what the shares of sites and findings are shares of.

use crate::capture::Recording;
use std::collections::BTreeSet;

/// `live_bytes` over the growth in resident memory of these processes (places in the table of
/// processes; one that comes twice counts once), each while it was followed. `None` where they did
/// not grow together, or the memory of one was not read.
pub(super) fn share(
    recording: &Recording,
    live_bytes: u64,
    processes: impl IntoIterator<Item = Option<usize>>,
) -> Option<f64> {
    let distinct: BTreeSet<Option<usize>> = processes.into_iter().collect();
    let growth: i128 =
        distinct.into_iter().map(|process| growth(recording, process)).sum::<Option<_>>()?;
    (growth > 0).then(|| live_bytes as f64 / growth as f64)
}

/// By how much the resident memory of a process grew, bytes; below zero where it shrank.
fn growth(recording: &Recording, process: Option<usize>) -> Option<i128> {
    let aggregate = &recording.aggregate;
    let (first, last) = match process {
        // The target: the only one whose memory is read without `--follow`.
        Some(0) => aggregate.memory(),
        Some(process) => aggregate.process_memory(process.try_into().ok()?),
        None if recording.meta.processes.len() < 2 => aggregate.memory(),
        None => None,
    }?;
    Some(i128::from(last.resident_bytes) - i128::from(first.resident_bytes))
}
