//! README.md tells the truth: its commands run as written, the flags it names exist, and what it
//! links to is there.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::{Outlive, Target, c_target, may_trace, run_outlive, run_to_end, tests_dir};

/// What every window is shortened to.
const WINDOW: &str = "2s";
/// Verbs of `outlive` that watch a target, and may be inconclusive in so short a window.
const WATCHING: [&str; 3] = ["attach", "run", "report"];
/// What `--out` leaves.
const RESULTS: [&str; 5] =
    ["capture.outlive", "report.json", "report.txt", "live.svg", "growth.svg"];
/// The command of `outlive run` in the examples.
const APP: &str = "blocks = [bytes(4096) for _ in range(1000)]\nprint(len(blocks))\n";
/// The module `gateway.run` of the examples of `outlive heap`, whose heap is looked into.
const GATEWAY: &str = "\
import json, sys


class AIAgent:
    def __init__(self, name):
        self.name = name


agents = {name: AIAgent(name) for name in range(1000)}
print(json.dumps({'agents': len(agents)}), flush=True)
sys.stdin.readline()
";

fn root() -> PathBuf {
    tests_dir().parent().expect("tests/ lies in the workspace").to_owned()
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// The fenced blocks of `text`: language and content.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), is_open) {
            (Some(language), false) => found.push((language, String::new())),
            (Some(_), true) => {}
            (None, true) => {
                let (_, content) = found.last_mut().expect("a block is open");
                *content += line;
                content.push('\n');
            }
            (None, false) => {}
        }
        is_open ^= line.starts_with("```");
    }
    assert!(!is_open, "a fenced block is never closed");
    found
}

/// The commands in the `sh` blocks of `text`, without `sudo`.
fn commands(text: &str) -> Vec<String> {
    let shell = blocks(text).into_iter().filter(|(language, _)| *language == "sh");
    shell
        .flat_map(|(_, block)| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| line.trim().trim_start_matches("sudo ").to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// `line` with a window of [`WINDOW`]; a command without one gets it, so that it ends.
fn shortened(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    match words.iter().position(|word| ["--duration", "--for"].contains(word)) {
        Some(flag) => words[flag + 1] = WINDOW,
        None if words[1] == "attach" => words.extend(["--duration", WINDOW]),
        // A command that is run ends by itself.
        None => {}
    }
    words.join(" ")
}

/// The word behind `flag` in `line`.
fn value_of<'a>(line: &'a str, flag: &str) -> Option<&'a str> {
    line.split(' ').skip_while(|word| *word != flag).nth(1)
}

/// Runs one line as a shell would, in `folder`, where `outlive` is the compiled one.
fn run_line(line: &str, folder: &Path, pid: u32) -> Output {
    let mut command = Command::new("sh");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut search = std::ffi::OsString::from(folder.join("bin"));
    search.push(":");
    search.push(path);
    command.arg("-c").arg(format!("exec {line}")).current_dir(folder).stdin(Stdio::null());
    command.env("PATH", search).env("PID", pid.to_string());
    run_to_end(command)
}

/// Exit code and results are as README documents them.
fn check_outlive(line: &str, output: &Output, folder: &Path) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let verb = line.split(' ').nth(1).expect("a verb");
    let documented: &[i32] = if WATCHING.contains(&verb) { &[0, 3] } else { &[0] };
    let code = output.status.code();
    assert!(code.is_some_and(|code| documented.contains(&code)), "`{line}`: {code:?}\n{stderr}");
    assert!(!stderr.contains("panicked"), "`{line}`:\n{stderr}");
    if let Some(out) = value_of(line, "--out") {
        for name in RESULTS {
            assert!(folder.join(out).join(name).is_file(), "`{line}` left no {name}\n{stderr}");
        }
    }
    if value_of(line, "--format") == Some("json") || line.ends_with("--json") {
        let parsed = serde_json::from_slice::<serde_json::Value>(&output.stdout);
        assert!(parsed.is_ok_and(|value| value.is_object()), "`{line}` printed no JSON object");
    }
    match value_of(line, "-o") {
        Some(file) => assert!(folder.join(file).is_file(), "`{line}` left no {file}\n{stderr}"),
        None => assert!(!output.stdout.is_empty(), "`{line}` printed nothing\n{stderr}"),
    }
}

/// Whether cargo knows the verb. Running it would run this test again.
fn check_cargo(line: &str) {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let mut command = Command::new("cargo");
    match words.as_slice() {
        ["xtask", verb, flags @ ..] => {
            let help = help_of_xtask(verb);
            for flag in flags {
                assert!(help.contains(flag), "`{line}`: {verb} has no {flag}:\n{help}");
            }
            return;
        }
        [verb, ..] => command.args([*verb, "--help"]),
        [] => panic!("`{line}` names no verb"),
    };
    let output = run_to_end(command);
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
}

