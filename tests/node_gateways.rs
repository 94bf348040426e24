//! Gateways on Node.js that leaked in the field: the function that retains is named first, at its
//! line, and nobody when the leak is off.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use support::node::{self, JsFrame, Node, node_of, program_frames};
use support::{Outlive, Report, may_trace};

/// Seconds that outlive watches, and that the load runs before.
const SECONDS: u32 = 22;
const WARM_SECONDS: u32 = 5;
/// One gateway at a time: a starved one leaks too slowly to judge.
static MACHINE: Mutex<()> = Mutex::new(());

/// A gateway, and how it is watched.
struct Gateway<'a> {
    script: &'a Path,
    /// Turns per second.
    rate: u32,
    leak: bool,
    options: &'a [&'a str],
}

impl Gateway<'_> {
    fn observe(&self, node: &Node) -> (Report, Value) {
        let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let leak: &[&str] = if self.leak { &["--leak"] } else { &[] };
        let gateway = node.start(self.script, leak);
        let port = gateway.json()["port"].as_u64().expect("a port");
        // What is bounded is full by then.
        node.load(port, self.rate, WARM_SECONDS).json();
        let load = node.load(port, self.rate, SECONDS + 20);
        let duration = format!("{SECONDS}s");
        let outlive = Outlive::attach(gateway.pid())
            .args(&["--duration", &duration])
            .args(self.options)
            .start();
        let finished = outlive.wait();
        // 3 where all that grew may be garbage that V8 has not collected: that accuses nobody.
        assert!(matches!(finished.code, Some(0 | 3)), "{:?}: {}", finished.code, finished.stderr);
        let truth = node::truth(port);
        drop(load);
        assert!(gateway.finish().success(), "the gateway was harmed");
        let report = finished.report();
        report.assert_no_losses();
        (report, truth)
    }
}

/// The nearest function of the program.
fn nearest(site: &Value) -> JsFrame {
    program_frames(site).into_iter().next().unwrap_or_default()
}

/// Whether a frame is in the function of a truth: on a line that retains or, as V8's profiler has
/// it, where the function begins.
fn is_at(frame: &JsFrame, retained: &Value) -> bool {
    let (function, file, line) = frame;
    let lines = retained["lines"].as_array().expect("lines").iter();
    retained["function"].as_str() == Some(function.as_str())
        && retained["file"].as_str() == file.as_deref()
        && lines.chain([&retained["defined_line"]]).any(|known| known.as_u64() == Some(*line))
}

/// The first of what grows is in the function that retains most, and all of it in one that retains.
fn assert_named(report: &Report, truth: &Value, domain: &str) {
    let retained = truth["retained"].as_array().expect("retained is a list");
    let growing = report.growing();
    // What V8 has had no collection to free waits for one: it is named first then, and not accused.
    let pending = report.sites().iter().find(|site| site["verdict"] == "pending-gc");
    let top = *growing.first().or(pending.as_ref()).expect("something grows");
    assert_eq!(top["domain"], domain, "{top:#}");
    let frame = nearest(top);
    assert!(is_at(&frame, &retained[0]), "{frame:?} is first, not {:#}", retained[0]);
    for site in growing {
        let frame = nearest(site);
        let is_known = retained.iter().any(|one| is_at(&frame, one));
        assert!(is_known, "an innocent is accused: {frame:?} {site:#}");
    }
}

fn assert_nobody(report: &Report, truth: &Value) {
    assert_eq!(truth["leak"], false);
    let growing = report.growing();
    assert!(growing.is_empty(), "an innocent is accused: {:#}", growing[0]);
}

/// Runs a gateway in both ways.
fn check(script: &Path, rate: u32, node: &Node, options: &[&str], domain: &str) {
    for leak in [true, false] {
        let (report, truth) = Gateway { script, rate, leak, options }.observe(node);
        if leak { assert_named(&report, &truth, domain) } else { assert_nobody(&report, &truth) }
    }
}

#[test]
fn finished_sessions_are_charged_to_the_lines_of_their_typescript() {
    if !may_trace() {
        return;
    }
    let Some(node) = node_of("v24") else { return };
    check(&node::compiled_sessions(&node), 40, &node, &["--js-heap"], "v8");
}

#[test]
fn snapshots_that_nobody_prunes_are_charged_to_the_function_that_takes_them() {
    if !may_trace() {
        return;
    }
    let Some(node) = node_of("v20") else { return };
    check(Path::new("cron/gateway.js"), 12, &node, &["--js-heap"], "v8");
}

#[test]
fn bodies_kept_in_the_flush_path_are_charged_to_the_line_that_joins_them() {
    if !may_trace() {
        return;
    }
    let Some(node) = node_of("v22") else { return };
    check(Path::new("flush/gateway.js"), 22, &node, &[], "malloc");
}
