//! Made-up windows, and where the change in them went.

use super::*;

const M: u64 = 1 << 20;
const MI: i64 = 1 << 20;

/// A reading with these MiB.
fn residency(classes: &[(Class, u64)]) -> Residency {
    let classes = classes.iter().map(|(class, mib)| (class.name().to_owned(), mib * M)).collect();
    Residency { mapped: Clone::clone(&classes), classes, ..Residency::default() }
}

fn window<'a>(first: &'a Residency, last: &'a Residency) -> Window<'a> {
    Window {
        first,
        last,
        first_live: Live::default(),
        last_live: Live::default(),
        left_out: false,
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
    window.left_out = true;
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
        for left_out in [false, true] {
            let window = Window { first_live: live, left_out, ..window(a, b) };
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
