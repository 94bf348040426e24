//! Real interpreters: the chains to what a program holds in every way, and whether all references
//! to it were found.

use super::*;
use crate::heap::python::live_tests::{Running, image_of, interpreters};
use crate::runtime::python::detect;
use crate::target::discover;
use regex::Regex;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Holds objects in every way, one class for each.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/targets/python/holders.py");

/// What is wrong with the chains to one class.
fn judge(held: &Held, name: &str, count: u64, pattern: Option<&Regex>) -> Vec<String> {
    let mut wrong = Vec::new();
    if held.objects != count {
        wrong.push(format!("{} of {count} objects were found", held.objects));
    }
    match pattern {
        Some(pattern) => {
            let alike =
                held.chains.iter().filter(|chain| pattern.is_match(&chain.steps.join(" -> ")));
            let matching: u64 = alike.map(|chain| chain.objects).sum();
            if matching * 100 < count * 99 {
                wrong.push(format!("{matching} of {count} by the expected chain"));
            }
        }
        None if held.unreachable * 100 < count * 99 => {
            wrong.push(format!("{} of {count} found to be garbage", held.unreachable));
        }
        None => {}
    }
    if held.explained * 100 < count * 99 {
        wrong.push(format!("{} of {count} explained", held.explained));
    }
    if !wrong.is_empty() {
        for chain in held.chains.iter().take(4) {
            wrong.push(format!(
                "{} x {} ({}; {} of {})",
                chain.objects,
                chain.steps.join(" -> "),
                chain.root,
                chain.references_found,
                chain.references_counted
            ));
        }
        if held.unreachable + held.unknown + held.other_objects > 0 {
            wrong.push(format!(
                "unreachable {}, unknown {}, other {}",
                held.unreachable, held.unknown, held.other_objects
            ));
        }
    }
    wrong.iter().map(|text| format!("{name}: {text}")).collect()
}

fn check(name: &str, interpreter: &Path) -> Vec<String> {
    let mut child = Command::new(interpreter)
        .arg(PROGRAM)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let truth: Value = serde_json::from_str(&line).unwrap();
    // Until it waits for its input.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (target, _) = discover(running.0.id()).unwrap();
    let python = detect(&target).0.unwrap();
    let image = image_of(&target);
    let heap = PythonHeap::read(&image, &target, &python).unwrap();
    let roots = Roots::of(&target, &python);
    assert_ne!(roots.runtime_avma, 0, "{name}");
    let began = std::time::Instant::now();
    let graph = Graph::new(&heap, &roots).unwrap();
    eprintln!(
        "{name}: {} objects, {} MB, {:?}",
        heap.objects.all().len(),
        image.length_bytes() >> 20,
        began.elapsed()
    );
    let mut wrong = Vec::new();
    for (class, count) in truth["counts"].as_object().unwrap() {
        let full = format!("__main__.{class}");
        if !heap.types.iter().any(|info| info.name == full) {
            wrong.push(format!("{class}: the class was not found"));
            continue;
        }
        let held = graph.held_types(&full);
        let pattern = truth["paths"][class].as_str().map(|text| Regex::new(text).unwrap());
        wrong.extend(judge(&held, class, count.as_u64().unwrap(), pattern.as_ref()));
    }
    wrong.into_iter().map(|text| format!("{name}: {text}")).collect()
}

#[test]
fn every_way_to_hold_an_object_is_told_and_every_reference_found() {
    // Without the GIL references are not counted in one place.
    let interpreters = interpreters().into_iter().filter(|(name, _)| !name.ends_with('t'));
    let wrong: Vec<String> = interpreters.flat_map(|(name, path)| check(&name, &path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
