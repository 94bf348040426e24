//! The fast lane of `outlive run --sample`: the same numbers as by probes, a command that does not
//! notice, and a price of a few nanoseconds.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::process::Command;
use support::run::Run;
use support::{Finished, Outlive, Report, Target, c_target, compile, may_trace, tests_dir};

/// Mean distance of the samples, bytes, and as an option.
const MEAN_BYTES: f64 = 16_384.0;
const SAMPLE: [&str; 2] = ["--sample", "16KiB"];

fn outlive() -> Command {
    Command::new(Outlive::binary())
}

fn run(command: Command, more: &[&str], program: &[&str]) -> Run {
    Run::start(command, &[&SAMPLE, more].concat(), program)
}

fn text(path: &std::path::Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Whether the capture and the report say that the sample was drawn inside the command.
fn is_in_lane(finished: &Finished) -> bool {
    finished.report().0["lane"]["taken"] == true
}

/// Runs a C target that follows the protocol to its end: the report, and its truth.
fn told(more: &[&str], program: &str) -> (Finished, Value) {
    let mut run = run(outlive(), more, &[&text(&c_target(program))]);
    run.go();
    let mut truth = run.json();
    while truth["sites"].is_null() {
        truth = run.json();
    }
    let finished = run.finish();
    finished.assert_done();
    (finished, truth)
}

/// Five standard errors of an estimate of `bytes`, at most: a block of size s adds s^2 (1 - p) / p to
/// the variance, which is never more than s times the mean distance.
fn margin(bytes: f64) -> f64 {
    5.0 * (bytes * MEAN_BYTES).sqrt()
}

fn assert_near(report: &Report, truth: &Value, program: &str) {
    for site in truth["sites"].as_array().expect("sites") {
        let name = site["function"].as_str().expect("a name");
        let aliases: Vec<&str> = site["alias"].as_str().expect("names").split('|').collect();
        let names: Vec<&str> = [&[name][..], &aliases].concat();
        for field in ["live", "allocated", "freed"] {
            let known = site[format!("{field}_bytes")].as_f64().expect("bytes");
            let found = report.sum(field, &dedup(&names)).bytes as f64;
            assert!(
                (found - known).abs() <= margin(known),
                "{program}: {field} by {name}: {found} and not {known} ± {}",
                margin(known)
            );
        }
    }
}

fn dedup<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn both_paths_say_what_c_programs_know() {
    if !may_trace() {
        return;
    }
    for program in ["single", "threads", "realloc_storm", "entry_points"] {
        for (more, in_lane) in [(&[][..], true), (&["--no-lane"][..], false)] {
            let (finished, truth) = told(more, program);
            assert_eq!(is_in_lane(&finished), in_lane, "{program}: {}", finished.stderr);
            finished.report().assert_no_losses();
            let set_full = &finished.report().0["losses"]["lane_set_full_blocks"];
            assert_eq!(set_full.as_u64(), in_lane.then_some(0), "{program}");
            assert_near(&finished.report(), &truth, program);
        }
    }
}

#[test]
fn both_paths_say_what_a_python_program_knows() {
    if !may_trace() {
        return;
    }
    // Blocks of more than 512 bytes come from malloc.
    let script = "
import sys, json
def keep(n): return bytes(n)
def pass_by(n): return bytes(n)
sys.stdin.readline()
kept = [keep(1000 + i % 5000) for i in range(20000)]
passed = sum(sys.getsizeof(pass_by(3000)) for _ in range(50000))
print(json.dumps({'kept': sum(map(sys.getsizeof, kept)), 'passed': passed}), flush=True)
sys.stdin.readline()
";
    for (more, in_lane) in [(&[][..], true), (&["--no-lane"][..], false)] {
        // The interpreter itself: what PATH has may be a script that starts one.
        let mut run = run(outlive(), more, &["/usr/bin/python3", "-c", script]);
        run.go();
        let truth = run.json();
        // Before it ends, and frees.
        let finished = run.stop();
        finished.assert_done();
        assert_eq!(is_in_lane(&finished), in_lane);
        let report = finished.report();
        report.assert_no_losses();
        let sum = |field: &str, function: &str| -> f64 {
            let by = |site: &&Value| support::python_frames(site).iter().any(|f| f.0 == function);
            let sites = report.sites().iter().filter(by);
            sites.map(|site| site[field].as_f64().expect("bytes")).sum()
        };
        for (field, function, known) in [
            ("live_bytes", "keep", &truth["kept"]),
            ("allocated_bytes", "pass_by", &truth["passed"]),
        ] {
            let known = known.as_f64().expect("bytes");
            let found = sum(field, function);
            assert!((found - known).abs() <= margin(known), "{function}: {found} {known}");
        }
    }
}

#[test]
fn blocks_are_paired_exactly_and_the_command_is_left_as_it_is() {
    if !may_trace() {
        return;
    }
    let mut run = run(outlive(), &[], &[&text(&c_target("lane"))]);
    run.go();
    let found = run.json();
    let truth = run.json();
    let finished = run.finish();
    finished.assert_done();
    assert!(is_in_lane(&finished), "{}", finished.stderr);
    assert_eq!(found["look"], 0, "LD_PRELOAD, or a descriptor, is left: {found}");
    assert_eq!(found["mapped"], 1, "the library is not there: {found}");
    for child in ["forked", "executed", "vforked"] {
        assert_eq!(found[child], 0, "{found}");
    }
    let report = finished.report();
    report.assert_no_losses();
    assert_near(&report, &truth, "lane");
    let passing = report.sum("live", &["make_passing"]);
    assert_eq!((passing.bytes, passing.blocks), (0, 0), "all was freed");
    assert!(report.sum("allocated", &["make_passing"]).blocks > 0);
    // Blocks of 64 mean distances are drawn in any case; what malloc maps for them is no mapping of
    // the program's, and what the program maps is all there.
    for (function, blocks) in [("make_large", 40), ("map_own", 10)] {
        let live = report.sum("live", &[function]);
        assert_eq!((live.bytes, live.blocks), (blocks << 20, blocks), "{function}");
    }
    let in_malloc = report.sites().iter().filter(|site| {
        site["frames"].as_array().expect("frames").iter().any(|frame| {
            frame["module"].as_str().is_some_and(|module| module.contains("outlive-lane"))
        })
    });
    assert_eq!(in_malloc.count(), 0, "the library is on a stack");
}

#[test]
fn what_was_preloaded_before_stays_and_reaches_what_the_command_starts() {
    if !may_trace() {
        return;
    }
    let mut command = outlive();
    command.env("LD_PRELOAD", "libm.so.6").env("EXPECTED_PRELOAD", "libm.so.6");
    let mut run = run(command, &[], &[&text(&c_target("lane"))]);
    run.go();
    let found = run.json();
    let finished = run.finish();
    assert!(is_in_lane(&finished), "{}", finished.stderr);
    assert_eq!((&found["look"], &found["executed"]), (&0.into(), &0.into()), "{found}");
}

#[test]
fn forked_children_are_followed_in_the_lane() {
    if !may_trace() {
        return;
    }
    let (finished, truth) = told(&["--follow"], "fork");
    assert!(is_in_lane(&finished), "{}", finished.stderr);
    assert_eq!(finished.report().0["losses"]["address_reused"], 0);
    assert!(truth["sites"].is_array());
}

/// The child of outlive that is this program, and no guardian.
fn the_command(outlive: u32, program: &str) -> u32 {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let children = read(format!("/proc/{outlive}/task/{outlive}/children"));
    let mut children = children.split_whitespace().map(|pid| pid.parse().expect("a number"));
    let is_command = |pid: &u32| read(format!("/proc/{pid}/comm")).trim() == program;
    children.find(is_command).expect("the command runs")
}

#[test]
fn a_command_outlives_its_tracer() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let mut command = outlive();
    command.args(["run", "--sample", "16KiB", "--duration", "1s", "--interval", "200ms", "--out"]);
    command.arg(folder.path().join("out")).arg("--").arg(c_target("lane")).arg("outlived");
    command.stderr(std::process::Stdio::null());
    let mut target = Target::from_command(command);
    target.go();
    assert_eq!(target.json()["working"], true);
    let child = the_command(target.pid(), "lane");
    support::eventually("outlive has ended", || !target.is_running());
    assert!(folder.path().join("out/report.json").exists());
    // It works on with the library, then ends as it should: its stdin is ours.
    target.go();
    support::eventually("the command has ended by itself", || {
        std::fs::read_to_string(format!("/proc/{child}/stat"))
            .map_or(true, |stat| stat.contains(") Z"))
    });
}

