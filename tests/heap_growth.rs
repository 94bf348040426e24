//! What grew between two moments: types and containers, by the numbers that the program knows, and
//! nothing that did not grow.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::heap::{Heap, Window, shown};
use support::{Target, may_trace, tests_dir};

/// Long enough for the target to grow in, on any machine.
const WINDOW: &str = "4s";

/// The system's, and what else there is of the oldest and the newest.
fn interpreters() -> Vec<PathBuf> {
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interpreters.json");
    let text = std::fs::read_to_string(list).unwrap_or_else(|_| "[]".to_owned());
    let list: Vec<Value> = serde_json::from_str(&text).expect("a list");
    let mut found = vec![PathBuf::from("/usr/bin/python3")];
    found.extend(list.iter().filter_map(|one| {
        let wanted = ["pyenv-3.8", "pyenv-3.12", "debian-3.15"];
        let is_wanted = wanted.iter().any(|name| one["name"] == *name);
        is_wanted.then(|| one["python"].as_str().map(PathBuf::from)).flatten()
    }));
    found
}

/// What it held before and after, and what outlive saw of that.
fn watch(python: &Path, options: &[&str]) -> (Value, Value, Heap) {
    let mut target = Target::spawn(python, &[tests_dir().join("targets/python/heap_growth.py")]);
    let before = target.json();
    let window = Window::open(target.pid(), WINDOW, options);
    target.go();
    let after = target.json();
    let heap = window.close();
    assert!(target.finish().success(), "{} was harmed", python.display());
    (before, after, heap)
}

fn numbers(value: &Value) -> BTreeMap<&str, u64> {
    let map = value.as_object().expect("numbers by name");
    map.iter().map(|(name, value)| (name.as_str(), value.as_u64().expect("a number"))).collect()
}

#[test]
fn types_and_containers_that_grew_are_told_with_their_numbers_and_paths() {
    if !may_trace() {
        return;
    }
    for python in interpreters() {
        let name = python.display();
        let (before, after, heap) = watch(&python, &[]);
        let types = heap.types();
        for (kind, count) in numbers(&after["types"]) {
            let change = (count - before["types"][kind].as_u64().expect("a number")) as i64;
            let found = types.get(kind).copied().unwrap_or_default();
            assert_eq!((found.count, found.count_change), (count, change), "{name}: {kind}");
        }
        for (kind, count) in numbers(&after["level"]) {
            let found = types.get(kind).copied().unwrap_or_default();
            assert_eq!((found.count, found.count_change), (count, 0), "{name}: {kind}");
        }
        check_containers(&name.to_string(), &before, &after, &heap);
    }
}

fn check_containers(name: &str, before: &Value, after: &Value, heap: &Heap) {
    let grown: Vec<(String, u64, u64)> = heap
        .containers()
        .iter()
        .map(|container| {
            let lengths = container["lengths"].as_array().expect("lengths");
            let length = |at: Option<&Value>| at.and_then(|pair| pair[1].as_u64()).unwrap_or(0);
            (shown(&container["chain"]), length(lengths.first()), length(lengths.last()))
        })
        .collect();
    let expected = numbers(&after["containers"]);
    for (path, length) in &expected {
        let was = before["containers"][*path].as_u64().expect("a number");
        let is_it = |(chain, first, last): &&(String, u64, u64)| {
            leads_to(chain, path) && (*first, *last) == (was, *length)
        };
        assert!(
            grown.iter().any(|one| is_it(&one)),
            "{name}: {path}, from {was} to {length}, is not among {grown:#?}"
        );
    }
    // What did not grow is not told, and what grew comes first.
    for (chain, ..) in &grown {
        assert!(!chain.contains("STEADY") && !chain.contains("REPLACED"), "{name}: {chain}");
    }
    for (chain, ..) in grown.iter().take(expected.len()) {
        let is_expected = expected.keys().any(|path| leads_to(chain, path));
        assert!(is_expected, "{name}: {chain} is before those that were made to grow: {grown:#?}");
    }
}

/// Whether a chain leads where the path does: behind it only the container's own inside may come
/// (the dict of a cache, the value of an attribute).
fn leads_to(chain: &str, path: &str) -> bool {
    chain.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '.']))
}

#[test]
fn keys_of_dictionaries_are_hidden_where_that_is_asked_for() {
    if !may_trace() {
        return;
    }
    let (_, _, heap) = watch(Path::new("/usr/bin/python3"), &["--hide-keys"]);
    let text = heap.0.to_string();
    for key in ["'first'", "session-0", "name-1"] {
        assert!(!text.contains(key), "{key} is shown in {text}");
    }
    // Names in code stay.
    assert!(text.contains("_session_messages"), "{text}");
}
