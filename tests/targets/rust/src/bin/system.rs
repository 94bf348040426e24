//! On libc's allocator.
fn main() {
    rust_targets::run("system", rust_targets::work, &[]);
}
