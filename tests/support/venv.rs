//! Python environments of test targets, made when they are not there. `cargo xtask test` makes the
//! same ones beforehand.

use super::{run_to_end, tests_dir};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter of an environment: the folder that the variable `named_by` names, or
/// `target/<folder>`, with the requirements of `tests/targets/<target>`.
pub fn venv(named_by: &str, folder: &str, target: &str) -> PathBuf {
    let venv = std::env::var_os(named_by).map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(folder),
        PathBuf::from,
    );
    let python = venv.join("bin/python");
    let requirements = tests_dir().join("targets").join(target).join("requirements.txt");
    let wanted = std::fs::read(&requirements).expect("read the requirements");
    let stamp = venv.join("outlive-requirements.txt");
    if !python.exists() || std::fs::read(&stamp).ok().as_ref() != Some(&wanted) {
        let mut make = Command::new("/usr/bin/python3");
        make.args(["-m", "venv"]).arg(&venv);
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "-r"]).arg(&requirements);
        for command in [make, install] {
            let shown = format!("{command:?}");
            let output = run_to_end(command);
            let messages = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{shown} (install python3-venv):\n{messages}");
        }
        std::fs::write(&stamp, &wanted).expect("note what was installed");
    }
    python
}
