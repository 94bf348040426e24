//! Who holds what in the JavaScript heap of a Node, by a snapshot (`--js-retainers`).
//!
//! Runs with the node in PATH, and those of `OUTLIVE_NODES` (separated by colons).
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::process::Command;
use support::Outlive;
use support::js_heap::*;

/// The one of a list whose field has this value.
fn of<'a>(list: &'a Value, field: &str, value: &str) -> &'a Value {
    let list = list.as_array().expect("a list");
    let found = list.iter().find(|entry| entry[field] == value);
    found.unwrap_or_else(|| panic!("no {value}: {list:#?}"))
}

#[test]
fn sessions_that_never_leave_a_map_are_counted_and_the_map_is_named() {
    for node in nodes() {
        let mut target = start(&node, &[], "held.js", "");
        let pid = target.pid();
        let mut heap = Command::new(Outlive::binary());
        heap.args(["heap", &pid.to_string(), "--js-retainers", "--json"]);
        let looked = heap.output().expect("outlive runs");
        let said = String::from_utf8_lossy(&looked.stderr);
        let told = String::from_utf8_lossy(&looked.stdout);
        assert!(looked.status.success(), "{said}");
        let report: Value = serde_json::from_str(&told).expect("JSON");
        let truth = truth(&mut target);
        assert_eq!(of(&report["constructors"], "name", "Session")["count"], truth["sessions"]);
        let container = of(&report["containers"], "type_name", "Map");
        let steps: Vec<&str> = container["chain"]["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(
            steps.join(" -> "),
            "(global).serve -> serve() variable gateway -> Gateway.sessions -> Map"
        );
        assert_eq!(of(&container["contents"], "name", "Session")["count"], truth["sessions"]);
        // What it cost is said before, and how long the program waited afterwards.
        assert!(said.contains("V8 stops the program"), "{said}");
        let stopped_ms = report["readings"][0]["stopped_ns"].as_u64().expect("a stop") / 1_000_000;
        assert!(stopped_ms > 0, "{stopped_ms}");
        // None of the program's data is told, and nothing of it is left open.
        assert!(!told.contains("everything that session"), "a content was told");
        assert_eq!(inspector_port(pid), None);
        assert!(target.finish().success(), "Node was harmed");
    }
}

#[test]
fn whatever_holds_objects_is_named_and_what_holds_them_weakly_is_not() {
    for node in nodes() {
        let mut target = start(&node, &[], "holders.js", "");
        let pid = target.pid();
        let truth = truth(&mut target);
        let truth = truth.as_object().expect("classes");
        let mut heap = Command::new(Outlive::binary());
        heap.args(["heap", &pid.to_string(), "--js-retainers", "--json"]);
        for class in truth.keys() {
            heap.args(["--holders", class]);
        }
        let looked = heap.output().expect("outlive runs");
        let said = String::from_utf8_lossy(&looked.stderr);
        assert!(looked.status.success(), "{said}");
        let report: Value = serde_json::from_slice(&looked.stdout).expect("JSON");
        let held = report["held"].as_array().expect("held");
        for (class, of) in truth {
            let found = held.iter().find(|held| held["subject"]["type_name"] == *class.as_str());
            let Some(way) = of["way"].as_str() else {
                assert_eq!(found, None, "{class} is alive, and nothing holds it");
                continue;
            };
            let found = found.unwrap_or_else(|| panic!("{class} is not told: {held:#?}"));
            assert_eq!(found["objects"], of["count"], "{class}");
            assert_eq!(found["unknown"], 0, "{found:#}");
            let mut through = 0;
            for chain in found["chains"].as_array().expect("chains") {
                let steps = chain["steps"].as_array().expect("steps").iter();
                let steps: Vec<&str> = steps.filter_map(Value::as_str).collect();
                let path = steps.join(" -> ");
                assert!(!path.contains("WeakRef"), "{path}");
                if path.contains(way) {
                    through += chain["objects"].as_u64().expect("a count");
                }
            }
            assert_eq!(Some(through), of["count"].as_u64(), "{class}, {way}: {found:#}");
        }
        assert!(target.finish().success(), "Node was harmed");
    }
}
