//! Runs tests by cargo-nextest, which knows which of them need the machine to themselves
//! (`.config/nextest.toml`), and keeps what failed for the summary.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use super::failures::Failures;
use crate::{command, workspace};

/// The version that the settings were tried with.
const VERSION: &str = "0.9.143";

/// Where it writes its report, as `.config/nextest.toml` says.
const REPORT: &str = "target/nextest/default/junit.xml";

/// Finds cargo-nextest, and builds it where there is none.
///
/// # Errors
/// When it cannot be built.
pub fn ensure() -> Result<()> {
    if command::probe(base()?.arg("--version")).is_some() {
        return Ok(());
    }
    command::heading("building cargo-nextest (once; some minutes)");
    command::run(
        Command::new("cargo")
            .args(["install", "cargo-nextest", "--version", VERSION, "--locked", "--root"])
            .arg(workspace::tools_dir()?)
            .env_remove("CARGO_TARGET_DIR"),
    )
}

/// `cargo nextest`: that of the user, or else ours.
fn base() -> Result<Command> {
    let ours = workspace::tools_dir()?.join("bin/cargo-nextest");
    let mut nextest = match command::which("cargo-nextest") {
        None if ours.is_file() => Command::new(ours),
        _ => Command::new("cargo"),
    };
    nextest.arg("nextest").current_dir(workspace::root());
    Ok(nextest)
}

/// Runs the tests that `selection` names, as far as their names contain `filter`.
///
/// # Errors
/// When one fails ([`failures`] says which), or there is none though nothing was filtered.
pub fn run(
    selection: &[&str],
    filter: Option<&str>,
    environment: Vec<(&'static str, OsString)>,
) -> Result<()> {
    let mut nextest = base()?;
    nextest.arg("run").args(selection).envs(environment);
    if let Some(filter) = filter {
        // A name may be that of a test of another step.
        nextest.args(["--no-tests=pass", filter]);
    }
    command::run(&mut nextest)
}

/// Which tests failed in the last run; none where it left no report.
pub fn failures() -> Failures {
    Failures::read(&workspace::root().join(REPORT)).unwrap_or_default()
}

/// Forgets what the last run left.
pub fn remove_report() {
    let _ = std::fs::remove_file(workspace::root().join(REPORT));
}
