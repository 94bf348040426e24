//! Names and lines, with every Node at hand and every compiler: what is read from outside must be
//! what the program's own stack trace says.

use super::targets::{Running, nodes};
use super::walk_by_ptrace::{Named, named_stack};
use super::*;
use crate::target::discover;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tracer_common::v8::{JS_COMPILED, JS_INTERPRETED};

/// A chain of all kinds of functions, down to one that prints its stack and waits. How often it is
/// called before, and what is then optimised, depends on the first argument.
const CHAIN: &str = include_str!("chain.mjs");
/// The same from a CommonJS module.
pub(super) const COMMON: &str = include_str!("chain.cjs");

/// A line of a stack trace of V8's.
#[derive(Debug)]
struct Told {
    function: String,
    place: Option<(String, u32)>,
}

/// `    at Session.flush (file:///srv/app.mjs:8:31)`, or without the function.
fn told(line: &str) -> Option<Told> {
    let rest = line.trim().strip_prefix("at ")?;
    if rest.starts_with("async ") {
        return None;
    }
    let (function, place) = match rest.split_once(" (") {
        Some((function, place)) => (function, place.strip_suffix(')')?),
        None => ("<anonymous>", rest),
    };
    let function = function.split(" [as ").next()?;
    let mut parts = place.rsplitn(3, ':');
    let (_column, line, file) = (parts.next(), parts.next(), parts.next());
    let place = file.and_then(|file| Some((path::display_path(file), line?.parse().ok()?)));
    Some(Told { function: function.strip_prefix("new ").unwrap_or(function).into(), place })
}

impl Told {
    fn is_called(&self, name: &JsName) -> bool {
        // A name that is computed is known to the function object alone; V8 infers another.
        let own = if self.function == "Object.computed" { "Object.object" } else { &self.function };
        let last = own.rsplit('.').next().unwrap_or(own);
        let last_here = name.function.rsplit('.').next().unwrap_or_default();
        // Of some of Node's own functions V8 finds the name only in their receiver.
        let is_nodes = name.file.as_ref().is_some_and(|file| file.starts_with("node:"));
        last == last_here || is_nodes && name.function == "<anonymous>"
    }

    fn is(&self, name: &JsName) -> bool {
        let is_here = match (&self.place, &name.file) {
            (None, None) => true,
            // V8 adds what it calls a text without a name.
            (Some((told, line)), Some(file)) => {
                let told = told.strip_suffix(", <anonymous>").unwrap_or(told);
                let is_file = told == file || is_same_eval(told, file);
                is_file && Some(*line) == name.line
            }
            _ => false,
        };
        is_here && self.is_called(name)
    }
}

/// V8 tells the column of an `eval` too.
fn is_same_eval(told: &str, file: &str) -> bool {
    let Some((start, rest)) = told.split_once("(") else { return false };
    let Some((place, _column)) = rest.rsplit_once(':') else { return false };
    format!("{start}({})", path::display_path(place)) == file
}

/// Compares a stack with the trace that its program printed.
pub(super) fn compare(printed: &[String], stack: &[Named], what: &str) {
    let told: Vec<Told> = printed.iter().filter_map(|line| told(line)).collect();
    // The trace was made before the program began to wait.
    let is_waiting = |name: &&JsName| name.file.as_deref() == Some("node:fs");
    let names = stack.iter().flat_map(|named| &named.names);
    let mut names = names.skip_while(is_waiting).peekable();
    let mut matched = 0;
    for told in &told {
        // Traces leave out many of V8's own functions.
        while names.next_if(|name| name.is_builtin && !told.is(name)).is_some() {}
        // Those that the optimiser builds in have no frame.
        if told.place.is_none() && names.peek().is_some_and(|name| !told.is(name)) {
            continue;
        }
        let name = names.next();
        assert!(
            name.is_some_and(|name| told.is(name)),
            "{what}: {told:?} is {name:?}\n{printed:#?}\n{:#?}",
            stack.iter().map(Named::describe).collect::<Vec<_>>()
        );
        matched += 1;
    }
    assert!(matched >= 10, "{what}: only {matched} of {printed:#?}");
}

/// What a run showed.
struct Shown {
    stack: Vec<Named>,
    /// V8's numbers of the compilers, less that of the baseline compiler.
    compilers: BTreeSet<u32>,
}

/// Runs a script in a mode, and checks its stack twice: as something new, and as something known.
fn check(node: &Path, flags: &[&str], script: &Path, mode: &str) -> Shown {
    let arguments = [flags, &[script.to_str().unwrap(), mode]].concat();
    let running = Running::start(node, &arguments);
    let (target, _) = discover(running.tgid()).unwrap();
    let (runtime, warnings) = detect(&target, &mut Settled::default());
    assert!(warnings.is_empty(), "{warnings:?}");
    let runtime = runtime.unwrap();
    let mut reader = JsReader::new(target.tgid, &runtime);
    let what = format!("{} {arguments:?}", node.display());
    let first = named_stack(target.tgid, &runtime, &mut reader);
    compare(&running.printed, &first, &what);
    let again = named_stack(target.tgid, &runtime, &mut reader);
    let names =
        |stack: &[Named]| -> Vec<_> { stack.iter().map(|named| named.names.clone()).collect() };
    assert_eq!(names(&first), names(&again), "{what}");
    let mut all = first.iter().flat_map(|named| &named.names);
    assert_eq!(all.find(|name| !name.is_exact), None, "{what}");
    let baseline = runtime.objects.baseline_kind;
    let compilers = reader.code_kinds().into_iter().map(|kind| kind - baseline).collect();
    Shown { stack: again, compilers }
}

