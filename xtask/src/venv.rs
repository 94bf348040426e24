//! Python environments of test targets: made once under target/, made again when their
//! requirements change.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result};

use crate::{command, debian, workspace};

/// An environment.
pub struct Environment {
    /// Folder under target/.
    folder: &'static str,
    /// Folder under tests/targets/ with its requirements.txt.
    target: &'static str,
}

/// Of the demo gateway.
pub const GATEWAY: Environment = Environment { folder: "venv", target: "gateway" };
/// Extension modules that nobody here wrote.
pub const EXTENSIONS: Environment = Environment { folder: "venv-extensions", target: "extensions" };
/// Validators and readers of the files that `outlive check` writes.
pub const READERS: Environment = Environment { folder: "venv-readers", target: "readers" };
/// The servers of the corpus; its requirements are pinned, with hashes.
pub const CORPUS: Environment = Environment { folder: "venv-corpus", target: "corpus" };
/// The bench's server, with a profiler to compare outlive with.
pub const BENCH: Environment = Environment { folder: "venv-bench", target: "bench" };

/// Folder of the gateway's sources.
pub fn gateway_dir() -> PathBuf {
    workspace::root().join("tests/targets").join(GATEWAY.target)
}

/// Makes an environment where it is missing or out of date and returns its interpreter.
///
/// # Errors
/// When Python or its venv module is missing, or pip fails.
pub fn ensure(environment: &Environment) -> Result<PathBuf> {
    let dir = workspace::root().join("target").join(environment.folder);
    let python = dir.join("bin/python");
    let wanted_path =
        workspace::root().join("tests/targets").join(environment.target).join("requirements.txt");
    let wanted = fs::read_to_string(&wanted_path)
        .with_context(|| format!("reading {}", wanted_path.display()))?;
    let stamp = dir.join("outlive-requirements.txt");
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    command::heading(&format!("making a Python environment (target/{})", environment.folder));
    if debian::is_debian() {
        debian::ensure(&["python3", "python3-venv"], "the test targets")?;
    }
    remove_if_there(&dir)?;
    command::run(Command::new(system_python()?).args(["-m", "venv"]).arg(&dir)).context(
        "making a Python environment; the venv module may be missing (python3-venv on Debian)",
    )?;
    command::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(&wanted_path),
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(python)
}

/// The system's own Python before any other in PATH: the one that services run on.
fn system_python() -> Result<PathBuf> {
    let system = Path::new("/usr/bin/python3");
    if system.exists() {
        return Ok(system.to_path_buf());
    }
    command::which("python3").context("no python3 found; install Python 3.11 with its venv module")
}

fn remove_if_there(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}
