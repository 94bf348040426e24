//! What the change in resident memory mostly is, where it is not what findings show, and what helps.

use super::{Account, Class, Kind, Window};
use crate::units;

/// Growth below this is not worth a word, bytes.
const WORTH_A_WORD_BYTES: u64 = 1 << 20;
/// Retention is said where it is at least this part of the growth; other kinds at the lower one.
const MOSTLY: f64 = 0.5;
const MUCH: f64 = 0.25;
/// From so many arenas on, their number is worth a word.
const MANY_ARENAS: u32 = 4;

/// Something to be known about growth that no finding explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// `retention`, `untouched`, `unattributed`.
    pub code: &'static str,
    /// What is.
    pub sentence: String,
    /// What to do, and what that would give back.
    pub advice: String,
    /// How much it is about.
    pub bytes: u64,
}

/// What was looked into, so that its objects are told elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// V8's heap.
    pub js_heap: bool,
    /// Python's objects.
    pub python: bool,
}

/// What there is to say, the largest part first. `inside`: what was looked into;
/// `other_allocators`: names of those that serve the program beside glibc's.
pub fn advice(
    account: &Account,
    window: &Window<'_>,
    inside: Inside,
    other_allocators: &[String],
) -> Vec<Advice> {
    let growth = account.change_bytes();
    let mut found = Vec::new();
    if growth >= WORTH_A_WORD_BYTES as i64 {
        let is = |kind, part: f64| {
            let change = account.change_of(kind);
            (change >= WORTH_A_WORD_BYTES as i64 && change as f64 >= part * growth as f64)
                .then_some(change.unsigned_abs())
        };
        if let Some(bytes) = is(Kind::AllocatorRetained, MOSTLY)
            .map(|bytes| bytes.min(of_allocator(account)).min(growth.unsigned_abs()))
            .filter(|bytes| *bytes >= WORTH_A_WORD_BYTES && *bytes as f64 >= MOSTLY * growth as f64)
        {
            // Whose memory it was that grew.
            let is_others = window.change(Class::Anonymous) as f64 >= MOSTLY * bytes as f64;
            let others = if is_others { other_allocators } else { &[] };
            found.push(retention(bytes, growth.unsigned_abs(), window, others));
        }
        for kind in [
            Kind::PythonArenas,
            Kind::V8Heap,
            Kind::ThreadStacks,
            Kind::Files,
            Kind::FileData,
            Kind::Shared,
            Kind::AllocatorWhole,
            Kind::Unexplained,
        ] {
            if let Some(bytes) = is(kind, MUCH) {
                found.extend(unattributed(kind, bytes, inside));
            }
        }
    }
    let untouched = account.change_of(Kind::Untouched).unsigned_abs();
    if untouched >= WORTH_A_WORD_BYTES {
        found.push(Advice {
            code: "untouched",
            sentence: format!(
                "{} of live blocks were allocated and never touched: they take address space, not memory",
                units::bytes(untouched)
            ),
            advice: "Sites that hold them are smaller in memory than they look; they grow into it when they are written to.".into(),
            bytes: untouched,
        });
    }
    found.sort_by_key(|advice| std::cmp::Reverse(advice.bytes));
    found
}

/// By how much the memory of malloc grew, bytes: what takes the place of blocks that were there before
/// makes no growth.
fn of_allocator(account: &Account) -> u64 {
    let kinds = [
        Kind::LiveMalloc,
        Kind::LivePython,
        Kind::AllocatorOverhead,
        Kind::AllocatorRetained,
        Kind::Untouched,
    ];
    let change = kinds.iter().fold(0_i64, |sum, kind| sum.saturating_add(account.change_of(*kind)));
    u64::try_from(change).unwrap_or(0)
}

