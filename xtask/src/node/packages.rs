//! npm packages of the test targets: installed once under target/, again when the lock changes.
//! None of their install scripts runs.

use std::path::PathBuf;
use std::{fs, io};

use anyhow::{Context, Result};

use crate::{command, workspace};

/// What is installed, and exactly which versions.
const WANTED: [&str; 2] = ["package.json", "package-lock.json"];

/// The folder with their `node_modules`.
///
/// # Errors
/// When npm is missing or fails.
pub fn ensure() -> Result<PathBuf> {
    let source = workspace::root().join("tests/targets/node/packages");
    let folder = workspace::root().join("target/node_packages");
    let lock = fs::read_to_string(source.join(WANTED[1])).context("reading the lock")?;
    let stamp = folder.join("outlive-lock.json");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == lock) {
        return Ok(folder);
    }
    command::heading("installing npm packages (target/node_packages)");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", folder.display()));
        }
        _ => fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?,
    }
    for name in WANTED {
        fs::copy(source.join(name), folder.join(name))
            .with_context(|| format!("copying {name} to {}", folder.display()))?;
    }
    let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
    command::run(super::npm()?.args(options).current_dir(&folder))?;
    fs::write(&stamp, lock).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(folder)
}
