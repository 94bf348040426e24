//! What heaps that were looked at from outside answer, in words.

use super::{Detail, FEW, sampled, v8_heap};
use crate::capture::{Chain, HeapMeta, HeapReading, PointedFrom, TypeCount};
use crate::report::focus::{label, printable};
use crate::report::model::*;
use crate::report::text::fitted;
use crate::units;

/// Chains that are told of a finding, unless all are asked for.
const FEW_CHAINS: usize = 3;
/// Types that a finding is said to consist of.
const FEW_TYPES: usize = 4;
/// Share of a finding from which on it is worth a word that it is the same content many times.
const MUCH_THE_SAME: f64 = 0.1;
/// Change of a type below which it is not told; bytes.
const LEAST_CHANGE_BYTES: u64 = 16 << 10;

/// What there is to say of a finding, a line each.
pub(in crate::report) fn answers(finding: &Finding, detail: Detail) -> Vec<String> {
    let heap = &finding.heap;
    let mut told = Vec::new();
    if !heap.what.is_empty() {
        let in_words = match heap.subject {
            Subject::Type => grown_type,
            Subject::Stack | Subject::Container => type_in_words,
        };
        let types = heap.what.iter().take(detail.at_most(FEW_TYPES)).map(in_words);
        told.push(format!("what: {}", types.collect::<Vec<_>>().join(", ")));
    }
    told.extend(reach_and_holders(heap, detail));
    if let Some(same) = heap.duplicates.as_ref().filter(|same| same.share >= MUCH_THE_SAME) {
        told.push(format!(
            "same content: {:.0} % of it, {} in {} blocks, is what another block holds too",
            same.share * 100.0,
            units::bytes(same.bytes),
            units::count(same.blocks),
        ));
    }
    if heap.subject == Subject::Container && !heap.allocated_at.is_empty() {
        let few = heap.allocated_at.iter().take(detail.at_most(FEW_CHAINS)).map(label);
        let line = finding.source_line.as_ref().map_or(String::new(), |line| format!(": {line}"));
        told.push(format!("allocated at: {}{line}", few.collect::<Vec<_>>().join(", ")));
    }
    told.iter().map(|line| printable(line)).collect()
}

/// Who holds it, and whether anybody does.
pub(in crate::report) fn reach_and_holders(heap: &HeapAnswers, detail: Detail) -> Vec<String> {
    let held = heap.held_by.iter().flat_map(|held| held_by(held, heap.subject, detail));
    let reach = heap.reach.iter().map(|reach| reach_in_words(reach, detail));
    held.chain(reach).map(|line| printable(&line)).collect()
}

/// What a container holds and gained.
pub(super) fn container(container: &ContainerReport, finding: &Finding) -> String {
    let entries = entries(container);
    let gained = container.last_length.saturating_sub(container.first_length);
    let of_window = sampled(finding.live_bytes, finding.live_bytes_error);
    if gained == 0 && container.last_length > 0 {
        return printable(&format!(
            "{entries}, about {} each; holds {} in all, {of_window} of this window",
            units::bytes(container.held_bytes / container.last_length),
            units::bytes(container.held_bytes),
        ));
    }
    if gained == 0 {
        return format!("{of_window} of this window in it");
    }
    printable(&format!(
        "{entries}, {} of them new in this window, about {} each; holds {} in all",
        units::count(gained),
        units::bytes(container.held_bytes / container.last_length.max(1)),
        units::bytes(container.held_bytes),
    ))
}

/// A container that fills what is told of: its name, how much it grew, and how it is reached.
pub(in crate::report) fn filled_by(container: &ContainerReport) -> String {
    let gained = container.last_length.saturating_sub(container.first_length);
    let grown = match gained {
        0 => String::new(),
        gained => {
            format!(": {}, {} of them new in this window", entries(container), units::count(gained))
        }
    };
    // Where the name is all of the path there is nothing to add.
    let path = match container.path.as_slice() {
        [] => String::new(),
        [only] if *only == container.name => String::new(),
        path => format!(", held by {}", path.join(" -> ")),
    };
    printable(&format!("filled by {}{grown}{path}", container.name))
}

