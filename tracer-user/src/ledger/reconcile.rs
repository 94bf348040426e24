//! Where the change in resident memory went: the mappings' classes say in what memory, the live
//! blocks how much of that is in use, and what is left over in an allocator's memory is its own.
//!
//! No byte counts twice: malloc's live blocks, their overhead and what the allocator keeps add up to
//! the memory that it has from the system (main heap, arenas, large blocks mapped one by one), the
//! objects that Python's or V8's probes see are part of those allocators' memory, and every class
//! that is no allocator's stands for itself.

use super::Class;
use super::account::{Account, Kind, Row, difference};
use crate::capture::Residency;

/// Blocks from this size on are mapped one by one (glibc's M_MMAP_THRESHOLD at its start).
const MAPPED_BLOCK_BYTES: u64 = 128 << 10;
/// glibc's alignment of chunks, its header, and the shortest chunk.
const CHUNK_ALIGNMENT: u64 = 16;
const CHUNK_HEADER_BYTES: u64 = 8;
const SHORTEST_CHUNK_BYTES: u64 = 32;

/// What was live at a moment, of what was born under outlive's eyes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Requested bytes of malloc's blocks, Python's objects of more than 512 bytes among them.
    pub malloc_bytes: u64,
    /// What the allocator needs beside these ([`chunk_overhead_bytes`]).
    pub malloc_overhead_bytes: u64,
    /// Python's objects of up to 512 bytes, where they are probed.
    pub python_bytes: u64,
    /// Objects in V8's heap, where it is sampled.
    pub v8_bytes: u64,
    /// Mappings of CPython's arenas.
    pub arena_mapping_bytes: u64,
}

/// What there is to know about a window.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Its first reading.
    pub first: &'a Residency,
    /// Its last reading.
    pub last: &'a Residency,
    /// What was live at these.
    pub first_live: Live,
    /// See `first_live`.
    pub last_live: Live,
    /// Whether blocks were left out: below a size floor, by sampling, or in a pause.
    pub left_out: bool,
    /// Whether an allocator other than glibc's serves the program: its memory is anonymous.
    pub has_other_allocator: bool,
}

/// Bytes that glibc needs beside a block of `bytes`: its header, what it is rounded up by, and the
/// page that a block mapped on its own does not fill. An estimate where blocks differ in size and
/// `bytes` is their mean.
pub fn chunk_overhead_bytes(bytes: u64) -> u64 {
    if bytes >= MAPPED_BLOCK_BYTES {
        let whole = bytes.saturating_add(2 * CHUNK_HEADER_BYTES).checked_next_multiple_of(4096);
        return whole.map_or(0, |whole| whole - bytes);
    }
    let chunk = (bytes + CHUNK_HEADER_BYTES).next_multiple_of(CHUNK_ALIGNMENT);
    chunk.max(SHORTEST_CHUNK_BYTES) - bytes
}

/// Where the change went.
pub fn reconcile(window: &Window<'_>) -> Account {
    let total = |residency: &Residency| {
        residency.classes.values().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes))
    };
    let (first_bytes, last_bytes) = (total(window.first), total(window.last));
    let mut rows = Vec::new();
    let mut add = |kind, change_bytes: i64, last_bytes| {
        if change_bytes != 0 {
            rows.push(Row { kind, change_bytes, last_bytes });
        }
    };
    allocator(window, &mut add);
    python(window, &mut add);
    v8(window, &mut add);
    let alone = [
        (Class::ThreadStacks, Kind::ThreadStacks),
        (Class::MainStack, Kind::MainStack),
        (Class::Files, Kind::Files),
        (Class::FileData, Kind::FileData),
        (Class::Shared, Kind::Shared),
        (Class::Special, Kind::Special),
    ];
    for (class, kind) in alone {
        add(kind, window.change(class), Some(held(window.last, class)));
    }
    if !window.has_other_allocator {
        let class = Class::Anonymous;
        add(Kind::Unexplained, window.change(class), Some(held(window.last, class)));
    }
    // Classes of a later outlive.
    let known =
        Class::ALL.iter().fold(0_i64, |sum, class| sum.saturating_add(window.change(*class)));
    let rest = difference(last_bytes, first_bytes).saturating_sub(known);
    match rows.iter_mut().find(|row| row.kind == Kind::Unexplained) {
        Some(row) => row.change_bytes = row.change_bytes.saturating_add(rest),
        None if rest != 0 => {
            rows.push(Row { kind: Kind::Unexplained, change_bytes: rest, last_bytes: None });
        }
        None => {}
    }
    rows.sort_by_key(|row| (std::cmp::Reverse(row.change_bytes.unsigned_abs()), row.kind));
    Account { first_bytes, last_bytes, rows }
}