/// Memory that was freed and is still the allocator's.
fn retention(bytes: u64, growth: u64, window: &Window<'_>, others: &[String]) -> Advice {
    let last = window.last;
    let share = match bytes >= growth {
        true => "all".to_owned(),
        false => format!("{:.0} %", 100.0 * bytes as f64 / growth as f64),
    };
    let name = if others.is_empty() { "glibc's malloc".to_owned() } else { others.join(", ") };
    let mut sentence = format!(
        "resident memory grew by {}, {share} of it memory that was freed and that the allocator ({name}) keeps: retention, not a leak",
        units::bytes(growth),
    );
    if !others.is_empty() {
        let advice = "Have the allocator give back sooner what is free: jemalloc's dirty_decay_ms and muzzy_decay_ms, mimalloc's MIMALLOC_PURGE_DELAY, tcmalloc's release rate.";
        return Advice { code: "retention", sentence, advice: advice.into(), bytes };
    }
    let in_arenas: u64 = last.arenas.iter().fold(0, |sum, held| sum.saturating_add(*held));
    let has_many = last.arena_count >= MANY_ARENAS && in_arenas >= bytes / 2;
    if last.arena_count > 0 {
        sentence += &format!(
            "; {} arenas beside the main one hold {}, the largest {}",
            last.arena_count,
            units::bytes(in_arenas),
            units::bytes(last.arenas.first().copied().unwrap_or(0)),
        );
    }
    let trimmable = last.free_chunks.map(|free| (free.trimmable_bytes, free.unwalked_bytes));
    let is_fragmented =
        trimmable.is_some_and(|(pages, unwalked)| pages.saturating_add(unwalked) < bytes / 2);
    let mut advice = match trimmable {
        Some((pages, _)) if is_fragmented => format!(
            "Only {} of it are whole free pages, which malloc_trim(0) would give back: the rest is fragmented, free space between live blocks. Keep blocks of one lifetime together, or use an allocator with size classes (jemalloc, with dirty_decay_ms).",
            units::bytes(pages)
        ),
        Some((pages, unwalked)) => format!(
            "malloc_trim(0) would give back {}{} (whole free pages); MALLOC_TRIM_THRESHOLD_=131072 has free memory at the top go back by itself, and an allocator with decay (jemalloc, dirty_decay_ms) all of it.",
            if unwalked > 0 { "at least " } else { "" },
            units::bytes(pages)
        ),
        None => format!(
            "malloc_trim(0) would give back up to {}; MALLOC_TRIM_THRESHOLD_=131072 has free memory at the top go back by itself, and an allocator with decay (jemalloc, dirty_decay_ms) all of it.",
            units::bytes(bytes)
        ),
    };
    if has_many {
        advice = format!(
            "MALLOC_ARENA_MAX=2 has all threads share what is free: it would give back up to {}. {advice}",
            units::bytes(bytes.min(in_arenas))
        );
    }
    Advice { code: "retention", sentence, advice, bytes }
}

