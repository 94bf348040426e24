//! Live bytes and blocks by call site equal what C targets say about themselves.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use support::{Amount, Finished, Outlive, Report, Target, c_target, leaf, may_trace};

/// Every number of the truth is in the report, and the report adds nothing of its own.
fn assert_equal(report: &Report, truth: &Value, program: &str) {
    let mut known = Vec::new();
    for site in truth["sites"].as_array().expect("the truth has sites") {
        let name = site["function"].as_str().expect("a name");
        let names = [name, site["alias"].as_str().expect("a name")];
        known.extend(names);
        for field in ["live", "allocated", "freed"] {
            let found = report.sum(field, &names);
            let bytes = site[format!("{field}_bytes")].as_u64().expect("bytes");
            // Null where a mapping has a hole: how many blocks is that?
            let holes = site["live_blocks"].is_null();
            let blocks = site[format!("{field}_blocks")].as_u64().filter(|_| !holes);
            let expected = Amount { bytes, blocks: blocks.unwrap_or(found.blocks) };
            assert_eq!(found, expected, "{program}: {field} by {name}");
        }
    }
    let own = |site: &Value| {
        let module = site["frames"][0]["module"].as_str().unwrap_or("");
        std::path::Path::new(module).file_name().is_some_and(|name| name == program)
    };
    for site in report.sites().iter().filter(|s| own(s) && !known.contains(&leaf(s))) {
        assert_eq!(site["live_blocks"], 0, "{program}: unexpected site {site:#}");
    }
}

fn check(program: &str) -> Option<(Report, Value, Finished)> {
    if !may_trace() {
        return None;
    }
    let mut target = Target::spawn(c_target(program), &[] as &[&str]);
    let outlive = Outlive::attach(target.pid()).start();
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report();
    report.assert_no_losses();
    assert_equal(&report, &truth, program);
    assert!(target.finish().success(), "{program} was harmed");
    Some((report, truth, finished))
}

#[test]
fn single_thread_is_exact() {
    check("single");
}

#[test]
fn blocks_freed_by_other_threads_are_exact() {
    check("threads");
}

#[test]
fn realloc_in_all_its_forms_is_exact() {
    check("realloc_storm");
}

#[test]
fn every_entry_point_is_exact() {
    check("entry_points");
}

#[test]
fn forked_children_add_and_free_nothing() {
    check("fork");
}

#[test]
fn blocks_from_before_attach_are_counted_as_such() {
    if let Some((report, truth, _)) = check("before_attach") {
        let expected = truth["freed_unknown_blocks"].as_u64().expect("a number");
        assert_eq!(report.total("freed_unknown_blocks"), expected);
    }
}

#[test]
fn captures_give_the_report_again() {
    if let Some((report, _, finished)) = check("single") {
        let capture = finished.out.join("capture.outlive");
        let output = support::run_outlive(&[
            "report".as_ref(),
            capture.as_os_str(),
            "--format".as_ref(),
            "json".as_ref(),
        ]);
        let again: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
        assert_eq!(again["totals"], report.0["totals"]);
        assert_eq!(again["losses"], report.0["losses"]);
        assert_eq!(again["sites"], report.0["sites"]);
    }
}
