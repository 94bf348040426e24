//! V8 in the report: its heap as it shows from outside, what it told of itself, and the pages that
//! it maps.

use super::build::{frame_report, rate};
use super::focus::printable;
use super::model::*;
use super::processes::while_alive;
use crate::aggregate::{Sample, Series, V8History};
use crate::capture::{NodeMeta, Recording};
use crate::growth::{Judgement, Limits, Verdict, judge};
use crate::same::Same;
use crate::stack::{Domain, Frame, FrameKind};
use crate::units;
use std::fmt::{self, Write};

/// Stands for the stack of a page of V8's heap: whoever asked for the first object in it is not who
/// fills it.
pub(super) const PAGE_FRAME: &str = "[pages of V8's heap]";
/// How the functions of V8 begin that map such pages.
const PAGE_ALLOCATOR: &str = "v8::internal::MemoryAllocator::";

/// How the names of V8's built-in code begin.
const BUILTIN: &str = "Builtins_";
/// Code of a JIT that could not be named.
const NAMELESS_CODE: &str = "[anonymous code]";

/// Whether memory with this stack is a page of V8's heap (where it is a mapping), or describes one.
/// Whose objects are in it the stack does not say.
pub(super) fn are_of_heap_page(frames: &[Same<FrameReport>]) -> bool {
    frames
        .iter()
        .any(|frame| frame.kind == FrameKind::Native && frame.function.starts_with(PAGE_ALLOCATOR))
}

/// The frames of a stack without those that say how V8 runs a function, not which: its built-in
/// trampolines, and compiled code without a name. A function comes through interpreter, baseline
/// and optimised code in its life, and what it allocates is one site all the same.
pub(super) fn without_tiers(frames: &[Same<FrameReport>]) -> Vec<Same<FrameReport>> {
    let is_builtin = |frame: &Same<FrameReport>| {
        frame.kind == FrameKind::Native && frame.function.starts_with(BUILTIN)
    };
    if !frames.iter().any(is_builtin) {
        return frames.to_vec();
    }
    let says_how =
        |frame: &&Same<FrameReport>| is_builtin(frame) || frame.function == NAMELESS_CODE;
    frames.iter().filter(|frame| !says_how(frame)).cloned().collect()
}

/// What stands for such a stack.
pub(super) fn page_frames(frames: &[Same<FrameReport>]) -> Vec<Same<FrameReport>> {
    let first = frames.iter().find(|frame| frame.function.starts_with(PAGE_ALLOCATOR));
    let frame = FrameReport {
        module: first.and_then(|frame| frame.module.clone()),
        build_id: first.and_then(|frame| frame.build_id.clone()),
        ..frame_report(&Frame::bare(FrameKind::Native, PAGE_FRAME))
    };
    vec![frame.into()]
}

/// Whether that is it.
pub(super) fn are_page_frames(frames: &[Same<FrameReport>]) -> bool {
    matches!(frames, [only] if only.function == PAGE_FRAME)
}

/// What V8 keeps about the pages of its heap is no cause of growth: it grows as the heap does, which
/// is judged elsewhere.
pub(super) fn not_by_itself(judgement: Judgement) -> Judgement {
    if !matches!(judgement.verdict, Verdict::Growing | Verdict::PendingGc) {
        return judgement;
    }
    let reasons = vec!["it describes pages of V8's heap, and grows as that does".to_owned()];
    Judgement { verdict: Verdict::Steady, reasons, ..judgement }
}

/// Whether the objects in V8's heap are among the sites.
pub(super) fn is_seen_inside(recording: &Recording) -> bool {
    let node = recording.meta.node.as_ref();
    // Where nothing that was sampled is alive there is no site.
    node.and_then(|node| node.js_heap.as_ref()).is_some_and(|js_heap| js_heap.profiles > 0)
        || recording.raw_stacks.values().any(|raw| raw.domain == Domain::V8)
        || recording.stacks.values().any(|stack| stack.domain == Domain::V8)
}

/// The heap of each process that has one.
pub(super) fn heaps(recording: &Recording, limits: &Limits) -> Vec<V8HeapReport> {
    let seen_inside = is_seen_inside(recording);
    let processes = recording.meta.processes.len().max(1);
    (0..processes)
        .filter_map(|number| {
            let v8 = recording.aggregate.v8(number as u32)?;
            let process = recording.meta.processes.get(number);
            let from_ns = process.map_or(0, |process| process.attached_ns);
            let judgement = judged(v8, from_ns, limits);
            Some(V8HeapReport {
                pid: process.map_or(recording.meta.target.pid, |process| process.pid),
                first_bytes: v8.sizes().first().map(|(_, bytes)| *bytes),
                last_bytes: v8.sizes().last().map(|(_, bytes)| *bytes),
                verdict: judgement.verdict.name(),
                growth_bytes_per_s: judgement.rate.map(rate),
                full_collections: v8.full_collections(),
                last_collection_ns: v8.last_collection().map(|last| last.by_ns),
                // Of the target's heap alone: that is the one that is asked.
                seen_inside: seen_inside && number == 0,
            })
        })
        .collect()
}

