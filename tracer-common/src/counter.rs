//! The name of everything that is counted in the kernel. Indices are part of the ABI and are
//! never reused.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $index:literal, $name:literal, $class:ident;)*) => {
        /// A kernel-side counter: an index into the per-CPU array `COUNTERS`.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Counter { $($(#[$doc])* $variant = $index,)* }
        impl Counter {
            /// All counters, in the order of their indices.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant),*];
            /// Name in reports and captures.
            pub const fn name(self) -> &'static str { match self { $(Counter::$variant => $name),* } }
            /// What a count above zero means.
            pub const fn class(self) -> Class { match self { $(Counter::$variant => Class::$class),* } }
        }
    };
}

/// What a count above zero means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Ordinary traffic.
    Traffic,
    /// Bytes or blocks are missing from the numbers: the run is lossy (exit code 3).
    Loss,
    /// Bytes and blocks are right, but a stack or cohort is less detailed than it could be.
    Detail,
    /// Walks of stacks, by how they ended.
    Walk,
}

counters! {
    /// Hits of allocation entry probes.
    AllocationHits = 0, "allocation_hits", Traffic;
    /// Hits of allocation return probes.
    ReturnHits = 1, "return_hits", Traffic;
    /// Hits of free probes.
    FreeHits = 2, "free_hits", Traffic;
    /// Hits of mapping probes (entry and return).
    MappingHits = 3, "mapping_hits", Traffic;
    /// Calls made from inside another allocator call; part of the outer one.
    NestedCalls = 4, "nested_calls", Traffic;
    /// Allocations that the allocator refused.
    FailedAllocations = 5, "failed_allocations", Traffic;
    /// Blocks freed (or moved) that were allocated before attach, until the first block was left out.
    FreedUnknownBlocks = 6, "freed_unknown_blocks", Traffic;
    /// Blocks below the size floor.
    BelowMinSizeBlocks = 7, "below_min_size_blocks", Traffic;
    /// Blocks not followed because the live map was full.
    LiveMapFullBlocks = 8, "live_map_full_blocks", Loss;
    /// Their requested bytes.
    LiveMapFullBytes = 9, "live_map_full_bytes", Loss;
    /// Allocator calls not followed because the thread table was full.
    ThreadTableFull = 10, "thread_table_full", Loss;
    /// Allocator calls whose return was never seen.
    ReturnsMissed = 11, "returns_missed", Loss;
    /// Allocations whose result pointer could not be read (posix_memalign's out-parameter).
    ResultUnreadable = 12, "result_unreadable", Loss;
    /// Mapping events that did not fit into the ring buffer.
    MappingEventsLost = 13, "mapping_events_lost", Loss;
    /// Allocations booked without a stack because the stack table was full.
    StackTableFull = 14, "stack_table_full", Detail;
    /// Allocations booked without a stack because the ring buffer was full.
    StackRingFull = 15, "stack_ring_full", Detail;
    /// Allocations booked into an older epoch, or without a stack, because no counter slot was free.
    SlotTableFull = 16, "slot_table_full", Detail;
    /// Process events that did not fit into the ring buffer.
    ProcessEventsLost = 17, "process_events_lost", Loss;
    /// A block was handed out at an address that was still live: a free was not seen.
    AddressReused = 18, "address_reused", Loss;
    /// Probe hits of a process that was not in the process table.
    UnknownProcess = 19, "unknown_process", Loss;
    /// Native walks that ended at the outermost frame. Those that ended otherwise follow, in the
    /// order of `record::walk_end`.
    NativeWalksBottom = 20, "native_walks_bottom", Walk;
    /// See `record::walk_end`.
    NativeWalksNoFramePointer = 21, "native_walks_no_frame_pointer", Walk;
    /// See `record::walk_end`.
    NativeWalksBadFramePointer = 22, "native_walks_bad_frame_pointer", Walk;
    /// See `record::walk_end`.
    NativeWalksUnreadable = 23, "native_walks_unreadable", Walk;
    /// See `record::walk_end`.
    NativeWalksUnknownCode = 24, "native_walks_unknown_code", Walk;
    /// See `record::walk_end`.
    NativeWalksTooDeep = 25, "native_walks_too_deep", Walk;
    /// See `record::walk_end`.
    NativeWalksAbsent = 26, "native_walks_absent", Walk;
    /// See `record::walk_end`.
    NativeWalksNoUnwindInfo = 27, "native_walks_no_unwind_info", Walk;
    /// See `record::walk_end`.
    NativeWalksUnsupportedRule = 28, "native_walks_unsupported_rule", Walk;
    /// See `record::walk_end`.
    NativeWalksBadStackPointer = 29, "native_walks_bad_stack_pointer", Walk;
    /// See `record::walk_end`.
    NativeWalksTrampoline = 30, "native_walks_trampoline", Walk;
    /// See `record::walk_end`.
    NativeWalksBadInterpreterState = 31, "native_walks_bad_interpreter_state", Walk;
    /// Python walks that ended at the outermost frame. Those that ended otherwise follow, in the
    /// order of `record::walk_end`.
    PythonWalksBottom = 32, "python_walks_bottom", Walk;
    /// See `record::walk_end`.
    PythonWalksNoFramePointer = 33, "python_walks_no_frame_pointer", Walk;
    /// See `record::walk_end`.
    PythonWalksBadFramePointer = 34, "python_walks_bad_frame_pointer", Walk;
    /// See `record::walk_end`.
    PythonWalksUnreadable = 35, "python_walks_unreadable", Walk;
    /// See `record::walk_end`.
    PythonWalksUnknownCode = 36, "python_walks_unknown_code", Walk;
    /// See `record::walk_end`.
    PythonWalksTooDeep = 37, "python_walks_too_deep", Walk;
    /// See `record::walk_end`.
    PythonWalksAbsent = 38, "python_walks_absent", Walk;
    /// See `record::walk_end`.
    PythonWalksNoUnwindInfo = 39, "python_walks_no_unwind_info", Walk;
    /// See `record::walk_end`.
    PythonWalksUnsupportedRule = 40, "python_walks_unsupported_rule", Walk;
    /// See `record::walk_end`.
    PythonWalksBadStackPointer = 41, "python_walks_bad_stack_pointer", Walk;
    /// See `record::walk_end`.
    PythonWalksTrampoline = 42, "python_walks_trampoline", Walk;
    /// See `record::walk_end`.
    PythonWalksBadInterpreterState = 43, "python_walks_bad_interpreter_state", Walk;
    /// Children with memory of their own that were not to be followed.
    ChildrenNotFollowed = 44, "children_not_followed", Traffic;
    /// Bytes of [`Counter::FreedUnknownBlocks`], as far as glibc tells them: what it had given, which
    /// is somewhat more than was asked for.
    FreedUnknownBytes = 45, "freed_unknown_bytes", Traffic;
    /// Those of [`Counter::FreedUnknownBlocks`] whose size could not be read: another allocator's,
    /// Python's own, or with a header that makes no sense.
    FreedUnknownUnsized = 46, "freed_unknown_unsized_blocks", Traffic;
    /// Stacks that were walked; all others were remembered.
    StacksWalked = 47, "stacks_walked", Traffic;
    /// Blocks that sampling has not drawn.
    NotDrawnBlocks = 48, "not_drawn_blocks", Traffic;
    /// Blocks freed (or moved) that are not followed, once blocks are left out by sampling or pauses:
    /// whether they were born before attach or left out is not known. In place of
    /// [`Counter::FreedUnknownBlocks`].
    FreedNotFollowedBlocks = 49, "freed_not_followed_blocks", Traffic;
    /// Allocator calls while births were not followed.
    PausedCalls = 50, "paused_calls", Traffic;
    /// Births booked without a stack because another regime began meanwhile.
    RegimeChangedMeanwhile = 51, "regime_changed_meanwhile", Detail;
}

/// Number of counters.
pub const COUNTERS: u32 = Counter::ALL.len() as u32;
