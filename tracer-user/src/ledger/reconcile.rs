//! Where the change in resident memory went: the mappings' classes say in what memory, the live
//! blocks how much of that is in use, and what is left over in an allocator's memory is its own.
//!
//! No byte counts twice: malloc's live blocks, their overhead and what the allocator keeps add up to
//! the memory that it has from the system (main heap, arenas, large blocks mapped one by one), the
//! objects that Python's or V8's probes see are part of those allocators' memory, and every class
//! that is no allocator's stands for itself.

use super::Class;
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
    /// Blocks below this size were not followed; 0 when all were.
    pub floor_bytes: u64,
    /// Whether an allocator other than glibc's serves the program: its memory is anonymous.
    pub has_other_allocator: bool,
}

/// A kind of row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    LiveMalloc,
    LivePython,
    LiveV8,
    AllocatorOverhead,
    AllocatorRetained,
    /// All of the allocator's memory, where it cannot be told what of it is live.
    AllocatorWhole,
    Untouched,
    PythonArenas,
    V8Heap,
    ThreadStacks,
    MainStack,
    Files,
    FileData,
    Shared,
    Direct,
    Special,
    Unexplained,
}

impl Kind {
    /// Name in report.json.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::LiveMalloc => "live-malloc",
            Kind::LivePython => "live-python",
            Kind::LiveV8 => "live-v8",
            Kind::AllocatorOverhead => "allocator-overhead",
            Kind::AllocatorRetained => "allocator-retained",
            Kind::AllocatorWhole => "allocator-whole",
            Kind::Untouched => "untouched",
            Kind::PythonArenas => "python-arenas",
            Kind::V8Heap => "v8-heap",
            Kind::ThreadStacks => "thread-stacks",
            Kind::MainStack => "main-stack",
            Kind::Files => "files",
            Kind::FileData => "file-data",
            Kind::Shared => "shared",
            Kind::Direct => "direct-mappings",
            Kind::Special => "special",
            Kind::Unexplained => "unexplained",
        }
    }

    /// The same for people.
    pub const fn title(self) -> &'static str {
        match self {
            Kind::LiveMalloc => "live blocks of malloc",
            Kind::LivePython => "live Python objects",
            Kind::LiveV8 => "live JavaScript objects",
            Kind::AllocatorOverhead => "allocator's overhead",
            Kind::AllocatorRetained => "freed, kept by the allocator",
            Kind::AllocatorWhole => "allocator, blocks and what it keeps",
            Kind::Untouched => "allocated, never touched",
            Kind::PythonArenas => "Python's arenas",
            Kind::V8Heap => "V8's heap",
            Kind::ThreadStacks => "stacks of threads",
            Kind::MainStack => "stack of the main thread",
            Kind::Files => "pages of mapped files",
            Kind::FileData => "written data of mapped files",
            Kind::Shared => "shared memory",
            Kind::Direct => "mapped by the program",
            Kind::Special => "the kernel's own mappings",
            Kind::Unexplained => "unexplained",
        }
    }
}

/// What one kind of memory has to do with the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub kind: Kind,
    /// By how much it changed, bytes.
    pub change_bytes: i64,
    /// How much it is at the end, where that is known.
    pub last_bytes: Option<u64>,
}

/// The books of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Resident or swapped out at the first reading, bytes.
    pub first_bytes: u64,
    /// The same at the last.
    pub last_bytes: u64,
    /// They add up to the change; the largest first, whatever its sign. None is zero.
    pub rows: Vec<Row>,
}

impl Account {
    /// By how much resident memory changed, bytes.
    pub fn change_bytes(&self) -> i64 {
        difference(self.last_bytes, self.first_bytes)
    }

    /// Change of one kind.
    pub fn change_of(&self, kind: Kind) -> i64 {
        self.rows.iter().find(|row| row.kind == kind).map_or(0, |row| row.change_bytes)
    }

