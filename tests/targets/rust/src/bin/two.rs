//! Two allocators in one process: Rust's blocks are jemalloc's, and libc's malloc is called too,
//! as a C library inside the program would.
use rust_targets::Site;
use std::ffi::c_void;
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

static LIBC: Site = Site::new("by_libc");
static JEMALLOC: Site = Site::new("by_jemalloc");

#[inline(never)]
fn by_libc(bytes: usize) -> *mut c_void {
    LIBC.born(bytes);
    // SAFETY: takes a number.
    black_box(unsafe { libc::malloc(bytes) })
}

#[inline(never)]
fn by_jemalloc(bytes: usize) -> *mut c_void {
    JEMALLOC.born(bytes);
    // SAFETY: takes a number that is not 0, and flags of which there are none.
    black_box(unsafe { tikv_jemalloc_sys::mallocx(bytes, 0) })
}

fn work() {
    rust_targets::work();
    for round in 1..3000 {
        let (ours, theirs) = (by_jemalloc(round), by_libc(round));
        if round % 3 != 0 {
            JEMALLOC.died(round);
            LIBC.died(round);
            // SAFETY: each block goes back to the allocator that it came from.
            unsafe {
                tikv_jemalloc_sys::sdallocx(ours, round, 0);
                libc::free(theirs);
            }
        }
    }
}

fn main() {
    rust_targets::run("two", work, &[&LIBC, &JEMALLOC]);
}
