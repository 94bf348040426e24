//! References from memory that is no object: what C types own, static variables, stacks, blocks of
//! malloc's. Words may be stale there, so that they are believed only for objects that miss a
//! reference.

use super::blocks;
use super::roots::Root;
use super::search::Search;
use super::view::View;
use crate::heap::image::RegionKind;
use crate::heap::python::{ObjectIndex, Shape};
use std::collections::HashMap;

/// Blocks within blocks that are followed.
const DEEPEST: u32 = 3;
/// Blocks of C types that are followed in all.
const MOST_BLOCKS: usize = 1 << 22;
/// Where a module keeps the memory of its C code.
const MODULE_STATE: u64 = 32;
/// Bits of the filter for addresses of candidates.
const FILTER_BITS: u64 = 1 << 20;

/// Whether an address is in the block or a table of an object.
pub(super) type IsOwned<'o> = dyn Fn(u64) -> bool + 'o;

/// Memory of C types: block -> object that leads to it.
pub(super) type Owned = HashMap<u64, u32>;

/// Follows memory that objects of C types own; the blocks that were seen are added to `owned`.
pub(super) fn of_objects(view: &View, search: &mut Search, is_owned: &IsOwned, owned: &mut Owned) {
    let mut budget = view.image.length_bytes() / 8;
    loop {
        let mut owners = search.take_owners();
        if owners.is_empty() {
            return;
        }
        // What a C module keeps for all of its objects says less than the objects themselves, and
        // may lead into memory that was freed and is in use again.
        let is_module = |index: &u32| {
            let kind = view.kind(ObjectIndex(*index));
            kind.is_some_and(|kind| kind.shape == Shape::Module)
        };
        owners.sort_by_key(is_module);
        for index in owners {
            let object = view.object(ObjectIndex(index));
            let Some(kind) = view.type_at(object.kind) else { continue };
            let (start, bytes) = if kind.shape == Shape::Module {
                (MODULE_STATE, 8)
            } else {
                (16, view.bytes_from(ObjectIndex(index)).min(kind.basic_size).saturating_sub(16))
            };
            let words = view.words(object.avma.saturating_add(start), bytes / 8);
            let mut pending: Vec<(u64, u32)> = words.map(|word| (word, 0)).collect();
            while let Some((avma, depth)) = pending.pop() {
                let is_new = avma != 0 && owned.len() < MOST_BLOCKS && !owned.contains_key(&avma);
                if !is_new || view.find(avma).is_some() {
                    continue;
                }
                let Some(bytes) = blocks::length_of(view.image, avma, view.layout.pool_bytes)
                else {
                    continue;
                };
                let count = bytes / 8;
                if count > budget || is_owned(avma) {
                    continue;
                }
                budget -= count;
                owned.insert(avma, index);
                for word in view.words(avma, count) {
                    match view.find(word) {
                        Some(target) => search.hold_through(target, index),
                        None if depth + 1 < DEEPEST && word & 15 == 0 && word != 0 => {
                            pending.push((word, depth + 1));
                        }
                        None => {}
                    }
                }
            }
        }
        search.follow();
    }
}

/// Words of static variables; those of objects that lie among them are the objects' own.
pub(super) fn statics(view: &View, search: &mut Search) {
    let statics = |kind: &RegionKind| matches!(kind, RegionKind::Static { .. });
    let found = words_outside(view, search, statics, &|_| false);
    hold_all(search, found, Root::Static);
}

/// Stacks of threads, and their registers.
pub(super) fn stacks(view: &View, search: &mut Search, registers: &[u64]) {
    for word in registers {
        if let Some(target) = view.find(*word).filter(|target| is_candidate(search, *target)) {
            search.hold(target, Root::Register, true);
        }
    }
    let mut found = Vec::new();
    for region in view.image.regions() {
        let RegionKind::Stack { tid, stack_pointer_avma } = region.kind else { continue };
        let from = stack_pointer_avma.clamp(region.start_avma, region.range().end) & !7;
        for word in view.words(from, (region.range().end - from) / 8) {
            if let Some(target) = view.find(word).filter(|target| is_candidate(search, *target)) {
                found.push((target, u64::from(tid)));
            }
        }
    }
    hold_all(search, found, |tid| Root::Stack(tid as u32));
}

/// Words of memory that no object owns.
pub(super) fn heap(view: &View, search: &mut Search, is_owned: &IsOwned) {
    let anonymous = |kind: &RegionKind| matches!(kind, RegionKind::Anonymous);
    let found = words_outside(view, search, anonymous, is_owned);
    hold_all(search, found, |_| Root::Memory);
}

fn is_candidate(search: &Search, index: ObjectIndex) -> bool {
    !search.is_reached(index) && search.misses(index)
}

fn hold_all(search: &mut Search, found: Vec<(ObjectIndex, u64)>, root: impl Fn(u64) -> Root) {
    for (index, place) in found {
        if search.misses(index) {
            search.hold(index, root(place), true);
        }
    }
}

/// Words of regions of a kind, outside of objects, that lead to objects nobody holds and that miss
/// a reference: the objects, and where the words are.
fn words_outside(
    view: &View,
    search: &Search,
    is_looked_at: impl Fn(&RegionKind) -> bool,
    is_owned: &dyn Fn(u64) -> bool,
) -> Vec<(ObjectIndex, u64)> {
    let filter = Filter::of(view, search);
    if filter.is_empty {
        return Vec::new();
    }
    let objects = view.objects.all();
    let mut found = Vec::new();
    for region in view.image.regions().iter().filter(|region| is_looked_at(&region.kind)) {
        let mut next = objects.partition_point(|object| object.avma < region.start_avma);
        let mut inside_until = 0;
        for (at, word) in region.bytes.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            if !filter.may_hold(word) {
                continue;
            }
            let place = region.start_avma.saturating_add(at as u64 * 8);
            while let Some(object) = objects.get(next).filter(|object| object.avma <= place) {
                inside_until =
                    object.avma.saturating_add(view.bytes_from(ObjectIndex(next as u32)));
                next += 1;
            }
            if place < inside_until {
                continue;
            }
            if let Some(target) = view.find(word)
                && is_candidate(search, target)
                && !is_owned(place)
            {
                found.push((target, place));
            }
        }
    }
    found
}

/// Tells most words that lead to no candidate.
struct Filter {
    bits: Vec<u64>,
    is_empty: bool,
}

impl Filter {
    fn of(view: &View, search: &Search) -> Self {
        let mut filter = Self { bits: vec![0; (FILTER_BITS / 64) as usize], is_empty: true };
        for index in search.unreached_and_missing() {
            let bit = Self::bit(view.object(index).avma);
            filter.bits[(bit / 64) as usize] |= 1 << (bit % 64);
            filter.is_empty = false;
        }
        filter
    }

    fn bit(avma: u64) -> u64 {
        (avma >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44
    }

    fn may_hold(&self, word: u64) -> bool {
        let bit = Self::bit(word);
        word & 7 == 0 && self.bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }
}
