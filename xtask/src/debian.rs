//! Debian's packages: asks what is installed and, as root, installs what is missing.
//! On other systems it installs nothing; callers then name what is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// Whether this is Debian or something built on its packages.
pub fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && command::which("apt-get").is_some()
}

/// Whether this process may install packages, attach probes and load eBPF programs.
pub fn is_root() -> bool {
    command::probe(Command::new("id").arg("-u")).is_some_and(|uid| uid.trim() == "0")
}

/// Whether dpkg has `package` fully installed.
pub fn is_installed(package: &str) -> bool {
    command::probe(Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]))
        .is_some_and(|status| status == "install ok installed")
}

/// Files that the installed `package` brought; empty when it is not installed.
pub fn files_of(package: &str) -> Vec<String> {
    command::probe(Command::new("dpkg").args(["-L", package]))
        .map(|list| list.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Installs those of `packages` that are missing; asks apt nothing when none is.
///
/// # Errors
/// When a package is missing and this is not Debian or not root (the sentence says what to
/// do), or when apt fails.
pub fn ensure(packages: &[&str], purpose: &str) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_root() {
        bail!(
            "{purpose} needs packages that are not installed, and installing them needs root; \
             run: sudo apt-get install {list}"
        );
    }
    command::heading(&format!("installing {list} ({purpose})"));
    if !has_candidate(&missing) || command::run(&mut install(&missing)).is_err() {
        command::run(apt_get().arg("update"))?;
        command::run(&mut install(&missing))?;
    }
    Ok(())
}

/// Whether apt's lists already know every one of `packages`.
fn has_candidate(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        command::probe(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
            .is_some_and(|text| !text.trim().is_empty())
    })
}

fn install(packages: &[&str]) -> Command {
    let mut apt = apt_get();
    apt.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    apt
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    apt
}
