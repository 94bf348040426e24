//! Sessions with `--js-retainers`: who holds what V8's sampler says is alive, and when that is
//! refused.
//!
//! Runs with the node in PATH, and those of `OUTLIVE_NODES` (separated by colons).
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::process::{Command, Stdio};
use support::js_heap::*;
use support::memory_group::Group;
use support::{Finished, Outlive, run_outlive, side_by_side};

/// The way to the copies of the target's sessions.
const WAY: &str = "(global).serve -> serve() variable gateway -> Gateway.finished -> Map";

fn steps(chain: &Value) -> String {
    let steps = chain["steps"].as_array().expect("steps").iter().filter_map(Value::as_str);
    steps.collect::<Vec<_>>().join(" -> ")
}

/// Objects of a constructor that are held this way.
fn objects(heap: &Value, constructor: &str, way: &str) -> u64 {
    let held = heap["held"].as_array().expect("held").iter();
    let of_it = held.filter(|held| held["subject"]["type_name"] == constructor);
    let chains = of_it.flat_map(|held| held["chains"].as_array().expect("chains"));
    let this_way = chains.filter(|chain| steps(chain) == way);
    this_way.map(|chain| chain["objects"].as_u64().expect("a number")).sum()
}

/// The report's text, unwrapped: paths are longer than lines.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a session says of sessions that never leave their Map: `at_least` were there.
fn assert_sessions_are_told(report: &Value, text: &str, at_least: u64) {
    let heaps = report["heaps"].as_array().expect("heaps");
    let heap = heaps.iter().find(|heap| heap["runtime"].as_str().unwrap().starts_with("V8"));
    let heap = heap.expect("a snapshot was evaluated");
    let listed = |list: &Value, name: &str| {
        let of = list.as_array().expect("a list").iter().find(|of| of["name"] == name);
        of.unwrap_or_else(|| panic!("no {name}: {list:#}"))["count"].as_u64().expect("a count")
    };
    let sessions = listed(&heap["constructors"], "Session");
    assert!(sessions >= at_least, "{sessions} of {at_least}");
    let containers = heap["containers"].as_array().expect("containers");
    let container = containers.iter().find(|of| steps(&of["chain"]) == WAY);
    let container = container.unwrap_or_else(|| panic!("no {WAY}: {containers:#?}"));
    // V8 makes its snapshot wherever the program is, be that in the constructor of the next one.
    let being_made = objects(heap, "Session", "(stack) -> Session");
    assert!(being_made <= 1, "{being_made} are made at once");
    assert_eq!(listed(&container["contents"], "Session") + being_made, sessions);
    assert!(container["held_bytes"].as_u64().unwrap() > sessions * 41_000);
    // What the copies' stacks have alive by the sampler is held there, but for a few per cent.
    let through = format!("{WAY}[*] -> Session.prompt -> (string)");
    let bytes = |held: &Value, which: &dyn Fn(&Value) -> bool| -> u64 {
        let chains = held["chains"].as_array().expect("chains").iter();
        chains.filter(|chain| which(chain)).map(|of| of["bytes"].as_u64().expect("bytes")).sum()
    };
    let there_of = |held: &Value| bytes(held, &|chain| steps(chain) == through);
    // Node has objects of its own, for which a session that saw it start has stacks too.
    let held = heap["held"].as_array().expect("held").iter();
    let of_stacks = held.filter(|held| held["subject"]["stack"].is_u64());
    let copies: Vec<&Value> = of_stacks.filter(|held| there_of(held) > 0).collect();
    let there: u64 = copies.iter().map(|held| there_of(held)).sum();
    let all: u64 = copies.iter().map(|held| bytes(held, &|_| true)).sum();
    assert!(there > 1 << 20 && there * 10 > all * 9, "{there} of {all}: {copies:#?}");
    // So do people read it.
    assert!(words(text).contains(&words(WAY)), "{text}");
    assert!(text.contains("Session"), "{text}");
    assert!(!text.contains("not seen inside"), "{text}");
    assert!(!text.contains("before each turn"), "a content was told");
}

