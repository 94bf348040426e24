//! Leaks that no allocation stack names, attached to as anybody would: the first finding is the
//! container that grows, by the name it has in code, and nobody is blamed who only allocated.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use support::venv::venv;
use support::{Finished, Outlive, Report, Target, may_trace, tests_dir};

/// As long as a verdict takes, and a little more.
const SECONDS: u32 = 20;

/// A server that leaks for as long as it is watched: its truth when outlive came, and afterwards.
struct Watched {
    report: Report,
    before: Value,
    after: Value,
    finished: Finished,
}

fn watch(python: &Path, script: &str, options: &[&str]) -> Watched {
    let mut command = Command::new(python);
    command.arg(tests_dir().join("targets/python").join(script)).args(options);
    let mut target = Target::from_command(command);
    assert_eq!(target.json()["ready"], true);
    // What starting up leaves behind is there before anybody looks.
    std::thread::sleep(std::time::Duration::from_secs(2));
    target.go();
    let before = target.json();
    let outlive =
        Outlive::attach(target.pid()).args(&["--duration", &format!("{SECONDS}s")]).start();
    let finished = outlive.wait();
    target.go();
    let after = target.json();
    assert!(target.finish().success(), "{script} was harmed");
    assert!(matches!(finished.code, Some(0 | 3)), "{}", finished.stderr);
    Watched { report: finished.report(), before, after, finished }
}

impl Watched {
    fn findings(&self) -> &[Value] {
        self.report.0["findings"].as_array().expect("findings")
    }

    /// Entries that came while outlive watched, at most: it was shorter than from truth to truth.
    fn entries_at_most(&self) -> u64 {
        let entries = |truth: &Value| truth["entries"].as_u64().expect("entries");
        entries(&self.after) - entries(&self.before)
    }

    /// The first finding is a container of this name, whose growth is what the program says.
    fn assert_first(&self, is_named: impl Fn(&str) -> bool) -> &Value {
        let text = self.finished.file("report.txt");
        let first = self.findings().first().unwrap_or_else(|| panic!("no finding:\n{text}"));
        let container = &first["container"];
        let name = container["name"].as_str().unwrap_or_else(|| {
            panic!("the first finding is no container:\n{text}");
        });
        assert!(is_named(name), "{name}\n{text}");
        let length = |field: &str| container[field].as_u64().expect("a length");
        let grown = length("last_length") - length("first_length");
        let most = self.entries_at_most();
        assert!(grown <= most && grown * 2 > most, "{grown} of {most} entries:\n{text}");
        container
    }

    /// No finding blames one of these functions.
    fn assert_not_blamed(&self, functions: &[&str]) {
        for finding in self.findings() {
            let is_stack = finding["subject"] != "container";
            let blamed = finding["application_frame"]["function"].to_string();
            let is_innocent = functions.iter().any(|innocent| blamed.contains(innocent));
            assert!(!(is_stack && is_innocent), "{blamed}\n{}", self.finished.file("report.txt"));
        }
    }
}

#[test]
fn a_cache_whose_key_changes_at_every_write_is_named() {
    if !may_trace() {
        return;
    }
    let watched = watch(Path::new("/usr/bin/python3"), "session_cache.py", &["--leak"]);
    watched.assert_first(|name| name.contains("SessionLists._lists") || name.contains("GATEWAY"));
    watched.assert_not_blamed(&["list_session", "Gateway.turn"]);
}

#[test]
fn the_same_cache_with_keys_that_stay_is_no_finding() {
    if !may_trace() {
        return;
    }
    let watched = watch(Path::new("/usr/bin/python3"), "session_cache.py", &[]);
    let findings = watched.findings();
    assert!(findings.is_empty(), "an innocent is accused: {:#}", findings[0]);
}

#[test]
fn a_cached_method_that_is_asked_with_new_objects_is_named_and_not_the_parser() {
    if !may_trace() {
        return;
    }
    let python = venv("OUTLIVE_VENV_CORPUS", "venv-corpus", "corpus");
    let watched = watch(&python, "cached_method.py", &[]);
    let container = watched.assert_first(|name| name.contains("Catalogue.look_up"));
    let function = container["cached_function"].as_str().unwrap_or_default();
    assert!(function.contains("Catalogue.look_up"), "{container:#}");
    watched.assert_not_blamed(&["decode", "loads", "json"]);
}

#[test]
fn a_cached_method_whose_cache_is_full_is_no_finding() {
    if !may_trace() {
        return;
    }
    let python = venv("OUTLIVE_VENV_CORPUS", "venv-corpus", "corpus");
    let watched = watch(&python, "cached_method.py", &["--bounded"]);
    let findings = watched.findings();
    assert!(findings.is_empty(), "an innocent is accused: {:#}", findings[0]);
}
