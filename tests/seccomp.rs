//! A target under a seccomp filter that kills is traced without harm, or refused: never killed.
#![allow(missing_docs)]

mod support;

use support::{Amount, Outlive, Target, c_target, may_trace, run_outlive};

/// Kernels that make return probes a system call begin with this release, and all let seccomp
/// filters pass it from the other on. Between them it depends on what was carried back.
const UNCERTAIN: std::ops::Range<(u32, u32)> = (6, 11)..(6, 14);

fn running_release() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
    let mut next = || numbers.next().flatten().expect("a number");
    (next(), next())
}

#[test]
fn a_sandboxed_target_is_exact_or_refused_but_never_harmed() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("sandboxed"), &[] as &[&str]);
    assert_eq!(target.json()["ready"], true);
    let pid = target.pid().to_string();
    let doctor = run_outlive(&["doctor", &pid]);
    if !doctor.status.success() {
        let said = String::from_utf8_lossy(&doctor.stdout);
        assert!(said.contains("kills threads at probes"), "{said}");
        assert!(UNCERTAIN.contains(&running_release()), "refused for nothing:\n{said}");
        let attach = run_outlive(&["attach", &pid, "--duration", "1s"]);
        let said = String::from_utf8_lossy(&attach.stderr);
        assert_eq!(attach.status.code(), Some(2), "{said}");
        assert!(said.contains("seccomp"), "{said}");
        target.go();
        target.json();
        assert!(target.finish().success(), "the target was harmed by a refusal");
        return;
    }
    let (report, truth, _) = Outlive::attach(target.pid()).watch(&mut target);
    report.assert_no_losses();
    for site in truth["sites"].as_array().expect("the truth has sites") {
        let name = site["function"].as_str().expect("a name");
        let number = |field: &str| site[field].as_u64().expect("a number");
        let expected = Amount { bytes: number("live_bytes"), blocks: number("live_blocks") };
        assert_eq!(report.sum("live", &[name]), expected, "live by {name}");
    }
    assert!(target.finish().success(), "the target was killed");
}