/// Where the sampler had the time to be sure: the Map is the finding, and who copies is beside it.
fn assert_the_map_is_the_finding(report: &Value, truth: &Value) {
    let findings = report["findings"].as_array().expect("findings");
    let of_v8 = |finding: &&Value| finding["domains"].as_array().unwrap().contains(&"v8".into());
    let Some(finding) = findings.iter().find(of_v8) else {
        let sites = report["sites"].as_array().expect("sites");
        let is_sure = |site: &Value| site["domain"] == "v8" && site["verdict"] == "growing";
        assert!(!sites.iter().any(is_sure), "what grows is not told: {findings:#?}");
        return;
    };
    // Its answers stand beside its numbers.
    let heap = finding;
    assert_eq!(finding["application_frame"]["function"], "Gateway.finished", "{finding:#}");
    assert_eq!(heap["subject"], "container");
    assert_eq!(heap["nature"], "accumulation");
    assert_eq!(heap["container"]["type_name"], "Map");
    assert_eq!(heap["what"][0]["name"], "Session");
    let allocates = heap["allocated_at"].as_array().expect("a list");
    let is_it = |frame: &Value| {
        ["copyOf", "finish"].iter().any(|function| frame["function"] == *function)
            && frame["file"] == truth["file"]
    };
    assert!(allocates.iter().any(is_it), "{allocates:#?}");
    assert!(heap["duplicates"]["share"].as_f64().expect("copies") > 0.9, "{heap:#}");
}

#[test]
fn a_session_names_the_map_that_its_samples_are_held_by() {
    side_by_side(&nodes(), |node| {
        let mut target = start(node, &[], "copies.js", "");
        let finished = attached(&target, &["--js-heap", "--js-retainers", "--duration", "15s"]);
        let truth = truth(&mut target);
        let report = finished.report();
        let text = finished.file("report.txt");
        assert_sessions_are_told(&report.0, &text, 150);
        assert_the_map_is_the_finding(&report.0, &truth);
        let capture = finished.out.join("capture.outlive");
        let capture = capture.to_str().expect("a path");
        let told = run_outlive(&["report", capture, "--format", "markdown"]);
        assert!(words(&String::from_utf8_lossy(&told.stdout)).contains("Gateway.finished"));
        assert!(finished.stderr.contains("V8 stops the program"), "{}", finished.stderr);
        report.assert_no_losses();
        assert_eq!(inspector_port(target.pid()), None);
        assert!(target.finish().success(), "Node was harmed");
    });
}

#[test]
fn a_command_that_outlive_starts_is_told_alike() {
    let Some(node) = node() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let mut command = Command::new(Outlive::binary());
    command.args(["run", "--js-retainers", "--no-mappings", "--duration", "5s", "--out"]);
    command.arg(&out).arg("--").arg(&node).arg(script("copies.js"));
    // It ends with its stdin.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut started = command.env_remove("NODE_OPTIONS").spawn().expect("outlive runs");
    let stdin = started.stdin.take();
    let code = started.wait().expect("outlive ends").code();
    // The command has the same stderr.
    drop(stdin);
    let said = std::io::read_to_string(started.stderr.take().expect("piped")).expect("text");
    assert!(matches!(code, Some(0 | 3)), "{code:?}: {said}");
    let finished = Finished::in_folder(code, said, out);
    assert_sessions_are_told(&finished.report().0, &finished.file("report.txt"), 40);
}

#[test]
fn a_snapshot_is_refused_where_the_memory_limit_would_not_allow_it() {
    let Some(node) = node() else { return };
    // A snapshot of its heap may take 90 MiB; what it has already is not the group's.
    let Some(group) = Group::new("node", 64 << 20) else { return };
    let mut target = start(&node, &[], "copies.js", "");
    group.take(target.pid());
    let pid = target.pid().to_string();
    let heap = run_outlive(&["heap", &pid, "--js-retainers"]);
    let said = String::from_utf8_lossy(&heap.stderr);
    assert_eq!(heap.status.code(), Some(2), "{said}");
    let name = group.folder().file_name().unwrap().to_str().unwrap();
    let refused = format!("{name} has ");
    assert_eq!(said.matches(&refused).count(), 1, "{said}");
    assert!(!said.contains("V8 stops the program"), "{said}");

    let finished = attached(&target, &["--js-heap", "--js-retainers", "--duration", "3s"]);
    let report = finished.report();
    let message = warning(&report, "js-retainers-refused");
    assert!(message.contains(&refused), "{message}");
    assert_eq!(finished.stderr.matches(&refused).count(), 1, "{}", finished.stderr);
    // What the sampler saw is told all the same.
    assert!(report.sites().iter().any(|site| site["domain"] == "v8"));
    assert!(!finished.file("report.txt").contains("not seen inside"));
    assert_eq!(inspector_port(target.pid()), None);
    truth(&mut target);
    assert!(target.finish().success(), "Node was harmed");
}
