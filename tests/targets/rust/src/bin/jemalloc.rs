//! On jemalloc, linked into the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    rust_targets::run("jemalloc", rust_targets::work, &[]);
}