/// Its type and entries, or those of all that are told as one.
fn entries(container: &ContainerReport) -> String {
    let (kind, entries) = (&container.type_name, units::count(container.last_length));
    match container.alike {
        0 | 1 => format!("{kind} of {entries} entries"),
        count => format!("{} {kind} objects of {entries} entries together", units::count(count)),
    }
}

fn type_in_words(of: &TypeCount) -> String {
    format!("{} {} ({})", units::count(of.count), of.name, units::bytes(of.bytes))
}

/// What a type gained.
fn grown_type(of: &TypeCount) -> String {
    let count = units::count(of.count_change.unsigned_abs());
    format!("+{count} {} ({})", of.name, units::signed_bytes(of.bytes_change))
}

fn held_by(held: &HeldReport, subject: Subject, detail: Detail) -> Vec<String> {
    let is_itself = subject == Subject::Container && held.objects <= 1;
    let chains = held.chains.iter().take(detail.at_most(FEW_CHAINS));
    let mut told: Vec<String> = chains.map(|chain| chain_in_words(chain, is_itself)).collect();
    let mut rest = Vec::new();
    if held.unreachable > 0 {
        rest.push(format!(
            "{} only by each other, garbage that waits for the collector",
            objects(held.unreachable)
        ));
    }
    if held.unknown > 0 {
        rest.push(format!("{} by something that was not found", objects(held.unknown)));
    }
    if !rest.is_empty() {
        told.push(format!("held by: {}", rest.join("; ")));
    }
    let is_counted = held.chains.iter().any(|chain| chain.references_counted > 0);
    if is_counted && held.objects > 1 && held.explained < held.objects {
        told.push(format!(
            "every reference is explained of {} of {}",
            units::count(held.explained),
            objects(held.objects)
        ));
    }
    told
}

fn chain_in_words(chain: &Chain, is_itself: bool) -> String {
    let path = chain.steps.join(" -> ");
    let mut about = Vec::new();
    if !is_itself {
        about.push(objects(chain.objects));
    }
    if chain.references_counted > 0 {
        about.push(format!(
            "{} of {} references explained",
            units::count(chain.references_found),
            units::count(chain.references_counted)
        ));
    }
    match about.is_empty() {
        true => format!("held by: {path}"),
        false => format!("held by: {path} ({})", about.join(", ")),
    }
}

fn objects(count: u64) -> String {
    match count {
        1 => "1 object".to_owned(),
        count => format!("{} objects", units::count(count)),
    }
}

fn blocks(count: u64) -> String {
    match count {
        1 => "1 block".to_owned(),
        count => format!("{} blocks", units::count(count)),
    }
}

fn reach_in_words(reach: &ReachReport, detail: Detail) -> String {
    let mut parts = Vec::new();
    if reach.lost_blocks > 0 {
        let more = match reach.lost_indirectly_blocks {
            0 => String::new(),
            more => format!(", and only these to {} more", units::count(more)),
        };
        let lost = units::count(reach.lost_blocks);
        let (all, bytes) = (blocks(reach.blocks), units::bytes(reach.lost_bytes));
        parts.push(match reach.is_proof() {
            true => format!("lost: nothing points to {lost} of {all} any more ({bytes}){more}"),
            false => format!(
                "no pointer to {lost} of {all} was seen ({bytes}){more}; {}",
                why_no_proof(reach)
            ),
        });
    }
    if reach.reachable_blocks > 0 || reach.lost_blocks == 0 {
        let from = reach.from.iter().take(detail.at_most(FEW_CHAINS)).map(from_in_words);
        let from = from.collect::<Vec<_>>().join(", ");
        let from = if from.is_empty() { from } else { format!(", from {from}") };
        parts.push(format!(
            "reachable: {} of {}{from}",
            units::count(reach.reachable_blocks),
            blocks(reach.blocks)
        ));
    }
    parts.join("; ")
}

/// Why blocks to which no pointer was seen need not be lost.
fn why_no_proof(reach: &ReachReport) -> String {
    let mut reasons = Vec::new();
    if !reach.was_stopped {
        reasons.push("it was read while it ran, when pointers move".to_owned());
    }
    if reach.unread_bytes > 0 {
        reasons.push(format!("{} could not be read", units::bytes(reach.unread_bytes)));
    }
    reasons.join(", and ")
}

