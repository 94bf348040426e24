//! On mimalloc, linked into the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    rust_targets::run("mimalloc", rust_targets::work, &[]);
}
