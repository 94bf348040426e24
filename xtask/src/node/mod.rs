//! Node.js to trace. Verb `nodes`: official builds of every release that the tests trace, and the
//! npm packages of the targets. For what takes any Node: the system's, or an official build, or
//! Debian's package.

mod official;
mod packages;
mod schemas;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, debian};

/// Releases that the tests trace.
const MAJORS: [u32; 5] = [18, 20, 22, 24, 26];

/// The long-term release that is fetched where there is no Node but npm.
const ANY_MAJOR: u32 = 24;

/// What became of a release.
pub struct Release {
    major: u32,
    /// The executable, or why there is none.
    found: Result<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// When a release or the packages cannot be had; all that is there is listed by then.
pub fn run() -> Result<()> {
    let releases = ensure_all();
    let mut missing_count = 0;
    for Release { major, found } in &releases {
        match found {
            Ok(node) => println!("{major:<4} {}", node.display()),
            Err(error) => {
                missing_count += 1;
                println!("{major:<4} missing: {error:#}");
            }
        }
    }
    println!("npm  {}", packages::ensure()?.display());
    if missing_count > 0 {
        bail!("{missing_count} of {} releases cannot be had here", releases.len());
    }
    Ok(())
}

/// The executable of a Node.
///
/// # Errors
/// When there is none and none can be fetched.
pub fn ensure() -> Result<PathBuf> {
    if let Some(node) = command::which("node") {
        return node.canonicalize().with_context(|| format!("following {}", node.display()));
    }
    if command::which("npm").is_some() {
        return official::ensure(ANY_MAJOR);
    }
    debian::ensure(&["nodejs"], "tracing Node.js")?;
    command::which("node").context("the package nodejs brought no node")
}

/// The executable of one release.
///
/// # Errors
/// When it cannot be had.
pub fn release(major: u32) -> Result<PathBuf> {
    official::ensure(major)
}

/// The folder with the `node_modules` of the targets.
///
/// # Errors
/// When npm is missing or fails.
pub fn packages() -> Result<PathBuf> {
    Ok(packages::ensure()?.join("node_modules"))
}

/// Fetches official builds of all releases, each once.
pub fn ensure_all() -> Vec<Release> {
    let releases = MAJORS.into_iter();
    releases.map(|major| Release { major, found: official::ensure(major) }).collect()
}

/// Fetches all that the tests use beyond one Node.
///
/// # Errors
/// When a release or the packages cannot be had. The tests that use it then fail, not others.
pub fn ensure_for_tests() -> Result<()> {
    for release in ensure_all() {
        release.found.with_context(|| format!("Node.js {}", release.major))?;
    }
    schemas::ensure()?;
    packages::ensure().map(drop)
}

/// What the integration tests are told in their environment, as far as it is there.
///
/// # Errors
/// When there is no Node at all.
pub fn test_environment() -> Result<Vec<(&'static str, OsString)>> {
    let nodes = ensure_all().into_iter().filter_map(|release| release.found.ok());
    let mut variables = vec![
        ("OUTLIVE_NODE", ensure()?.into_os_string()),
        ("OUTLIVE_NODES", env::join_paths(nodes).context("a colon in the path of a Node")?),
    ];
    if let Ok(folder) = packages::ensure() {
        variables.push(("OUTLIVE_NODE_PACKAGES", folder.into_os_string()));
    }
    if let Ok(folder) = schemas::ensure() {
        variables.push(("OUTLIVE_SCHEMAS", folder.into_os_string()));
    }
    Ok(variables)
}

/// npm, ready for its arguments; installed where it is missing.
fn npm() -> Result<Command> {
    if command::which("npm").is_none() {
        debian::ensure(&["nodejs", "npm"], "tests of Node.js")?;
    }
    command::which("npm").map(Command::new).context("no npm found; install Node.js with npm")
}
