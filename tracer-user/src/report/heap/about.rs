//! What a heap says of the blocks of some stacks: who holds them, whether anything points to them,
//! and how much of them is the same.

use crate::capture::{
    BlocksOfStack, Chain, HeapMeta, HeapReading, Held, PointedFrom, Recording, TypeCount,
};
use crate::report::model::{DuplicatesReport, HeldReport, Nature, ReachReport};
use crate::stack::StackId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Chains, types and places that are told of a finding.
const MAX_TOLD: usize = 16;
/// Share of the bytes that is lost at which a finding is.
pub(super) const MOSTLY: f64 = 0.5;

/// All that is known of the blocks of these stacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct About {
    pub(super) what: Vec<TypeCount>,
    pub(super) held_by: Option<HeldReport>,
    pub(super) reach: Option<ReachReport>,
    pub(super) duplicates: Option<DuplicatesReport>,
}

impl About {
    /// What kind of leak that is; `None` where nothing is known.
    pub(super) fn nature(&self) -> Option<Nature> {
        if let Some(reach) = &self.reach
            && reach.bytes > 0
        {
            let lost = reach.lost_bytes.saturating_add(reach.lost_indirectly_bytes);
            return match (lost as f64 >= MOSTLY * reach.bytes as f64, reach.is_proof()) {
                (true, true) => Some(Nature::Lost),
                // A pointer may be where nobody looked, or have moved meanwhile.
                (true, false) => Some(Nature::Unseen),
                (false, _) => Some(Nature::Accumulation),
            };
        }
        let held = self.held_by.as_ref()?;
        (!held.chains.is_empty()).then_some(Nature::Accumulation)
    }
}

/// Whether the objects of a process were counted from outside.
pub(in crate::report) fn is_counted(heaps: &[HeapMeta], pid: u32) -> bool {
    heaps.iter().any(|heap| heap.pid == pid && heap.census.is_some())
}

/// Of the blocks of these stacks.
pub(super) fn of_stacks(recording: &Recording, stacks: &[StackId]) -> About {
    let wanted: BTreeSet<u64> = stacks.iter().map(|stack| stack.0).collect();
    let heaps = || recording.meta.heaps.iter();
    let is_of = |held: &&Held| held.subject.stack.is_some_and(|stack| wanted.contains(&stack));
    let held: Vec<&Held> = heaps().flat_map(|heap| &heap.held).filter(is_of).collect();
    let looked = heaps().filter(|heap| heap.blocks.iter().any(|of| wanted.contains(&of.stack)));
    let last: Vec<Option<&HeapReading>> = looked.map(|heap| heap.readings.last()).collect();
    let blocks = heaps().flat_map(|heap| &heap.blocks);
    let blocks: Vec<&BlocksOfStack> =
        blocks.filter(|blocks| wanted.contains(&blocks.stack)).collect();
    let held_by = together(&held);
    About {
        what: held_by.as_ref().map(|held| types_of(&held.chains)).unwrap_or_default(),
        held_by,
        reach: reach(&blocks, &last),
        duplicates: duplicates(&blocks),
    }
}

/// What is held: the end of each chain.
fn types_of(chains: &[Chain]) -> Vec<TypeCount> {
    let mut types: BTreeMap<&str, TypeCount> = BTreeMap::new();
    for chain in chains {
        let Some(name) = chain.steps.last() else { continue };
        // A chain that ends in a container's place says only where.
        if name.contains(['[', '{', '\'', ' ']) {
            continue;
        }
        let of = types
            .entry(name)
            .or_insert_with(|| TypeCount { name: name.clone(), ..TypeCount::default() });
        of.count = of.count.saturating_add(chain.objects);
        of.bytes = of.bytes.saturating_add(chain.bytes);
    }
    let mut types: Vec<TypeCount> = types.into_values().collect();
    types.sort_by_key(|of| Reverse((of.bytes, of.count)));
    types.truncate(MAX_TOLD);
    types
}

