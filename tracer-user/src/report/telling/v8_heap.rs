//! What a snapshot of a V8's heap says, in words: who is in it, and through what much is held.

use super::Detail;
use crate::capture::{GrownContainer, HeapMeta, Held, TypeCount};
use crate::report::focus::label;
use crate::report::model::Report;
use crate::report::text::fitted;
use crate::units;
use std::cmp::Reverse;

/// Constructors and containers that are told, unless all are asked for.
const FEW_CONSTRUCTORS: usize = 6;
const FEW_CONTAINERS: usize = 3;
/// Stacks of the sampler that are told.
const FEW_STACKS: usize = 2;
/// Of the largest container, at least, one has to hold; an eighth.
const LEAST_PART: u64 = 8;
/// Types of what a container holds that are told.
const FEW_TYPES: usize = 2;

/// Of a heap of which a snapshot was taken.
pub(super) fn lines(report: &Report, heap: &HeapMeta, detail: Detail) -> Vec<String> {
    let constructors = heap.constructors.iter().take(detail.at_most(FEW_CONSTRUCTORS));
    let mut told: Vec<String> = constructors.map(constructor).collect();
    if !told.is_empty() {
        let most = heap.containers.iter().map(|container| container.held_bytes).max();
        let is_large = |of: &&GrownContainer| {
            detail == Detail::Full || of.held_bytes >= most.unwrap_or(0) / LEAST_PART
        };
        let containers =
            heap.containers.iter().filter(is_large).take(detail.at_most(FEW_CONTAINERS));
        told.extend(containers.map(container));
    }
    told.extend(sampled(report, heap, detail));
    told
}

/// Who holds what the sampler says is alive, of stacks that no finding tells of.
fn sampled(report: &Report, heap: &HeapMeta, detail: Detail) -> Vec<String> {
    let mut held: Vec<&Held> =
        heap.held.iter().filter(|held| held.subject.stack.is_some()).collect();
    held.sort_by_key(|held| Reverse(held.bytes));
    let told = held.into_iter().filter_map(|held| {
        let id = format!("{:016x}", held.subject.stack?);
        let is_told = report.findings.iter().any(|finding| finding.sites.contains(&id));
        let site = report.sites.iter().find(|site| site.id == id).filter(|_| !is_told)?;
        let chain = held.chains.iter().max_by_key(|chain| chain.bytes)?;
        let frame = site.application_frame.and_then(|index| site.frames.get(index));
        let frame = frame.or(site.frames.first())?;
        Some(format!(
            "allocated in this window by {}: ~{}, {} of them held by {}",
            label(frame),
            units::bytes(held.bytes),
            units::bytes(chain.bytes),
            chain.steps.join(" -> ")
        ))
    });
    told.take(detail.at_most(FEW_STACKS)).collect()
}

fn constructor(of: &TypeCount) -> String {
    fitted(&format!("{:>11}  {:>11}  {}", units::bytes(of.bytes), units::count(of.count), of.name))
}

fn container(container: &GrownContainer) -> String {
    let types = container.contents.iter().take(FEW_TYPES);
    let types: Vec<String> =
        types.map(|of| format!("{} {}", units::count(of.count), of.name)).collect();
    format!(
        "held through one {}: {} ({}), by {}",
        container.type_name,
        units::bytes(container.held_bytes),
        types.join(", "),
        container.chain.steps.join(" -> ")
    )
}
