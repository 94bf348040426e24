//! Rule: who may import whom (ARCHITECTURE.md). A crate has its one home in tracer-user, and
//! the pure modules know neither clock nor files.

use super::{Finding, Source, code_lines};

/// Crates that only some places may name, and those places.
const HOMES: [(&str, &[&str]); 10] = [
    ("aya", &["tracer-user/src/probe"]),
    ("aya_obj", &["tracer-user/src/probe"]),
    ("aya_log", &["tracer-user/src/probe"]),
    ("inferno", &["tracer-user/src/report"]),
    ("prost", &["tracer-user/src/report/pprof"]),
    ("flate2", &["tracer-user/src/report/pprof"]),
    ("quick_junit", &["tracer-user/src/check/junit", "xtask/src/test/failures"]),
    ("gimli", &["tracer-user/src/unwind", "tracer-user/src/target/function_table"]),
    ("clap", &["tracer-user/src/cli", "xtask/"]),
    (
        "anyhow",
        &[
            "tracer-user/src/session",
            "tracer-user/src/cli",
            "tracer-user/src/main.rs",
            "tracer-user/build.rs",
            "xtask/",
        ],
    ),
];

/// Modules without clock and I/O, and what they therefore never name.
const PURE: [&str; 5] = [
    "tracer-user/src/aggregate",
    "tracer-user/src/growth",
    "tracer-user/src/governor",
    "tracer-user/src/ledger",
    "tracer-user/src/check",
];
const IMPURE: [&str; 6] = ["Instant", "SystemTime", "fs", "net", "process", "tokio"];

/// Modules and the modules of ours that they must not know: they are asked, and ask nobody back.
const BELOW: [(&str, &[&str]); 3] = [
    ("tracer-user/src/target", &["plan", "probe", "runtime", "session", "symbol", "unwind"]),
    ("tracer-user/src/unwind", &["plan", "probe", "runtime", "session", "symbol"]),
    ("tracer-user/src/plan", &["probe", "session", "symbol", "unwind"]),
];

/// Where the rules hold: shipped host code. Integration tests may use what they like.
const CHECKED: [&str; 3] = ["tracer-user/", "tracer-common/", "xtask/"];

pub(super) fn check(source: &Source<'_>) -> Vec<Finding> {
    if !source.path.ends_with(".rs") || !CHECKED.iter().any(|top| source.path.starts_with(top)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in code_lines(source.text) {
        for (name, homes) in HOMES {
            if names_crate(line, name) && !homes.iter().any(|home| is_in(source.path, home)) {
                let message = format!("`{name}` belongs to {} only", homes.join(", "));
                findings.push(Finding::at(index, message));
            }
        }
        for (module, above) in BELOW.iter().filter(|(module, _)| is_in(source.path, module)) {
            for name in above.iter().filter(|name| names_module(line, name)) {
                let message = format!("{module} must not know `{name}`");
                findings.push(Finding::at(index, message));
            }
        }
        if PURE.iter().any(|module| is_in(source.path, module)) {
            for name in IMPURE.iter().filter(|name| names_impure(line, name)) {
                let message = format!("`{name}` in a module without clock and I/O");
                findings.push(Finding::at(index, message));
            }
        }
    }
    findings
}

/// Whether `path` is the module `home` (file or folder), or in the folder `home/`.
fn is_in(path: &str, home: &str) -> bool {
    path.strip_prefix(home)
        .is_some_and(|rest| rest.is_empty() || home.ends_with('/') || rest.starts_with(['/', '.']))
}

/// Whether `line` names the crate `name` at the head of a path (`name::…` or `use name;`).
fn names_crate(line: &str, name: &str) -> bool {
    words(line, name).any(|(before, after)| {
        let heads_a_path = after.starts_with("::") && !before.ends_with(':');
        heads_a_path || (before.trim_end().ends_with("use") && after.starts_with(';'))
    })
}

/// Whether `line` names the module `name` of its own crate.
fn names_module(line: &str, name: &str) -> bool {
    words(line, name).any(|(before, _)| before.ends_with("crate::"))
}

/// Whether `line` uses `name` of std (or the crate): after `::` or `{`, or before `::`.
fn names_impure(line: &str, name: &str) -> bool {
    words(line, name).any(|(before, after)| {
        after.starts_with("::")
            || before.ends_with("::")
            || (line.trim_start().starts_with("use ") && !before.ends_with('.'))
    })
}

/// What stands before and after each occurrence of `word` as a word of its own, outside of
/// string literals.
fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .map(move |(start, _)| (&line[..start], &line[start + word.len()..]))
        .filter(move |(before, after)| !before.ends_with(is_word) && !after.starts_with(is_word))
        .filter(|(before, _)| before.matches('"').count() % 2 == 0)
}

