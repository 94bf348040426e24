//! The ledger in the report: where resident memory went, and when it reaches a limit. Of the target
//! process alone, whoever else is followed.

use super::heap::is_counted;
use super::model::*;
use super::processes::Owners;
use super::regimes;
use super::v8;
use crate::aggregate::Series;
use crate::capture::Recording;
use crate::growth::{Interval, theil_sen};
use crate::ledger::{
    self, Account, Advice, Inside, Kind, Live, Row, Window, chunk_overhead_bytes,
    limit::first_reached, reconcile,
};
use crate::stack::{Domain, Stack, StackId};
use crate::symbol::ARENA_FRAME;
use crate::units;

/// A smaller change in resident memory is not explained: libraries that are paged in make it.
const LEAST_CHANGE_BYTES: u64 = 1 << 20;
/// Objects of Python's up to this size are in its arenas; larger ones are malloc's blocks.
const SMALL_OBJECT_BYTES: u64 = 512;
/// Points that a rate is made of; more cost time by their square.
const MAX_POINTS: usize = 256;
/// A rate of resident memory needs so many readings, and so much time: before, a program may be
/// starting.
const MIN_POINTS: usize = 10;
const MIN_SPAN_NS: u64 = 10_000_000_000;
/// Rows below this part of the largest are not shown to people.
const SHOWN_PART: u64 = 500;
/// A limit that is farther away says nothing: what is seen in minutes does not hold for seasons.
const FARTHEST_SECONDS: f64 = 90.0 * 86_400.0;

/// Where resident memory went; `None` where it was not read at two moments.
pub(super) fn ledger(recording: &Recording, owners: &Owners<'_>) -> Option<LedgerReport> {
    let (first, last) = match recording.meta.residency.as_slice() {
        [first, .., last] if first.at_ns < last.at_ns => (first, last),
        _ => return None,
    };
    let [first_live, last_live] = live(recording, owners, [first.at_ns, last.at_ns]);
    let window = Window {
        first,
        last,
        first_live,
        last_live,
        left_out: regimes::leave_out(recording),
        has_other_allocator: !recording.meta.other_allocators.is_empty(),
    };
    let account = reconcile(&window);
    let python = is_counted(&recording.meta.heaps, recording.meta.target.pid);
    let advice = ledger::advice(
        &account,
        &window,
        Inside { js_heap: v8::is_seen_inside(recording), python },
        &recording.meta.other_allocators,
    );
    let rows = account.rows.iter().map(|row| LedgerRow {
        kind: row.kind.name(),
        title: row.kind.title(),
        change_bytes: row.change_bytes,
        last_bytes: row.last_bytes,
        note: note(row, &account, &window, recording),
    });
    Some(LedgerReport {
        pid: recording.meta.target.pid,
        from_ns: first.at_ns,
        to_ns: last.at_ns,
        first_bytes: account.first_bytes,
        last_bytes: account.last_bytes,
        rows: rows.collect(),
        explained_share: account.explained_share(LEAST_CHANGE_BYTES),
        advice: advice.into_iter().map(told).collect(),
    })
}

fn told(advice: Advice) -> LedgerAdvice {
    let Advice { code, sentence, advice, bytes } = advice;
    LedgerAdvice { code, sentence: sentence + ".", advice, bytes }
}

/// What was live in the target at two moments, of what was born under outlive's eyes.
fn live(recording: &Recording, owners: &Owners<'_>, at_ns: [u64; 2]) -> [Live; 2] {
    let mut sums = [Live::default(); 2];
    for (id, totals) in recording.aggregate.stacks() {
        if owners.of_stack(id).is_some_and(|process| process != 0) {
            continue;
        }
        let stack = recording.stacks.get(&id);
        let domain = domain_of(recording, id, stack);
        let mean = totals.allocated_bytes.checked_div(totals.allocated_blocks).unwrap_or(0);
        let is_arena = || {
            stack
                .and_then(|stack| stack.frames.first())
                .is_some_and(|frame| frame.function == ARENA_FRAME)
        };
        if domain == Domain::Mmap && !is_arena() {
            continue;
        }
        let series = recording.aggregate.series(id);
        for (sum, at_ns) in sums.iter_mut().zip(at_ns) {
            let (bytes, blocks) = live_at(&series, at_ns);
            match domain {
                Domain::Mmap => add(&mut sum.arena_mapping_bytes, bytes),
                Domain::V8 => add(&mut sum.v8_bytes, bytes),
                Domain::Python if mean <= SMALL_OBJECT_BYTES => add(&mut sum.python_bytes, bytes),
                Domain::Malloc | Domain::Python => {
                    add(&mut sum.malloc_bytes, bytes);
                    let overhead = blocks.saturating_mul(chunk_overhead_bytes(mean));
                    add(&mut sum.malloc_overhead_bytes, overhead);
                }
            }
        }
    }
    sums
}

fn add(sum: &mut u64, amount: u64) {
    *sum = sum.saturating_add(amount);
}

fn domain_of(recording: &Recording, id: StackId, stack: Option<&Stack>) -> Domain {
    let raw = recording.raw_stacks.get(&id).map(|raw| raw.domain);
    stack.map(|stack| stack.domain).or(raw).unwrap_or(Domain::Malloc)
}

/// Live bytes and blocks at the tick that is the last by `at_ns`.
fn live_at(series: &Series, at_ns: u64) -> (u64, u64) {
    let behind = series.samples.partition_point(|sample| sample.at_ns <= at_ns);
    let sample = behind.checked_sub(1).and_then(|last| series.samples.get(last));
    sample.map_or((0, 0), |sample| (sample.live_bytes, sample.live_blocks))
}

