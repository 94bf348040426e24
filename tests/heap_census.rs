//! The objects of a CPython, counted from outside: what outlive says is what the program says of
//! itself, on every interpreter that can be had.
#![allow(missing_docs)]

#[path = "python_matrix/interpreter.rs"]
mod interpreter;
mod support;

use interpreter::Interpreter;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use support::heap::{Heap, Objects, look};
use support::venv::venv;
use support::{Target, may_trace, tests_dir};

/// Types whose objects Python cannot all reach, and by how many percent there may be more of them
/// than the program knows of: code has tuples and bytes that only C reads, static types have
/// their bases, and C variables hold the rest. There are never fewer.
const UNSEEN: [(&str, u64); 10] = [
    ("str", 3),
    ("bytes", 100),
    ("tuple", 50),
    ("code", 15),
    ("type", 5),
    ("set", 5),
    ("datetime.timedelta", 100),
    ("PyCapsule", 100),
    ("numpy._ArrayMethod", 50),
    ("numpy._DTypeMeta", 50),
];

/// Objects that come and go while the program writes and reads a line.
const SLACK: u64 = 2;

/// On a build without the GIL a block that was freed looks like an object now and then.
const FREE_THREADED_SLACK: u64 = 10;

/// The threads that churn are started behind the count: their locks and what they hold just now.
const CHURNING_SLACK: u64 = 16;

/// What the bytes of a type may be off, in parts of all: the rounding of blocks that malloc itself
/// cut larger.
const BYTES_ERROR: f64 = 0.01;

/// How the truth and the census compare.
#[derive(Default)]
struct Comparison {
    /// Types, and those that are exactly or nearly right.
    types: usize,
    equal: usize,
    close: usize,
    faults: Vec<String>,
}

/// How far the numbers may be apart.
#[derive(Clone, Copy)]
struct Tolerance {
    /// Of types that the program made itself, in percent; zero is exact.
    own_percent: u64,
    /// Of all types.
    percent: u64,
}

const IDLE: Tolerance = Tolerance { own_percent: 0, percent: 1 };
const CHURNING: Tolerance = Tolerance { own_percent: 2, percent: 2 };

fn compare(truth: &Value, heap: &Heap, tolerance: Tolerance) -> Comparison {
    let seen = heap.types();
    let of = |name: &str| seen.get(name).copied().unwrap_or_default();
    let mut result = Comparison::default();
    let is_free_threaded = truth["free_threaded"] == true;
    let slack = match truth["churn"] == true {
        true => CHURNING_SLACK,
        false if is_free_threaded => FREE_THREADED_SLACK,
        false => SLACK,
    };
    let own = truth["exact"].as_object().expect("exact types");
    for (name, made) in own {
        let count = made[0].as_u64().expect("a count");
        let allowed = count * tolerance.own_percent / 100;
        // What a program without the GIL frees while it is read looks alive: the notes say that its
        // counts are upper bounds.
        let is_bound = is_free_threaded && truth["churn"] == true;
        if of(name).count.abs_diff(count) > allowed && !(is_bound && of(name).count >= count) {
            result.faults.push(format!("{name}: {count} there, {} seen", of(name).count));
        }
        if let Some(bytes) = made[1].as_f64().filter(|_| tolerance.own_percent == 0) {
            let error = (of(name).bytes as f64 - bytes).abs() / bytes;
            if error > BYTES_ERROR {
                result.faults.push(format!("{name}: {bytes} bytes, {} seen", of(name).bytes));
            }
        }
    }
    for (name, count) in truth["types"].as_object().expect("types") {
        let count = count.as_u64().expect("a count");
        let Objects { count: found, .. } = of(name);
        let allowed = (count * tolerance.percent / 100).max(slack);
        let is_bound = is_free_threaded && truth["churn"] == true && found >= count;
        let is_close = is_bound || found.abs_diff(count) <= allowed;
        result.types += 1;
        result.equal += usize::from(found == count);
        result.close += usize::from(is_close);
        let unseen = UNSEEN.iter().find(|(unseen, _)| name == unseen);
        let is_more = unseen.is_some_and(|(_, percent)| {
            (count..=count + (count * percent).div_ceil(100).max(slack)).contains(&found)
        });
        if !is_close && !is_more && !own.contains_key(name) {
            result.faults.push(format!("{name}: {count} there, {found} seen"));
        }
    }
    result
}

/// Starts the program that knows its objects; itself and its first truth.
fn start(python: &Path, options: &[&str], environment: &[(&str, &str)]) -> (Target, Value) {
    let mut command = Command::new(python);
    command.arg(tests_dir().join("targets/python/heap_truth.py")).args(options);
    command.envs(environment.iter().copied());
    let target = Target::from_command(command);
    let truth = target.json();
    (target, truth)
}

/// Past the test harness's capture: what was compared is shown whether or not the test passes.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Compares on one interpreter; a line about it, and what is wrong.
fn check(python: &Path, options: &[&str], tolerance: Tolerance) -> (String, Vec<String>) {
    let (target, truth) = start(python, options, &[]);
    // Without the GIL what is replaced lies elsewhere, so that all objects of a type may move from
    // what is yet to be read to what was read already: there it takes a stop.
    let stands = options.is_empty() || truth["free_threaded"] == true;
    let heap = look(target.pid(), if stands { &[] } else { &["--no-stop"] });
    let mut result = compare(&truth, &heap, tolerance);
    if truth["free_threaded"] == true && !heap.notes().iter().any(|note| note.contains("GIL")) {
        result.faults.push("it is not said what counts without the GIL are".to_owned());
    }
    let inconsistent = heap.census("inconsistent_pools");
    if inconsistent > 0 && options.is_empty() {
        result.faults.push(format!("{inconsistent} inconsistent pools"));
    }
    if !target.finish().success() {
        result.faults.push("the target was harmed".to_owned());
    }
    let Comparison { types, equal, close, faults } = result;
    let line = format!(
        "{equal:>4} of {types} types equal, {close:>4} within {} %; {} objects, stopped for {:?}, \
         {} bytes of pools are nothing",
        tolerance.percent,
        heap.census("objects"),
        heap.stopped().unwrap_or_default(),
        heap.census("unattributed_bytes"),
    );
    (line, faults)
}