#[cfg(test)]
mod tests {
    use super::{Source, check};

    fn check_line(path: &str, line: &str, expected_count: usize) {
        let found = check(&Source { path, text: line });
        assert_eq!(found.len(), expected_count, "{path}: {line}: {found:?}");
    }

    #[test]
    fn a_crate_outside_its_home_is_found() {
        check_line("tracer-user/src/probe/attach.rs", "use aya::Ebpf;", 0);
        check_line("tracer-user/src/probe.rs", "use aya::Ebpf;", 0);
        check_line("tracer-user/src/prober.rs", "use aya::Ebpf;", 1);
        check_line("tracer-user/src/target/mod.rs", "let x = aya::Ebpf::load(b);", 1);
        check_line("tracer-user/src/target/mod.rs", "use anyhow::{Context, Result};", 1);
        check_line("tracer-user/src/main.rs", "fn main() -> anyhow::Result<()> {", 0);
        check_line("tracer-user/src/report/svg.rs", "inferno::flamegraph::from_lines()", 0);
        check_line("tracer-user/src/capture/mod.rs", "use inferno;", 1);
        check_line("tests/attach.rs", "use aya::Ebpf;", 0);
    }

    #[test]
    fn a_name_that_only_looks_like_the_crate_is_not() {
        check_line("tracer-user/src/target/mod.rs", "let maya = himalaya::find();", 0);
        check_line("tracer-user/src/target/mod.rs", "// aya::Ebpf is in probe", 0);
        check_line("tracer-user/src/target/mod.rs", "crate::aya::thing()", 0);
        let quoted = format!("let s = {0}see aya::Ebpf{0};", '"');
        check_line("tracer-user/src/target/mod.rs", &quoted, 0);
    }

    #[test]
    fn a_module_that_is_asked_does_not_ask_back() {
        check_line("tracer-user/src/unwind/mod.rs", "use crate::probe::Probes;", 1);
        check_line("tracer-user/src/unwind/mod.rs", "use crate::target::elf::Elf;", 0);
        check_line("tracer-user/src/target/mod.rs", "let t = crate::unwind::build(elf);", 1);
        check_line("tracer-user/src/plan/mod.rs", "use crate::runtime::python;", 0);
        check_line("tracer-user/src/probe/mod.rs", "use crate::unwind::UnwindTable;", 0);
        check_line("tracer-user/src/symbol/mod.rs", "let x = gimli::Reader::new();", 1);
    }

    #[test]
    fn clock_and_files_have_no_place_in_the_pure_modules() {
        check_line("tracer-user/src/growth/mod.rs", "use std::time::Instant;", 1);
        check_line("tracer-user/src/growth/mod.rs", "use std::{fs, io};", 1);
        check_line("tracer-user/src/aggregate/mod.rs", "let now = SystemTime::now();", 1);
        check_line("tracer-user/src/aggregate/mod.rs", "use std::time::Duration;", 0);
        check_line("tracer-user/src/aggregate/mod.rs", "let process = 3;", 0);
        check_line("tracer-user/src/session/mod.rs", "use std::time::Instant;", 0);
    }
}
