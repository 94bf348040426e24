//! Profiles that `outlive report --format pprof` makes of real captures, read by `go tool pprof`.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use support::{Outlive, Report, Target, c_target, leaf, may_trace, run_outlive, run_to_end};

const KEPT: u64 = 300;
const CACHED: u64 = 20;

/// Whether Go's reader of profiles is here. Where a run was promised (`CI` is set) it has to be.
fn has_go() -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("go").is_file()));
    let reason = "needs `go tool pprof` (`cargo xtask test` installs golang-go)";
    assert!(found || std::env::var_os("CI").is_none(), "not skipped where CI is set: {reason}");
    if !found {
        eprintln!("SKIPPED: {reason}");
    }
    found
}

/// A number such as `304000B` or `320`.
fn number(text: &str) -> u64 {
    text.trim_end_matches('B').parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// A profile of a run of `sides`, and the report of the same run.
struct Profiled {
    folder: tempfile::TempDir,
    profile: PathBuf,
    report: Report,
}

impl Profiled {
    /// `None` where it cannot be made, or not be read.
    fn new() -> Option<Self> {
        if !may_trace() || !has_go() {
            return None;
        }
        let folder = tempfile::tempdir().expect("scratch folder");
        let arguments = [KEPT.to_string(), CACHED.to_string()];
        let mut target = Target::spawn(c_target("sides"), &arguments);
        let attach = Outlive::attach(target.pid()).out(&folder.path().join("out"));
        let (report, ..) = attach.watch(&mut target);
        report.assert_no_losses();
        let profile = folder.path().join("live.pb.gz");
        let capture = folder.path().join("out/capture.outlive");
        let (from, to) = (capture.to_str().expect("path"), profile.to_str().expect("path"));
        let output = run_outlive(&["report", from, "--format", "pprof", "-o", to]);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        Some(Self { folder, profile, report })
    }

    /// What `go tool pprof` says of it. It has no symbols to look for, and no web to ask.
    fn said(&self, args: &[&str]) -> String {
        let mut command = Command::new("go");
        command.args(["tool", "pprof", "-symbolize=none"]).args(args).arg(&self.profile);
        let folder = self.folder.path();
        command.env("HOME", folder).env("PPROF_TMPDIR", folder).env("GOFLAGS", "-mod=mod");
        let output = run_to_end(command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "go tool pprof {args:?}:\n{stderr}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The total of `-top`'s heading, and its flat numbers by function.
    fn top(&self, index: &str) -> (u64, Vec<(String, u64)>) {
        let index = format!("-sample_index={index}");
        let said = self.said(&["-top", "-unit=B", "-nodefraction=0", &index]);
        let heading = said.lines().find(|line| line.starts_with("Showing nodes"));
        let words: Vec<&str> = heading.expect("a heading").split_whitespace().collect();
        let of = words.iter().rposition(|word| *word == "of").expect("N of M total");
        let is_row = |line: &&str| line.trim_start().starts_with(|c: char| c.is_ascii_digit());
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[5].to_owned(), number(words[0]))
        };
        (number(words[of + 1]), said.lines().filter(is_row).map(row).collect())
    }

    /// The place where blocks are kept, as report.json has it.
    fn kept(&self) -> &Value {
        let site = self.report.sites().iter().find(|site| leaf(site) == "kept_block");
        &site.expect("a site")["frames"][0]
    }
}

#[test]
fn go_tool_pprof_reads_what_outlive_reports() {
    let Some(profiled) = Profiled::new() else { return };
    for (index, total) in [
        ("inuse_space", "live_bytes"),
        ("inuse_objects", "live_blocks"),
        ("alloc_space", "allocated_bytes"),
        ("alloc_objects", "allocated_blocks"),
    ] {
        let (found, _) = profiled.top(index);
        assert_eq!(found, profiled.report.total(total), "{index}");
    }
    let (_, rows) = profiled.top("inuse_space");
    assert!(rows.contains(&("kept_block".into(), KEPT * 1000)), "{rows:?}");
    assert!(rows.contains(&("cached_block".into(), CACHED * 500)), "{rows:?}");
    let (_, rows) = profiled.top("alloc_objects");
    assert!(rows.contains(&("passing_block".into(), 50)), "{rows:?}");

    // Without an index it shows what is in use.
    let said = profiled.said(&["-top"]);
    assert!(said.contains("Type: inuse_space"), "{said}");
    assert!(said.contains("File: sides"), "{said}");
}

#[test]
fn go_tool_pprof_shows_stacks_lines_and_labels() {
    let Some(profiled) = Profiled::new() else { return };
    let said = profiled.said(&["-traces", "-sample_index=alloc_objects"]);
    let words: Vec<&str> = said.split_whitespace().collect();
    for stack in [["kept_block", "keep", "main"], ["cached_block", "fill", "main"]] {
        assert!(words.windows(3).any(|words| words == stack), "{stack:?}:\n{said}");
    }
    // Inlined, so at one address with its caller.
    assert!(words.windows(3).any(|w| w == ["passing_block", "(inline)", "pass"]), "{said}");
    let pid = profiled.report.0["target"]["pid"].as_u64().expect("PID");
    let pid = pid.to_string();
    for label in [["domain:", "malloc"], ["pid:", &pid], ["verdict:", "not-enough-data"]] {
        assert!(words.windows(2).any(|words| words == label), "{label:?}:\n{said}");
    }

    let line = profiled.kept()["line"].as_u64().expect("a line");
    let said = profiled.said(&["-top", "-lines", "-nodefraction=0"]);
    assert!(said.contains(&format!("sides.c:{line}")), "sides.c:{line}:\n{said}");
}

#[test]
fn go_tool_pprof_knows_the_files_that_hold_the_code() {
    let Some(profiled) = Profiled::new() else { return };
    let text = |name: &str| profiled.kept()[name].as_str().expect("text").to_owned();
    let (module, build_id) = (text("module"), text("build_id"));
    let said = profiled.said(&["-raw"]);
    let (_, mappings) = said.split_once("\nMappings\n").expect("mappings");
    let is_program = |line: &&str| line.contains(&module) && line.contains(&build_id);
    let program = mappings.lines().find(is_program);
    let program = program.unwrap_or_else(|| panic!("no {module} {build_id} in\n{mappings}"));
    let (number, _) = program.split_once(':').expect("a number");
    // Its locations name it: `ID: ADDRESS M=NUMBER function file:line ...`.
    let of_program = format!(" M={} kept_block ", number.trim());
    assert!(said.lines().any(|line| line.contains(&of_program)), "{of_program}:\n{said}");
}

#[test]
fn a_profile_is_not_written_to_a_terminal() {
    // script(1) gives a command a terminal of its own.
    let capture = tempfile::NamedTempFile::new().expect("scratch file");
    let line = format!(
        "{} report {} --format pprof",
        Outlive::binary().display(),
        capture.path().display()
    );
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    let output = run_to_end(command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("-o live.pb.gz"), "{said}");
}
