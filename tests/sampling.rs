//! Sampling stays true: what a sample says holds the truth within its errors, pairing is exact, and
//! whoever does not sample sees every block.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::Path;
use support::{Finished, Outlive, Report, Target, c_target, may_trace, run_outlive};

/// Functions of the target whose blocks have a size each.
const SITES: usize = 40;

/// What a site of which nothing was drawn holds, and how wrong that may be.
const UNSEEN: (f64, f64) = (0.0, 4.0 * 65_536.0);

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What the report says that a function of the target holds, and how wrong that may be; one that is
/// not there has nothing.
fn held(report: &Report, function: &str) -> (f64, f64) {
    let sites = report.sites().iter().filter(|site| support::leaf(site) == function);
    let parts = sites.map(|site| (number(&site["live_bytes"]), number(&site["live_bytes_error"])));
    parts.reduce(|a, b| (a.0 + b.0, a.1.hypot(b.1))).unwrap_or(UNSEEN)
}

fn sum(truth: &Value, field: &str) -> f64 {
    let sites = truth["sites"].as_array().expect("sites").iter();
    sites.map(|site| number(&site[field])).sum()
}

/// The sums are within four standard errors, which is nearly always so.
fn assert_sums(report: &Report, truth: &Value) {
    for field in ["live_bytes", "allocated_bytes"] {
        let (told, true_sum) = (report.total(field) as f64, sum(truth, field));
        let error = report.total(&format!("{field}_error")) as f64;
        assert!(error > 0.0 && error < true_sum, "{field} ± {error}");
        assert!(
            (told - true_sum).abs() <= 2.05 * error,
            "{field}: {told} ± {error}, in truth {true_sum}"
        );
    }
    let (told, blocks) = (report.total("live_blocks") as f64, sum(truth, "live_blocks"));
    assert!((told / blocks - 1.0).abs() < 0.6, "{told} blocks, in truth {blocks}");
}

fn assert_says_sampled(finished: &Finished, mean: &str) {
    let words = format!("one draw in {mean}");
    for file in ["report.txt", "live.svg", "growth.svg"] {
        let text = finished.file(file).replace("\n   ", " ");
        assert!(text.contains("from a sample") && text.contains(&words), "{file} is silent");
    }
    assert!(finished.file("report.txt").contains('±'));
}

/// What is told of the sites of the target, with its errors, holds the truth for nearly all of them.
fn assert_within(truth: &Value, told: impl Fn(&str) -> (f64, f64)) {
    let sites = truth["sites"].as_array().expect("sites");
    assert_eq!(sites.len(), SITES + 1);
    let within = sites.iter().filter(|site| {
        let (told, error) = told(site["function"].as_str().expect("a name"));
        (told - number(&site["live_bytes"])).abs() <= error
    });
    // 39 of 41 are expected at 95 %; fewer than 33 would come about once in ten thousand runs.
    let within = within.count();
    assert!(within >= 33, "{within} of {} sites hold the truth", sites.len());
}

#[test]
fn samples_hold_the_truth_within_their_errors() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("sampled"), &["hold"]);
    let outlive = Outlive::attach(target.pid()).args(&["--sample", "64KiB"]);
    let (report, truth, finished) = outlive.watch(&mut target);
    report.assert_no_losses();
    assert_eq!(report.0["sampling"]["mean_bytes"], 65_536);
    assert_eq!(report.0["regimes"][0]["sample_mean_bytes"], 65_536);
    assert_says_sampled(&finished, "64.0 KiB");
    assert_sums(&report, &truth);
    assert!(report.0["traffic"]["not_drawn_blocks"].as_u64().is_some_and(|count| count > 50_000));

    assert_within(&truth, |function| held(&report, function));
    assert_changes(&finished.out.join("capture.outlive"), &truth);
    assert!(target.finish().success());
}

#[test]
fn what_a_size_floor_leaves_out_is_not_taken_for_blocks_from_before() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("churn"), &["1"]);
    let outlive = Outlive::attach(target.pid()).args(&["--min-size", "64KiB"]).start();
    target.go();
    let were_freed = || target.json()["iterations"].as_u64().expect("a number") > 20_000;
    support::eventually("blocks were freed", were_freed);
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report();
    assert_eq!(report.total("allocated_blocks"), 0);
    assert_eq!(report.total("freed_unknown_blocks"), 0);
    assert!(report.total("freed_not_followed_blocks") > 10_000);
    assert!(target.finish().success());
}

