//! Stacks of CPython name the functions, files and lines that Python itself names.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Amount, Outlive, Target, compile, may_trace, python_frames, tests_dir};

fn check(python: &Path) {
    let script = tests_dir().join("targets/python/chain.py");
    let mut target = Target::spawn(python, &[&script]);
    let (report, truth, _) = Outlive::attach(target.pid()).watch(&mut target);
    report.assert_no_losses();
    for site in truth["sites"].as_array().expect("sites") {
        let expected: Vec<(String, String, u64)> =
            serde_json::from_value(site["frames"].clone()).expect("frames");
        let mut found = Amount::default();
        for site in report.sites().iter().filter(|site| python_frames(site) == expected) {
            found.bytes += site["live_bytes"].as_u64().expect("bytes");
            found.blocks += site["live_blocks"].as_u64().expect("blocks");
        }
        let number = |name: &str| site[name].as_u64().expect("a number");
        let held = Amount { bytes: number("live_bytes"), blocks: number("live_blocks") };
        assert_eq!(found, held, "{}: {expected:#?}", python.display());
    }
    assert!(target.finish().success(), "{} was harmed", python.display());
}

/// Debian's interpreter is one static file, without libpython.
#[test]
fn frames_of_a_static_build_are_those_python_names() {
    let debian = Path::new("/usr/bin/python3.11");
    if !may_trace() {
        return;
    }
    assert!(debian.exists(), "install python3.11: {} is not there", debian.display());
    check(debian);
}

#[test]
fn frames_of_a_libpython_build_are_those_python_names() {
    if !may_trace() {
        return;
    }
    match shared_build() {
        Some(python) => check(&python),
        None => eprintln!("SKIPPED: no Python 3.11 with libpython (OUTLIVE_LIBPYTHON, or pyenv)"),
    }
}

/// How long the embedded interpreter is watched: it may be found a tick after it was loaded.
const WATCHED: Duration = Duration::from_secs(4);

#[test]
fn an_interpreter_that_is_loaded_while_watched_is_found_with_all_its_threads() {
    if !may_trace() {
        return;
    }
    let Some(home) = shared_build().and_then(|python| Some(python.parent()?.parent()?.to_owned()))
    else {
        eprintln!("SKIPPED: no Python 3.11 with libpython (OUTLIVE_LIBPYTHON, or pyenv)");
        return;
    };
    let program = compile(&tests_dir().join("targets/c/embed.c"), "embed", &["-ldl"]);
    let mut target = Target::spawn(program, &[home.join("lib/libpython3.11.so.1.0"), home]);
    let outlive = Outlive::attach(target.pid()).start();
    target.go();
    assert_eq!(target.json()["leaking"], true);
    std::thread::sleep(WATCHED);
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report();
    for expected in [["leak", "outer", "<module>"], ["leak", "outer", "Thread.run"]] {
        let is_expected = |site: &&Value| {
            let names: Vec<String> =
                python_frames(site).into_iter().map(|(function, ..)| function).collect();
            site["live_bytes"].as_u64() > Some(3000)
                && names.starts_with(&expected.map(str::to_owned))
        };
        assert!(report.sites().iter().any(|site| is_expected(&site)), "{expected:?}");
    }
    assert!(target.finish().success(), "the target was harmed");
}

/// A Python 3.11 that is linked against libpython: named by the environment, or pyenv's.
fn shared_build() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("OUTLIVE_LIBPYTHON") {
        return Some(named.into());
    }
    let root = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")))?;
    std::fs::read_dir(root.join("versions")).ok()?.flatten().map(|e| e.path()).find_map(|version| {
        let is_shared = version.join("lib/libpython3.11.so.1.0").exists();
        is_shared.then(|| version.join("bin/python3.11"))
    })
}