#[test]
fn programs_that_the_lane_cannot_serve_are_sampled_by_probes_and_say_so() {
    if !may_trace() {
        return;
    }
    let source = tests_dir().join("targets/c/single.c");
    let is_static = compile(&source, "single-static", &["-static"]);
    let is_jemalloc = compile(&source, "single-jemalloc", &["-ljemalloc"]);
    for (program, reason) in
        [(is_static, "was not loaded"), (is_jemalloc, "an allocator of its own")]
    {
        let mut run = run(outlive(), &[], &[&text(&program)]);
        run.go();
        let truth = run.json();
        let finished = run.finish();
        finished.assert_done();
        assert!(!is_in_lane(&finished));
        let report = finished.report();
        assert!(report.0["lane"]["reason"].as_str().expect("a reason").contains(reason));
        assert!(finished.stderr.contains("The fast lane was not taken"), "{}", finished.stderr);
        assert_near(&report, &truth, "single");
    }
}

#[test]
fn a_command_that_replaces_its_program_is_sampled_by_probes_and_says_so() {
    if !may_trace() {
        return;
    }
    let mut run = run(outlive(), &[], &["/usr/bin/env", &text(&c_target("single"))]);
    // Its probes are in when the next line about it is said.
    run.outlive.wait_for("the command replaced its program by another (exec)");
    run.outlive.wait_for("What the new one");
    run.go();
    let truth = run.json();
    let finished = run.finish();
    finished.assert_done();
    assert!(!is_in_lane(&finished));
    assert_near(&finished.report(), &truth, "single");
}

