//! `outlive diff` of real captures: of two runs, of a program and its next version, and of two
//! moments of one run; the programs say themselves what they hold.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use support::{Outlive, Target, compile, may_trace, run_outlive, tests_dir};

/// `sides`, and the next version of it under another name.
fn program(is_next: bool) -> PathBuf {
    let source = tests_dir().join("targets/c/sides.c");
    match is_next {
        false => compile(&source, "sides", &["-pthread"]),
        true => compile(&source, "sides-next", &["-pthread", "-DEXTRA"]),
    }
}

/// Starts, watches one round, and returns the capture and the truth.
fn recorded(program: &Path, kept: u64, cached: u64, folder: &Path) -> (OsString, Value) {
    let mut target = Target::spawn(program, &[kept.to_string(), cached.to_string()]);
    let outlive = Outlive::attach(target.pid()).out(folder).start();
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    finished.assert_done();
    finished.report().assert_no_losses();
    (folder.join("capture.outlive").into(), truth)
}

fn diff(args: &[&OsString], options: &[&str]) -> Output {
    let mut all = vec![OsString::from("diff")];
    all.extend(args.iter().map(|arg| (*arg).clone()));
    all.extend(options.iter().map(OsString::from));
    run_outlive(&all)
}

fn diff_json(before: &OsString, after: &OsString) -> Value {
    let output = diff(&[before, after], &["--format", "json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What a program holds by its own account.
fn live_bytes(truth: &Value) -> i64 {
    let sites = truth["sites"].as_array().expect("sites");
    sites.iter().map(|site| site["live_bytes"].as_i64().expect("bytes")).sum()
}

/// Change and bytes of the place whose leaf is this function; it has to be the only one.
fn place<'a>(diff: &'a Value, function: &str) -> (&'a str, i64, &'a Value) {
    let sites = diff["sites"].as_array().expect("sites").iter();
    let found: Vec<_> = sites.filter(|site| site["frames"][0]["function"] == function).collect();
    assert_eq!(found.len(), 1, "{function}: {:#}", diff["sites"]);
    let change = found[0]["change"].as_str().expect("a word");
    (change, found[0]["change_bytes"].as_i64().expect("bytes"), found[0])
}

fn at(capture: &OsString, moment: &str) -> OsString {
    let mut named = capture.clone();
    named.push("@");
    named.push(moment);
    named
}

#[test]
fn two_runs_differ_by_what_they_hold() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let (before, truth) = recorded(&program(false), 100, 40, &folder.path().join("a"));
    let (after, later) = recorded(&program(false), 300, 10, &folder.path().join("b"));
    let found = diff_json(&before, &after);
    assert_eq!(found["totals"]["before"]["live_bytes"], live_bytes(&truth));
    assert_eq!(found["totals"]["after"]["live_bytes"], live_bytes(&later));
    assert_eq!(found["totals"]["change_bytes"], live_bytes(&later) - live_bytes(&truth));
    let (change, bytes, site) = place(&found, "kept_block");
    assert_eq!((change, bytes), ("grown", 200_000));
    assert_eq!(site["after"]["live_blocks"], 300);
    assert!(site["lines_before"].is_null(), "{site:#}");
    assert_eq!(&place(&found, "cached_block").0, &"shrunk");
    assert_eq!(found["sites"][0]["frames"][0]["function"], "kept_block", "largest first");

    let output = diff(&[&before, &after], &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("keep"), "{text}");
    assert!(!text.contains('\u{1b}'), "colour without a terminal: {text}");
    for (options, code) in [
        (["--fail-above", "1KiB"], 1),
        (["--fail-above", "1MiB"], 0),
        (["--fail-above", "soon"], 2),
    ] {
        let output = diff(&[&before, &after], &options);
        assert_eq!(output.status.code(), Some(code), "{options:?}: {output:?}");
    }
    let picture = folder.path().join("change.svg");
    let file = picture.to_str().expect("path");
    let output = diff(&[&before, &after], &["--format", "svg", "-o", file]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let picture = std::fs::read_to_string(picture).expect("change.svg");
    assert!(picture.contains("<svg") && picture.contains("kept_block (sides.c:"));
    let output = diff(&[&before, &after], &["--format", "folded"]);
    let folded = String::from_utf8_lossy(&output.stdout);
    assert!(folded.lines().any(|line| line.ends_with(" 100000 300000")), "{folded}");
}

#[test]
fn a_rebuilt_program_with_shifted_lines_is_the_same() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let (before, _) = recorded(&program(false), 100, 40, &folder.path().join("a"));
    let (after, _) = recorded(&program(true), 150, 40, &folder.path().join("b"));
    let found = diff_json(&before, &after);
    let (change, bytes, site) = place(&found, "kept_block");
    assert_eq!((change, bytes), ("grown", 50_000));
    let (line, line_before) = (&site["frames"][0]["line"], &site["lines_before"][0]);
    assert!(line.as_u64() > line_before.as_u64(), "{line} was {line_before}");
    let (change, bytes, _) = place(&found, "later_block");
    assert_eq!((change, bytes), ("new", 21_000));
    // The same as before, in spite of its line.
    assert_eq!(found["sites"].as_array().expect("sites").len(), 2, "{:#}", found["sites"]);
    let (gone, shrunk) = (&found["totals"]["gone"], &found["totals"]["shrunk"]);
    assert_eq!((&gone["sites"], &shrunk["sites"]), (&0.into(), &0.into()));
}

#[test]
fn two_moments_of_a_run_differ_by_what_came_between() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let mut target = Target::spawn(program(false), &["100", "40"]);
    let outlive = Outlive::attach(target.pid()).out(folder.path()).start();
    target.go();
    let first = live_bytes(&target.json());
    // Several ticks in which nothing happens: these are what the moments are asked about.
    std::thread::sleep(Duration::from_millis(1200));
    target.go();
    let second = live_bytes(&target.json());
    let finished = outlive.stop();
    finished.assert_done();
    let capture: OsString = folder.path().join("capture.outlive").into();

    let whole = diff_json(&at(&capture, "start"), &capture);
    assert_eq!(whole["totals"]["change_bytes"], second);
    assert_eq!(place(&whole, "kept_block").0, "new");
    assert_eq!(diff_json(&capture, &at(&capture, "start"))["totals"]["change_bytes"], -second);

    let report = finished.report();
    let window_ms = report.0["window"]["duration_ns"].as_u64().expect("a number") / 1_000_000;
    let mut seen = Vec::new();
    for moment_ms in (0..window_ms).step_by(200) {
        let found = diff_json(&at(&capture, &format!("{moment_ms}ms")), &at(&capture, "end"));
        assert_eq!(found["totals"]["after"]["live_bytes"], second);
        seen.push(found["totals"]["before"]["live_bytes"].as_i64().expect("bytes"));
    }
    // On a busy machine a tick may fall into the round, and see a block that it freed.
    let round = seen.iter().position(|live| *live == first);
    let round = round.unwrap_or_else(|| panic!("{seen:?} without the {first} of the first round"));
    assert!(seen[round..].is_sorted(), "{seen:?}");
}

