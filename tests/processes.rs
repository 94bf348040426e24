//! Processes that start others, replace themselves, or live in namespaces of their own: every byte is
//! booked to whoever holds it.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::run::Run;
use support::{Amount, Outlive, Report, Target, c_target, may_trace, run_to_end, tests_dir};

/// What the target says of itself is what the report says.
fn assert_sites(report: &Report, truth: &Value) {
    for site in truth["sites"].as_array().expect("sites") {
        let name = site["function"].as_str().expect("a name");
        for field in ["live", "allocated", "freed"] {
            let number = |unit: &str| site[format!("{field}_{unit}")].as_u64().expect("a number");
            let expected = Amount { bytes: number("bytes"), blocks: number("blocks") };
            assert_eq!(report.sum(field, &[name]), expected, "{field} by {name}");
        }
    }
}

fn outlive() -> Command {
    Command::new(Outlive::binary())
}

fn check_starters(options: &[&str]) -> Option<Report> {
    if !may_trace() {
        return None;
    }
    let mut target = Target::spawn(c_target("starters"), &[] as &[&str]);
    let (report, truth, _) = Outlive::attach(target.pid()).args(options).watch(&mut target);
    report.assert_no_losses();
    assert_sites(&report, &truth);
    report.assert_processes_add_up();
    assert!(target.finish().success(), "the target was harmed");
    Some(report)
}

#[test]
fn children_that_are_not_followed_are_counted_and_said() {
    if let Some(report) = check_starters(&[]) {
        // posix_spawn, system (glibc's is a posix_spawn of a shell), vfork with exec, fork.
        assert_eq!(report.0["traffic"]["children_not_followed"], 4 * 12);
        let warnings = report.0["warnings"].as_array().expect("a list");
        let warning = warnings.iter().find(|w| w["code"] == "children-not-followed");
        let message = warning.expect("a warning")["message"].as_str().expect("text");
        assert!(message.contains("48 children"), "{message}");
    }
}

#[test]
fn children_that_come_and_go_do_not_upset_their_parent() {
    check_starters(&["--follow"]);
}

#[test]
fn threads_that_end_leave_room_for_others() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("short_threads"), &[] as &[&str]);
    let (report, truth, _) = Outlive::attach(target.pid()).watch(&mut target);
    report.assert_no_losses();
    assert_sites(&report, &truth);
}

#[test]
fn a_process_that_goes_on_without_its_first_thread_is_not_called_steady() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("first_thread"), &[] as &[&str]);
    let (report, truth, finished) = Outlive::attach(target.pid()).watch(&mut target);
    assert_eq!(truth["allocated"], 20);
    assert_eq!(report.loss("first_threads_ended"), 1);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    assert!(finished.stderr.contains("The first thread of process"), "{}", finished.stderr);
    assert!(target.finish().success());
}

fn check_exec(mode: &str) {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("reexec"), &[mode]);
    let mut outlive = Outlive::attach(target.pid()).start();
    target.go();
    outlive.wait_for("replaced its program (exec)");
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report();
    report.assert_no_losses();
    let after = truth["sites"][1].clone();
    assert_sites(&report, &serde_json::json!({ "sites": [after] }));
    let before = Amount { bytes: 5000 * 96, blocks: 5000 };
    assert_eq!(report.sum("allocated", &["hold_before"]), before);
    assert_eq!(report.sum("live", &["hold_before"]), Amount::default(), "of the old image");
    report.assert_processes_add_up();
    assert!(target.finish().success(), "the target was harmed");
}

#[test]
fn an_exec_ends_what_the_old_image_held() {
    check_exec("by_main");
}

#[test]
fn an_exec_by_another_thread_does_too() {
    check_exec("by_thread");
}

/// Python frames are back after an exec of Python by something else.
#[test]
fn python_is_walked_after_an_exec() {
    if !may_trace() {
        return;
    }
    let script = tests_dir().join("targets/python/chain.py");
    let shell = "read line; exec /usr/bin/python3 \"$0\"";
    let mut target = Target::spawn("/bin/sh", &["-c", shell, script.to_str().expect("UTF-8")]);
    let mut outlive = Outlive::attach(target.pid()).start();
    target.go();
    outlive.wait_for("replaced its program (exec)");
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report();
    let pid = u64::from(target.pid());
    for site in truth["sites"].as_array().expect("sites") {
        let leaf = &site["frames"][0];
        let (name, line) = (leaf[0].as_str().expect("a name"), leaf[2].as_u64().expect("a line"));
        assert!(report.held_by(pid, name, line).bytes > 0, "{name}:{line} holds nothing");
    }
    let exe = report.process(pid)["exe"].as_str().expect("a path");
    assert!(exe.contains("python3"), "{exe}");
    assert!(target.finish().success(), "the target was harmed");
}

