//! Many stacks, threads and mappings at once: nothing is lost, and reports say what they leave out.
#![allow(missing_docs)]

mod support;

use std::time::Instant;
use support::{Outlive, Target, c_target, may_trace, run_outlive};

const STACKS: u64 = 12_000;
/// What report.json has at most.
const SITES_IN_JSON: u64 = 10_000;

#[test]
fn thousands_of_stacks_of_many_threads_are_all_counted() {
    if !may_trace() {
        return;
    }
    let stacks = STACKS.to_string();
    let mut target = Target::spawn(c_target("scale"), &[stacks.as_str(), "64", "2000", "4000"]);
    let (report, truth, finished) = Outlive::attach(target.pid()).watch(&mut target);
    assert!(target.finish().success(), "the target was harmed");
    report.assert_no_losses();
    let told = report.sum("live", &["keep"]);
    let left_out = &report.0["sites_left_out"];
    let number = |name: &str| left_out[name].as_u64().expect("a number");
    assert_eq!(report.sites().len() as u64, SITES_IN_JSON);
    assert!(number("count") >= STACKS - SITES_IN_JSON, "{left_out}");
    // What is left out is the least, and the threads' own blocks may be among it.
    let kept = &truth["sites"][0];
    let blocks = told.blocks + number("live_blocks");
    assert!(told.blocks <= STACKS && blocks >= STACKS, "{blocks}");
    let live: u64 = report.sites().iter().map(|s| s["live_bytes"].as_u64().expect("bytes")).sum();
    assert_eq!(live + number("live_bytes"), report.total("live_bytes"));
    assert!(report.total("live_bytes") >= kept["live_bytes"].as_u64().expect("bytes"));

    let began = Instant::now();
    let capture = finished.out.join("capture.outlive");
    let args = ["report".as_ref(), capture.as_os_str(), "--format".as_ref(), "folded".as_ref()];
    let output = run_outlive(&args);
    eprintln!("{STACKS} stacks: folded from the capture in {:?}", began.elapsed());
    let folded = String::from_utf8_lossy(&output.stdout).into_owned();
    let kept: u64 = folded
        .lines()
        .filter(|line| line.contains(";keep"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(kept, truth["sites"][0]["live_bytes"].as_u64().expect("bytes"));
}