fn from_in_words(place: &PointedFrom) -> String {
    format!("{} ({})", place.what, units::count(place.blocks))
}

/// What was seen in heaps, under a heading for each, a line for each type that grew most.
pub(in crate::report) fn heaps(report: &Report, detail: Detail) -> Vec<(String, Vec<String>)> {
    let told = report.heaps.iter().map(|heap| (heading(heap, report), lines(report, heap, detail)));
    told.filter(|(_, lines)| !lines.is_empty()).collect()
}

fn heading(heap: &HeapMeta, report: &Report) -> String {
    let whose = match report.heaps.len() {
        0 | 1 => String::new(),
        _ => format!(" of PID {}", heap.pid),
    };
    printable(&format!("What lies in the heap{whose} ({})", heap.runtime))
}

fn lines(report: &Report, heap: &HeapMeta, detail: Detail) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(census) = &heap.census {
        let unattributed = match census.unattributed_bytes {
            0 => String::new(),
            bytes => format!(", {} in use beside them", units::bytes(bytes)),
        };
        let inconsistent = match census.inconsistent_pools {
            0 => String::new(),
            pools => format!(
                ", {} of {} pools contradict themselves",
                units::count(pools),
                units::count(census.pools)
            ),
        };
        told.push(format!(
            "{} objects, {}{unattributed}{inconsistent}",
            units::count(census.objects),
            units::bytes(census.bytes)
        ));
        told.extend(grown(&census.types, detail));
    }
    told.extend(v8_heap::lines(report, heap, detail));
    told.extend(heap.notes.iter().cloned());
    told.iter().map(|line| printable(line)).collect()
}

/// The types that grew, most bytes first.
fn grown(types: &[TypeCount], detail: Detail) -> Vec<String> {
    let mut grown: Vec<&TypeCount> =
        types.iter().filter(|of| of.bytes_change >= LEAST_CHANGE_BYTES as i64).collect();
    grown.sort_by_key(|of| std::cmp::Reverse((of.bytes_change, of.count_change)));
    let line = |of: &&TypeCount| {
        let count = units::count(of.count_change.unsigned_abs());
        let sign = if of.count_change < 0 { '-' } else { '+' };
        let line = format!(
            "{:>11}  {:>11}  {} ({} now)",
            units::signed_bytes(of.bytes_change),
            format!("{sign}{count}"),
            of.name,
            units::count(of.count)
        );
        fitted(&line)
    };
    grown.iter().take(detail.at_most(FEW)).map(line).collect()
}

/// What the readings took, a line for each heap.
pub(super) fn cost(report: &Report) -> Vec<String> {
    let looked = report.heaps.iter().filter(|heap| !heap.readings.is_empty());
    looked.map(|heap| cost_of(heap, report.heaps.len() > 1)).collect()
}

fn cost_of(heap: &HeapMeta, is_one_of_many: bool) -> String {
    let sum = |amount: fn(&HeapReading) -> u64| {
        heap.readings.iter().fold(0_u64, |sum, reading| sum.saturating_add(amount(reading)))
    };
    let most = |amount: fn(&HeapReading) -> u64| heap.readings.iter().map(amount).max();
    let stops: Vec<u64> = heap.readings.iter().filter_map(|reading| reading.stopped_ns).collect();
    let stopped = match stops.as_slice() {
        [] => "never stopped".to_owned(),
        stops => format!(
            "stopped for {}",
            stops.iter().map(|stop| units::duration(*stop)).collect::<Vec<_>>().join(" and ")
        ),
    };
    format!(
        "the heap{} was read {} from outside, {} at most, in {} of outlive's own; the process was {stopped}",
        if is_one_of_many { format!(" of PID {}", heap.pid) } else { String::new() },
        match heap.readings.len() {
            1 => "once".to_owned(),
            count => format!("{} times", units::count(count as u64)),
        },
        units::bytes(most(|reading| reading.copied_bytes).unwrap_or(0)),
        units::duration(sum(|reading| reading.took_ns)),
    )
}