/// From the beginning on, when nothing was live, to the end.
fn assert_changes(capture: &Path, truth: &Value) {
    let capture = capture.display().to_string();
    let output = run_outlive(&["diff", &format!("{capture}@start"), &capture, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let diff: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let places = diff["sites"].as_array().expect("places");
    assert_within(truth, |function| {
        let place = places.iter().find(|place| place["frames"][0]["function"] == function);
        place.map_or(UNSEEN, |place| {
            (number(&place["change_bytes"]), number(&place["change_bytes_error"]))
        })
    });
    let totals = &diff["totals"];
    let (told, error) = (number(&totals["change_bytes"]), number(&totals["change_bytes_error"]));
    let grew = sum(truth, "live_bytes");
    assert!((told - grew).abs() <= 2.05 * error, "{told} ± {error}, in truth {grew}");
}

#[test]
fn nothing_is_live_of_a_sample_that_was_freed() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("sampled"), &["free"]);
    let outlive = Outlive::attach(target.pid()).args(&["--sample", "16KiB"]).start();
    for _ in 0..2 {
        target.go();
        target.json();
    }
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report();
    report.assert_no_losses();
    for field in ["live_bytes", "live_blocks", "freed_unknown_blocks"] {
        assert_eq!(report.total(field), 0, "{field}");
    }
    assert!(report.total("allocated_bytes") > 10 << 20);
    assert_eq!(report.total("allocated_bytes"), report.total("freed_bytes"));
    assert_eq!(report.total("allocated_blocks"), report.total("freed_blocks"));
    assert!(report.total("freed_not_followed_blocks") > 50_000);
    assert!(report.sites().iter().all(|site| site["live_bytes"] == 0));
    assert!(target.finish().success());
}

#[test]
fn without_a_sample_every_block_is_seen() {
    if !may_trace() {
        return;
    }
    for args in [&["--exact"][..], &[]] {
        let mut target = Target::spawn(c_target("sampled"), &["hold"]);
        let (report, truth, _) = Outlive::attach(target.pid()).args(args).watch(&mut target);
        report.assert_no_losses();
        support::truth::assert_equal(&report, &truth, "sampled", support::truth::Place::Leaf);
        assert_eq!(report.0["sampling"], Value::Null);
        assert_eq!(report.0["totals"]["live_bytes_error"], Value::Null);
        assert_eq!(report.0["traffic"]["not_drawn_blocks"], 0);
        assert!(report.sites().iter().all(|site| site["live_bytes_error"].is_null()));
        assert!(target.finish().success());
    }
}

#[test]
fn a_sampled_leak_is_found_and_its_rate_holds_the_truth() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("sampled"), &["leak"]);
    let args = ["--sample", "16KiB", "--duration", "14s"];
    let outlive = Outlive::attach(target.pid()).args(&args).start();
    target.go();
    let finished = outlive.wait();
    target.go();
    let truth = target.json();
    let report = finished.report();
    report.assert_no_losses();
    let growing = report.growing();
    let names: Vec<&str> = growing.iter().map(|site| support::leaf(site)).collect();
    assert_eq!(names, ["leak_block"], "{}", finished.file("report.txt"));
    let rate = &growing[0]["growth_bytes_per_s"];
    let [low, estimate, high] = ["low", "estimate", "high"].map(|name| number(&rate[name]));
    let leaked = number(&truth["leaked_bytes"]) / number(&truth["seconds"]);
    // At twice the width of 95 %, which is nearly always so.
    assert!(
        leaked >= estimate - 2.0 * (estimate - low) && leaked <= estimate + 2.0 * (high - estimate),
        "{low} .. {high}, in truth {leaked}"
    );
    // About 500 blocks are drawn: ± 9 %, and what a tick more or less does.
    assert!(high - low < 0.6 * leaked, "{low} .. {high} says little of {leaked}");
    assert!(finished.file("report.txt").contains("leak_block"));
    assert!(target.finish().success());
}

#[test]
fn regimes_change_at_run_time_and_pairing_stays_exact() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("sampled"), &["hold"]);
    let args = ["--sample-at", "1s=16KiB", "--sample-at", "4s=0"];
    let mut outlive = Outlive::attach(target.pid()).args(&args).start();
    target.go();
    target.json();
    outlive.wait_until_said("a sample of blocks");
    target.go();
    target.json();
    outlive.wait_until_said("every block is followed");
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report();
    // Nobody can be between two regimes but for an instant: nothing allocates then.
    report.assert_no_losses();
    let regimes = report.0["regimes"].as_array().expect("regimes");
    let means: Vec<u64> =
        regimes.iter().map(|regime| regime["sample_mean_bytes"].as_u64().expect("bytes")).collect();
    assert_eq!(means, [0, 16_384, 0]);
    assert!(
        regimes.windows(2).all(|pair| number(&pair[0]["began_ns"]) < number(&pair[1]["began_ns"]))
    );
    assert_sums(&report, &truth);
    assert!(finished.file("report.txt").contains("every block was followed"));

    // The recording says the same.
    let capture = finished.out.join("capture.outlive");
    let replayed =
        support::run_outlive(&["report", capture.to_str().expect("a path"), "--format", "json"]);
    let replayed: Value = serde_json::from_slice(&replayed.stdout).expect("a report");
    assert_eq!(replayed["regimes"], report.0["regimes"]);
    assert_eq!(replayed["totals"], report.0["totals"]);
    assert!(target.finish().success());
}