impl Window<'_> {
    pub(super) fn change(&self, class: Class) -> i64 {
        difference(held(self.last, class), held(self.first, class))
    }

    /// Memory that malloc has from the system.
    fn allocator_classes(&self) -> Vec<Class> {
        let mut classes = vec![Class::MallocHeap, Class::MallocArenas, Class::MallocMapped];
        if self.has_other_allocator {
            classes.push(Class::Anonymous);
        }
        classes
    }
}

type Add<'a> = &'a mut dyn FnMut(Kind, i64, Option<u64>);

/// malloc's memory: live blocks, what goes with them, and what is left.
fn allocator(window: &Window<'_>, add: Add<'_>) {
    let classes = window.allocator_classes();
    let sum = |amount: &dyn Fn(Class) -> i64| {
        classes.iter().fold(0_i64, |sum, class| sum.saturating_add(amount(*class)))
    };
    let change = sum(&|class| window.change(class));
    let last = classes.iter().fold(0_u64, |sum, c| sum.saturating_add(held(window.last, *c)));
    if window.left_out {
        // Deaths are seen of blocks whose births were not.
        add(Kind::AllocatorWhole, change, Some(last));
        return;
    }
    let (first, now) = (&window.first_live, &window.last_live);
    let gone = window.last.freed_unknown_bytes.saturating_sub(window.first.freed_unknown_bytes);
    let gone_blocks = sized(window.last).saturating_sub(sized(window.first));
    let live = difference(now.malloc_bytes, first.malloc_bytes).saturating_sub_unsigned(gone);
    let overhead = difference(now.malloc_overhead_bytes, first.malloc_overhead_bytes)
        .saturating_sub_unsigned(gone_blocks.saturating_mul(CHUNK_HEADER_BYTES));
    let left = change.saturating_sub(live).saturating_sub(overhead);
    // Blocks hold more than there is in memory: they were never touched, as far as the allocator
    // has memory that nobody touched, or lie in what it had kept from before.
    let mapped = sum(&|class| difference(mapped(window.last, class), mapped(window.first, class)));
    let untouched = mapped.saturating_sub(change).clamp(0, left.saturating_neg().max(0));
    add(Kind::LiveMalloc, live, None);
    add(Kind::AllocatorOverhead, overhead, None);
    add(Kind::Untouched, untouched.saturating_neg(), None);
    add(Kind::AllocatorRetained, left.saturating_add(untouched), None);
}

/// Python's arenas: what is live in them, where that is seen, and the rest.
fn python(window: &Window<'_>, add: Add<'_>) {
    let mut change = window.change(Class::PythonArenas);
    let mut last = held(window.last, Class::PythonArenas);
    let mut direct = window.change(Class::Direct);
    let mut direct_last = held(window.last, Class::Direct);
    let is_listed = held(window.first, Class::PythonArenas).saturating_add(last) > 0;
    if !is_listed {
        // The interpreter's own list could not be read: arenas are among what was seen mapped. What
        // of them is touched grows with them.
        let mappings =
            difference(window.last_live.arena_mapping_bytes, window.first_live.arena_mapping_bytes);
        change = mappings.clamp(direct.min(0), direct.max(0));
        last = window.last_live.arena_mapping_bytes.min(direct_last);
        direct = direct.saturating_sub(change);
        direct_last = direct_last.saturating_sub(last);
    }
    let live = difference(window.last_live.python_bytes, window.first_live.python_bytes);
    add(Kind::LivePython, live, None);
    add(Kind::PythonArenas, change.saturating_sub(live), Some(last));
    add(Kind::Direct, direct, Some(direct_last));
}

/// V8's heap: what is live in it, as far as samples say, and the rest.
fn v8(window: &Window<'_>, add: Add<'_>) {
    let live = difference(window.last_live.v8_bytes, window.first_live.v8_bytes);
    add(Kind::LiveV8, live, None);
    let change = window.change(Class::V8Heap).saturating_sub(live);
    add(Kind::V8Heap, change, Some(held(window.last, Class::V8Heap)));
}

/// Blocks from before whose size is known.
fn sized(residency: &Residency) -> u64 {
    residency.freed_unknown_blocks.saturating_sub(residency.freed_unknown_unsized)
}

fn held(residency: &Residency, class: Class) -> u64 {
    residency.classes.get(class.name()).copied().unwrap_or(0)
}

fn mapped(residency: &Residency, class: Class) -> u64 {
    residency.mapped.get(class.name()).copied().unwrap_or(0)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
