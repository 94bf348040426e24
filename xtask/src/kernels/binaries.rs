//! The integration tests as executables: has cargo build them, and asks each which tests it has.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Selection;
use crate::{command, workspace};

/// One test file, compiled, and the tests of it that shall run.
#[derive(Debug)]
pub struct TestBinary {
    /// Name of the `[[test]]`.
    pub file: &'static str,
    /// The executable.
    pub executable: PathBuf,
    /// Full names of the tests.
    pub tests: Vec<String>,
}

/// Builds the test files of `selections`, and the C targets they start; `filter` narrows further.
///
/// # Errors
/// When a build fails, or a selection selects nothing.
pub fn build(selections: &[Selection], filter: Option<&str>) -> Result<Vec<TestBinary>> {
    let messages = cargo_messages(selections)?;
    // There is no compiler in the guest.
    command::run(cargo("test").args(["--quiet", "--test", "c_targets"]))?;
    let mut binaries = Vec::new();
    for selection in selections {
        let executable = executable_of(selection.file, &messages)
            .with_context(|| format!("cargo built no test named {}", selection.file))?;
        let mut list = Command::new(&executable);
        list.args(["--list", "--format", "terse", selection.filter]);
        if !selection.left_out.is_empty() {
            list.args(["--skip", selection.left_out]);
        }
        let list = command::output(&mut list)?;
        let tests: Vec<String> = list
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect();
        if tests.is_empty() {
            bail!("tests/{}.rs has no test named like `{}`", selection.file, selection.filter);
        }
        let wanted = |test: &String| {
            filter.is_none_or(|part| format!("{}::{test}", selection.file).contains(part))
        };
        let tests = tests.into_iter().filter(wanted).collect();
        binaries.push(TestBinary { file: selection.file, executable, tests });
    }
    Ok(binaries)
}

/// `cargo VERB` on the tests of outlive, as `cargo xtask test` builds them.
fn cargo(verb: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args([verb, "--release", "--package", "tracer-user"]).current_dir(workspace::root());
    cargo
}

/// What cargo says while it builds, one JSON value a line.
fn cargo_messages(selections: &[Selection]) -> Result<Vec<Value>> {
    let mut build = cargo("test");
    build.args(["--no-run", "--message-format", "json-render-diagnostics"]);
    for selection in selections {
        build.args(["--test", selection.file]);
    }
    let output = command::output(build.stdin(Stdio::null())).context("building the tests")?;
    Ok(output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn executable_of(file: &str, messages: &[Value]) -> Option<PathBuf> {
    let is_it =
        |message: &&Value| message["target"]["name"] == file && message["profile"]["test"] == true;
    let found = messages.iter().filter(is_it).find_map(|message| message["executable"].as_str())?;
    Some(PathBuf::from(found))
}

#[cfg(test)]
mod tests {
    use super::executable_of;
    use serde_json::json;

    #[test]
    fn the_test_is_found_among_what_cargo_says() {
        let message = |name: &str, test: bool, path: &str| json!({"target": {"name": name}, "profile": {"test": test}, "executable": path});
        let messages = [
            json!({"reason": "build-finished"}),
            message("detach", false, "/wrong"),
            message("outlive", true, "/other"),
            message("detach", true, "/right"),
        ];
        assert_eq!(executable_of("detach", &messages), Some("/right".into()));
        assert_eq!(executable_of("exactness", &messages), None);
    }
}
