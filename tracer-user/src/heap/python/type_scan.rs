//! Finding types: what says that its type is `type`, or a type of types, and looks like one.

use super::kind_table::KindTable;
use super::layout::HeapLayout;
use super::pools::Pools;
use super::reader::Reader;
use crate::heap::{Image, Region, RegionKind};
use crate::runtime::memory::u64_in;
use std::ops::Range;

/// `tp_flags`: ready, type of types.
const READY: u64 = 1 << 12;
const TYPE_SUBCLASS: u64 = 1 << 31;
/// Types that are believed: 1,650 were the most seen.
const MAX_TYPES: usize = 200_000;
/// Times that memory is gone through for types of types.
const MAX_ROUNDS: usize = 8;
/// Largest `tp_basicsize` and `tp_itemsize` that are believed, in bytes.
const MAX_BASIC_BYTES: u64 = 1 << 20;
const MAX_ITEM_BYTES: u64 = 1 << 16;

/// Where types are, by address. None lies in a pool: they are larger than its blocks.
pub fn find(reader: Reader<'_>, pools: &Pools, type_avma: u64) -> Vec<u64> {
    let mut found = vec![type_avma];
    let mut metaclasses = vec![type_avma];
    for _ in 0..MAX_ROUNDS {
        let table = KindTable::new(&metaclasses);
        let mut candidates = Vec::new();
        for (index, region) in reader.image.regions().iter().enumerate() {
            if matches!(region.kind, RegionKind::Stack { .. }) {
                continue;
            }
            for (part, is_pool) in pools.cut(index, region) {
                if !is_pool && candidates.len() < MAX_TYPES {
                    look_at(region, part, &table, reader.layout, &mut candidates);
                }
            }
        }
        candidates.retain(|avma| is_type(reader, *avma));
        let known = KindTable::new(&found);
        candidates.retain(|avma| known.find(*avma).is_none());
        // Found in this round: their instances are looked for in the next.
        metaclasses = candidates
            .iter()
            .copied()
            .filter(|avma| {
                reader.field(*avma, reader.layout.kind.flags).unwrap_or(0) & TYPE_SUBCLASS != 0
            })
            .collect();
        found.extend(candidates);
        if metaclasses.is_empty() || found.len() >= MAX_TYPES {
            break;
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_TYPES);
    found
}

/// Objects whose type is in `kinds`.
fn look_at(
    region: &Region,
    part: Range<usize>,
    kinds: &KindTable,
    layout: &HeapLayout,
    candidates: &mut Vec<u64>,
) {
    let Some(bytes) = region.bytes.get(part.clone()) else { return };
    let start_avma = region.start_avma + part.start as u64;
    for (index, word) in bytes.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        if kinds.find(word).is_none() {
            continue;
        }
        if let Some(avma) = (start_avma + 8 * index as u64).checked_sub(layout.object_kind) {
            candidates.push(avma);
        }
        if candidates.len() >= MAX_TYPES {
            return;
        }
    }
}

/// Whether what is at an address has the fields of a type.
fn is_type(reader: Reader<'_>, avma: u64) -> bool {
    let kind = &reader.layout.kind;
    let Some(head) = reader.image.bytes(avma, kind.static_bytes as usize) else { return false };
    let word = |offset: u64| u64_in(head, offset as usize).unwrap_or(0);
    let flags = word(kind.flags);
    let basic = word(kind.basic_size);
    let name = word(kind.name);
    let is_base = |base: u64| base == 0 || looks_like_type(reader.image, base, kind.flags);
    flags & READY != 0
        && (reader.layout.header_bytes..MAX_BASIC_BYTES).contains(&basic)
        && word(kind.item_size) < MAX_ITEM_BYTES
        && (4096..1 << 47).contains(&name)
        && is_base(word(kind.base))
}

fn looks_like_type(image: &Image, avma: u64, flags: u64) -> bool {
    avma.checked_add(flags).and_then(|at| image.word(at)).is_some_and(|flags| flags & READY != 0)
}
