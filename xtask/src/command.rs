//! Runs other programs on behalf of the verbs and says which one failed, and how.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` with the terminal's own stdout and stderr.
///
/// # Errors
/// When it cannot be started or ends with anything but success.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("xtask: {}", describe(command));
    let status =
        command.status().with_context(|| format!("cannot start `{}`", describe(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", describe(command));
    }
    Ok(())
}

/// Runs `command` and returns what it wrote to stdout; its stderr passes through.
///
/// # Errors
/// When it cannot be started, fails, or prints something that is not UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", describe(command)))?;
    if !out.status.success() {
        bail!("`{}` failed ({})", describe(command), out.status);
    }
    String::from_utf8(out.stdout)
        .with_context(|| format!("`{}` printed no UTF-8", describe(command)))
}

/// What `command` prints when it succeeds; `None` when it is absent or fails. Silent.
pub fn probe(command: &mut Command) -> Option<String> {
    let out = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Path of `program` as the shell would find it.
pub fn which(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|dir| dir.join(program.as_ref())).find(|path| path.is_file())
}

/// Prints a step's heading, so that a long run can be followed.
pub fn heading(text: &str) {
    eprintln!("\n== {text}");
    let _ = std::io::stderr().flush();
}

/// The command as one would type it, without its environment.
fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
