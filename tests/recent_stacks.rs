//! What is remembered of recent stacks is never taken for another stack.
#![allow(missing_docs)]

mod support;

use outlive::capture;
use serde_json::Value;
use std::path::Path;
use support::{Amount, Finished, Outlive, Target, compile, may_trace, python_frames, tests_dir};

/// Lines that the target is sent, each a round of its work.
const ROUNDS: usize = 2;

fn watch(mut target: Target) -> (Value, Finished) {
    target.json();
    let outlive = Outlive::attach(target.pid()).start();
    let mut truth = Value::Null;
    for _ in 0..ROUNDS {
        target.go();
        truth = target.json();
    }
    let finished = outlive.stop();
    finished.assert_done();
    finished.report().assert_no_losses();
    assert!(target.finish().success(), "the target was harmed");
    (truth, finished)
}

/// Most stacks were remembered; otherwise this would be a test of walks.
fn assert_remembered(finished: &Finished, most_walked_share: f64) {
    let report = finished.report();
    let traffic = |name: &str| report.0["traffic"][name].as_f64().expect("a number");
    let (walked, calls) = (traffic("stacks_walked"), traffic("allocation_hits"));
    assert!(walked < calls * most_walked_share, "{walked} of {calls} stacks were walked");
}

#[test]
fn stacks_that_differ_in_one_return_address_far_down_are_told_apart() {
    if !may_trace() {
        return;
    }
    for (name, flag) in
        [("recent-tables", "-fomit-frame-pointer"), ("recent-pointers", "-fno-omit-frame-pointer")]
    {
        let source = tests_dir().join("targets/stacks/recent.c");
        let program = compile(&source, name, &["-O2", flag]);
        let (truth, finished) = watch(Target::spawn(program, &[] as &[&str]));
        assert_eq!(truth["one_stack_pointer"], true, "{name}: the stacks differ in more");
        assert_remembered(&finished, 0.9);
        let recording = capture::read(&finished.out.join("capture.outlive")).expect("the capture");
        for site in truth["sites"].as_array().expect("sites") {
            let number = |name: &str| site[name].as_u64().expect("a number");
            let address = number("return");
            let mut found = Amount::default();
            for (id, totals) in recording.aggregate.stacks() {
                let raw = recording.raw_stacks.get(&id);
                if raw.is_some_and(|raw| raw.native.contains(&address)) {
                    found.blocks += totals.allocated_blocks;
                    found.bytes += totals.allocated_bytes;
                }
            }
            let made = Amount { bytes: number("bytes"), blocks: number("blocks") };
            assert_eq!(found, made, "{name}: allocated under {address:x}");
        }
    }
}

#[test]
fn stacks_that_differ_in_one_line_of_python_are_told_apart() {
    if !may_trace() {
        return;
    }
    let script = tests_dir().join("targets/python/recent.py");
    let python = Path::new("/usr/bin/python3.11");
    assert!(python.exists(), "install python3.11: {} is not there", python.display());
    let (truth, finished) = watch(Target::spawn(python, &[&script]));
    assert_remembered(&finished, 0.5);
    let report = finished.report();
    for (line, made) in truth["lines"].as_object().expect("lines") {
        let line: u64 = line.parse().expect("a number");
        let is_under = |site: &Value| {
            let frames = python_frames(site);
            frames.iter().any(|frame| frame.0 == "outer" && frame.2 == line)
                && frames[0].0 == "leaf"
        };
        let mut found = Amount::default();
        for site in report.sites().iter().filter(|site| is_under(site)) {
            found.blocks += site["allocated_blocks"].as_u64().expect("blocks");
            found.bytes += site["allocated_bytes"].as_u64().expect("bytes");
        }
        let blocks = made.as_u64().expect("a number");
        // The header of a bytes object, and its closing zero.
        let block_bytes = truth["bytes"].as_u64().expect("bytes") + 33;
        assert_eq!(found, Amount { bytes: blocks * block_bytes, blocks }, "line {line}");
    }
}