fn check_refused(before: &OsString, after: &OsString, words: &[&str]) {
    let folder = tempfile::tempdir().expect("scratch folder");
    let file = folder.path().join("written");
    for format in ["text", "json", "folded", "svg"] {
        let options = ["--format", format, "-o", file.to_str().expect("path")];
        let output = diff(&[before, after], &options);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{before:?} {after:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(stderr.trim().lines().count() <= 2, "{stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "says not {words:?}: {stderr}");
        assert!(output.stdout.is_empty() && !file.exists(), "{before:?} {after:?}");
    }
}

#[test]
fn wrong_input_is_refused() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let (capture, _) = recorded(&program(false), 10, 10, &folder.path().join("a"));
    let path = |name: &str| folder.path().join(name).into_os_string();
    let missing = path("missing.outlive");
    check_refused(&capture, &missing, &["missing.outlive", "cannot be read"]);
    check_refused(&missing, &capture, &["missing.outlive", "cannot be read"]);
    check_refused(&missing, &at(&missing, "start"), &["cannot be read"]);
    std::fs::write(path("text"), "no capture").expect("write");
    check_refused(&capture, &path("text"), &["not an outlive capture"]);
    let whole = std::fs::read(&capture).expect("capture");
    std::fs::write(path("half"), &whole[..whole.len() / 2]).expect("write");
    check_refused(&path("half"), &capture, &["half", "truncated"]);

    check_refused(&capture, &capture, &["itself", "@start"]);
    check_refused(&capture, &at(&capture, "end"), &["itself"]);
    let around = folder.path().join("a/../a/capture.outlive").into_os_string();
    check_refused(&capture, &around, &["itself"]);
    check_refused(&capture, &at(&capture, "10h"), &["was watched for", "10 h 00 min"]);
    check_refused(&at(&capture, "10h"), &capture, &["was watched for", "10 h 00 min"]);
    for moment in ["soon", "", "90", "-5s"] {
        check_refused(&capture, &at(&capture, moment), &["no moment", "@start"]);
    }
    let outputs = [diff(&[&capture], &[]), diff(&[&capture, &missing], &["--format", "pprof"])];
    assert!(outputs.iter().all(|output| output.status.code() == Some(2)), "{outputs:?}");
}