/// Memory in which outlive does not see who holds it.
fn unattributed(kind: Kind, bytes: u64, inside: Inside) -> Option<Advice> {
    let size = units::bytes(bytes);
    let (sentence, advice) = match kind {
        Kind::PythonArenas if inside.python => return None,
        Kind::PythonArenas => (
            format!("{size} of the growth are Python's arenas: objects of up to 512 bytes"),
            "Start the program with `outlive run --python-objects` to see which lines hold them.",
        ),
        Kind::V8Heap if inside.js_heap => (
            format!(
                "{size} of the growth are V8's heap beyond the objects that samples show: garbage that waits for a collection, or free pages"
            ),
            "--force-gc collects before the last reading.",
        ),
        Kind::V8Heap => (
            format!("{size} of the growth are V8's heap"),
            "--js-heap shows which functions hold it.",
        ),
        Kind::ThreadStacks => (
            format!("{size} of the growth are stacks of threads"),
            "Count the threads (/proc/PID/status), and see who starts them; a thread that nobody joins keeps its stack.",
        ),
        Kind::Files => (
            format!(
                "{size} of the growth are pages of mapped files, which the kernel takes back when it needs memory"
            ),
            "Not a leak by itself; /proc/PID/smaps names the files.",
        ),
        Kind::FileData => (
            format!("{size} of the growth are private pages of mapped files that were written to"),
            "/proc/PID/smaps names the files (Private_Dirty).",
        ),
        Kind::Shared => (
            format!(
                "{size} of the growth are shared memory (memfd, System V, /dev/shm), counted in every process that maps it"
            ),
            "/proc/PID/smaps and /proc/PID/fd name the segments; their creator, or the last who unmaps them, must remove them.",
        ),
        Kind::AllocatorWhole => (
            format!(
                "{size} of the growth are the allocator's memory; not all blocks were followed (a size floor, a sample, pauses), so live ones cannot be told from what it keeps"
            ),
            "--exact follows all of them, where the target can take that; without --min-size.",
        ),
        Kind::Unexplained => (
            format!(
                "{size} of the growth are anonymous memory that outlive did not see being mapped: reserved before the attach, or mapped past libc"
            ),
            "Attach from the start (`outlive run`), and without --no-mappings.",
        ),
        _ => return None,
    };
    Some(Advice { code: "unattributed", sentence, advice: advice.into(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{FreeChunks, Residency};
    use crate::ledger::{Live, reconcile};

    const M: u64 = 1 << 20;

    fn said(last: Residency, live_bytes: u64) -> Vec<Advice> {
        let first = Residency::default();
        let window = Window {
            first: &first,
            last: &last,
            first_live: Live::default(),
            last_live: Live { malloc_bytes: live_bytes, ..Live::default() },
            left_out: false,
            has_other_allocator: false,
        };
        advice(&reconcile(&window), &window, Inside::default(), &[])
    }

    fn residency(class: Class, bytes: u64) -> Residency {
        let classes = [(class.name().to_owned(), bytes)].into();
        Residency { mapped: Clone::clone(&classes), classes, ..Residency::default() }
    }

    #[test]
    fn retention_says_what_trimming_would_return() {
        let free = |trimmable_bytes| FreeChunks { trimmable_bytes, ..FreeChunks::default() };
        let mut last = residency(Class::MallocHeap, 100 * M);
        last.free_chunks = Some(free(80 * M));
        let whole = said(last.clone(), 5 * M);
        assert_eq!((whole[0].code, whole[0].bytes), ("retention", 95 * M));
        assert!(whole[0].advice.starts_with("malloc_trim(0) would give back 80.0 MiB"));
        last.free_chunks = Some(free(2 * M));
        let fragmented = said(last.clone(), 5 * M);
        assert!(fragmented[0].advice.contains("fragmented"), "{fragmented:?}");
        // A leak is none.
        assert_eq!(said(last, 90 * M), []);
    }

    #[test]
    fn many_arenas_are_named() {
        let mut last = residency(Class::MallocArenas, 100 * M);
        (last.arenas, last.arena_count) = (vec![25 * M; 4], 4);
        let found = said(last, 5 * M);
        assert!(found[0].advice.starts_with("MALLOC_ARENA_MAX=2"), "{found:?}");
        assert!(found[0].sentence.contains("4 arenas beside the main one hold 100.0 MiB"));
    }

    #[test]
    fn memory_that_cannot_be_attributed_is_named() {
        for (class, word) in [
            (Class::PythonArenas, "--python-objects"),
            (Class::V8Heap, "--js-heap"),
            (Class::Shared, "/proc/PID/fd"),
            (Class::Anonymous, "outlive run"),
        ] {
            let found = said(residency(class, 50 * M), 0);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].code, "unattributed");
            assert!(found[0].advice.contains(word), "{found:?}");
        }
        assert_eq!(said(residency(Class::Shared, M / 2), 0), []);
    }

    #[test]
    fn blocks_that_were_never_touched_are_said() {
        let mut last = residency(Class::MallocMapped, 2 * M);
        last.mapped.insert(Class::MallocMapped.name().into(), 200 * M);
        let found = said(last, 200 * M);
        assert_eq!((found[0].code, found[0].bytes), ("untouched", 198 * M));
    }
}
