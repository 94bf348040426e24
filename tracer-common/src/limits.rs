//! Bounds of everything that is walked, kept or sent.

/// Native frames in one stack, the allocation's caller included.
pub const MAX_NATIVE_FRAMES: usize = 127;
/// Python frames in one stack.
pub const MAX_PYTHON_FRAMES: usize = 128;
/// Executable ranges the kernel side can tell apart in one process (one per mapped file and one
/// per anonymous executable mapping). More are left out, and counted by user space.
pub const MAX_CODE_RANGES: usize = 1024;
/// Executable ranges of all processes together, the old ones of a change under way included.
pub const DEFAULT_MAX_ALL_CODE_RANGES: u32 = 16_384;
/// Steps of a binary search over [`MAX_CODE_RANGES`] entries.
pub const CODE_RANGE_SEARCH_STEPS: usize = 11;
/// Threads of the target that can be inside an allocator function or own scratch memory.
pub const DEFAULT_MAX_THREADS: u32 = 8192;
/// Distinct stacks.
pub const DEFAULT_MAX_STACKS: u32 = 65_536;
/// Counter slots: one per stack and birth epoch; 72 bytes of kernel memory each, taken at once.
pub const DEFAULT_MAX_SLOTS: u32 = 131_072;
/// Blocks that can be live at once; about 96 bytes of kernel memory each, taken as they appear.
/// The machines that need outlive are small and nearly full: with half a million blocks it stays
/// below 150 MB in all, its own process included.
pub const DEFAULT_MAX_LIVE_BLOCKS: u32 = 500_000;
/// Unwind rows of all files together, where user space does not ask for more (4 bytes each).
pub const DEFAULT_MAX_ROWS: u32 = 1 << 20;
/// Pages of all unwind tables together (4 bytes each, for 64 KiB of code).
pub const DEFAULT_MAX_PAGES: u32 = 32_768;
/// Unwind rows that are ever asked for (128 MiB of kernel memory): files beyond are not walked.
pub const MAX_ROWS: u32 = 1 << 25;
/// Bytes of the ring buffer for rare events.
pub const DEFAULT_RING_BYTES: u32 = 2 * 1024 * 1024;
/// A frame that an unwind table makes larger than this is not believed, in bytes: arrays of a size
/// known at run time (alloca) can be as large as a stack, which is 8 MiB by default.
pub const MAX_TABLE_FRAME_BYTES: u64 = 64 * 1024 * 1024;
/// A frame pointer further than this above the last one is not believed, in bytes.
pub const MAX_FRAME_BYTES: u64 = 1024 * 1024;
