//! Nodes whose JavaScript heap is looked into, and what is expected of that.

use super::{Finished, Outlive, Report, Target, may_trace, tests_dir};
use serde_json::Value;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where outlive notes what it has opened.
const NOTES: &str = "/run/outlive/inspectors";
/// What it says when it has.
pub const OPENED: &str = "opened its inspector on port ";

/// All Nodes there are; none where this may not trace.
pub fn nodes() -> Vec<PathBuf> {
    if !may_trace() {
        return Vec::new();
    }
    let mut nodes: Vec<PathBuf> = std::env::var("OUTLIVE_NODES")
        .map(|list| list.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect())
        .unwrap_or_default();
    let ask = Command::new("node").args(["-p", "process.execPath"]).output();
    if let Some(own) = ask.ok().filter(|output| output.status.success()) {
        nodes.push(String::from_utf8_lossy(&own.stdout).trim().into());
    }
    assert!(
        !nodes.is_empty() || std::env::var_os("CI").is_none(),
        "not skipped where CI is set: no node"
    );
    if nodes.is_empty() {
        eprintln!("SKIPPED: no Node.js (OUTLIVE_NODES, or node in PATH)");
    }
    nodes
}

/// The first of them.
pub fn node() -> Option<PathBuf> {
    nodes().into_iter().next()
}

/// The oldest and the newest, where what differs between releases is known to be elsewhere.
pub fn outer_nodes() -> Vec<PathBuf> {
    let mut nodes = nodes();
    let newest = nodes.iter().position(|node| node.to_string_lossy().contains("/26/"));
    let newest = newest.map(|index| nodes.swap_remove(index));
    nodes.into_iter().take(1).chain(newest).collect()
}

pub fn script(name: &str) -> PathBuf {
    tests_dir().join("targets/node/js_heap").join(name)
}

/// A target that is ready. Its inspector gets any port that is free, unless `options` say otherwise.
pub fn start(node: &Path, options: &[&str], name: &str, argument: &str) -> Target {
    let mut command = Command::new(node);
    command.arg("--inspect-port=0").args(options).arg(script(name)).arg(argument);
    started(command)
}

pub fn started(mut command: Command) -> Target {
    command.stderr(Stdio::null()).env_remove("NODE_OPTIONS");
    let target = Target::from_command(command);
    assert_eq!(target.json()["ready"], true);
    target
}

/// What the target says of itself.
pub fn truth(target: &mut Target) -> Value {
    target.go();
    target.json()
}

pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the target lives").count()
}

/// Live bytes of sites of V8's heap: of all, and of those through a function, where that stands at
/// its place.
pub fn live_bytes(report: &Report, truth: &Value) -> (u64, u64) {
    let (mut all, mut through) = (0, 0);
    for site in report.sites().iter().filter(|site| site["domain"] == "v8") {
        let bytes = site["live_bytes"].as_u64().expect("bytes");
        let frames = site["frames"].as_array().expect("frames");
        assert!(frames.iter().all(|frame| frame["kind"] == "js"), "{site:#}");
        all += bytes;
        let is_it = |frame: &Value| {
            ["function", "file", "line"].iter().all(|field| frame[field] == truth[field])
        };
        if frames.iter().any(is_it) {
            through += bytes;
        }
    }
    (all, through)
}

/// The function that keeps is named, holds most, and as much as it says.
pub fn assert_leak_is_named(report: &Report, truth: &Value) {
    let (all, through) = live_bytes(report, truth);
    assert!(through * 10 > all * 8, "{through} of {all} bytes go through {truth}");
    assert!(through > 500_000, "only {through} bytes go through {truth}");
}

pub fn warning<'a>(report: &'a Report, code: &str) -> &'a str {
    warning_of(report, &[code])
}

/// The message of the first warning with one of these codes.
pub fn warning_of<'a>(report: &'a Report, codes: &[&str]) -> &'a str {
    let warnings = report.0["warnings"].as_array().expect("warnings");
    let is_it = |warning: &&Value| codes.iter().any(|code| warning["code"] == *code);
    let found = warnings.iter().find(is_it);
    let found = found.unwrap_or_else(|| panic!("no warning {codes:?} in {warnings:#?}"));
    found["message"].as_str().expect("a message")
}

/// The port that outlive says it has opened.
pub fn port_in(said: &str) -> u16 {
    let rest = said.split_once(OPENED).unwrap_or_else(|| panic!("not opened:\n{said}")).1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a port")
}

pub fn assert_closed(pid: u32, port: u16) {
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} is still open");
    assert_not_noted(pid);
}

pub fn assert_not_noted(pid: u32) {
    let mut notes = fs::read_dir(NOTES).into_iter().flatten().flatten();
    let ours = format!("{pid}-");
    assert!(notes.all(|note| !note.file_name().to_string_lossy().starts_with(&ours)));
}

pub fn attached(target: &Target, args: &[&str]) -> Finished {
    // Mapping calls are not what this is about, and taking their probes out takes the kernel long.
    let outlive = Outlive::attach(target.pid()).args(args).args(&["--no-mappings"]).start();
    let finished = outlive.wait();
    finished.assert_done();
    finished
}

/// The port that a process listens on, if it does; by a tool that knows nothing of outlive.
pub fn inspector_port(pid: u32) -> Option<u16> {
    let inode = |what: PathBuf| {
        Some(what.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    };
    let own: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .flatten()
        .filter_map(|entry| inode(fs::read_link(entry.path()).ok()?))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = *fields.get(3)? == "0A" && own.iter().any(|inode| inode == fields[9]);
        let port = fields[1].split_once(':')?.1;
        listens.then(|| u16::from_str_radix(port, 16).expect("a port"))
    })
}
