//! Profiles that `outlive report --format pprof` makes of real captures, read by `go tool pprof`.
#![allow(missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Outlive, Report, Target, c_target, may_trace, run_outlive, run_to_end};

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

/// What `go tool pprof` says of a profile. It has no symbols to look for, and no web to ask.
fn pprof(folder: &Path, profile: &Path, args: &[&str]) -> String {
    let mut command = Command::new("go");
    command.args(["tool", "pprof", "-symbolize=none"]).args(args).arg(profile);
    command.env("HOME", folder).env("PPROF_TMPDIR", folder).env("GOFLAGS", "-mod=mod");
    let output = run_to_end(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "go tool pprof {args:?}:\n{stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// A number such as `304000B` or `320`.
fn number(text: &str) -> u64 {
    text.trim_end_matches('B').parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// The total of `-top`'s heading, and its flat numbers by function.
fn top(folder: &Path, profile: &Path, index: &str) -> (u64, Vec<(String, u64)>) {
    let index = format!("-sample_index={index}");
    let said = pprof(folder, profile, &["-top", "-unit=B", "-nodefraction=0", &index]);
    let heading = said.lines().find(|line| line.starts_with("Showing nodes")).expect("a heading");
    let words: Vec<&str> = heading.split_whitespace().collect();
    let of = words.iter().rposition(|word| *word == "of").expect("N of M total");
    let is_row = |line: &&str| line.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[5].to_owned(), number(words[0]))
    };
    (number(words[of + 1]), said.lines().filter(is_row).map(row).collect())
}

/// A capture of `sides` in `folder`, and its report.
fn capture(folder: &Path) -> (PathBuf, Report) {
    let arguments = [KEPT.to_string(), CACHED.to_string()];
    let mut target = Target::spawn(c_target("sides"), &arguments);
    let outlive = Outlive::attach(target.pid()).out(&folder.join("out")).start();
    target.go();
    target.json();
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report();
    report.assert_no_losses();
    (folder.join("out/capture.outlive"), report)
}

fn profile_of(capture: &Path, profile: &Path) {
    let (capture, file) = (capture.to_str().expect("path"), profile.to_str().expect("path"));
    let output = run_outlive(&["report", capture, "--format", "pprof", "-o", file]);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
}

#[test]
fn go_tool_pprof_reads_what_outlive_reports() {
    if !may_trace() || !has_go() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let (capture, report) = capture(folder.path());
    let profile = folder.path().join("live.pb.gz");
    profile_of(&capture, &profile);

    for (index, total) in [
        ("inuse_space", "live_bytes"),
        ("inuse_objects", "live_blocks"),
        ("alloc_space", "allocated_bytes"),
        ("alloc_objects", "allocated_blocks"),
    ] {
        let (found, _) = top(folder.path(), &profile, index);
        assert_eq!(found, report.total(total), "{index}");
    }
    let (_, rows) = top(folder.path(), &profile, "inuse_space");
    assert!(rows.contains(&("kept_block".into(), KEPT * 1000)), "{rows:?}");
    assert!(rows.contains(&("cached_block".into(), CACHED * 500)), "{rows:?}");
    let (_, rows) = top(folder.path(), &profile, "alloc_objects");
    assert!(rows.contains(&("passing_block".into(), 50)), "{rows:?}");

    // Without an index it shows what is in use.
    let said = pprof(folder.path(), &profile, &["-top"]);
    assert!(said.contains("Type: inuse_space"), "{said}");
    assert!(said.contains("File: sides"), "{said}");
}

#[test]
fn go_tool_pprof_shows_stacks_lines_and_labels() {
    if !may_trace() || !has_go() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let (capture, report) = capture(folder.path());
    let profile = folder.path().join("live.pb.gz");
    profile_of(&capture, &profile);

    let said = pprof(folder.path(), &profile, &["-traces", "-sample_index=alloc_objects"]);
    let words: Vec<&str> = said.split_whitespace().collect();
    for stack in [["kept_block", "keep", "main"], ["cached_block", "fill", "main"]] {
        assert!(words.windows(3).any(|words| words == stack), "{stack:?}:\n{said}");
    }
    // Inlined, so at one address with its caller.
    assert!(words.windows(3).any(|w| w == ["passing_block", "(inline)", "pass"]), "{said}");
    let pid = report.0["target"]["pid"].as_u64().expect("PID");
    let pid = pid.to_string();
    for label in [["domain:", "malloc"], ["pid:", &pid], ["verdict:", "not-enough-data"]] {
        assert!(words.windows(2).any(|words| words == label), "{label:?}:\n{said}");
    }

    let site = report.sites().iter().find(|site| support::leaf(site) == "kept_block");
    let line = site.expect("a site")["frames"][0]["line"].as_u64().expect("a line");
    let said = pprof(folder.path(), &profile, &["-top", "-lines", "-nodefraction=0"]);
    assert!(said.contains(&format!("sides.c:{line}")), "sides.c:{line}:\n{said}");

    let said = pprof(folder.path(), &profile, &["-raw"]);
    let build_id = site.expect("a site")["frames"][0]["build_id"].as_str();
    assert!(said.contains(build_id.expect("gcc writes one")), "{said}");
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
