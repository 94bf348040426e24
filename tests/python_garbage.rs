//! A target that overwrites its own interpreter's state: outlive ends in time and unharmed, its
//! numbers are exact, and what it could not believe is left out or marked, counted and said.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use support::{Amount, Outlive, Target, may_trace, python_frames, tests_dir};

/// What has to become of the stacks of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No Python frame is shown, and the stack is said to be cut for this reason.
    LeftOut(&'static str),
    /// The frames that could be read are shown, and the stack is said to be cut for this reason.
    Cut(&'static str),
    /// The frame whose code is none is marked.
    Marked,
}

const FATES: [(&str, Fate); 9] = [
    ("a circle", Fate::LeftOut("bad_interpreter_state")),
    ("a caller that is nowhere", Fate::Cut("unreadable")),
    ("a caller beyond all addresses", Fate::Cut("unreadable")),
    ("callers without end", Fate::Cut("too_deep")),
    ("a caller that is no frame", Fate::Cut("unreadable")),
    ("code that is nowhere", Fate::Marked),
    ("code that is no code", Fate::Marked),
    ("code that is wild inside", Fate::Marked),
    ("a thread state of another", Fate::LeftOut("bad_interpreter_state")),
];

impl Fate {
    fn is_of(self, site: &Value) -> bool {
        let frames = python_frames(site);
        let truncated = site["truncated"].as_str();
        let function = |index: usize| frames.get(index).map_or("", |frame| frame.0.as_str());
        match self {
            Fate::LeftOut(reason) => frames.is_empty() && truncated == Some(reason),
            Fate::Cut(reason) => function(0) == "overwrite" && truncated == Some(reason),
            Fate::Marked => {
                function(0) == "overwrite"
                    && function(1).starts_with("[python code 0x")
                    && truncated.is_none()
            }
        }
    }
}

fn check(python: &Path) {
    let script = tests_dir().join("targets/python/garbage.py");
    let mut target = Target::spawn(python, &[&script]);
    assert_eq!(target.json()["ready"], true);
    let (report, truth, _) = Outlive::attach(target.pid()).watch(&mut target);
    // Stacks of one fate may look alike, and are one site then: their sums have to agree.
    for (_, fate) in FATES {
        let (mut held, mut found) = (Amount::default(), Amount::default());
        for case in truth["cases"].as_array().expect("cases") {
            let name = case["name"].as_str().expect("a name");
            let (_, its_fate) = FATES.iter().find(|(known, _)| *known == name).expect("a fate");
            if *its_fate == fate {
                add(&mut held, case);
            }
        }
        for site in report.sites().iter().filter(|site| fate.is_of(site)) {
            add(&mut found, site);
        }
        assert_eq!(found, held, "{}: {fate:?}", python.display());
    }
    let warnings = report.0["warnings"].as_array().expect("warnings");
    let doubt = warnings.iter().find(|warning| warning["code"] == "python-doubtful");
    let doubt = doubt.unwrap_or_else(|| panic!("{}: nothing was doubted", python.display()));
    assert!(doubt["message"].as_str().expect("a message").contains("contradict themselves"));
    assert!(target.finish().success(), "{} was harmed", python.display());
}

fn add(sum: &mut Amount, holder: &Value) {
    sum.bytes += holder["live_bytes"].as_u64().expect("bytes");
    sum.blocks += holder["live_blocks"].as_u64().expect("blocks");
}

#[test]
fn an_overwritten_interpreter_is_doubted_and_its_bytes_are_exact() {
    if !may_trace() {
        return;
    }
    let interpreters = interpreters();
    assert!(!interpreters.is_empty(), "install python3");
    for python in interpreters {
        check(&python);
    }
}

/// The system's, and pyenv's of 3.8 to 3.14.
fn interpreters() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/usr/bin/python3.11")];
    let root = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")));
    let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    for version in versions.into_iter().flatten().flatten() {
        for minor in 8..=14 {
            found.push(version.path().join(format!("bin/python3.{minor}")));
        }
    }
    found.retain(|path| path.exists());
    found
}