/// Soft limit of a process on its descriptors.
fn most_descriptors(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).expect("a number")
}

#[test]
fn a_command_that_is_started_a_second_time_keeps_its_limits() {
    if !may_trace() {
        return;
    }
    let source = tests_dir().join("targets/c/single.c");
    let program = compile(&source, "single-static", &["-static"]);
    let mut limited = outlive();
    // SAFETY: two bare system calls on a structure of ours, between fork and exec.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut limited, || {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            limit.rlim_cur = 500;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            Ok(())
        });
    }
    let mut run = run(limited, &[], &[&text(&program)]);
    assert!(most_descriptors(run.outlive.pid()) > 500, "outlive has not raised its own limit");
    assert_eq!(most_descriptors(the_command(run.outlive.pid(), "single-static")), 500);
    run.go();
    run.finish().assert_done();
}

#[test]
fn without_a_sample_there_is_no_lane() {
    if !may_trace() {
        return;
    }
    let mut run = Run::start(outlive(), &[], &[text(&c_target("lane"))]);
    run.go();
    let found = run.json();
    assert_eq!(found["mapped"], 0, "{found}");
    let finished = run.finish();
    assert!(finished.report().0["lane"].is_null());
}

/// The price of a pair: what issue 7 asks for.
const MOST_NS: f64 = 10.0;
const ROUNDS: usize = 9;

#[test]
fn a_pair_that_is_not_drawn_costs_ten_nanoseconds_at_most() {
    if !may_trace() {
        return;
    }
    let pair = compile(&tests_dir().join("targets/bench/pair.c"), "pair", &[]);
    let mut plain = Target::spawn(&pair, &[] as &[&str]);
    let mut command = outlive();
    // A pair in a million is drawn.
    command.args(["run", "--sample", "64MiB", "--no-heap", "--"]).arg(&pair);
    command.stderr(std::process::Stdio::null());
    let mut in_lane = Target::from_command(command);
    assert!(plain.line().starts_with("ready") && in_lane.line().starts_with("ready"));
    let round = |target: &mut Target| -> f64 {
        target.write("round 10\n");
        target.line().parse().expect("nanoseconds")
    };
    // Side by side, so that what else the machine does meets both.
    let pairs: Vec<(f64, f64)> =
        (0..ROUNDS).map(|_| (round(&mut plain), round(&mut in_lane))).collect();
    let mut more: Vec<f64> = pairs.iter().map(|(plain, in_lane)| in_lane - plain).collect();
    more.sort_by(f64::total_cmp);
    println!("a pair untraced and in the lane, ns: {pairs:?}");
    assert!(more[ROUNDS / 2] <= MOST_NS, "{:.1} ns more: {pairs:?}", more[ROUNDS / 2]);
    assert!(plain.finish().success());
    in_lane.finish();
}
