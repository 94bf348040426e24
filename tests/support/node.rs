//! Node.js of every release, what its targets need, and the JavaScript frames of reports.
//! `cargo xtask nodes` fetches what `cargo xtask test` uses.

use super::{PATIENCE, Target, at_this_speed, run_to_end, tests_dir};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Releases that are traced.
const MAJORS: [&str; 5] = ["18", "20", "22", "24", "26"];

/// A Node.
pub struct Node {
    /// Its release: `v24`.
    pub name: String,
    pub program: PathBuf,
}

/// One of each release, the oldest first. Where one is missing prints why the test is skipped;
/// fails instead where a run was promised (`CI` is set).
pub fn nodes() -> Option<Vec<Node>> {
    let named = std::env::var_os("OUTLIVE_NODES");
    let programs = match &named {
        Some(paths) => std::env::split_paths(paths).collect(),
        None => cached(),
    };
    let missing: Vec<_> = programs.iter().filter(|program| !program.is_file()).collect();
    // Who names some asks for no others.
    if !missing.is_empty() || programs.is_empty() || !packages().is_dir() {
        let reason = "Node.js or packages of the targets are missing: run `cargo xtask nodes`";
        assert!(std::env::var_os("CI").is_none(), "not skipped where CI is set: {reason}");
        eprintln!("SKIPPED: {reason} {missing:?}");
        return None;
    }
    let in_ci = std::env::var_os("CI").is_some();
    assert!(!in_ci || programs.len() >= MAJORS.len(), "only {programs:?}");
    Some(programs.into_iter().map(|program| Node { name: release_of(&program), program }).collect())
}

/// The Node of one release: `v24`.
pub fn node_of(release: &str) -> Option<Node> {
    let found = nodes()?.into_iter().find(|node| node.name == release);
    if found.is_none() {
        eprintln!("SKIPPED: no Node.js {release} among those named");
    }
    found
}

fn cached() -> Vec<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let Some(cache) = cache.or(home) else { return Vec::new() };
    let program = |major| cache.join("outlive/node").join(major).join("package/bin/node");
    MAJORS.into_iter().map(program).collect()
}

fn release_of(program: &Path) -> String {
    let mut ask = Command::new(program);
    ask.arg("--version");
    let said = String::from_utf8_lossy(&run_to_end(ask).stdout).into_owned();
    said.trim().split('.').next().unwrap_or_default().to_owned()
}

/// The npm packages of the targets.
pub fn packages() -> PathBuf {
    let folder = std::env::var_os("OUTLIVE_NODE_PACKAGES").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("node_packages"),
        PathBuf::from,
    );
    folder.join("node_modules")
}

impl Node {
    /// Starts a script under `tests/targets/node/`, or anywhere when its path is absolute.
    pub fn start(&self, script: impl AsRef<Path>, args: &[&str]) -> Target {
        let mut command = Command::new(&self.program);
        command.arg(tests_dir().join("targets/node").join(script)).args(args);
        // No flag is given to Node, and none of the environment's reaches it.
        command.env("NODE_PATH", packages()).env_remove("NODE_OPTIONS");
        Target::from_command(command)
    }

    /// A load of so many turns per second on the server at `port`.
    pub fn load(&self, port: u64, rate: u32, seconds: u32) -> Target {
        let url = format!("http://127.0.0.1:{port}");
        let (rate, seconds) = (rate.to_string(), seconds.to_string());
        self.start("load.js", &["--url", &url, "--rate", &rate, "--duration", &seconds])
    }
}

/// `tests/targets/node/sessions`, compiled by TypeScript with source maps beside: the gateway's
/// script.
pub fn compiled_sessions(node: &Node) -> PathBuf {
    let project = tests_dir().join("targets/node/sessions");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node/sessions");
    let mut compile = Command::new(&node.program);
    compile.arg(packages().join("typescript/bin/tsc")).arg("-p").arg(project);
    compile.arg("--outDir").arg(&out).arg("--typeRoots").arg(packages().join("@types"));
    let output = run_to_end(compile);
    let messages = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "TypeScript: {messages}");
    out.join("gateway.js")
}

/// What the server at `port` says of itself, over HTTP without a client library.
pub fn truth(port: u64) -> Value {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("connect");
    stream.set_read_timeout(Some(at_this_speed(PATIENCE))).expect("a timeout");
    write!(stream, "GET /truth HTTP/1.0\r\nHost: gateway\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

/// Asks the server at `port` until this holds of its truth.
pub fn truth_when(port: u64, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + at_this_speed(PATIENCE);
    loop {
        let truth = truth(port);
        if holds(&truth) {
            return truth;
        }
        assert!(Instant::now() < deadline, "still not so: {what}: {truth}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// A function, its file where it has one, and a line in it.
pub type JsFrame = (String, Option<String>, u64);

/// A site's JavaScript frames, leaf first.
pub fn js_frames(site: &Value) -> Vec<JsFrame> {
    let frames = site["frames"].as_array().expect("frames is a list");
    let js = frames.iter().filter(|frame| frame["kind"] == "js");
    js.map(|frame| {
        let text = |name: &str| frame[name].as_str().map(str::to_owned);
        let name = text("function").unwrap_or_default();
        (plain(&name).to_owned(), text("file"), frame["line"].as_u64().unwrap_or(0))
    })
    .collect()
}

/// Those of them that are the program's: not Node's, and not V8's own.
pub fn program_frames(site: &Value) -> Vec<JsFrame> {
    let mut frames = js_frames(site);
    frames.retain(|(_, file, line)| match file {
        Some(file) => !file.starts_with("node:"),
        // Evaluated text has lines, V8's own functions have none.
        None => *line > 0,
    });
    frames
}

/// A function's name without what only some ways of asking V8 put before it; nothing for one that
/// has none.
pub fn plain(name: &str) -> &str {
    match name {
        "<anonymous>" | "(anonymous)" | "anonymous" | "eval" => "",
        name => name.trim_start_matches("get ").trim_start_matches("set "),
    }
}