/// Runs both scripts in all Nodes from `first` on whose V8 is known.
fn check_since(first: u32, flags: &[&str], mode: &str, claim: impl Fn(&str, &Shown)) {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("chain of modules.mjs");
    let common = folder.path().join("chain.cjs");
    std::fs::write(&module, CHAIN).unwrap();
    std::fs::write(&common, COMMON).unwrap();
    for (node, version) in known_nodes(first) {
        for script in [&module, &common] {
            claim(&version, &check(&node, flags, script, mode));
        }
    }
}

/// The Nodes from `first` on whose V8 is known, with their versions.
fn known_nodes(first: u32) -> Vec<(PathBuf, String)> {
    let mut known = Vec::new();
    for node in nodes() {
        let version = Command::new(&node).arg("--version").output().unwrap();
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let major = version.split(['v', '.']).nth(1).and_then(|major| major.parse().ok()).unwrap();
        if major >= first && [18, 20, 22, 24, 26].contains(&major) {
            known.push((node, version.trim().to_owned()));
        }
    }
    known
}

fn count(shown: &Shown, kind: u32) -> usize {
    shown.stack.iter().filter(|named| named.frame.kind == kind).count()
}

#[test]
fn interpreted_functions_are_named_as_in_the_programs_own_trace() {
    check_since(18, &[], "cold", |version, shown| {
        assert!(count(shown, JS_INTERPRETED) > 10, "{version}");
    });
}

#[test]
fn functions_that_the_baseline_compiler_made_are_named_so_too() {
    check_since(18, &["--always-sparkplug"], "warm", |version, shown| {
        assert!(count(shown, JS_COMPILED) > 10, "{version}");
        assert!(shown.compilers.contains(&0), "{version} {:?}", shown.compilers);
    });
}

#[test]
fn optimised_functions_are_named_with_those_that_were_inlined() {
    check_since(18, &["--allow-natives-syntax"], "optimised", |version, shown| {
        let inlined: usize = shown.stack.iter().map(|named| named.names.len() - 1).sum();
        assert!(inlined > 2, "{version} {inlined}");
        assert!(shown.compilers.iter().any(|kind| *kind > 0), "{version} {:?}", shown.compilers);
    });
}

#[test]
fn functions_of_the_middle_tier_are_named_too() {
    check_since(24, &["--allow-natives-syntax"], "maglev", |version, shown| {
        assert!(shown.compilers.contains(&1), "{version} {:?}", shown.compilers);
    });
}

#[test]
fn functions_that_became_hot_by_themselves_are_named_too() {
    check_since(18, &[], "hot", |version, shown| {
        assert!(count(shown, JS_COMPILED) > 1, "{version}");
    });
}

/// Code that is given up goes on until its calls return, and these return elsewhere: what is named
/// then is the function, without a place or what was inlined.
#[test]
fn functions_whose_code_is_being_given_up_are_named_without_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("chain.cjs");
    std::fs::write(&script, COMMON).unwrap();
    for (node, version) in known_nodes(18) {
        let arguments = ["--allow-natives-syntax", script.to_str().unwrap(), "deoptimised"];
        let running = Running::start(&node, &arguments);
        let (target, _) = discover(running.tgid()).unwrap();
        let runtime = detect(&target, &mut Settled::default()).0.unwrap();
        let mut reader = JsReader::new(target.tgid, &runtime);
        let stack = named_stack(target.tgid, &runtime, &mut reader);
        let mut all = stack.iter().flat_map(|named| &named.names);
        assert!(all.any(|name| !name.is_exact), "{version}");
        let mut told = running.printed.iter().filter_map(|line| told(line));
        let ours = |name: &&JsName| name.file.as_deref() == script.to_str();
        for name in stack.iter().flat_map(|named| &named.names).filter(ours) {
            let is_told = told.any(|told| told.is_called(name));
            assert!(is_told, "{version} {name:?} {:#?}", running.printed);
        }
    }
}

/// As packages have it: nothing is left but what the dynamic linker and debuggers ask for.
#[test]
fn a_node_without_symbols_is_read_like_any() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("chain.cjs");
    std::fs::write(&script, COMMON).unwrap();
    for (node, version) in known_nodes(18) {
        let stripped = folder.path().join("node");
        let status = Command::new("strip").arg("-o").arg(&stripped).arg(&node).status();
        match status {
            Ok(status) if status.success() => {}
            // A wrapper around a packaged one is no ELF file.
            Ok(_) => continue,
            Err(error) => panic!("strip (binutils): {error}"),
        }
        let shown = check(&stripped, &["--always-sparkplug"], &script, "warm");
        assert!(shown.compilers.contains(&0), "{version}");
    }
}
