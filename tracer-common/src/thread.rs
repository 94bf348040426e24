//! What user space may know of a thread's state in the kernel side: which call is in flight.

/// Part of the first word of a state that says which call is in flight; 0 is none.
pub const CALL_WORD_MASK: u64 = 0xffff_ffff;
/// First and last number of the calls that map memory; all others are the allocator's.
pub const FIRST_MAPPING_CALL: u32 = 4;
/// See [`FIRST_MAPPING_CALL`].
pub const LAST_MAPPING_CALL: u32 = 7;

/// Whether a call in flight is one of the allocator's.
pub const fn is_allocation(call: u32) -> bool {
    call != 0 && (call < FIRST_MAPPING_CALL || call > LAST_MAPPING_CALL)
}
