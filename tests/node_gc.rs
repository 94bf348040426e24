//! Node.js and its garbage collector, whose own words (--trace-gc) are the truth: what only a full
//! collection frees is a leak when it survives one, and V8's heap is measured from outside.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use support::{Finished, Outlive, Report, Target, may_trace, tests_dir};

/// Room for so much garbage that V8 never collects by itself in these tests.
const NO_COLLECTIONS: [&str; 3] =
    ["--min-semi-space-size=256", "--max-semi-space-size=256", "--max-old-space-size=4096"];

/// The Node of the environment, or the one in PATH.
fn node() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("OUTLIVE_NODE") {
        return Some(named.into());
    }
    let ask = Command::new("node").args(["-p", "process.execPath"]).output().ok()?;
    Some(String::from_utf8_lossy(&ask.stdout).trim().into())
}

/// What came of a run of collections.js.
struct Watched {
    report: Report,
    truth: Value,
    text: String,
    code: Option<i32>,
    /// Full collections of which V8 spoke while it was watched.
    collections: u64,
}

/// Runs collections.js with these arguments, and options of Node's, under `outlive attach`; `None` where that cannot be.
fn watch(arguments: [u32; 5], of_node: &[&str], options: &[&str]) -> Option<Watched> {
    if !may_trace() {
        return None;
    }
    let Some(node) = node() else {
        assert!(std::env::var_os("CI").is_none(), "not skipped where CI is set: no node");
        eprintln!("SKIPPED: no Node.js (OUTLIVE_NODE, or node in PATH)");
        return None;
    };
    let mut command = Command::new(node);
    command.args(of_node).args(["--expose-gc", "--trace-gc"]);
    command.arg(tests_dir().join("targets/node/collections.js"));
    command.args(arguments.map(|argument| argument.to_string()));
    let mut target = Target::from_command(command);
    let outlive = Outlive::attach(target.pid()).args(options).start();
    // Of collections before.
    target.skip_output();
    target.go();
    let mut collections = 0;
    let truth = loop {
        let line = target.line();
        // Older versions call it Mark-sweep.
        let is_full = line.contains(": Mark-Compact") || line.contains(": Mark-sweep");
        collections += u64::from(is_full);
        if let Ok(truth @ Value::Object(_)) = serde_json::from_str(&line) {
            break truth;
        }
    };
    let finished: Finished = outlive.stop();
    assert!(target.finish().success(), "Node was harmed");
    let (report, text) = (finished.report(), finished.file("report.txt"));
    report.assert_no_losses();
    Some(Watched { report, truth, text, code: finished.code, collections })
}

fn heap(report: &Report) -> &Value {
    &report.0["v8_heaps"][0]
}

/// Live bytes of the blocks of Buffers with this verdict.
fn buffers(report: &Report, verdict: &str) -> u64 {
    let is_buffer = |site: &&Value| {
        let frames = site["frames"].as_array().expect("frames is a list");
        frames.iter().any(|frame| {
            frame["function"]
                .as_str()
                .is_some_and(|name| name.starts_with("v8::internal::BackingStore"))
        })
    };
    let sites = report.sites().iter().filter(is_buffer).filter(|site| site["verdict"] == verdict);
    sites.map(|site| site["live_bytes"].as_u64().expect("bytes")).sum()
}

#[test]
fn buffers_that_wait_for_a_collection_are_pending_and_nothing_grows() {
    let Some(found) = watch([12, 0, 1, 0, 0], &NO_COLLECTIONS, &["--fail-on-growth"]) else {
        return;
    };
    assert_eq!(found.collections, 0, "V8 was not to collect");
    assert_eq!(heap(&found.report)["full_collections"], 0);
    assert!(found.report.growing().is_empty(), "{}", found.text);
    assert!(buffers(&found.report, "pending-gc") > 4 << 20, "{}", found.text);
    assert!(found.text.contains("no full garbage collection was seen"), "{}", found.text);
    assert!(found.text.contains("--force-gc"), "{}", found.text);
    assert_eq!(found.report.0["verdict"]["status"], "inconclusive");
    assert_eq!(found.code, Some(3));
}

#[test]
fn buffers_that_survive_collections_grow_and_those_that_do_not_are_no_part_of_it() {
    let Some(found) = watch([16, 1, 1, 0, 1500], &NO_COLLECTIONS, &["--fail-on-growth"]) else {
        return;
    };
    assert!(found.collections >= 5, "{}", found.collections);
    assert_eq!(heap(&found.report)["full_collections"], found.collections);
    let held = found.truth["held_bytes"].as_u64().expect("bytes");
    let growing = buffers(&found.report, "growing");
    // Besides: what was dropped since the last collection.
    assert!(growing >= held && growing < held + held / 4, "{growing} of {held}: {}", found.text);
    assert_eq!(found.report.0["verdict"]["status"], "growing", "{}", found.text);
    assert!(found.text.contains("full garbage collections were seen"), "{}", found.text);
    assert_eq!(found.code, Some(1));
    // As fast as the target held them: half of all that it made.
    let seconds = 16.0;
    let rate = found.report.0["findings"][0]["growth_bytes_per_s"]["estimate"].as_f64();
    let share = rate.expect("a rate") / (held as f64 / seconds);
    assert!((0.8..1.25).contains(&share), "{share}");
}

#[test]
fn buffers_that_collections_free_are_steady() {
    let Some(found) = watch([12, 0, 2, 0, 1000], &NO_COLLECTIONS, &[]) else { return };
    assert!(found.collections >= 5, "{}", found.collections);
    assert!(found.report.growing().is_empty(), "{}", found.text);
}

#[test]
fn the_heap_of_v8_is_as_large_as_v8_says() {
    let Some(found) = watch([15, 0, 0, 400, 900], &[], &[]) else { return };
    let heap = heap(&found.report);
    let said = found.truth["heap_bytes"].as_f64().expect("bytes");
    let seen = heap["last_bytes"].as_f64().expect("bytes");
    assert!((seen / said - 1.0).abs() < 0.1, "V8 says {said}, its mappings {seen}");
    assert_eq!(heap["verdict"], "growing", "{}", found.text);
    assert_eq!(heap["seen_inside"], false);
    assert!(found.text.contains("--js-heap shows which functions"), "{}", found.text);
}
