//! Node.js: memory outside the JavaScript heap is counted, and attributed to Node's own code.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use support::{Amount, Outlive, Target, leaf, may_trace, tests_dir};

/// The function of V8 through which all memory of Buffers comes, in every version.
const BACKING_STORE: &str = "v8::internal::BackingStore::Allocate(";

/// What else is held in backing stores at most: what was read from stdin.
const STDIN_BUFFER: Amount = Amount { bytes: 64 << 10, blocks: 4 };

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

#[test]
fn buffers_are_counted_and_attributed_to_native_code_of_node() {
    if !may_trace() {
        return;
    }
    let Some(node) = node() else {
        assert!(std::env::var_os("CI").is_none(), "not skipped where CI is set: no node");
        return eprintln!("SKIPPED: no Node.js (OUTLIVE_NODE, or node in PATH)");
    };
    let module = node.file_name().expect("a file").to_string_lossy().into_owned();
    let mut target = Target::spawn(&node, &[tests_dir().join("targets/node/buffers.js")]);
    let (report, truth, _) = Outlive::attach(target.pid()).watch(&mut target);
    report.assert_no_losses();

    let mut expected = Amount::default();
    for site in truth["sites"].as_array().expect("the truth has sites") {
        expected.bytes += site["live_bytes"].as_u64().expect("bytes");
        expected.blocks += site["live_blocks"].as_u64().expect("blocks");
    }
    let mut found = Amount::default();
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
    }
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
    assert!(target.finish().success(), "Node was harmed");
}