fn help_of_xtask(verb: &str) -> String {
    let mut command = Command::new("cargo");
    command.args(["xtask", verb, "--help"]).current_dir(root()).stdin(Stdio::null());
    // However long it takes: xtask may have to be built first.
    let output = command.output().expect("run cargo");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo xtask {verb} --help:\n{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What looks like a long option in `text`.
fn long_options(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    text.split(|c: char| !is_part(c))
        .filter(|word| word.starts_with("--") && word.len() > 3 && !word.starts_with("---"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_of_the_readme_runs_as_documented() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    std::fs::create_dir(folder.path().join("bin")).expect("folder of commands");
    std::os::unix::fs::symlink(Outlive::binary(), folder.path().join("bin/outlive"))
        .expect("link to outlive");
    std::fs::write(folder.path().join("app.py"), APP).expect("app.py");
    // Others that may come first in PATH import thousands of lines before they begin.
    std::os::unix::fs::symlink("/usr/bin/python3", folder.path().join("bin/python3"))
        .expect("link to python3");
    std::fs::write(folder.path().join("app.js"), "setTimeout(() => {}, 500);\n").expect("app.js");
    if let Some(node) = std::env::var_os("OUTLIVE_NODE") {
        std::os::unix::fs::symlink(node, folder.path().join("bin/node")).expect("link to node");
    }
    // Goes by the name that the examples look for.
    let mut program = Command::new(c_target("churn"));
    program.arg0("gunicorn: worker").arg("1");
    let mut target = Target::from_command(program);
    target.go();
    target.json();

    std::fs::create_dir(folder.path().join("gateway")).expect("folder of the module");
    std::fs::write(folder.path().join("gateway/run.py"), GATEWAY).expect("gateway/run.py");
    let mut program = Command::new("/usr/bin/python3");
    program.args(["-c", "import gateway.run"]).current_dir(folder.path());
    let mut gateway = Target::from_command(program);
    gateway.json();

    let commands = commands(&readme());
    let count = |verb: &str| commands.iter().filter(|line| line.starts_with(verb)).count();
    for verb in ["attach", "run", "report", "heap", "plan", "doctor"] {
        assert!(count(&format!("outlive {verb}")) > 0, "README shows no `outlive {verb}`");
    }
    for line in &commands {
        match line.split(' ').next() {
            Some("outlive") => {
                let line = shortened(line);
                let looks_inside = line.starts_with("outlive heap");
                let pid = if looks_inside { gateway.pid() } else { target.pid() };
                let output = run_line(&line, folder.path(), pid);
                check_outlive(&line, &output, folder.path());
                assert!(target.is_running(), "`{line}` ended the target");
            }
            Some("cargo") => {}
            _ => panic!("no test knows how to run `{line}`"),
        }
    }
    gateway.go();
    assert!(gateway.finish().success(), "the module came to harm");
    assert!(target.finish().success(), "the target came to harm");
}

#[test]
fn the_cargo_commands_of_the_readme_exist() {
    let commands = commands(&readme());
    let cargo: Vec<_> = commands.iter().filter(|line| line.starts_with("cargo ")).collect();
    assert!(cargo.len() >= 2, "README shows no way to build");
    cargo.into_iter().for_each(|line| check_cargo(line));
}

#[test]
fn every_option_that_the_readme_names_exists() {
    let mut known = BTreeSet::new();
    for verb in ["attach", "run", "check", "heap", "report", "diff", "plan", "doctor"] {
        let output = run_outlive(&[verb, "--help"]);
        assert!(output.status.success(), "outlive {verb} --help");
        known.append(&mut long_options(&String::from_utf8_lossy(&output.stdout)));
    }
    for verb in ["build", "demo", "test", "bench", "accuracy"] {
        known.append(&mut long_options(&help_of_xtask(verb)));
    }
    let unknown: Vec<_> =
        long_options(&readme()).into_iter().filter(|option| !known.contains(option)).collect();
    assert!(unknown.is_empty(), "README names options that do not exist: {unknown:?}");
}

#[test]
fn what_the_readme_links_to_is_there() {
    let text = readme();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let missing: Vec<_> = links
        .filter(|link| !link.contains("://"))
        .filter(|link| !root().join(link.split('#').next().unwrap_or(link)).exists())
        .collect();
    assert!(missing.is_empty(), "README links to what is not there: {missing:?}");
}

#[test]
fn no_figure_of_the_readme_is_left_open() {
    let text = readme();
    let open: Vec<_> = text.lines().filter(|line| line.contains("FIGURE:")).collect();
    assert!(open.is_empty(), "measure, then replace:\n{}", open.join("\n"));
}

#[test]
fn blocks_options_and_windows_are_read_as_meant() {
    let text = "a\n```sh\nsudo outlive attach $PID\n# no\n```\n```text\noutlive x\n```\n";
    assert_eq!(commands(text), ["outlive attach $PID"]);
    assert_eq!(shortened("outlive attach 1"), "outlive attach 1 --duration 2s");
    assert_eq!(
        shortened("outlive run --duration 60s -- true"),
        "outlive run --duration 2s -- true"
    );
    assert_eq!(shortened("outlive doctor"), "outlive doctor");
    let options = long_options("`--max-live N`, --out; `-- COMMAND`, a--b, |---|");
    assert_eq!(options.into_iter().collect::<Vec<_>>(), ["--max-live", "--out"]);
}
