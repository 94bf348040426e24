//! Rules on files as such: length, the `//!` header, names that mean nothing, and addresses of
//! package registries (which belong into the user's own configuration).

use super::{Finding, Source};

/// Lines after which a Rust file has become two subjects.
const MAX_LINES: usize = 450;

/// File and folder names that say nothing about what is inside.
const DRAWERS: [&str; 8] =
    ["utils", "util", "misc", "helpers", "helper", "common", "manager", "types"];

/// Kinds of files that must not name a registry: what runs or configures.
const CONFIGURING: [&str; 7] = [".rs", ".toml", ".py", ".sh", ".txt", ".c", ".ci/run"];

/// Registry hosts, cut in two so that this file does not break its own rule.
const REGISTRIES: [(&str, &str); 7] = [
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("pypi", ".org"),
    ("files.python", "hosted.org"),
    ("registry.npm", "js.org"),
    ("deb.debian", ".org"),
    ("security.debian", ".org"),
];

pub(super) fn check(source: &Source<'_>) -> Vec<Finding> {
    let mut findings = registries(source);
    if !source.path.ends_with(".rs") {
        return findings;
    }
    let line_count = source.text.lines().count();
    if line_count > MAX_LINES {
        let message = format!("{line_count} lines, more than {MAX_LINES}: two subjects by now");
        findings.push(Finding::whole_file(message));
    }
    if !source.text.trim_start().starts_with("//!") {
        findings.push(Finding::at(0, "a file begins with `//!` and what it owns"));
    }
    findings
        .extend(drawer(source.path).map(|name| {
            Finding::whole_file(format!("`{name}` says nothing about what is inside"))
        }));
    findings
}

/// The part of `path` that is a drawer's name, if any; the crate tracer-common is none.
fn drawer(path: &str) -> Option<&str> {
    path.split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part))
        .find(|p| DRAWERS.contains(p))
}

fn registries(source: &Source<'_>) -> Vec<Finding> {
    if !CONFIGURING.iter().any(|end| source.path.ends_with(end)) {
        return Vec::new();
    }
    source
        .text
        .lines()
        .enumerate()
        .flat_map(|(index, line)| {
            REGISTRIES.iter().filter_map(move |(head, tail)| {
                let host = format!("{head}{tail}");
                line.contains(&host).then(|| {
                    Finding::at(
                        index,
                        format!("names the registry {host}; leave that to the machine"),
                    )
                })
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{MAX_LINES, Source, check, drawer};

    fn count(path: &str, text: &str) -> usize {
        check(&Source { path, text }).len()
    }

    #[test]
    fn a_file_begins_with_what_it_owns() {
        assert_eq!(count("a/b.rs", "//! Owns b.\n"), 0);
        assert_eq!(count("a/b.rs", "use std::fs;\n"), 1);
        assert_eq!(count("a/b.rs", ""), 1);
        assert_eq!(count("a/b.py", "import os\n"), 0);
    }

    #[test]
    fn an_overlong_file_is_found_and_the_longest_allowed_is_not() {
        let file = |lines: usize| format!("//! Long.\n{}", "x\n".repeat(lines - 1));
        assert_eq!(count("a/b.rs", &file(MAX_LINES)), 0);
        assert_eq!(count("a/b.rs", &file(MAX_LINES + 1)), 1);
    }

    #[test]
    fn drawers_are_found_as_files_and_as_folders() {
        assert_eq!(drawer("tracer-user/src/utils.rs"), Some("utils"));
        assert_eq!(drawer("tracer-user/src/helpers/mod.rs"), Some("helpers"));
        assert_eq!(drawer("tracer-common/src/lib.rs"), None);
    }

    #[test]
    fn a_registry_is_found_in_configuration_and_not_in_prose() {
        let line = format!("index-url = https://pypi{}/simple", ".org");
        assert_eq!(count("a/pip.toml", &line), 1);
        assert_eq!(count("README.md", &line), 0);
    }
}
