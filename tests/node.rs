//! Node.js: memory outside the JavaScript heap is counted, and attributed to the JavaScript that
//! asked for it.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Amount, Outlive, Target, leaf, may_trace, tests_dir};

/// The function of V8 through which all memory of Buffers comes, in every version.
const BACKING_STORE: &str = "v8::internal::BackingStore::Allocate(";

/// What else is held in backing stores at most: what was read from stdin.
const STDIN_BUFFER: Amount = Amount { bytes: (64 << 10) + 64, blocks: 4 };

/// The Node of the environment, or the one in PATH.
fn node() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("OUTLIVE_NODE") {
        return Some(named.into());
    }
    let ask = Command::new("node").args(["-p", "process.execPath"]).output().ok()?;
    Some(String::from_utf8_lossy(&ask.stdout).trim().into())
}

/// Functions of a site's native frames that were found in Node's own executable, leaf first.
fn functions_in<'a>(site: &'a Value, module: &str) -> Vec<&'a str> {
    let frames = site["frames"].as_array().expect("frames is a list");
    let own = |frame: &&Value| {
        frame["kind"] == "native"
            && frame["module"].as_str().is_some_and(|path| path.ends_with(module))
    };
    frames.iter().filter(own).filter_map(|frame| frame["function"].as_str()).collect()
}

/// The line of the script's that holds `text`.
fn line_of(script: &Path, text: &str) -> u64 {
    let source = std::fs::read_to_string(script).expect("the script can be read");
    let index = source.lines().position(|line| line.contains(text)).expect("a line of it");
    index as u64 + 1
}

#[test]
fn buffers_are_counted_and_attributed_to_the_functions_that_hold_them() {
    if !may_trace() {
        return;
    }
    let Some(node) = node() else {
        assert!(std::env::var_os("CI").is_none(), "not skipped where CI is set: no node");
        return eprintln!("SKIPPED: no Node.js (OUTLIVE_NODE, or node in PATH)");
    };
    let module = node.file_name().expect("a file").to_string_lossy().into_owned();
    let script = tests_dir().join("targets/node/buffers.js");
    let mut target = Target::spawn(&node, &[&script]);
    // V8 maps code while it starts, and for a moment nobody knows of it.
    assert_eq!(target.line().trim(), "ready");
    let (report, truth, _) = Outlive::attach(target.pid()).watch(&mut target);
    report.assert_no_losses();

    let mut expected = Amount::default();
    let mut held_by = BTreeMap::new();
    for site in truth["sites"].as_array().expect("the truth has sites") {
        let bytes = site["live_bytes"].as_u64().expect("bytes");
        let blocks = site["live_blocks"].as_u64().expect("blocks");
        expected.bytes += bytes;
        expected.blocks += blocks;
        held_by.insert(site["function"].as_str().expect("a name"), Amount { bytes, blocks });
    }
    let mut found = Amount::default();
    let mut found_by: BTreeMap<&str, Amount> = BTreeMap::new();
    let (zeroed, uninitialised) = ("holdZeroed", "holdUninitialised");
    let lines = BTreeMap::from([
        (zeroed, line_of(&script, "Buffer.alloc(")),
        (uninitialised, line_of(&script, "Buffer.allocUnsafeSlow(")),
    ]);
    for site in report.sites() {
        let functions = functions_in(site, &module);
        let is_backing_store = functions.iter().any(|name| name.starts_with(BACKING_STORE));
        let bytes = site["live_bytes"].as_u64().expect("bytes");
        // What describes a backing store is no part of what Node asked for.
        if !is_backing_store || bytes == 0 || leaf(site).starts_with("operator new") {
            continue;
        }
        assert!(functions.len() >= 4, "too few frames have names: {site:#}");
        found.bytes += bytes;
        found.blocks += site["live_blocks"].as_u64().expect("blocks");
        let own = |frame: &&Value| frame["file"].as_str() == script.to_str();
        let Some(frame) = site["frames"].as_array().expect("frames").iter().find(own) else {
            continue;
        };
        let function = frame["function"].as_str().expect("a name");
        assert_eq!(frame["kind"], "js", "{site:#}");
        assert_eq!(frame["line"].as_u64(), lines.get(function).copied(), "{site:#}");
        let index = site["application_frame"].as_u64().expect("an application frame") as usize;
        assert_eq!(&site["frames"][index], frame, "another frame is the application's: {site:#}");
        let amount = found_by.entry(function).or_default();
        amount.bytes += bytes;
        amount.blocks += site["live_blocks"].as_u64().expect("blocks");
    }
    assert_eq!(found_by, held_by, "what the functions of the script hold");
    let more = Amount {
        bytes: found.bytes.saturating_sub(expected.bytes),
        blocks: found.blocks.saturating_sub(expected.blocks),
    };
    assert!(
        found.bytes >= expected.bytes
            && found.blocks >= expected.blocks
            && more.bytes <= STDIN_BUFFER.bytes
            && more.blocks <= STDIN_BUFFER.blocks,
        "backing stores hold {found:?}, Node asked for {expected:?}"
    );
    let walks = &report.0["walks"];
    assert!(walks["js_frames"]["named"].as_u64() > Some(10), "{walks}");
    assert!(walks["js_whole_share"].as_f64() > Some(0.9), "{walks}");
    assert_eq!(report.0["target"]["runtime"], "node");
    assert!(target.finish().success(), "Node was harmed");
}
