//! Keys and values of the maps: live blocks, the stack table, the counter slots.

/// Counters of one (stack, birth epoch). Lives in a memory-mapped array that user space reads
/// without a system call; every field is updated atomically and never decreases while the slot
/// is in use.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Identity of the stack; 0 while the slot is unused.
    pub stack_hash: u64,
    /// Epoch in which the blocks counted here were born.
    pub epoch: u32,
    /// Regime in which they were born.
    pub regime: u32,
    /// That regime's mean distance between two samples, bytes; 0 when every block is followed. What
    /// a block stands for is computed from this and its size, at its death as at its birth.
    pub sample_mean_bytes: u64,
    /// Requested bytes of all blocks born here; sampled: what the drawn ones stand for.
    pub allocated_bytes: u64,
    /// Number of all blocks born here; sampled: what the drawn ones stand for, in
    /// [`ONE_BLOCK`](crate::sampling::ONE_BLOCK).
    pub allocated_blocks: u64,
    /// Of those that have been freed since: as `allocated_bytes`.
    pub freed_bytes: u64,
    /// Of those that have been freed since: as `allocated_blocks`.
    pub freed_blocks: u64,
    /// Sampled: the variance of `allocated_bytes`, in
    /// [`ONE_SQUARE`](crate::sampling::ONE_SQUARE) to the square of the mean distance.
    pub allocated_variance: u64,
    /// Sampled: that part of it that blocks freed since had added.
    pub freed_variance: u64,
}
const _: () = assert!(size_of::<Slot>() == 72);

/// Slots with a number below this take what could not be given a stack (stack table full, ring
/// buffer full): that of regime n is slot n. Their `stack_hash` is [`UNATTRIBUTED_STACK`].
pub const UNATTRIBUTED_SLOTS: u32 = crate::regime::MAX_REGIMES;
/// The stack identity of everything in [`UNATTRIBUTED_SLOTS`].
pub const UNATTRIBUTED_STACK: u64 = 1;

/// One block that is alive; the live map has it as a word (see [`crate::live`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveBlock {
    /// Requested size in bytes.
    pub size_bytes: u64,
    /// Index of the counter slot of its birth.
    pub slot: u32,
    /// Reserved, zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<LiveBlock>() == 16);

/// Value of the stack table: the slot of the stack's present epoch. Packed in one word
/// (epoch in the high half, slot in the low half), so that it can be exchanged atomically.
#[inline(always)]
pub const fn pack_stack_entry(epoch: u32, slot: u32) -> u64 {
    ((epoch as u64) << 32) | slot as u64
}
/// Epoch and slot of a stack-table value.
#[inline(always)]
pub const fn unpack_stack_entry(entry: u64) -> (u32, u32) {
    ((entry >> 32) as u32, entry as u32)
}

/// What user space steers while the probes run (one entry, index 0 of `CONTROL`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Epoch and regime in which blocks are born now (see
    /// [`pack_present`](crate::regime::pack_present)). Starts with epoch 1 and regime 0.
    pub present: u64,
    /// Image numbers handed out so far (the kernel side increments it at an exec, user space
    /// before it adds a process).
    pub images_used: u32,
    /// Slots handed out so far (the kernel side increments it), those of [`UNATTRIBUTED_SLOTS`]
    /// included.
    pub slots_used: u32,
    /// Stacks that have left the stack table so far (the kernel side increments it).
    pub stacks_removed: u32,
    /// 1 once a regime has begun that leaves out blocks which a regime before, or none, would have
    /// followed, by sampling or pausing: from then on the free of a block that is not live says
    /// nothing about when it was born.
    pub has_left_out: u32,
    /// 1 while the present regime follows no births: allocator calls need not be put in flight.
    pub is_paused: u32,
    /// 1 once mapping calls are left alone too, for good: their probes go one by one then, and a
    /// mapping that is seen to come must not go unseen.
    pub leaves_mappings: u32,
}
const _: () = assert!(size_of::<Control>() == 32);

/// How frames in a range of code can be walked.
pub mod walk {
    /// No way known: the walk ends here.
    pub const NONE: u32 = 0;
    /// By frame pointers: a JIT's code, and files without unwind information that keep them.
    pub const FRAME_POINTER: u32 = 1;
    /// By an unwind table (see [`crate::unwind`]).
    pub const TABLE: u32 = 2;
    /// The kernel's page for return probes: the real return address is with the task.
    pub const TRAMPOLINE: u32 = 3;
    /// V8's own code, which keeps frame pointers and may run JavaScript.
    pub const V8: u32 = 4;
}

/// An executable range of the target: `[start_avma, end_avma)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeRange {
    /// First address.
    pub start_avma: u64,
    /// First address behind it.
    pub end_avma: u64,
    /// Address, in the target, of the first byte that the unwind table covers; a page number is
    /// `(pc - origin_avma) >> PAGE_SHIFT`.
    pub origin_avma: u64,
    /// One of [`walk`].
    pub walk: u32,
    /// Index in `OUTLIVE_PAGES` of the table's page 0.
    pub first_page: u32,
    /// Pages of the table.
    pub page_count: u32,
    /// Reserved, zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<CodeRange>() == 40);
