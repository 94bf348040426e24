//! A full live map is counted, reported, and adds up.
#![allow(missing_docs)]

mod support;

use support::{Outlive, Target, c_target, may_trace};

#[test]
fn kept_and_dropped_equal_the_truth() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("hold"), &["100000", "64"]);
    let outlive = Outlive::attach(target.pid()).args(&["--max-live", "10000"]).start();
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    assert_eq!(finished.code, Some(3), "lossy runs are inconclusive:\n{}", finished.stderr);

    let report = finished.report();
    let held = &truth["sites"][0];
    let kept = report.sum("live", &["hold_block"]);
    let dropped_blocks = report.loss("live_map_full_blocks");
    assert!(kept.blocks <= 10_000, "kept {} of at most 10000", kept.blocks);
    assert!(kept.blocks >= 9_000, "only {} kept, with room for 10000", kept.blocks);
    assert_eq!(kept.blocks + dropped_blocks, held["live_blocks"].as_u64().expect("blocks"));
    assert_eq!(
        kept.bytes + report.loss("live_map_full_bytes"),
        held["live_bytes"].as_u64().expect("bytes")
    );

    let text = finished.file("report.txt");
    let bare: String = text.chars().filter(|c| !matches!(c, ',' | '_' | '\'')).collect();
    assert!(bare.contains(&dropped_blocks.to_string()), "no word of {dropped_blocks}:\n{text}");
    assert!(target.finish().success());
}
