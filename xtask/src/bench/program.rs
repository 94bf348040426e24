//! Programs that are measured: how each is compiled or started, and the word that it is ready.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::child::{Guarded, bound_command};
use crate::{command, debian, venv, workspace};

/// Longest wait for a program to be ready or to have measured something.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Folder of the targets.
pub(super) fn folder() -> PathBuf {
    workspace::root().join("tests/targets/bench")
}

/// Compiles `NAME.c`. The walks of its stacks go by unwind tables, as with what distributions build.
///
/// # Errors
/// When gcc is missing or refuses.
pub(super) fn compile(name: &str) -> Result<PathBuf> {
    let built = workspace::target_dir().join("bench");
    fs::create_dir_all(&built).with_context(|| format!("making {}", built.display()))?;
    let target = built.join(name);
    command::run(
        Command::new("gcc")
            .args(["-O2", "-g", "-pthread", "-fno-optimize-sibling-calls", "-fomit-frame-pointer"])
            .arg("-o")
            .arg(&target)
            .arg(folder().join(format!("{name}.c"))),
    )?;
    Ok(target)
}

/// The system's Python, as distributions build it.
///
/// # Errors
/// When it cannot be had.
pub(super) fn system_python() -> Result<PathBuf> {
    debian::ensure(&["python3"], "the bench")?;
    Ok(PathBuf::from("/usr/bin/python3"))
}

/// A Python with aiohttp, and why it has no memray where it has none.
///
/// # Errors
/// When there is none with aiohttp.
pub(super) fn aiohttp_python() -> Result<(PathBuf, Option<String>)> {
    match venv::ensure(&venv::BENCH) {
        Ok(python) => Ok((python, None)),
        Err(error) => Ok((venv::ensure(&venv::GATEWAY)?, Some(format!("{error:#}")))),
    }
}

/// Starts `program`, which dies with this process.
///
/// # Errors
/// When it does not start or does not say that it is ready.
pub(super) fn start(name: &str, program: &[String]) -> Result<Guarded> {
    let (first, rest) = program.split_first().context("an empty command")?;
    let mut command = bound_command(first, "KILL");
    command.args(rest);
    start_as(name, &mut command)
}

/// The same for a command with an environment of its own.
///
/// # Errors
/// As [`start`].
pub(super) fn start_as(name: &str, command: &mut Command) -> Result<Guarded> {
    let mut program = Guarded::start(name, command)?;
    program.wait_for("ready line", PATIENCE, |line| line.starts_with("ready ").then_some(()))?;
    Ok(program)
}

/// The line of JSON that a program answers `line` with.
///
/// # Errors
/// When it does not.
pub(super) fn ask(program: &mut Guarded, line: &str) -> Result<Value> {
    program.send(line)?;
    program.wait_for("line of JSON", PATIENCE, |line| {
        serde_json::from_str(line).ok().filter(Value::is_object)
    })
}
