//! Real Nodes for tests: those at hand, running a script that waits.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Nodes that can be found here: those of `OUTLIVE_NODES` (separated by colons), those that
/// `cargo xtask` has fetched, and the one in PATH.
pub fn nodes() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::env::var_os("OUTLIVE_NODES")
        .map(|paths| std::env::split_paths(&paths).collect())
        .unwrap_or_default();
    let cache = PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let versions = std::fs::read_dir(cache.join("outlive/node")).into_iter().flatten().flatten();
    found.extend(versions.map(|version| version.path().join("package/bin/node")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(
        std::env::split_paths(&path).map(|folder| folder.join("node")).find(|p| p.exists()),
    );
    found.retain(|path| path.exists());
    found.sort();
    found.dedup();
    assert!(!found.is_empty(), "no node in PATH, OUTLIVE_NODES or ~/.cache/outlive/node");
    found
}

/// A Node that runs a script, until it is dropped.
pub struct Running {
    child: Child,
    /// Held open: scripts wait for their input.
    _input: ChildStdin,
    /// What it printed up to the line `ready`.
    pub printed: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts `node` with `arguments`, and returns once it has printed the line `ready`.
    pub fn start(node: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(node)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", node.display()));
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = Vec::new();
        let mut is_ready = false;
        for line in lines {
            let line = line.unwrap();
            is_ready = line == "ready";
            if is_ready {
                break;
            }
            printed.push(line);
        }
        let running = Self { child, _input: input, printed };
        assert!(is_ready, "{} {arguments:?} ended: {:?}", node.display(), running.printed);
        running
    }

    /// Its process ID.
    pub fn tgid(&self) -> u32 {
        self.child.id()
    }
}