pub(super) fn together(held: &[&Held]) -> Option<HeldReport> {
    if held.is_empty() {
        return None;
    }
    let sum = |amount: fn(&Held) -> u64| {
        held.iter().fold(0_u64, |sum, held| sum.saturating_add(amount(held)))
    };
    let mut chains: Vec<Chain> = Vec::new();
    for chain in held.iter().flat_map(|held| &held.chains) {
        let known = chains
            .iter()
            .position(|known| known.steps == chain.steps && known.grown_step == chain.grown_step);
        match known {
            Some(index) => {
                let known = &mut chains[index];
                known.objects = known.objects.saturating_add(chain.objects);
                known.bytes = known.bytes.saturating_add(chain.bytes);
            }
            None if chains.len() < 64 * MAX_TOLD => chains.push(chain.clone()),
            None => {}
        }
    }
    chains.sort_by_key(|chain| Reverse(chain.objects));
    let left_out = chains.iter().skip(MAX_TOLD);
    let left_out = left_out.fold(0_u64, |sum, chain| sum.saturating_add(chain.objects));
    chains.truncate(MAX_TOLD);
    Some(HeldReport {
        objects: sum(|held| held.objects),
        bytes: sum(|held| held.bytes),
        explained: sum(|held| held.explained),
        chains,
        other_objects: sum(|held| held.other_objects).saturating_add(left_out),
        unreachable: sum(|held| held.unreachable),
        unknown: sum(|held| held.unknown),
    })
}

/// Of these blocks, which were looked at in these readings.
fn reach(blocks: &[&BlocksOfStack], readings: &[Option<&HeapReading>]) -> Option<ReachReport> {
    let sum = |amount: fn(&BlocksOfStack) -> u64| {
        blocks.iter().fold(0_u64, |sum, blocks| sum.saturating_add(amount(blocks)))
    };
    let mut found = ReachReport {
        blocks: sum(|of| of.blocks),
        bytes: sum(|of| of.bytes),
        lost_blocks: sum(|of| of.lost_blocks),
        lost_bytes: sum(|of| of.lost_bytes),
        lost_indirectly_blocks: sum(|of| of.lost_indirectly_blocks),
        lost_indirectly_bytes: sum(|of| of.lost_indirectly_bytes),
        was_stopped: readings.iter().all(|of| of.is_some_and(HeapReading::is_of_one_moment)),
        unread_bytes: readings
            .iter()
            .flatten()
            .fold(0_u64, |sum, of| sum.saturating_add(of.unread_bytes)),
        ..ReachReport::default()
    };
    if found.blocks == 0 {
        return None;
    }
    let rest = |all: u64, a: u64, b: u64| all.saturating_sub(a).saturating_sub(b);
    found.reachable_blocks = rest(found.blocks, found.lost_blocks, found.lost_indirectly_blocks);
    found.reachable_bytes = rest(found.bytes, found.lost_bytes, found.lost_indirectly_bytes);
    let mut from: BTreeMap<(&str, Option<u64>), u64> = BTreeMap::new();
    for place in blocks.iter().flat_map(|blocks| &blocks.from) {
        let known = from.entry((place.what.as_str(), place.stack)).or_default();
        *known = known.saturating_add(place.blocks);
    }
    found.from = from
        .into_iter()
        .map(|((what, stack), blocks)| PointedFrom { what: what.to_owned(), stack, blocks })
        .collect();
    found.from.sort_by_key(|place| Reverse(place.blocks));
    found.from.truncate(MAX_TOLD);
    Some(found)
}

fn duplicates(blocks: &[&BlocksOfStack]) -> Option<DuplicatesReport> {
    let sum = |amount: fn(&BlocksOfStack) -> u64| {
        blocks.iter().fold(0_u64, |sum, blocks| sum.saturating_add(amount(blocks)))
    };
    let compared_bytes = sum(|of| of.compared_bytes);
    if compared_bytes == 0 {
        return None;
    }
    let bytes = sum(|of| of.duplicate_bytes);
    Some(DuplicatesReport {
        blocks: sum(|of| of.duplicate_blocks),
        bytes,
        contents: sum(|of| of.duplicated_contents),
        compared_blocks: sum(|of| of.compared_blocks),
        compared_bytes,
        share: (bytes as f64 / compared_bytes as f64).min(1.0),
    })
}
