//! JUnit XML, as Jenkins and GitLab read it: the budget is a test case, and so is each place.

use super::model::{Check, CheckFinding, Disposition, Status};
use super::text;
use super::words::place;
use crate::printable::{printable, printable_lines};
use crate::report::Detail;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// Name of the suite, and of the class of its cases.
const SUITE: &str = "outlive check";
/// The case that fails with the budget.
const WHOLE: &str = "growth is within the budget";

/// The answer as JUnit XML.
///
/// # Errors
/// When it cannot be serialised.
pub fn render(check: &Check) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(SUITE);
    suite.set_time(Duration::from_nanos(check.duration_ns));
    let mut whole = TestCase::new(WHOLE, whole(check));
    whole.set_classname(SUITE).set_time(Duration::from_nanos(check.duration_ns));
    whole.set_system_out(printable_lines(&text::render(check, false, Detail::Folded)));
    suite.add_test_case(whole);
    for finding in check.findings.iter().filter(|f| f.disposition != Disposition::Doubtful) {
        suite.add_test_case(case(check, finding));
    }
    let mut report = Report::new(SUITE);
    report.set_time(Duration::from_nanos(check.duration_ns));
    report.add_test_suite(suite);
    report.to_string()
}

fn whole(check: &Check) -> TestCaseStatus {
    let kind = match check.status {
        Status::Clean => return TestCaseStatus::success(),
        Status::Growth => NonSuccessKind::Failure,
        Status::CouldNotRun | Status::Inconclusive => NonSuccessKind::Error,
    };
    unsuccessful(kind, &check.sentence, "outlive", &check.problems.join("\n"))
}

fn case(check: &Check, finding: &CheckFinding) -> TestCase {
    let fails = check.status == Status::Growth && finding.disposition.counts();
    let message = format!("{}: {}", finding.pattern, finding.disposition.in_words());
    let status = if fails {
        let stack: Vec<String> =
            finding.frames.iter().map(|frame| crate::report::label(frame)).collect();
        unsuccessful(NonSuccessKind::Failure, &message, "growth", &stack.join("\n"))
    } else {
        let mut skipped = TestCaseStatus::skipped();
        skipped.set_message(printable(&message));
        skipped
    };
    let mut case = TestCase::new(format!("{} leaves nothing behind", place(finding)), status);
    case.set_classname(SUITE).set_time(Duration::ZERO);
    case
}

fn unsuccessful(kind: NonSuccessKind, message: &str, of: &str, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(printable(message)).set_type(of).set_description(printable_lines(text));
    status
}