/// Whether it keeps growing: judged up to the last collection, since what comes after one is
/// growth in any program.
fn judged(v8: &V8History, from_ns: u64, limits: &Limits) -> Judgement {
    let samples = v8.sizes().iter().map(|(at_ns, bytes)| Sample {
        at_ns: *at_ns,
        live_bytes: *bytes,
        ..Sample::default()
    });
    let series = Series { samples: samples.collect(), ..Series::default() };
    let whole = judge(&while_alive(series.clone(), from_ns, None), limits);
    if whole.verdict != Verdict::Growing || v8.full_collections().is_none() {
        return whole;
    }
    // The first size behind the collection, which shows what it left.
    let last = v8.last_collection().map_or(0, |last| last.by_ns);
    let to_ns = v8.sizes().iter().map(|(at_ns, _)| *at_ns).find(|at_ns| *at_ns >= last);
    let collected = judge(&while_alive(series, from_ns, to_ns.or(Some(last))), limits);
    match collected.verdict {
        Verdict::Growing => collected,
        _ => Judgement { verdict: Verdict::PendingGc, ..whole },
    }
}

/// The section about V8; nothing where there is none.
pub(super) fn write(out: &mut String, report: &Report, heading: &str) -> fmt::Result {
    if report.v8_heaps.is_empty() && report.node.is_none() {
        return Ok(());
    }
    writeln!(out, "\n{heading}")?;
    if let Some(node) = &report.node {
        write_told(out, node)?;
    }
    for heap in &report.v8_heaps {
        let whose = match report.v8_heaps.len() {
            1 => String::new(),
            _ => format!(" of PID {}", heap.pid),
        };
        write_heap(out, heap, &whose)?;
    }
    if report.v8_heaps.iter().any(|heap| !heap.seen_inside) {
        writeln!(out, "   not seen inside: --js-heap shows which functions hold it")?;
    }
    Ok(())
}

fn write_heap(out: &mut String, heap: &V8HeapReport, whose: &str) -> fmt::Result {
    match (heap.first_bytes, heap.last_bytes) {
        (Some(first), Some(last)) => {
            let growth = match heap.growth_bytes_per_s {
                Some(rate) if heap.verdict == Verdict::Growing.name() => {
                    format!(", growing {}", units::bytes_per_second(rate.estimate))
                }
                Some(rate) if heap.verdict == Verdict::PendingGc.name() => format!(
                    ", {} with no collection that could have freed it",
                    units::bytes_per_second(rate.estimate)
                ),
                _ => String::new(),
            };
            writeln!(
                out,
                "   heap{whose}  about {} at last, {} at first{growth} (told by its mappings)",
                units::bytes(last),
                units::bytes(first),
            )?;
        }
        _ => writeln!(out, "   heap{whose}  its size could not be read")?,
    }
    match heap.full_collections {
        Some(count) => writeln!(
            out,
            "   full garbage collections{whose}: {}{}",
            units::count(count),
            heap.last_collection_ns
                .map_or(String::new(), |at_ns| format!(", the last by {}", units::duration(at_ns))),
        ),
        None => writeln!(out, "   full garbage collections{whose} cannot be seen in this build"),
    }
}

/// What V8 told of itself.
fn write_told(out: &mut String, node: &NodeMeta) -> fmt::Result {
    let mut facts = Vec::new();
    if !node.v8_version.is_empty() {
        facts.push(format!("version {}", node.v8_version));
    }
    if let Some(count) = node.isolates {
        facts.push(format!("{count} {}", if count == 1 { "isolate" } else { "isolates" }));
    }
    if let Some(bytes) = node.external_bytes {
        facts.push(format!("{} outside the heap (Buffers)", units::bytes(bytes)));
    }
    if !facts.is_empty() {
        writeln!(out, "   {}", printable(&facts.join(", ")))?;
    }
    let spaces = node.spaces.iter().filter(|space| space.size_bytes > 0).map(|space| {
        format!(
            "{} {} of {}",
            space.name,
            units::bytes(space.used_bytes),
            units::bytes(space.size_bytes)
        )
    });
    let spaces: Vec<String> = spaces.collect();
    for line in spaces.chunks(3) {
        writeln!(out, "   {}", printable(&line.join(", ")))?;
    }
    if let Some(js_heap) = &node.js_heap {
        writeln!(
            out,
            "   sampled every {} on average; {} profiles, the longest took {}",
            units::bytes(js_heap.sampling_interval_bytes),
            units::count(js_heap.profiles),
            units::duration(js_heap.longest_pause_ns),
        )?;
    }
    Ok(())
}
