//! Python's small objects: exact where they are followed one by one, and their arenas named where
//! they are not.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Amount, Finished, Outlive, Report, Target, may_trace, python_frames, tests_dir};

fn program() -> PathBuf {
    tests_dir().join("targets/python/objects.py")
}

/// Bytes and blocks live at sites whose innermost Python frame is this function.
fn held_by(report: &Report, function: &str, domain: Option<&str>) -> Amount {
    let mut sum = Amount::default();
    for site in report.sites() {
        let innermost = python_frames(site).into_iter().next();
        let is_it = innermost.is_some_and(|(name, ..)| name == function)
            && domain.is_none_or(|domain| site["domain"] == domain);
        if is_it {
            sum.bytes += site["live_bytes"].as_u64().expect("a number of bytes");
            sum.blocks += site["live_blocks"].as_u64().expect("a number of blocks");
        }
    }
    sum
}

fn assert_held(report: &Report, truth: &Value, domain: &str) {
    for site in truth["sites"].as_array().expect("the truth has sites") {
        let function = site["function"].as_str().expect("a name");
        let expected = Amount {
            bytes: site["bytes"].as_u64().expect("bytes"),
            blocks: site["blocks"].as_u64().expect("blocks"),
        };
        assert_eq!(held_by(report, function, Some(domain)), expected, "{function}");
        // Nothing of it is counted a second time in libc.
        assert_eq!(held_by(report, function, None), expected, "{function}, all domains");
    }
}

/// A target reads its line with read(0, ...), system call 0.
fn wait_until_it_reads(pid: u32) {
    support::eventually("the target waits for its line", || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/syscall"));
        text.unwrap_or_default().starts_with("0 0x0 ")
    });
}

/// Attaches to the program while it waits, and lets it work.
fn attached(interpreter: &Path, arguments: &[&str]) -> (Finished, Value) {
    let mut target = Target::spawn(interpreter, &[program()]);
    wait_until_it_reads(target.pid());
    let outlive = Outlive::attach(target.pid()).args(arguments).start();
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    finished.assert_done();
    assert!(target.finish().success(), "{interpreter:?} was harmed");
    (finished, truth)
}

/// CPython 3.11 and 3.12 as pyenv builds them: not optimised by profile.
fn plain_builds() -> Vec<PathBuf> {
    let root = Command::new("pyenv").arg("root").output().ok();
    let root = root.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let versions = Path::new(&root.unwrap_or_default()).join("versions");
    let mut found: Vec<PathBuf> = std::fs::read_dir(versions)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|version| {
            let name = version.file_name();
            let name = name.to_string_lossy();
            name.starts_with("3.11.") || name.starts_with("3.12.")
        })
        .map(|version| version.path().join("bin/python3"))
        .collect();
    found.sort();
    found
}

#[test]
fn a_command_takes_its_objects_from_libc_and_each_is_seen() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let (out, truth) = (folder.path().join("out"), folder.path().join("truth"));
    let mut command = Command::new(Outlive::binary());
    command.args(["run", "--interval", "200ms", "--python-objects", "--out"]);
    command.arg(&out).args(["--", "/usr/bin/python3"]).arg(program());
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    command.stdout(std::fs::File::create(&truth).expect("scratch file"));
    support::die_with_parent(&mut command);
    let mut child = command.spawn().expect("start outlive");
    let mut lines =
        BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let pid = lines.find_map(|line| line.rsplit_once("attached to PID ")?.1.parse().ok());
    let pid: u32 = pid.expect("outlive attaches");
    wait_until_it_reads(pid);
    // Starting Python makes thousands of stacks; outlive takes them all before the work begins.
    let cpu_time = || {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        stat.split_whitespace().skip(13).take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut before = Vec::new();
    support::eventually("outlive has caught up", || {
        std::thread::sleep(Duration::from_millis(50));
        std::mem::replace(&mut before, cpu_time()) == before
    });
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"go\n").expect("a line");
    support::eventually("the target has told its truth", || {
        std::fs::metadata(&truth).is_ok_and(|metadata| metadata.len() > 0)
    });
    drop(stdin);
    let said_last: Vec<String> = lines.collect();
    let code = child.wait().expect("wait for outlive").code();
    assert!(matches!(code, Some(0 | 3)), "{code:?}: {said_last:?}");
    let said = std::fs::read_to_string(&truth).expect("the truth");
    let line = said.lines().find(|line| line.starts_with('{')).expect("a line of JSON");
    let truth: Value = serde_json::from_str(line).expect("JSON");
    let text = std::fs::read_to_string(out.join("report.json")).expect("report.json");
    let report = Report(serde_json::from_str(&text).expect("JSON"));
    assert_eq!(report.0["python_objects"]["way"], "malloc", "{}", report.0["python_objects"]);
    // At its end the program gave everything back: what was born is what counts.
    for site in truth["sites"].as_array().expect("the truth has sites") {
        let function = site["function"].as_str().expect("a name");
        let born: u64 = report
            .sites()
            .iter()
            .filter(|site| python_frames(site).first().is_some_and(|(name, ..)| name == function))
            .map(|site| site["allocated_bytes"].as_u64().expect("bytes"))
            .sum();
        // One more was made for its size to be told.
        let (bytes, blocks) =
            (site["bytes"].as_u64().expect("bytes"), site["blocks"].as_u64().expect("blocks"));
        assert_eq!(born, bytes + bytes / blocks, "{function}");
    }
}

#[test]
fn a_running_program_is_followed_object_by_object_where_its_build_allows() {
    if !may_trace() {
        return;
    }
    let builds = plain_builds();
    if builds.is_empty() {
        eprintln!("SKIPPED: no CPython 3.11 or 3.12 that was built without a profile");
    }
    for interpreter in builds {
        let (finished, truth) = attached(&interpreter, &["--python-objects"]);
        let report = finished.report();
        report.assert_no_losses();
        assert_eq!(report.0["python_objects"]["way"], "probed", "{interpreter:?}");
        assert_eq!(report.0["python_objects"]["unattributed_bytes"], Value::Null);
        assert_held(&report, &truth, "python");
    }
}

#[test]
fn a_build_that_hides_its_objects_has_their_arenas_named() {
    if !may_trace() {
        return;
    }
    let (finished, _) = attached(Path::new("/usr/bin/python3"), &["--python-objects"]);
    let text = finished.file("report.txt");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("all were counted from outside"), "{text}");
    assert!(!words.contains("cannot attribute to a line"), "{text}");

    let unread = ["--python-objects", "--no-heap"];
    let (finished, truth) = attached(Path::new("/usr/bin/python3"), &unread);
    let report = finished.report();
    let python = &report.0["python_objects"];
    assert_eq!(python["way"], "arenas");
    assert!(python["covers"].as_str().expect("text").contains("optimised by profile"), "{python}");
    let small = &truth["sites"][0];
    let least = small["bytes"].as_u64().expect("bytes");
    assert!(python["unattributed_bytes"].as_u64().expect("bytes") >= least, "{python}");
    let text = finished.file("report.txt");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("cannot attribute to a line"), "{text}");
    let large = &truth["sites"][1];
    assert_eq!(
        held_by(&report, "keep_large", Some("malloc")).bytes,
        large["bytes"].as_u64().expect("bytes")
    );
}
