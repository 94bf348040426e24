//! Who holds the objects of a CPython: for every way of holding one, on every interpreter that can
//! be had, the chain that outlive prints is the one that the program knows, and every reference is
//! found.
#![allow(missing_docs)]

#[path = "python_matrix/interpreter.rs"]
mod interpreter;
mod support;

use regex::Regex;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use support::heap::{look, shown};
use support::venv::venv;
use support::{Target, may_trace, tests_dir};

/// Of the objects of a program's own types, so many parts in a hundred have every reference found.
const EXPLAINED_PERCENT: f64 = 99.0;

/// How one interpreter did: ways, ways whose chain is the right one, and what is wrong.
struct Outcome {
    line: String,
    faults: Vec<String>,
}

fn check(python: &Path, needs: Option<&str>) -> Outcome {
    let target = Target::spawn(python, &[tests_dir().join("targets/python/holders.py")]);
    let truth = target.json();
    let counts = truth["counts"].as_object().expect("counts");
    let names: Vec<String> = counts.keys().map(|name| format!("__main__.{name}")).collect();
    let options: Vec<&str> = names.iter().flat_map(|name| ["--holders", name.as_str()]).collect();
    let heap = look(target.pid(), &options);
    let mut faults = Vec::new();
    if let Some(package) = needs {
        let missing = truth["missing"].as_array().expect("what is missing");
        if missing.iter().any(|one| one == package) {
            faults.push(format!("{package} is not there"));
        }
    }
    let (mut objects, mut explained, mut right) = (0, 0, 0);
    for (name, count) in counts {
        let count = count.as_u64().expect("a count");
        let Some(held) = heap.held(&format!("__main__.{name}")) else {
            faults.push(format!("{name}: nothing is said of who holds it"));
            continue;
        };
        let of = |field: &str| held[field].as_u64().expect("a number");
        if of("objects") != count {
            faults.push(format!("{name}: {count} there, {} seen", of("objects")));
        }
        objects += of("objects");
        explained += of("explained");
        if of("explained") < of("objects") {
            let (found, all) = (of("explained"), of("objects"));
            say(&format!("    {name}: all references found of {found} of {all}"));
        }
        let pattern = truth["paths"][name].as_str();
        match chain_fault(held, pattern, count) {
            None => right += 1,
            Some(fault) => faults.push(format!("{name}: {fault}")),
        }
    }
    let percent = 100.0 * explained as f64 / objects as f64;
    if percent < EXPLAINED_PERCENT {
        faults.push(format!("only {percent:.2} % of {objects} objects are explained"));
    }
    if !target.finish().success() {
        faults.push("the target was harmed".to_owned());
    }
    let ways = counts.len();
    let line = format!(
        "{right} of {ways} ways have the right chain, {percent:.2} % of {objects} objects are \
         explained, stopped for {:?}",
        heap.stopped().unwrap_or_default()
    );
    Outcome { line, faults }
}

/// What is wrong with the chains of objects that are held in one way.
fn chain_fault(held: &Value, pattern: Option<&str>, count: u64) -> Option<String> {
    let chains = held["chains"].as_array().expect("chains");
    // Garbage in cycles has no chain, and is said to be that.
    let Some(pattern) = pattern else {
        let unreachable = held["unreachable"].as_u64().expect("a number");
        let is_garbage = unreachable >= count - count / 100;
        return (!is_garbage).then(|| format!("{unreachable} of {count} are called unreachable"));
    };
    let expected = Regex::new(pattern).expect("a pattern");
    let matching: u64 = chains
        .iter()
        .filter(|chain| expected.is_match(&shown(chain)))
        .map(|chain| chain["objects"].as_u64().expect("a number"))
        .sum();
    // One in a hundred may be pinned by a word that nobody uses any more.
    (matching < count - count / 100).then(|| {
        let chains: Vec<String> = chains.iter().take(2).map(shown).collect();
        format!("{matching} of {count} are held by {pattern}, others by {chains:?}")
    })
}

/// Past the test harness's capture: what was found is shown whether or not the test passes.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[test]
fn every_way_to_hold_an_object_is_told_on_every_interpreter() {
    if !may_trace() {
        return;
    }
    let mut text = String::new();
    for interpreter in interpreter::all() {
        // Without the GIL objects are counted, and their holders are not looked for.
        if interpreter.name.ends_with('t') {
            continue;
        }
        let checked = interpreter.python.map(|python| {
            catch_unwind(AssertUnwindSafe(|| check(&python, None))).unwrap_or_else(|panic| {
                let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                Outcome { line: "the run panicked".to_owned(), faults: vec![said] }
            })
        });
        let name = interpreter.name;
        let outcome = checked
            .unwrap_or_else(|missing| Outcome { line: String::new(), faults: vec![missing] });
        say(&format!("{name:12} {}", outcome.line));
        if !outcome.faults.is_empty() {
            let _ = writeln!(text, "{name}:\n    {}", outcome.faults.join("\n    "));
        }
    }
    assert!(text.is_empty(), "{text}");
}

#[test]
fn what_numpy_arrays_and_pydantic_models_hold_is_told() {
    if !may_trace() {
        return;
    }
    for (variable, folder, target, package) in [
        ("OUTLIVE_VENV_EXTENSIONS", "venv-extensions", "extensions", "numpy"),
        ("OUTLIVE_VENV_CORPUS", "venv-corpus", "corpus", "pydantic"),
    ] {
        let Outcome { line, faults } = check(&venv(variable, folder, target), Some(package));
        say(&format!("{package:12} {line}"));
        assert!(faults.is_empty(), "{package}:\n    {}", faults.join("\n    "));
    }
}