/// What a row rests on, where it is not read off directly.
fn note(
    row: &Row,
    account: &Account,
    window: &Window<'_>,
    recording: &Recording,
) -> Option<String> {
    let unsized_blocks =
        window.last.freed_unknown_unsized.saturating_sub(window.first.freed_unknown_unsized);
    let gone = window.last.freed_unknown_bytes.saturating_sub(window.first.freed_unknown_bytes);
    let mut notes = Vec::new();
    match row.kind {
        Kind::LiveMalloc => {
            if gone > 0 {
                notes.push(format!(
                    "less {} of blocks from before the attach that were freed",
                    units::bytes(gone)
                ));
            }
            if unsized_blocks > 0 {
                notes.push(format!(
                    "{} freed blocks from before the attach had no size that could be read",
                    units::count(unsized_blocks)
                ));
            }
            if recording.meta.processes.len() > 1 && gone > 0 {
                notes.push("those of all processes that are followed".into());
            }
        }
        Kind::AllocatorOverhead => notes.push(
            match window.has_other_allocator {
                true => "estimated as glibc's would be",
                false => {
                    "headers and rounding, estimated from the mean size of each stack's blocks"
                }
            }
            .into(),
        ),
        Kind::AllocatorRetained if row.change_bytes < 0 => notes.push(
            "blocks took memory that the allocator had kept from before, or it gave some back"
                .into(),
        ),
        Kind::AllocatorRetained => notes.push(
            "what is left of the allocator's memory when live blocks and overhead are taken off"
                .into(),
        ),
        Kind::AllocatorWhole => {
            notes.push(
                "not all blocks were followed, so live ones cannot be told from what is kept"
                    .into(),
            );
        }
        Kind::LiveV8 => notes.push("sampled".into()),
        Kind::PythonArenas if account.change_of(Kind::LivePython) != 0 => {
            notes.push("beyond the live objects".into());
        }
        Kind::Unexplained => notes.push("anonymous memory that was not seen being mapped".into()),
        _ => {}
    }
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// The limit that is reached first at the present rate.
///
/// That is the rate of resident memory, since that is what is limited. Where it is not certain that
/// it grows, but findings are growing, the rate of all of them is taken, since
/// the memory for them may come in steps, or be what was free before. `None` without growth.
pub(super) fn limit(recording: &Recording, findings: &[Finding]) -> Option<LimitReport> {
    let rate = resident_rate(recording).or_else(|| rate_of_findings(findings))?;
    let reached = first_reached(&recording.meta.memory_limits, rate)?;
    if reached.seconds > FARTHEST_SECONDS {
        return None;
    }
    Some(LimitReport {
        kind: reached.limit.kind.clone(),
        name: reached.limit.name.clone(),
        limit_bytes: reached.limit.limit_bytes,
        used_bytes: reached.limit.used_bytes,
        growth_bytes_per_s: super::build::rate(rate),
        seconds: reached.seconds,
        earliest_seconds: reached.earliest_seconds,
        latest_seconds: reached.latest_seconds,
    })
}

/// Growth of the target's resident memory, bytes per second, where it certainly grows.
fn resident_rate(recording: &Recording) -> Option<Interval> {
    let all = recording.aggregate.resident();
    let span = all.last()?.0.saturating_sub(all.first()?.0);
    // What a program takes when it starts, or when it is warming up, is not its rate.
    let from_ns = all.first()?.0.saturating_add(span / 5);
    let late: Vec<(u64, u64)> = all.iter().copied().filter(|(at, _)| *at >= from_ns).collect();
    if late.len() < MIN_POINTS || span < MIN_SPAN_NS {
        return None;
    }
    let stride = late.len().div_ceil(MAX_POINTS);
    let points: Vec<(f64, f64)> = late
        .iter()
        .step_by(stride)
        .map(|(at_ns, bytes)| (*at_ns as f64 / 1e9, *bytes as f64))
        .collect();
    let least = LEAST_CHANGE_BYTES as f64 / (span as f64 / 1e9);
    theil_sen(&points).filter(|rate| rate.low > 0.0 && rate.estimate >= least)
}

fn rate_of_findings(findings: &[Finding]) -> Option<Interval> {
    let sum = |part: fn(&Rate) -> f64| -> f64 {
        findings.iter().map(|finding| part(&finding.growth_bytes_per_s)).sum()
    };
    let rate = Interval {
        estimate: sum(|rate| rate.estimate),
        low: sum(|rate| rate.low),
        high: sum(|rate| rate.high),
    };
    (rate.estimate > 0.0).then_some(rate)
}

/// What the ledger is about, in a line: `+12.0 MiB  resident memory of PID 7, 100.0 MiB before`.
pub(super) fn whole(ledger: &LedgerReport) -> (i64, String) {
    let change = i128::from(ledger.last_bytes) - i128::from(ledger.first_bytes);
    let words = format!(
        "resident memory of PID {}, {} at first and {} at the end",
        ledger.pid,
        units::bytes(ledger.first_bytes),
        units::bytes(ledger.last_bytes),
    );
    (change.clamp(i64::MIN.into(), i64::MAX.into()) as i64, words)
}

/// The rows that people care for: a library that was paged in is not among them.
pub(super) fn shown(ledger: &LedgerReport) -> impl Iterator<Item = &LedgerRow> {
    let size = |row: &LedgerRow| row.change_bytes.unsigned_abs();
    let least = ledger.rows.iter().map(size).max().unwrap_or(0) / SHOWN_PART;
    ledger.rows.iter().filter(move |row| size(row) >= least)
}

#[cfg(test)]
mod tests;
