//! The demo gateway: the flush function is named when it leaks, and nobody when it does not.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use support::venv::venv;
use support::{Outlive, Report, Target, may_trace, python_frames, tests_dir};

const SECONDS: u32 = 20;
/// One gateway at a time: a starved one leaks too slowly to judge.
static MACHINE: Mutex<()> = Mutex::new(());

fn start(python: &Path, script: &str, args: &[&str]) -> Target {
    let mut command = Command::new(python);
    command.arg(tests_dir().join("targets/gateway").join(script)).args(args);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Target::from_command(command)
}

fn url(target: &Target) -> String {
    format!("http://127.0.0.1:{}", target.json()["port"].as_u64().expect("a port"))
}

/// Ground truth over HTTP, without a client library.
fn truth(gateway_url: &str) -> Value {
    use std::io::{Read, Write};
    let address = gateway_url.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).expect("connect to the gateway");
    write!(stream, "GET /truth HTTP/1.0\r\nHost: gateway\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

/// Runs gateway, model and load, outlive beside them, and gives report and truth.
fn observe(leak: bool) -> (Report, Value) {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let python = venv("OUTLIVE_VENV", "venv", "gateway");
    let model = start(&python, "model_stub.py", &["--exit-with-stdin"]);
    let model_url = url(&model);
    let mut args = vec!["--exit-with-stdin", "--model-url", &model_url];
    args.extend(leak.then_some("--leak"));
    let gateway = start(&python, "gateway.py", &args);
    let gateway_url = url(&gateway);

    // Caches and histories are full after a few seconds; the session starts behind that.
    let load = |seconds: &str| {
        start(&python, "load.py", &["--gateway-url", &gateway_url, "--duration", seconds])
    };
    load("6").json();
    let running = load(&(SECONDS + 15).to_string());
    let outlive =
        Outlive::attach(gateway.pid()).args(&["--duration", &format!("{SECONDS}s")]).start();
    let finished = outlive.wait();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let truth = truth(&gateway_url);
    drop(running);
    assert!(gateway.finish().success(), "the gateway was harmed");
    assert!(model.finish().success());
    let report = finished.report();
    report.assert_no_losses();
    (report, truth)
}

#[test]
fn a_leak_is_named_by_function_file_and_line() {
    if !may_trace() {
        return;
    }
    let (report, truth) = observe(true);
    let retained = &truth["retained"][0];
    let growing = report.growing();
    let top = growing.first().expect("something grows");
    let expected = (
        retained["function"].as_str().expect("a name").to_owned(),
        retained["file"].as_str().expect("a file").to_owned(),
        retained["line"].as_u64().expect("a line"),
    );
    assert_eq!(python_frames(top).first(), Some(&expected), "{top:#}");
    for site in &growing {
        let frames = python_frames(site);
        let in_flush_path = frames.iter().any(|(name, ..)| name.ends_with("._flush_messages"));
        assert!(in_flush_path, "an innocent is accused: {site:#}");
    }
}

#[test]
fn without_the_leak_nothing_grows() {
    if !may_trace() {
        return;
    }
    let (report, truth) = observe(false);
    assert_eq!(truth["retained"][0]["bytes"], 0);
    let growing = report.growing();
    assert!(growing.is_empty(), "an innocent is accused: {:#}", growing[0]);
}