    /// The part of the change that rows other than the unexplained one account for, 0 to 1; `None`
    /// where it changed by less than `least_bytes`.
    pub fn explained_share(&self, least_bytes: u64) -> Option<f64> {
        let change = self.change_bytes().unsigned_abs();
        let unexplained = self.change_of(Kind::Unexplained).unsigned_abs();
        (change >= least_bytes.max(1))
            .then(|| (1.0 - unexplained as f64 / change as f64).clamp(0.0, 1.0))
    }
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
    fn change(&self, class: Class) -> i64 {
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
    if window.floor_bytes > 0 {
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

/// `a - b` of amounts that captures may choose.
fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: u64 = 1 << 20;
    const MI: i64 = 1 << 20;

    /// A reading with these MiB.
    fn residency(classes: &[(Class, u64)]) -> Residency {
        let classes =
            classes.iter().map(|(class, mib)| (class.name().to_owned(), mib * M)).collect();
        Residency { mapped: Clone::clone(&classes), classes, ..Residency::default() }
    }

    fn window<'a>(first: &'a Residency, last: &'a Residency) -> Window<'a> {
        Window {
            first,
            last,
            first_live: Live::default(),
            last_live: Live::default(),
            floor_bytes: 0,
            has_other_allocator: false,
        }
    }

    /// Changes in MiB by kind; the rows add up to the change.
    fn changes(window: &Window<'_>) -> Vec<(Kind, i64)> {
        let account = reconcile(window);
        let sum: i64 = account.rows.iter().map(|row| row.change_bytes).sum();
        assert_eq!(sum, account.change_bytes(), "{account:?}");
        account.rows.iter().map(|row| (row.kind, row.change_bytes / MI)).collect()
    }

    #[test]
    fn a_leak_is_live_blocks() {
        let first = residency(&[(Class::MallocHeap, 10)]);
        let last = residency(&[(Class::MallocHeap, 110), (Class::Files, 2)]);
        let mut window = window(&first, &last);
        window.last_live.malloc_bytes = 95 * M;
        window.last_live.malloc_overhead_bytes = 3 * M;
        assert_eq!(
            changes(&window),
            [
                (Kind::LiveMalloc, 95),
                (Kind::AllocatorOverhead, 3),
                (Kind::AllocatorRetained, 2),
                (Kind::Files, 2)
            ]
        );
        assert_eq!(reconcile(&window).explained_share(1), Some(1.0));
    }

    #[test]
    fn what_was_freed_and_did_not_go_back_is_kept() {
        let first = residency(&[(Class::MallocHeap, 10), (Class::MallocArenas, 10)]);
        let mut last = residency(&[(Class::MallocHeap, 50), (Class::MallocArenas, 60)]);
        // Born before the attach, and freed since.
        last.freed_unknown_bytes = 5 * M;
        let mut window = window(&first, &last);
        window.last_live.malloc_bytes = 6 * M;
        let account = reconcile(&window);
        assert_eq!(account.change_of(Kind::LiveMalloc), MI);
        assert_eq!(account.change_of(Kind::AllocatorRetained), 89 * MI);
    }

    #[test]
    fn blocks_that_nobody_touched_are_told_from_reuse() {
        let first = residency(&[(Class::MallocHeap, 100)]);
        let mut last = residency(&[(Class::MallocHeap, 100), (Class::MallocMapped, 1)]);
        last.mapped.insert(Class::MallocMapped.name().into(), 200 * M);
        let mut window = window(&first, &last);
        window.last_live.malloc_bytes = 230 * M;
        assert_eq!(
            changes(&window),
            [(Kind::LiveMalloc, 230), (Kind::Untouched, -199), (Kind::AllocatorRetained, -30)]
        );
    }

    #[test]
    fn memory_of_others_stands_for_itself() {
        let first = residency(&[(Class::PythonArenas, 10), (Class::Anonymous, 7)]);
        let last = residency(&[
            (Class::PythonArenas, 30),
            (Class::V8Heap, 12),
            (Class::ThreadStacks, 3),
            (Class::Shared, 40),
            (Class::Direct, 5),
            (Class::Anonymous, 17),
        ]);
        let mut window = window(&first, &last);
        window.last_live.v8_bytes = 9 * M;
        window.last_live.python_bytes = 8 * M;
        assert_eq!(
            changes(&window),
            [
                (Kind::Shared, 40),
                (Kind::PythonArenas, 12),
                (Kind::Unexplained, 10),
                (Kind::LiveV8, 9),
                (Kind::LivePython, 8),
                (Kind::Direct, 5),
                (Kind::V8Heap, 3),
                (Kind::ThreadStacks, 3),
            ]
        );
        let share = reconcile(&window).explained_share(1).unwrap();
        assert!((share - 80.0 / 90.0).abs() < 1e-9, "{share}");
        window.has_other_allocator = true;
        assert_eq!(reconcile(&window).change_of(Kind::AllocatorRetained), 10 * MI);
        assert_eq!(reconcile(&window).explained_share(1), Some(1.0));
    }

    #[test]
    fn arenas_without_a_list_are_taken_from_what_was_mapped() {
        let first = residency(&[]);
        let last = residency(&[(Class::Direct, 30)]);
        let mut window = window(&first, &last);
        window.last_live.arena_mapping_bytes = 25 * M;
        assert_eq!(changes(&window), [(Kind::PythonArenas, 25), (Kind::Direct, 5)]);
    }

    #[test]
    fn below_a_floor_blocks_and_kept_memory_are_one() {
        let first = residency(&[(Class::MallocHeap, 10)]);
        let mut last = residency(&[(Class::MallocHeap, 30)]);
        last.freed_unknown_bytes = 1000 * M;
        let mut window = window(&first, &last);
        window.floor_bytes = 512;
        assert_eq!(changes(&window), [(Kind::AllocatorWhole, 20)]);
    }

    #[test]
    fn captures_may_say_anything() {
        let (first, mut last) = (residency(&[]), residency(&[]));
        for class in Class::ALL {
            last.classes.insert(class.name().into(), u64::MAX);
            last.mapped.insert(class.name().into(), u64::MAX);
        }
        last.classes.insert("a later one".into(), u64::MAX);
        last.freed_unknown_bytes = u64::MAX;
        last.freed_unknown_blocks = u64::MAX;
        let live = Live {
            malloc_bytes: u64::MAX,
            malloc_overhead_bytes: u64::MAX,
            python_bytes: u64::MAX,
            v8_bytes: u64::MAX,
            arena_mapping_bytes: u64::MAX,
        };
        for (a, b) in [(&first, &last), (&last, &first)] {
            for floor_bytes in [0, 1] {
                let window = Window { first_live: live, floor_bytes, ..window(a, b) };
                reconcile(&window).explained_share(0);
                let window = Window { last_live: live, ..window };
                reconcile(&window).explained_share(0);
            }
        }
        assert_eq!(reconcile(&window(&first, &first)).explained_share(0), None);
        chunk_overhead_bytes(u64::MAX);
    }

    #[test]
    fn overhead_is_what_glibc_takes() {
        for bytes in [0, 1, 24, 25, 40, 41, 100, 4096, 65_536, 200_000, 1 << 20] {
            // SAFETY: a block of our own, given back at once.
            let usable = unsafe {
                let block = libc::malloc(bytes as usize);
                let usable = libc::malloc_usable_size(block) as u64;
                libc::free(block);
                usable
            };
            let overhead = chunk_overhead_bytes(bytes);
            // The header that is not usable: 8 bytes, or 16 of a mapping.
            let actual = usable + if bytes >= MAPPED_BLOCK_BYTES { 16 } else { 8 } - bytes;
            // Where large blocks were freed before, glibc has them in its heaps.
            let is_like_small = bytes >= MAPPED_BLOCK_BYTES && actual < 4096;
            let is_close = actual.abs_diff(overhead) <= 16;
            assert!(is_close || is_like_small, "{bytes}: {actual}, {overhead}");
        }
    }
}
