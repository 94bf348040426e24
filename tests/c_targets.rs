//! The C targets that need nothing but libc compile. `cargo xtask kernels` has this test compile
//! them, since its guests have no compiler.
#![allow(missing_docs)]

mod support;

use support::c_target;

/// Those that the tests which run in a guest start.
const TARGETS: [&str; 9] = [
    "single",
    "threads",
    "realloc_storm",
    "entry_points",
    "fork",
    "before_attach",
    "churn",
    "hold",
    "sandboxed",
];

#[test]
fn targets_of_guests_compile() {
    for name in TARGETS {
        let binary = c_target(name);
        assert!(binary.is_file(), "{name}: no {}", binary.display());
    }
}
