//! The governor holds its budget on real probes, by what targets say was taken from them: a unit of
//! their work cost so much CPU time before outlive came, and costs so much now.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use support::{Finished, Outlive, Report, Target, c_target, may_trace};

/// What the target's own measure may be wrong by, as a share of its time: processors of a shared
/// machine are not the same from one second to the next.
const TOLERANCE: f64 = 0.02;
/// The usual budget, as a target may measure it.
const MOST: f64 = 0.05 + TOLERANCE;
const WINDOW_NS: u64 = 10_000_000_000;

/// An interval of the target's work.
#[derive(Clone, Copy, Debug)]
struct Interval {
    at_ns: u64,
    units: f64,
    cpu_ns: f64,
}

struct Run {
    unit_ns: f64,
    intervals: Vec<Interval>,
    finished: Finished,
    report: Report,
}

fn run(mode: &str, seconds: u32, arguments: &[&str]) -> Option<Run> {
    if !may_trace() {
        return None;
    }
    let mut target = Target::spawn(c_target("governed"), &[mode, &seconds.to_string()]);
    target.go();
    let unit_ns = target.json()["unit_ns"].as_f64().expect("a number");
    let outlive = Outlive::attach_governed(target.pid()).args(arguments).start();
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    finished.assert_done();
    assert!(target.finish().success(), "the target was harmed");
    let number = |value: &Value| value.as_u64().expect("a number");
    let intervals = truth["intervals"].as_array().expect("a list");
    let intervals = intervals.iter().map(|interval| Interval {
        at_ns: number(&interval[0]),
        units: number(&interval[1]) as f64,
        cpu_ns: number(&interval[2]) as f64,
    });
    let run = Run { unit_ns, intervals: intervals.collect(), report: finished.report(), finished };
    eprintln!(
        "{mode}: unit {:.0} ns, worst ten seconds {:.4}, all {:.4}\n{:#}\n{:#}\n{}",
        run.unit_ns,
        run.worst(),
        run.taken(0, u64::MAX),
        run.governor(),
        run.report.0["overhead"],
        run.finished.stderr,
    );
    Some(run)
}

/// One that holds its budget of five percent. Where the first does not, another says whether that was
/// the machine: an overrun of the governor's comes again.
fn held(mode: &str, seconds: u32) -> Option<Run> {
    let first = run(mode, seconds, &[])?;
    let run = if first.worst() <= MOST { first } else { run(mode, seconds, &[])? };
    assert!(run.worst() <= MOST, "{}", run.worst());
    Some(run)
}

impl Run {
    fn governor(&self) -> &Value {
        &self.report.0["governor"]
    }

    fn steps(&self) -> Vec<&str> {
        let steps = self.governor()["steps"].as_array().expect("a list");
        steps.iter().map(|step| step["step"].as_str().expect("a name")).collect()
    }

    /// What was taken from the target in a stretch of its work: CPU time beyond that of its units,
    /// of the larger of its CPU time and one core's.
    fn taken(&self, from_ns: u64, until_ns: u64) -> f64 {
        let (mut lost, mut used, mut length, mut last) = (0.0, 0.0, 0.0, 0);
        for interval in &self.intervals {
            if interval.at_ns > from_ns && interval.at_ns <= until_ns {
                lost += interval.cpu_ns - interval.units * self.unit_ns;
                used += interval.cpu_ns;
                length += (interval.at_ns - last) as f64;
            }
            last = interval.at_ns;
        }
        lost / used.max(length)
    }

    fn units(&self) -> f64 {
        self.intervals.iter().map(|interval| interval.units).sum()
    }

    fn worst(&self) -> f64 {
        let begins = self.intervals.iter().map(|interval| interval.at_ns);
        let end = self.intervals.last().expect("intervals").at_ns;
        let begins = begins.filter(|begin| begin + WINDOW_NS <= end);
        begins.map(|begin| self.taken(begin, begin + WINDOW_NS)).fold(f64::MIN, f64::max)
    }
}

#[test]
fn a_target_whose_rate_jumps_by_a_thousand_keeps_its_time() {
    let Some(run) = held("jumping", 40) else { return };
    assert!(run.steps().contains(&"windows"), "{:?}", run.steps());
}

#[test]
fn a_target_that_is_too_hot_all_the_time_is_watched_in_windows() {
    let Some(run) = held("hot", 30) else { return };
    let governor = run.governor();
    assert!(run.steps().contains(&"windows"), "{governor}");
    assert!(governor["pauses"].as_u64().expect("a number") >= 2, "{governor}");
    assert!(governor["paused_ns"].as_u64().expect("a number") > 15_000_000_000, "{governor}");
    // Said while it happens, in the report, and in the capture.
    assert!(run.finished.stderr.contains("in windows only"), "{}", run.finished.stderr);
    assert!(run.finished.file("report.txt").contains("in windows only"));
    let capture = run.finished.out.join("capture.outlive");
    let replayed = support::run_outlive(&[
        "report".as_ref(),
        capture.as_os_str(),
        "--format".as_ref(),
        "json".as_ref(),
    ]);
    let replayed: Value = serde_json::from_slice(&replayed.stdout).expect("JSON");
    assert_eq!(replayed["governor"], *governor);
    // A pause is no loss of numbers that were promised, and no growth goes across it.
    assert_eq!(run.report.0["lossy"], serde_json::json!([]), "{:#}", run.report.0["losses"]);
    assert_eq!(run.report.0["findings"], serde_json::json!([]));
    assert_ne!(run.report.0["verdict"]["status"], "steady");
}

