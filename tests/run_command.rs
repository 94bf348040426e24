//! `outlive run` sees a command's allocations from the first one on.
#![allow(missing_docs)]

mod support;

use std::process::Command;
use support::{Amount, Outlive, Report, Target, c_target, may_trace};

fn check(program: &str, waits_for_go: bool) {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let out = folder.path().join("out");
    let mut command = Command::new(Outlive::binary());
    command.args(["run", "--interval", "200ms", "--out"]).arg(&out).arg("--");
    command.arg(c_target(program));
    // The command's stdin and stdout are outlive's own.
    let mut outlive = Target::from_command(command);
    if waits_for_go {
        outlive.go();
    }
    let truth = outlive.json();
    let status = outlive.finish();
    assert!(matches!(status.code(), Some(0 | 3)), "{status:?}");

    let json = std::fs::read(out.join("report.json")).expect("report.json");
    let report = Report(serde_json::from_slice(&json).expect("JSON"));
    report.assert_no_losses();
    for site in truth["sites"].as_array().expect("sites") {
        let name = site["function"].as_str().expect("a name");
        let number = |field: &str| site[field].as_u64().expect("a number");
        let live = Amount { bytes: number("live_bytes"), blocks: number("live_blocks") };
        assert_eq!(report.sum("live", &[name]), live, "live by {name}");
        let made = Amount { bytes: number("allocated_bytes"), blocks: number("allocated_blocks") };
        assert_eq!(report.sum("allocated", &[name]), made, "allocated by {name}");
    }
}

#[test]
fn a_command_is_followed_exactly() {
    check("single", true);
}

/// As `outlive run ... 2>&1 | head -1`: whoever reads stderr has gone by the end.
#[test]
fn a_reader_of_stderr_that_has_gone_costs_no_report() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let out = folder.path().join("out");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(Outlive::binary());
    command.args(["run", "--out"]).arg(&out).arg("--").arg(c_target("single")).stderr(writer);
    let mut outlive = Target::from_command(command);
    drop(reader);
    outlive.go();
    outlive.json();
    let status = outlive.finish();
    assert!(matches!(status.code(), Some(0 | 3)), "{status:?}");
    assert!(out.join("capture.outlive").exists() && out.join("report.json").exists());
}

#[test]
fn allocations_before_main_are_seen() {
    check("constructor", false);
}
