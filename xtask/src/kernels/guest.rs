//! What the guest is made of and what it does: the programs, test executables and targets that
//! go into the initramfs, and the steps that its init runs.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::Archive;
use super::binaries::TestBinary;
use super::files::Files;
use crate::{command, workspace};

/// The part of init that is the same in every run.
const INIT: &str = include_str!("init.sh");

/// The interpreter of Debian 12, which `tests/python.rs` starts.
const PYTHON: &str = "/usr/bin/python3.11";

/// Folders of `tests/targets` that hold scripts.
const SCRIPTS: [&str; 2] = ["python", "node"];

/// Steps that are no tests of cargo's: what `outlive doctor` says, every program's way through
/// the verifier with it, and whether the kernel complained.
const DOCTOR: &str = "doctor";
const KERNEL_LOG: &str = "kernel-log";

/// Everything that a boot needs but the kernel.
pub struct Guest {
    /// What runs.
    pub tests: Vec<TestBinary>,
    /// The Node that is traced.
    pub node: PathBuf,
}

impl Guest {
    /// Names of all steps, in order.
    pub fn steps(&self) -> Vec<String> {
        let tests = self
            .tests
            .iter()
            .flat_map(|binary| binary.tests.iter().map(|test| format!("{}::{test}", binary.file)));
        [DOCTOR.to_owned()].into_iter().chain(tests).chain([KERNEL_LOG.to_owned()]).collect()
    }

    /// Writes the initramfs.
    ///
    /// # Errors
    /// When something that belongs into it is missing, or it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let root = workspace::root();
        let mut files = Files::new(Archive::create(path)?)?;
        for tool in ["busybox", "bpftool"] {
            files.program(&tool_path(tool)?)?;
        }
        files.program(&workspace::outlive_binary())?;
        for binary in &self.tests {
            files.program(&binary.executable)?;
        }
        files.tree(&workspace::c_targets_dir(), &[])?;
        // Without their sources, what is compiled counts as current.
        for scripts in SCRIPTS {
            files.tree(&root.join("tests/targets").join(scripts), &["__pycache__"])?;
        }
        files.python(Path::new(PYTHON))?;
        files.program(&self.node)?;
        let archive = files.archive();
        archive.folder(&root.join("tracer-user"))?;
        archive.bytes(Path::new("/init"), self.init()?.as_bytes(), 0o755)?;
        let length_bytes = files.finish()?;
        eprintln!("xtask: {}: {} MiB", path.display(), length_bytes >> 20);
        Ok(())
    }

    /// The whole of init.
    fn init(&self) -> Result<String> {
        let mut text = INIT.to_owned();
        let outlive = workspace::outlive_binary();
        writeln!(text, "export OUTLIVE_NODE={}", quoted(&self.node))?;
        // Where cargo starts tests.
        writeln!(text, "cd {}", quoted(&workspace::root().join("tracer-user")))?;
        writeln!(text, "step {DOCTOR} {} -v doctor", quoted(&outlive))?;
        for binary in &self.tests {
            for test in &binary.tests {
                writeln!(
                    text,
                    "step {}::{test} {} --exact {test} --test-threads=1 --nocapture",
                    binary.file,
                    quoted(&binary.executable)
                )?;
            }
        }
        writeln!(text, "step {KERNEL_LOG} kernel_log")?;
        text.push_str("say done\npoweroff -f\n");
        Ok(text)
    }
}

fn tool_path(tool: &str) -> Result<PathBuf> {
    // Not every root's PATH names sbin.
    let sbin = Path::new("/usr/sbin").join(tool);
    command::which(tool)
        .or_else(|| sbin.is_file().then_some(sbin))
        .with_context(|| format!("{tool} is not there, though its package is installed"))
}

/// A path as a shell reads it back.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::{Guest, TestBinary, quoted};
    use std::path::Path;

    #[test]
    fn init_runs_each_step_once_and_in_order() {
        let tests = vec![TestBinary {
            file: "detach",
            executable: "/a b/detach-1".into(),
            tests: vec!["one".into(), "two".into()],
        }];
        let guest = Guest { tests, node: "/usr/bin/node".into() };
        let init = guest.init().unwrap();
        let steps: Vec<&str> = init
            .lines()
            .filter_map(|line| line.strip_prefix("step "))
            .filter_map(|rest| rest.split_whitespace().next())
            .collect();
        assert_eq!(steps, guest.steps());
        assert!(init.contains("'/a b/detach-1' --exact two "), "{init}");
        assert!(init.starts_with("#!/bin/busybox sh"));
    }

    #[test]
    fn quotes_survive_the_shell() {
        assert_eq!(quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