#[test]
fn a_target_that_calms_down_is_followed_as_asked_for_again() {
    let Some(run) = held("calming", 45) else { return };
    assert_eq!(run.steps().last(), Some(&"as-asked"), "{:?}", run.steps());
    assert_eq!(run.report.0["lossy"], serde_json::json!([]), "{:#}", run.report.0["losses"]);
}

#[test]
fn a_cool_target_is_followed_as_asked_for() {
    let Some(run) = run("cool", 12, &[]) else { return };
    assert_eq!(run.steps(), [""; 0]);
    assert_eq!(run.governor()["budget_share"], 0.05);
    assert_eq!(run.report.total("allocated_blocks"), run.units() as u64);
    assert_eq!(run.report.total("live_blocks"), 0);
}

#[test]
fn whatever_it_costs_is_what_was_asked_for() {
    for arguments in [&["--max-overhead", "off"], &["--exact", "--no-heap"]] {
        let Some(run) = run("hot", 5, arguments) else { return };
        assert_eq!(*run.governor(), Value::Null);
        assert!(run.taken(0, u64::MAX) > 0.3, "nothing was hot");
        assert_eq!(run.report.total("allocated_blocks"), run.units() as u64);
    }
}

#[test]
fn blocks_freed_while_the_probes_go_out_are_not_told_as_live() {
    if !may_trace() {
        return;
    }
    let mut have_forgotten = 0;
    // The probes are known to be too dear after 0.15 to 0.5 s, and go within another half of a second;
    // all blocks that are followed by then are freed later than that.
    for duration in ["300ms", "450ms", "600ms", "750ms"].into_iter().cycle().take(8) {
        let mut target = Target::spawn(c_target("governed"), &["ring", "4"]);
        target.go();
        target.json();
        target.go();
        let outlive = Outlive::attach_governed(target.pid()).args(&["--duration", duration]);
        let report = outlive.start().wait().report();
        target.json();
        assert!(target.finish().success(), "the target was harmed");
        let governor = &report.0["governor"];
        if governor["pauses"] == 0 {
            continue;
        }
        // Whether those live that did when it began is not known, and none is followed in it.
        assert_eq!(report.total("live_blocks"), 0, "{duration}: {governor}");
        // On a busy machine the probes may be known to be too dear before all of them are in.
        have_forgotten += u32::from(governor["forgotten_blocks"].as_u64().expect("a number") > 0);
        if have_forgotten == 3 {
            return;
        }
    }
    assert!(have_forgotten > 0, "no session had anything to forget");
}

/// A block in `deep`, bytes, and the mean distance of its samples.
const LARGE_BYTES: f64 = 1000.0;
const SAMPLED_BYTES: f64 = 65_536.0;

#[test]
fn a_target_that_is_a_little_too_dear_is_sampled() {
    // New stacks are dear at first: it may be watched in windows until that is over.
    let Some(run) = held("deep", 45) else { return };
    assert_eq!(run.steps().last(), Some(&"sampled"), "{}", run.governor());
    assert_eq!(run.report.0["lossy"], serde_json::json!([]), "{:#}", run.report.0["losses"]);
    if run.governor()["paused_ns"] != 0 {
        return;
    }
    // Each draw stands for those that were not drawn: right on average, within five standard errors.
    let (known, found) = (run.units() * LARGE_BYTES, run.report.total("allocated_bytes") as f64);
    let margin = 5.0 * (known * SAMPLED_BYTES).sqrt();
    assert!((found - known).abs() <= margin, "{found} and not {known} ± {margin}");
    assert!(found != known, "nothing was sampled");
}

#[test]
fn a_target_whose_mappings_alone_are_too_dear_is_left_alone() {
    let Some(run) = run("mapping", 40, &[]) else { return };
    assert_eq!(run.steps().last(), Some(&"detached"), "{}", run.governor());
    assert_eq!(run.report.0["end"], "too-dear");
    // It says so, and is not taken for a verdict.
    assert!(run.finished.stderr.contains("all probes are taken out"), "{}", run.finished.stderr);
    assert_eq!(run.finished.code, Some(3));
    assert!(run.finished.file("report.txt").contains("--max-overhead"));
    // From then on the target has all of its time again.
    let end = run.intervals.last().expect("intervals").at_ns;
    let taken = run.taken(end - WINDOW_NS, end);
    // With the probes it was more than half; its units are not the same from one second to the next.
    assert!(taken <= 0.15, "{taken}");
}
