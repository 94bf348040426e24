//! Which tests failed, and what they said, out of the JUnit file that nextest writes: for the
//! summary, since logs of long runs are cut in the middle.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use quick_junit::{Report, TestCase, TestCaseStatus};

/// Lines of a failed test that are repeated.
const KEPT_LINES: usize = 8;

/// Characters of each.
const KEPT_CHARACTERS: usize = 400;

/// Failed tests that are repeated with what they said; of others only the names.
const KEPT_TESTS: usize = 40;

/// A test that failed.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    /// Its binary and its own name.
    name: String,
    /// What it said, from its panic on.
    said: Vec<String>,
}

/// The tests that failed in one run of nextest.
#[derive(Debug, Default)]
pub struct Failures(Vec<Failure>);

impl Failures {
    /// Reads nextest's file.
    ///
    /// # Errors
    /// When there is none, or it is not JUnit's.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("nextest left no report at {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let report = Report::deserialize_from_str(text).context("not a JUnit report")?;
        let failures = report.test_suites.iter().flat_map(|suite| {
            let failed = |case| failure(suite.name.as_str(), case);
            suite.test_cases.iter().filter_map(failed)
        });
        Ok(Self(failures.collect()))
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.0.iter().enumerate() {
            writeln!(formatter, "         {}", failure.name)?;
            for line in failure.said.iter().take(if index < KEPT_TESTS { KEPT_LINES } else { 0 }) {
                writeln!(formatter, "             {line}")?;
            }
        }
        Ok(())
    }
}

/// What a test that did not pass said; `None` of one that did.
fn failure(suite: &str, case: &TestCase) -> Option<Failure> {
    let TestCaseStatus::NonSuccess { message, ty, description, .. } = &case.status else {
        return None;
    };
    let said = description.iter().flat_map(|text| from_its_panic_on(text.as_str()));
    let mut said: Vec<String> = said.take(KEPT_LINES).map(cut).collect();
    if said.is_empty() {
        // It was stopped, or took its process with it.
        said.extend(message.iter().chain(ty).map(|text| cut(text.as_str())));
    }
    Some(Failure { name: format!("{suite} {}", case.name.as_str()), said })
}

/// What the test printed before is not its message, nor is the backtrace.
fn from_its_panic_on(text: &str) -> impl Iterator<Item = &str> {
    let panic = |line: &str| line.starts_with("thread '") && line.contains(" panicked at ");
    let is_noise =
        |line: &str| line.trim().is_empty() || line.starts_with("note: run with `RUST_BACKTRACE");
    text.lines()
        .skip_while(move |line| !panic(line))
        .take_while(|line| *line != "stack backtrace:")
        .filter(move |line| !is_noise(line))
}

fn cut(line: &str) -> String {
    line.chars().take(KEPT_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::Failures;

    /// As nextest writes it.
    const REPORT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" skipped="0" failures="2" errors="0" uuid="5a1b7e7e-2a86-4c2c-9d36-1d1d5b6a8f50" timestamp="2026-11-22T12:00:00.000+00:00" time="1.000">
    <testsuite name="tracer-user::holds" tests="3" skipped="0" errors="0" failures="2">
        <testcase name="small" classname="tracer-user::holds" time="0.1"/>
        <testcase name="large" classname="tracer-user::holds" time="0.1">
            <failure message="thread &apos;large&apos; (4711) panicked at tests/holds.rs:12:5" type="test failure with exit code 101">the target said much
thread &apos;large&apos; (4711) panicked at tests/holds.rs:12:5:
assertion `left == right` failed
  left: 1
 right: 2
stack backtrace:
   0: core::panicking::panic_fmt
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace</failure>
            <system-out>hello</system-out>
        </testcase>
        <testcase name="killed" classname="tracer-user::holds" time="0.1">
            <failure type="test abort: signal 9"/>
        </testcase>
    </testsuite>
</testsuites>"#;

    #[test]
    fn failed_tests_are_told_with_their_panic_and_no_others() {
        let told = Failures::parse(REPORT).unwrap().to_string();
        let lines: Vec<&str> = told.lines().map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                "tracer-user::holds large",
                "thread 'large' (4711) panicked at tests/holds.rs:12:5:",
                "assertion `left == right` failed",
                "left: 1",
                "right: 2",
                "tracer-user::holds killed",
                "test abort: signal 9",
            ]
        );
    }

    #[test]
    fn what_is_told_is_bounded() {
        let long = "x".repeat(2_000) + "\n";
        let text = REPORT.replace("assertion `left", &long.repeat(1_000));
        let told = Failures::parse(&text).unwrap().to_string();
        assert!(told.len() < 4_000, "{} bytes", told.len());
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(Failures::parse("running 4 tests").is_err());
    }
}
