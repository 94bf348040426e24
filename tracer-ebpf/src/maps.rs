//! Every map: its bound, and what happens when it is full.
//!
//! User space sets the sizes before loading; those written here are the defaults of
//! `tracer_common::limits`. Names keep to 15 characters, since the kernel cuts them there.

use crate::thread::ThreadState;
use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use tracer_common::{
    counter,
    limits::{
        DEFAULT_MAX_ALL_CODE_RANGES, DEFAULT_MAX_LIVE_BLOCKS, DEFAULT_MAX_PAGES, DEFAULT_MAX_ROWS,
        DEFAULT_MAX_SLOTS, DEFAULT_MAX_STACKS, DEFAULT_MAX_THREADS, DEFAULT_RING_BYTES,
    },
    process::{MAX_PROCESSES, MAX_TGIDS, ProcessEntry},
    regime::{MAX_REGIMES, Regime},
    slot::{CodeRange, Control, LiveBlock, Slot, UNATTRIBUTED_SLOTS},
    unwind::{CACHE_ENTRIES, MAX_RULES, Rule},
};

/// The live map. Grows as live blocks do. Full: the new block is not followed, and counted
/// (`live_map_full_*`); the old ones stay, since they are the leak.
#[map(name = "OUTLIVE_LIVE")]
pub static LIVE: HashMap<u64, LiveBlock> =
    HashMap::with_max_entries(DEFAULT_MAX_LIVE_BLOCKS, BPF_F_NO_PREALLOC);

/// Stack hash to packed (epoch, slot). Full: booked without a stack (`stack_table_full`).
#[map(name = "OUTLIVE_STACKS")]
pub static STACKS: HashMap<u64, u64> =
    HashMap::with_max_entries(DEFAULT_MAX_STACKS, BPF_F_NO_PREALLOC);

/// Counters per (stack, epoch), memory-mapped by user space. Full: the birth is booked into an
/// older epoch of its stack, or without one where it has none (`slot_table_full`).
#[map(name = "OUTLIVE_SLOTS")]
pub static SLOTS: Array<Slot> =
    Array::with_max_entries(UNATTRIBUTED_SLOTS + DEFAULT_MAX_SLOTS, BPF_F_MMAPABLE);

/// The regimes; memory-mapped by user space, which begins no more of them when it is full.
#[map(name = "OUTLIVE_REGIMES")]
pub static REGIMES: Array<Regime> = Array::with_max_entries(MAX_REGIMES, BPF_F_MMAPABLE);

/// What user space steers while the probes run; memory-mapped.
#[map(name = "OUTLIVE_CONTROL")]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The traced processes.
#[map(name = "OUTLIVE_PROCS")]
pub static PROCESSES: Array<ProcessEntry> = Array::with_max_entries(MAX_PROCESSES, BPF_F_MMAPABLE);

/// V8's full collections, by index in [`PROCESSES`]; memory-mapped. Never set back: who gets an
/// index next counts from what is there.
#[map(name = "OUTLIVE_GCS")]
pub static FULL_COLLECTIONS: Array<u64> = Array::with_max_entries(MAX_PROCESSES, BPF_F_MMAPABLE);

/// Thread-group ID to index in [`PROCESSES`]. Full: the child is not followed
/// (`unknown_process`).
#[map(name = "OUTLIVE_TGIDS")]
pub static TGIDS: HashMap<u32, u32> = HashMap::with_max_entries(MAX_TGIDS, BPF_F_NO_PREALLOC);

/// Executable ranges, sorted within each process; memory-mapped. User space writes the ranges of a
/// process to a free place and then points its entry there.
#[map(name = "OUTLIVE_RANGES")]
pub static CODE_RANGES: Array<CodeRange> =
    Array::with_max_entries(DEFAULT_MAX_ALL_CODE_RANGES, BPF_F_MMAPABLE);

/// Unwind rows, two to an element (the even one in the low half); memory-mapped.
#[map(name = "OUTLIVE_ROWS")]
pub static ROWS: Array<u64> = Array::with_max_entries(DEFAULT_MAX_ROWS / 2, BPF_F_MMAPABLE);

/// First rows of pages, two to an element as in [`ROWS`]; memory-mapped.
#[map(name = "OUTLIVE_PAGES")]
pub static PAGES: Array<u64> = Array::with_max_entries(DEFAULT_MAX_PAGES / 2, BPF_F_MMAPABLE);

/// Unwind rules; memory-mapped.
#[map(name = "OUTLIVE_RULES")]
pub static RULES: Array<Rule> = Array::with_max_entries(MAX_RULES, BPF_F_MMAPABLE);

/// Rules of addresses that were looked up lately, direct-mapped: tag in the low
/// `CACHE_TAG_BITS`, rule above; one word, so that it is never seen half written.
#[map(name = "OUTLIVE_CACHE")]
pub static UNWIND_CACHE: Array<u64> = Array::with_max_entries(CACHE_ENTRIES, 0);

/// The call in flight of each thread, and its scratch memory: per thread, because uprobe programs
/// are preemptible. Full: the call is not followed (`thread_table_full`).
#[map(name = "OUTLIVE_THREADS")]
pub static THREADS: HashMap<u32, ThreadState> =
    HashMap::with_max_entries(DEFAULT_MAX_THREADS, BPF_F_NO_PREALLOC);

/// One zeroed [`ThreadState`] to insert from: it is larger than a program's stack.
#[map(name = "OUTLIVE_BLANK")]
pub static BLANK_THREAD: Array<ThreadState> = Array::with_max_entries(1, 0);

/// Everything that is counted.
#[map(name = "OUTLIVE_COUNTS")]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNTERS, 0);

/// Rare things only: a stack never seen before, a mapping, a process event. Full: counted by
/// whoever wanted to send.
#[map(name = "OUTLIVE_EVENTS")]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(DEFAULT_RING_BYTES, 0);
