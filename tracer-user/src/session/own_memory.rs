//! What outlive itself holds: memory that it has done with goes back to the kernel, since all that
//! stays resident looks like its cost. Decides nothing about what is kept.

/// Allocations from this size on are mappings of their own, which go when they are freed; bytes.
/// glibc raises the bound, up to 32 MiB, with each that is freed: tables that grew would leave holes
/// in the heap.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 256 << 10;

/// Has large allocations go back when they are freed. To be called before there are threads.
pub fn return_large_ones() {
    #[cfg(target_env = "gnu")]
    // SAFETY: changes a setting of the allocator, whatever it has handed out so far.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
    }
}

/// Gives back what is free: behind work that took much for a while.
///
/// # Cost
/// Some milliseconds: it looks through the free list.
pub fn return_free() {
    #[cfg(target_env = "gnu")]
    // SAFETY: gives back pages that nothing is in.
    unsafe {
        libc::malloc_trim(0);
    }
}
