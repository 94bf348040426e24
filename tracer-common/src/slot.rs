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
    /// Reserved, zero.
    pub reserved: u32,
    /// Requested bytes of all blocks born here.
    pub allocated_bytes: u64,
    /// Number of all blocks born here.
    pub allocated_blocks: u64,
    /// Requested bytes of those that have been freed since.
    pub freed_bytes: u64,
    /// Number of those that have been freed since.
    pub freed_blocks: u64,
}
const _: () = assert!(size_of::<Slot>() == 48);

/// Index of the slot that takes what could not be given a stack (stack table full, ring buffer
/// full). Its `stack_hash` is [`UNATTRIBUTED_STACK`].
pub const UNATTRIBUTED_SLOT: u32 = 0;
/// The stack identity of everything in [`UNATTRIBUTED_SLOT`].
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
    /// Epoch in which blocks are born now. Starts at 1.
    pub epoch: u32,
    /// Image numbers handed out so far (the kernel side increments it at an exec, user space
    /// before it adds a process).
    pub images_used: u32,
    /// Slots handed out so far (the kernel side increments it).
    pub slots_used: u32,
    /// Stacks that have left the stack table so far (the kernel side increments it).
    pub stacks_removed: u32,
}
const _: () = assert!(size_of::<Control>() == 16);

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
