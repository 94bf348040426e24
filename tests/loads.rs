//! Libraries that are loaded while outlive watches: their code is walked at once in `run`, within
//! a tick in `attach`, and whatever becomes of outlive the command goes on.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use support::{Outlive, Report, Target, compile, leaf, may_trace, tests_dir};

/// Built without frame pointers: only unwind tables lead through.
const WITHOUT: &str = "-fomit-frame-pointer";

fn program() -> PathBuf {
    compile(&tests_dir().join("targets/c/loads.c"), "loads", &[WITHOUT])
}

fn library() -> PathBuf {
    let flags = [WITHOUT, "-shared", "-fPIC"];
    compile(&tests_dir().join("targets/c/plugin.c"), "plugin.so", &flags)
}

/// Blocks that `function` made on stacks that reach `main` and are whole, and all.
fn whole_and_all(report: &Report, function: &str) -> (u64, u64) {
    let blocks = |site: &Value| site["allocated_blocks"].as_u64().expect("a number");
    let of_function = || report.sites().iter().filter(|site| leaf(site) == function);
    let is_whole = |site: &&Value| {
        let frames = site["frames"].as_array().expect("frames");
        site["truncated"].is_null() && frames.iter().any(|frame| frame["function"] == "main")
    };
    (of_function().filter(is_whole).map(blocks).sum(), of_function().map(blocks).sum())
}

#[test]
fn a_library_is_walked_from_its_constructor_on_in_run() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let out = folder.path().join("out");
    let mut command = Command::new(Outlive::binary());
    // A tick so rare that it cannot be the tick which reads the new library.
    command.args(["run", "--interval", "60s", "--out"]).arg(&out).arg("--");
    command.arg(program()).arg("once").arg(library());
    let mut outlive = Target::from_command(command);
    outlive.go();
    outlive.json();
    outlive.finish();
    let json = std::fs::read(out.join("report.json")).expect("report.json");
    let report = Report(serde_json::from_slice(&json).expect("JSON"));
    report.assert_no_losses();
    assert_eq!(whole_and_all(&report, "plugin_constructor"), (1, 1), "{:#}", report.0["sites"]);
    assert_eq!(whole_and_all(&report, "plugin_call"), (100, 100), "{:#}", report.0["sites"]);
}

#[test]
fn a_library_is_walked_within_a_tick_in_attach() {
    if !may_trace() {
        return;
    }
    let arguments = [PathBuf::from("once"), library()];
    let mut target = Target::spawn(program(), &arguments);
    let outlive = Outlive::attach(target.pid()).start();
    target.go();
    target.json();
    let finished = outlive.stop();
    finished.assert_done();
    let (whole, all) = whole_and_all(&finished.report(), "plugin_call");
    // 200 ms are ten calls; a busy machine may take its time.
    assert_eq!(all, 100);
    assert!(whole >= 60, "{whole} of {all} stacks are whole");
    assert!(target.finish().success());
}

#[test]
fn a_command_goes_on_when_outlive_is_killed_while_it_is_stopped() {
    if !may_trace() {
        return;
    }
    for loads in [10, 20, 30] {
        let mut command = Command::new(Outlive::binary());
        command.args(["run", "--"]).arg(program()).arg("endless").arg(library());
        let mut outlive = Target::from_command(command);
        outlive.go();
        let mut said = outlive.json();
        while said["loads"].as_u64().expect("a number") < loads {
            said = outlive.json();
        }
        outlive.signal(libc::SIGKILL);
        // Loads are most of what it does: it was stopped with some likelihood, and goes on.
        let before = said["loads"].as_u64();
        outlive.skip_output();
        for _ in 0..5 {
            said = outlive.json();
        }
        assert!(said["loads"].as_u64() > before, "{said}");
        outlive.finish();
    }
}