/// The same on every interpreter; what is wrong with any.
fn matrix(options: &[&str], tolerance: Tolerance) {
    let mut faults = BTreeMap::new();
    for Interpreter { name, python } in interpreter::all() {
        let checked = python.map(|python| {
            catch_unwind(AssertUnwindSafe(|| check(&python, options, tolerance))).unwrap_or_else(
                |panic| {
                    let said = panic.downcast_ref::<String>().cloned();
                    ("the run panicked".to_owned(), vec![said.unwrap_or_default()])
                },
            )
        });
        let (line, wrong) = checked.unwrap_or_else(|missing| (String::new(), vec![missing]));
        say(&format!("{name:12} {line}"));
        if !wrong.is_empty() {
            faults.insert(name, wrong);
        }
    }
    let mut text = String::new();
    for (name, wrong) in &faults {
        let _ = writeln!(text, "{name}:\n    {}", wrong.join("\n    "));
    }
    assert!(faults.is_empty(), "{text}");
}

#[test]
fn an_idle_heap_is_counted_as_the_program_counts_it_itself() {
    if may_trace() {
        matrix(&[], IDLE);
    }
}

#[test]
fn a_heap_under_churn_is_counted_without_a_stop() {
    if may_trace() {
        matrix(&["--churn"], CHURNING);
    }
}

#[test]
fn objects_of_numpy_and_pydantic_are_counted() {
    if !may_trace() {
        return;
    }
    for (variable, folder, target, package) in [
        ("OUTLIVE_VENV_EXTENSIONS", "venv-extensions", "extensions", "numpy"),
        ("OUTLIVE_VENV_CORPUS", "venv-corpus", "corpus", "pydantic"),
    ] {
        let (target, truth) = start(&venv(variable, folder, target), &[], &[]);
        let packages = truth["extensions"].as_array().expect("packages");
        assert!(packages.iter().any(|there| there == package), "{package} is not there");
        let heap = look(target.pid(), &[]);
        let compared = compare(&truth, &heap, IDLE);
        say(&format!("{package}: {} of {} types equal", compared.equal, compared.types));
        assert!(compared.faults.is_empty(), "{package}:\n{}", compared.faults.join("\n"));
        assert!(target.finish().success());
    }
}

#[test]
fn objects_that_other_allocators_serve_are_counted_too() {
    if !may_trace() {
        return;
    }
    let jemalloc = ("LD_PRELOAD", "libjemalloc.so.2");
    // Blocks that jemalloc has freed look like those in use: that must be said.
    for (environment, is_exact) in [
        (&[("PYTHONMALLOC", "malloc")][..], true),
        (&[("PYTHONMALLOC", "debug")], true),
        (&[("PYTHONMALLOC", "malloc_debug")], true),
        (&[jemalloc], false),
        (&[("PYTHONMALLOC", "malloc"), jemalloc], false),
    ] {
        let (target, truth) = start(Path::new("/usr/bin/python3"), &[], environment);
        let heap = look(target.pid(), &[]);
        let Comparison { types, close, .. } = compare(&truth, &heap, IDLE);
        say(&format!("{environment:?}: {close} of {types} types within 1 %"));
        let mut faults = Vec::new();
        for (name, made) in truth["exact"].as_object().expect("exact types") {
            let count = made[0].as_u64().expect("a count");
            let found = heap.types().get(name).copied().unwrap_or_default().count;
            // A block of malloc looks like an object more often than a block of a pool does.
            let allowed = (count / 100).max(1);
            if found.abs_diff(count) > allowed {
                faults.push(format!("{name}: {count} there, {found} seen"));
            }
        }
        assert!(faults.is_empty(), "{environment:?}:\n{}", faults.join("\n"));
        // Nor is what was freed taken for an object where that can be told.
        let objects = heap.census("objects");
        let known: u64 = truth["types"]
            .as_object()
            .map_or(0, |types| types.values().filter_map(Value::as_u64).sum());
        let copied = heap.0["readings"][0]["copied_bytes"].as_u64().expect("bytes");
        let bytes = heap.census("bytes");
        assert!(bytes <= copied, "{environment:?}: {bytes} bytes of {copied} that were copied");
        assert!(
            (known..=known * 102 / 100).contains(&objects),
            "{environment:?}: {objects} objects seen, {known} known to the program"
        );
        // Where the notes say that there may be fewer, a few of rare types may be freed ones.
        let seen = heap.types();
        let of = |name: &String| seen.get(name).copied().unwrap_or_default().count;
        let counts = truth["types"].as_object().expect("types").iter();
        let missed = counts
            .filter_map(|(name, count)| Some((name, count.as_u64()?)))
            .filter(|(name, count)| of(name) + (count / 100).max(SLACK) < *count)
            .count();
        let least = if is_exact { 97 } else { 85 };
        assert!(missed == 0, "{environment:?}: too few of {missed} types");
        assert!(
            close * 100 >= types * least,
            "{environment:?}: {close} of {types} types within 1 %"
        );
        assert_eq!(heap.notes().iter().any(|note| note.contains("glibc")), !is_exact);
        assert!(target.finish().success());
    }
}
