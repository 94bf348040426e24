//! gunicorn with four workers: each has its own row, and the sum is right.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use support::run::Run;
use support::venv::venv;
use support::{
    Amount, Finished, Outlive, Report, Target, eventually, may_trace, send_signal, tests_dir,
};

const WORKERS: usize = 4;

/// What a worker says that it holds, by its process ID: the latest answer.
type Truth = BTreeMap<u64, Value>;

fn gunicorn() -> Vec<String> {
    let python = venv("OUTLIVE_VENV", "venv", "gateway");
    let script = tests_dir().join("targets/workers/workers.py");
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (python, script) = (text(&python), text(&script));
    [&python, "-m", "gunicorn", "-c", &script, "workers:app"].map(str::to_owned).to_vec()
}

fn ask(port: u64, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port as u16)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: workers\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// Asks until `count` processes have answered; several at once, so that none gets all.
fn ask_all(port: u64, path: &'static str, count: usize, truth: &mut Truth) {
    let mut answered = std::collections::BTreeSet::new();
    eventually("every worker has answered", || {
        let asking: Vec<_> =
            (0..2 * WORKERS).map(|_| thread::spawn(move || ask(port, path))).collect();
        for answer in asking.into_iter().filter_map(|asking| asking.join().expect("ask")) {
            let pid = answer["pid"].as_u64().expect("a number");
            answered.insert(pid);
            let held = |value: &Value| value["blocks"].as_u64();
            if truth.get(&pid).is_none_or(|known| held(known) <= held(&answer)) {
                truth.insert(pid, answer);
            }
        }
        answered.len() >= count
    });
}

/// Lets the workers leak, kills one, and lets them leak again; what each said that it holds, and
/// who was killed. `are_new`: the workers came after outlive.
fn exercise(port: u64, are_new: bool, outlive: &mut Outlive) -> (Truth, u64) {
    let mut truth = Truth::new();
    ask_all(port, "/", WORKERS, &mut truth);
    for pid in truth.keys().filter(|_| are_new) {
        outlive.wait_for(&format!("follows process {pid},"));
    }
    for _ in 0..5 {
        ask_all(port, "/leak", WORKERS, &mut truth);
    }
    let killed = *truth.keys().next().expect("a worker");
    send_signal(killed as u32, libc::SIGKILL);
    outlive.wait_for(&format!("process {killed} has ended"));
    let mut later = Truth::new();
    ask_all(port, "/", WORKERS, &mut later);
    let new = *later.keys().find(|pid| !truth.contains_key(pid)).expect("a new worker");
    outlive.wait_for(&format!("follows process {new},"));
    for _ in 0..3 {
        ask_all(port, "/leak", WORKERS, &mut later);
    }
    truth.extend(later);
    (truth, killed)
}

fn assert_rows(finished: &Finished, truth: &Truth, killed: u64) {
    finished.assert_done();
    let report: Report = finished.report();
    assert_eq!(report.0["lossy"], serde_json::json!([]), "{}", finished.stderr);
    report.assert_processes_add_up();
    assert_eq!(truth.len(), WORKERS + 1);
    let mut sum = 0;
    let mut line = 0;
    for (pid, said) in truth {
        let number = |name: &str| said[name].as_u64().expect("a number");
        line = number("line");
        let expected = Amount { bytes: number("bytes"), blocks: number("blocks") };
        assert_eq!(report.held_by(*pid, "hold", line), expected, "{said}");
        let row = report.process(*pid);
        assert!(row["live_bytes"].as_u64() >= Some(expected.bytes), "{row:#}");
        assert_eq!(row["end"], if *pid == killed { "exited" } else { "running" }, "{row:#}");
        assert!(row["memory"]["last"]["resident_bytes"].as_u64() > Some(1 << 20), "{row:#}");
        // What the one that was killed held is gone with it.
        sum += if *pid == killed { 0 } else { expected.bytes };
    }
    let merged = report.0["merged_sites"].as_array().expect("a list").iter().filter(|site| {
        let frames = support::python_frames(site);
        frames.first().is_some_and(|(name, _, at)| name == "hold" && *at == line)
    });
    let merged: Vec<&Value> = merged.collect();
    let merged_bytes: u64 = merged.iter().filter_map(|site| site["live_bytes"].as_u64()).sum();
    assert_eq!(merged_bytes, sum, "{merged:#?}");
    let text = finished.file("report.txt");
    assert!(text.contains("Processes"), "{text}");
    for pid in truth.keys() {
        assert!(text.contains(&pid.to_string()), "{pid} is not in\n{text}");
    }
}

#[test]
fn workers_of_a_server_that_is_started_have_their_own_rows() {
    if !may_trace() {
        return;
    }
    let mut run = Run::start(Command::new(Outlive::binary()), &["--follow"], &gunicorn());
    let ready = run.json();
    let port = ready["port"].as_u64().expect("a port");
    let (truth, killed) = exercise(port, true, &mut run.outlive);
    let finished = run.stop_with(|| {
        send_signal(ready["pid"].as_u64().expect("a PID") as u32, libc::SIGTERM);
    });
    assert_rows(&finished, &truth, killed);
}

#[test]
fn workers_of_a_server_that_runs_have_their_own_rows() {
    if !may_trace() {
        return;
    }
    let command = gunicorn();
    let master = Target::spawn(&command[0], &command[1..]);
    let port = master.json()["port"].as_u64().expect("a port");
    ask_all(port, "/", WORKERS, &mut Truth::new());
    let mut outlive = Outlive::attach(master.pid()).args(&["--follow"]).start();
    outlive.wait_for("4 of its children are followed too");
    let (truth, killed) = exercise(port, false, &mut outlive);
    let finished = outlive.stop();
    send_signal(master.pid(), libc::SIGTERM);
    assert_rows(&finished, &truth, killed);
}
