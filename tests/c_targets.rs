//! Every C target compiles. `cargo xtask kernels` relies on this test to compile them all, since
//! its guests have no compiler.
#![allow(missing_docs)]

mod support;

use support::{c_target, tests_dir};

#[test]
fn every_c_target_compiles() {
    let folder = tests_dir().join("targets/c");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the C targets are there")
        .map(|entry| entry.expect("read the folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "{} is empty", folder.display());
    for name in names {
        let binary = c_target(&name);
        assert!(binary.is_file(), "{name}: no {}", binary.display());
    }
}
