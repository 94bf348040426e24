//! Packages from npm that nobody here wrote: what an application leaks by its use of them is charged
//! to the application's line.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use support::node::{Node, nodes, program_frames};
use support::{Amount, Outlive, may_trace};

/// Whether a site's nearest frame outside of packages is the line that leaks.
fn is_charged_to(site: &Value, truth: &Value) -> bool {
    let frames = program_frames(site);
    let of_application = |file: &Option<String>| {
        file.as_deref().is_some_and(|file| !file.contains("/node_modules/"))
    };
    frames.iter().find(|(_, file, _)| of_application(file)).is_some_and(|(name, file, line)| {
        truth["function"].as_str() == Some(name.as_str())
            && truth["file"].as_str() == file.as_deref()
            && truth["lines"][0].as_u64() == Some(*line)
    })
}

fn check(app: &str, node: &Node) {
    let what = format!("{app} on Node.js {}", node.name);
    let mut target = node.start("packages/main.js", &[app]);
    assert_eq!(target.json()["ready"], true, "{what}");
    let (report, truth, _) = Outlive::attach(target.pid()).watch(&mut target);
    assert!(target.finish().success(), "{what} was harmed");
    report.assert_no_losses();

    let (entries, bytes) = (truth["entries"].as_u64(), truth["bytes"].as_u64());
    let expected =
        Amount { bytes: bytes.expect("bytes"), blocks: entries.expect("a number of entries") };
    let mut found = Amount::default();
    for site in report.sites().iter().filter(|site| is_charged_to(site, &truth)) {
        let number = |name: &str| site[name].as_u64().expect("a number");
        // What describes a Buffer is smaller, and what V8 maps for its heap is no part of one.
        if site["domain"] == "malloc" && number("live_bytes") >= 10_000 * number("live_blocks") {
            found.bytes += number("live_bytes");
            found.blocks += number("live_blocks");
        }
    }
    assert_eq!(found, expected, "{what}: {truth}");
}

fn check_all(app: &str) {
    if !may_trace() {
        return;
    }
    let Some(nodes) = nodes() else { return };
    for node in nodes.iter().filter(|node| matches!(node.name.as_str(), "v18" | "v24" | "v26")) {
        check(app, node);
    }
}

#[test]
fn a_leak_in_a_middleware_of_express_is_charged_to_its_line() {
    check_all("express");
}

#[test]
fn a_leak_in_a_listener_of_ws_is_charged_to_its_line() {
    check_all("ws");
}

#[test]
fn a_leak_behind_the_webassembly_of_undici_is_charged_to_its_line() {
    check_all("undici");
}

#[test]
fn a_leak_of_what_sharp_made_is_charged_to_its_line() {
    check_all("sharp");
}
