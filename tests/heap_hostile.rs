//! Heaps that are not what they should be: `outlive heap` ends in time and unharmed, counts what is
//! whole, and says what it does not believe.
#![allow(missing_docs)]

mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::heap::{Heap, attempt};
use support::{Target, may_trace, run_to_end, tests_dir};

/// How long a look at a heap of some megabytes may take, whatever is in it.
const IN_TIME: Duration = Duration::from_secs(30);

/// What a terminal or a reader of the report would have to take.
const MAX_ANSWER_BYTES: usize = 8 << 20;

const CASES: [&str; 8] = [
    "scribble",
    "long_names",
    "type_cycle",
    "refcounts",
    "lengths",
    "pointers",
    "lookalikes",
    "deep",
];

/// The oldest, the system's, and the newest that there are.
fn interpreters() -> Vec<PathBuf> {
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interpreters.json");
    let text = std::fs::read_to_string(list).unwrap_or_else(|_| "[]".to_owned());
    let list: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list");
    let mut found = vec![PathBuf::from("/usr/bin/python3")];
    found.extend(list.iter().filter_map(|one| {
        let is_wanted = ["pyenv-3.8", "debian-3.14"].iter().any(|name| one["name"] == *name);
        is_wanted.then(|| one["python"].as_str().map(PathBuf::from)).flatten()
    }));
    found
}

fn check(python: &Path, case: &str) {
    let shown = format!("{case} on {}", python.display());
    let script = tests_dir().join("targets/python/heap_hostile.py");
    let mut target = Target::spawn(python, &[script.as_os_str(), case.as_ref()]);
    let truth = target.json();
    let marked = truth["marked"].as_u64().expect("a number");
    let began = Instant::now();
    let output = attempt(target.pid(), &["--holders", "Marked"]);
    let took = began.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), None, "{shown}: {stderr}");
    assert!(!stderr.contains("panicked"), "{shown}: {stderr}");
    assert!(took < IN_TIME, "{shown}: took {took:?}");
    assert!(output.stdout.len() < MAX_ANSWER_BYTES, "{shown}: {} bytes", output.stdout.len());
    assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{shown}");
    assert!(matches!(output.status.code(), Some(0 | 3)), "{shown}: {stderr}");
    let heap = Heap(serde_json::from_slice(&output.stdout).expect("JSON"));
    // Those that nobody touched are all there.
    let found = heap.types().get("__main__.Marked").copied().unwrap_or_default();
    assert_eq!(found.count, marked, "{shown}");
    if case == "scribble" {
        let pools = truth["pools"].as_u64().unwrap_or(1);
        assert!(heap.census("inconsistent_pools") > 0, "{shown}: {pools} pools, none doubted");
    }
    // Nor can there be more of anything than there is memory.
    let copied = heap.0["readings"][0]["copied_bytes"].as_u64().expect("bytes");
    let bytes = heap.census("bytes");
    assert!(bytes <= copied, "{shown}: {bytes} bytes of objects in {copied} of memory");
    target.go();
    assert_eq!(target.json()["alive"], true, "{shown}");
    assert!(target.finish().success(), "{shown}: it was harmed");
}

#[test]
fn whatever_lies_in_a_heap_the_look_ends_and_counts_what_is_whole() {
    if !may_trace() {
        return;
    }
    for python in interpreters() {
        for case in CASES {
            check(&python, case);
        }
    }
}

/// The system's interpreter, as if of another version: the word that says so is changed.
fn of_version(minor: u8, folder: &Path) -> PathBuf {
    let system = std::fs::canonicalize("/usr/bin/python3").expect("the system's Python");
    let mut symbols = Command::new("readelf");
    symbols.args(["--wide", "--dyn-syms", "--section-headers"]).arg(&system);
    let text = String::from_utf8(run_to_end(symbols).stdout).expect("text");
    let hex = |word: &str| u64::from_str_radix(word, 16).expect("a hexadecimal number");
    let address = text
        .lines()
        .find(|line| line.ends_with(" Py_Version"))
        .and_then(|line| line.split_whitespace().nth(1))
        .map(hex)
        .expect("Py_Version is exported");
    let (start, offset) = text
        .lines()
        .find_map(|line| {
            let words: Vec<&str> = line.split_once(" .rodata ")?.1.split_whitespace().collect();
            Some((hex(words.get(1)?), hex(words.get(2)?)))
        })
        .expect("constants have a section");
    let mut program = std::fs::read(&system).expect("read the interpreter");
    let at = (address - start + offset) as usize;
    assert_eq!(program[at + 3], 3, "this is not where the version is");
    program[at + 2] = minor;
    let path = folder.join("python3");
    std::fs::write(&path, program).expect("write the interpreter");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("make it a program");
    path
}

#[test]
fn an_interpreter_of_the_future_is_refused_with_a_sentence() {
    if !may_trace() {
        return;
    }
    for minor in [16, 99] {
        let folder = tempfile::tempdir().expect("scratch folder");
        let mut command = Command::new(of_version(minor, folder.path()));
        let script = tests_dir().join("targets/python/heap_growth.py");
        command.arg(script).env("PYTHONHOME", "/usr");
        let target = Target::from_command(command);
        target.json();
        let output = attempt(target.pid(), &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "3.{minor}: {stderr}");
        assert!(stderr.contains(&format!("3.{minor}")), "{stderr}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(target.finish().success());
    }
}

#[test]
fn a_process_without_objects_is_refused_with_a_sentence() {
    if !may_trace() {
        return;
    }
    let target = Target::spawn("/bin/cat", &["-"]);
    let output = attempt(target.pid(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("CPython"));
    assert!(target.finish().success());
}
