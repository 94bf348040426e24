//! Live bytes and blocks by call site equal what C targets say about themselves.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use support::truth::{Place, assert_equal};
use support::{Finished, Outlive, Report, Target, c_target, may_trace};

fn check(program: &str) -> Option<(Report, Value, Finished)> {
    if !may_trace() {
        return None;
    }
    let mut target = Target::spawn(c_target(program), &[] as &[&str]);
    let (report, truth, finished) = Outlive::attach(target.pid()).watch(&mut target);
    report.assert_no_losses();
    assert_equal(&report, &truth, program, Place::Leaf);
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

/// Linux 6.18 rewrites a probed no-op of five bytes so that a forked child dies of it.
#[test]
fn forked_children_live_where_the_allocator_begins_with_a_no_op() {
    check("patchable");
}

#[test]
fn blocks_from_before_attach_are_counted_as_such() {
    if let Some((report, truth, _)) = check("before_attach") {
        let expected = truth["freed_unknown_blocks"].as_u64().expect("a number");
        assert_eq!(report.total("freed_unknown_blocks"), expected);
        let traffic = &report.0["traffic"];
        assert_eq!(traffic["freed_unknown_bytes"], truth["freed_unknown_bytes"]);
        assert_eq!(traffic["freed_unknown_unsized_blocks"], 0);
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
