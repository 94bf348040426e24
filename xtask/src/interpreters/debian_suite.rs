//! Debian's CPython of another suite (PGO, LTO, stripped, static), unpacked in the cache and run
//! by the loader and the libraries of its own suite: `/proc/PID/exe` is then the loader. What is
//! there stays as it is; removing its folder fetches the suite's present version.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::PrivateApt;
use crate::command;

/// Where Debian's libraries are, from the root of what was unpacked.
const LIBRARY_DIRS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Where the loader is: moved by the merger of `/lib64` and `/usr/lib64`.
const LOADERS: [&str; 3] = [
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/ld-2.31.so",
];

/// A command that starts CPython 3.`minor` of `suite`.
///
/// # Errors
/// When this is not Debian, or the mirror does not have it.
pub(super) fn ensure(minor: u32, suite: &'static str, cache: &Path) -> Result<PathBuf> {
    let root = cache.join(format!("{suite}-3.{minor}"));
    let starter = root.join(format!("python3.{minor}"));
    if starter.exists() {
        return Ok(starter);
    }
    install(minor, suite, cache, &root)
        .with_context(|| format!("Python 3.{minor} of Debian's suite {suite} cannot be had"))?;
    Ok(starter)
}

fn install(minor: u32, suite: &'static str, cache: &Path, root: &Path) -> Result<()> {
    let apt = PrivateApt::open(suite, cache)?;
    let packages =
        apt.download(&[format!("python3.{minor}-minimal"), format!("libpython3.{minor}-stdlib")])?;
    let beside = apt.scratch();
    fs::create_dir_all(&beside).with_context(|| format!("making {}", beside.display()))?;
    for package in &packages {
        command::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&beside))?;
    }
    write_starter(minor, &beside, root)?;
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("removing {}", root.display()))?;
    }
    fs::rename(&beside, root).with_context(|| format!("renaming {}", beside.display()))
}

/// Writes into `beside` the command that will start the interpreter once it is at `root`. It
/// execs, so that the process is the interpreter's.
fn write_starter(minor: u32, beside: &Path, root: &Path) -> Result<()> {
    let loader = LOADERS
        .iter()
        .find(|loader| beside.join(loader).exists())
        .context("the suite's libc6 brought no loader")?;
    let libraries = LIBRARY_DIRS.map(|dir| root.join(dir).display().to_string()).join(":");
    let shown = root.display();
    let text = format!(
        "#!/bin/sh\n\
         PYTHONHOME='{shown}/usr' exec '{shown}/{loader}' \\\n    \
         --library-path '{libraries}' '{shown}/usr/bin/python3.{minor}' \"$@\"\n"
    );
    let path = beside.join(format!("python3.{minor}"));
    fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("writing {}", path.display()))
}