fn check_pool(method: &str) {
    if !may_trace() {
        return;
    }
    let script = tests_dir().join("targets/python/pool.py");
    let script = script.to_str().expect("UTF-8");
    let mut run = Run::start(outlive(), &["--follow"], &["/usr/bin/python3", script, method]);
    let children = run.json();
    for child in children["children"].as_array().expect("a list") {
        run.outlive.wait_for(&format!("follows process {child},"));
    }
    run.go();
    let truth = run.json();
    // While the children live: what only they had in memory is gone with them.
    let finished = run.stop();
    finished.assert_done();
    let report = finished.report();
    assert_eq!(report.0["lossy"], serde_json::json!([]), "{}", finished.stderr);
    report.assert_processes_add_up();
    let line = truth["line"].as_u64().expect("a line");
    let mut sum = 0;
    for held in truth["held"].as_array().expect("a list") {
        let number = |name: &str| held[name].as_u64().expect("a number");
        let expected = Amount { bytes: number("bytes"), blocks: number("blocks") };
        assert_eq!(report.held_by(number("pid"), "hold", line), expected, "{held}");
        assert_eq!(report.process(number("pid"))["end"], "running");
        sum += expected.bytes;
    }
    assert_merged(&report, "hold", line, sum, 3);
}

/// The stacks that end in a Python line are one merged site or several, with this sum.
fn assert_merged(report: &Report, function: &str, line: u64, bytes: u64, processes: usize) {
    let merged = report.0["merged_sites"].as_array().expect("a list");
    let ends_there = |site: &&Value| {
        let frames = support::python_frames(site);
        frames.first().is_some_and(|(name, _, at)| name == function && *at == line)
    };
    let found: Vec<&Value> = merged.iter().filter(ends_there).collect();
    let sum: u64 = found.iter().map(|site| site["live_bytes"].as_u64().expect("bytes")).sum();
    assert_eq!(sum, bytes, "{found:#?}");
    let most = found.iter().map(|site| site["processes"].as_array().expect("a list").len()).max();
    assert_eq!(most, Some(processes), "{found:#?}");
}

#[test]
fn processes_of_multiprocessing_by_fork_have_their_own_numbers() {
    check_pool("fork");
}

#[test]
fn processes_of_multiprocessing_by_spawn_have_their_own_numbers() {
    check_pool("spawn");
}

/// A copy of the files that a program maps, below a root of its own.
fn root_with_its_own_libc(program: &Path, root: &Path) -> PathBuf {
    let mut list = Command::new("ldd");
    list.arg(program);
    let output = run_to_end(list);
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for library in libraries.map(Path::new) {
        let copy = root.join(library.strip_prefix("/").expect("absolute"));
        std::fs::create_dir_all(copy.parent().expect("a folder")).expect("make it");
        std::fs::copy(library, copy).expect("copy a library");
    }
    std::fs::copy(program, root.join("program")).expect("copy the program");
    PathBuf::from("/program")
}

/// In namespaces of its own, under a root where libc's path names another file.
#[test]
fn a_container_is_traced_from_outside_through_its_own_files() {
    if !may_trace() {
        return;
    }
    let root = tempfile::tempdir().expect("a folder");
    let program = root_with_its_own_libc(&c_target("single"), root.path());
    let mut contained = Command::new("unshare");
    contained.args(["--pid", "--mount", "--fork", "--kill-child", "--root"]).arg(root.path());
    contained.arg(program);
    let mut target = Target::from_command(contained);
    let inner = inner_process(target.pid());
    let outlive = Outlive::attach(inner).start();
    target.go();
    let truth = target.json();
    assert_eq!(truth["pid"], 1, "the target is not in a PID namespace of its own");
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report();
    report.assert_no_losses();
    assert_sites(&report, &truth);
    assert!(target.finish().success(), "the target was harmed");
}

/// The child of `unshare --fork`.
fn inner_process(unshare: u32) -> u32 {
    let path = format!("/proc/{unshare}/task/{unshare}/children");
    let mut child = None;
    support::eventually("unshare has a child that runs the program", || {
        let list = std::fs::read_to_string(&path).unwrap_or_default();
        child = list.split_whitespace().next().and_then(|word| word.parse().ok());
        child.is_some_and(|pid: u32| {
            let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            exe.ends_with("program")
        })
    });
    child.expect("found above")
}

/// `outlive` itself in a PID namespace: the kernel numbers processes otherwise than /proc there.
#[test]
fn outlive_works_inside_a_container() {
    if !may_trace() {
        return;
    }
    let mut contained = Command::new("unshare");
    contained.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(Outlive::binary());
    let mut run = Run::start(contained, &["--follow"], &[c_target("starters")]);
    run.go();
    let truth = run.json();
    assert!(truth["pid"].as_u64().expect("a number") < 100, "not in a PID namespace: {truth}");
    let finished = run.finish();
    finished.assert_done();
    let report = finished.report();
    report.assert_no_losses();
    assert_sites(&report, &truth);
}

#[test]
fn numbers_of_another_namespace_are_refused() {
    if !may_trace() {
        return;
    }
    let mut contained = Command::new("unshare");
    contained.args(["--pid", "--fork", "--kill-child"]).arg(Outlive::binary());
    contained.args(["attach", "1"]);
    let output = run_to_end(contained);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("another PID namespace"), "{said}");
}
