//! What the integration tests share: C targets compiled once, targets that speak the line
//! protocol, the real `outlive` attached to them, and their reports. Decides nothing itself.
#![allow(dead_code, missing_docs, unused_imports)]

pub mod heap;
pub mod js_heap;
pub mod memory_group;
pub mod node;
mod processes;
pub mod report;
pub mod run;
mod side_by_side;
pub mod truth;
pub mod venv;

pub use report::{Report, leaf, python_frames};
use serde_json::Value;
pub use side_by_side::side_by_side;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
pub use truth::Amount;

/// How long anything may take before a test gives up on it, on a machine of ordinary speed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `duration` on this machine: times `OUTLIVE_SLOWNESS`, which emulated machines set.
fn at_this_speed(duration: Duration) -> Duration {
    let factor = std::env::var("OUTLIVE_SLOWNESS").map_or(1, |n| n.parse().expect("a number"));
    duration * factor
}

/// The folder `tests/`.
pub fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").canonicalize().expect("tests folder")
}

/// Whether this process may load eBPF programs. Where it may not, prints why the test is
/// skipped; fails instead where a run was promised (`CI` is set).
pub fn may_trace() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    let reason = "needs root, to load eBPF programs: run `sudo -E cargo test`";
    assert!(std::env::var_os("CI").is_none(), "not skipped where CI is set: {reason}");
    eprintln!("SKIPPED: {reason}");
    false
}

/// Compiles `tests/targets/c/<name>.c`, unless that was done since it last changed.
pub fn c_target(name: &str) -> PathBuf {
    compile(&tests_dir().join("targets/c").join(format!("{name}.c")), name, &["-pthread"])
}

/// Compiles one C file into cargo's scratch folder for tests.
pub fn compile(source: &Path, name: &str, extra: &[&str]) -> PathBuf {
    compile_with("gcc", source, name, extra)
}

/// As [`compile`], by a compiler that understands gcc's options.
pub fn compile_with(compiler: &str, source: &Path, name: &str, extra: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
    std::fs::create_dir_all(&folder).expect("make the folder of compiled targets");
    let binary = folder.join(name);
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let header = tests_dir().join("targets/c/truth.h");
    if modified(&binary).is_some_and(|built| {
        [source, &header].iter().all(|input| modified(input).is_none_or(|input| input <= built))
    }) {
        return binary;
    }
    // Beside, then renamed: tests run side by side.
    let beside = tempfile::Builder::new().tempfile_in(&folder).expect("scratch file");
    let beside = beside.into_temp_path();
    let output = Command::new(compiler)
        .args(["-O1", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-o"])
        .arg(&beside)
        .arg(source)
        .args(extra)
        .output()
        .unwrap_or_else(|e| panic!("run {compiler} (`cargo xtask test` installs it): {e}"));
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {}: {messages}", source.display());
    beside.persist(&binary).expect("rename the compiled target");
    binary
}

/// A child that dies with the test, and whose stdout is read line by line.
pub struct Target {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
}

impl Target {
    /// Starts a program that speaks the line protocol.
    pub fn spawn<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Self {
        let mut command = Command::new(program);
        command.args(args);
        Self::from_command(command)
    }

    pub fn from_command(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        let stdout = lines_of(child.stdout.take().expect("piped"));
        Self { stdin: child.stdin.take(), child, stdout }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes the line that a waiting target waits for.
    pub fn go(&mut self) {
        self.write("go\n");
    }

    /// Writes to its stdin.
    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(text.as_bytes()).expect("write to target");
    }

    /// The next line of JSON on stdout; lines that are none are passed over.
    pub fn json(&self) -> Value {
        next_json(&self.stdout)
    }

    /// The next line on stdout.
    pub fn line(&self) -> String {
        self.stdout.recv_timeout(PATIENCE).expect("the target says something")
    }

    /// Forgets what was printed so far.
    pub fn skip_output(&self) {
        while self.stdout.try_recv().is_ok() {}
    }

    pub fn signal(&self, number: i32) {
        send_signal(self.pid(), number);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait for target").is_none()
    }

    /// Closes stdin, upon which targets end, and waits for the end.
    pub fn finish(mut self) -> ExitStatus {
        self.stdin = None;
        wait(&mut self.child, "the target")
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The real binary, at work on a target.
pub struct Outlive {
    child: Child,
    stderr: Receiver<String>,
    said: String,
    out: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

/// How `outlive` is about to be started.
pub struct Attach {
    pid: u32,
    args: Vec<String>,
    out: Option<PathBuf>,
}

impl Outlive {
    /// The compiled command.
    pub fn binary() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_outlive"))
    }

    /// `outlive attach PID`, with a tick of 200 ms, whatever it costs.
    pub fn attach(pid: u32) -> Attach {
        let mut attach = Self::attach_governed(pid);
        attach.args.extend(["--max-overhead".into(), "off".into()]);
        attach
    }

    /// The same within the budget that is usual.
    pub fn attach_governed(pid: u32) -> Attach {
        Attach { pid, args: vec!["--interval".into(), "200ms".into()], out: None }
    }

    /// `outlive heap PID`, whose answer nobody reads.
    pub fn heap(pid: u32, args: &[&str]) -> Self {
        let mut command = Command::new(Self::binary());
        command.args(["heap", &pid.to_string()]).args(args);
        Self::spawn(command, PathBuf::new(), None)
    }

    /// Starts an `outlive` that writes to `out`, in a folder that may be made for it; only what it
    /// says is read.
    fn spawn(mut command: Command, out: PathBuf, folder: Option<tempfile::TempDir>) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = command.spawn().expect("start outlive");
        let stderr = lines_of(child.stderr.take().expect("piped"));
        Self { child, stderr, said: String::new(), out, _folder: folder }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the line that says the probes are in place.
    fn wait_until_attached(&mut self, pid: u32) {
        let expected = format!("outlive: attached to PID {pid}");
        self.wait_until(&expected, |line| line.trim_end() == expected);
    }

    /// Waits for a line with `text` in it.
    pub fn wait_until_said(&mut self, text: &str) {
        self.wait_until(text, |line| line.contains(text));
    }

    fn wait_until(&mut self, expected: &str, is_it: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + at_this_speed(PATIENCE);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => {
                    let found = is_it(&line);
                    self.said += &(line + "\n");
                    if found {
                        return;
                    }
                }
                Err(_) => {
                    let ended = self.child.try_wait().expect("wait for outlive");
                    panic!("outlive never said {expected:?} (ended: {ended:?}):\n{}", self.said);
                }
            }
        }
    }

    /// Ctrl-C, and what came of it.
    pub fn stop(self) -> Finished {
        send_signal(self.pid(), libc::SIGINT);
        self.wait()
    }

    /// `kill -9`; returns when it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("kill outlive");
        assert_eq!(self.child.wait().expect("wait for outlive").signal(), Some(libc::SIGKILL));
    }

    /// Waits for its own end.
    pub fn wait(mut self) -> Finished {
        let status = wait(&mut self.child, "outlive");
        while let Ok(line) = self.stderr.recv() {
            self.said += &(line + "\n");
        }
        let folder = self._folder.take();
        Finished {
            code: status.code(),
            stderr: std::mem::take(&mut self.said),
            out: self.out.clone(),
            _folder: folder,
        }
    }
}

impl Drop for Outlive {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Attach {
    pub fn args<S: AsRef<str>>(mut self, args: &[S]) -> Self {
        self.args.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Where to write; a scratch folder otherwise.
    pub fn out(mut self, folder: &Path) -> Self {
        self.out = Some(folder.to_owned());
        self
    }

    /// Attaches, lets the waiting target work until it tells its truth, and detaches: the report,
    /// that truth, and what else was left.
    pub fn watch(self, target: &mut Target) -> (Report, Value, Finished) {
        let outlive = self.start();
        target.go();
        let truth = target.json();
        let finished = outlive.stop();
        finished.assert_done();
        (finished.report(), truth, finished)
    }

    /// Starts it, and returns when the probes are in place.
    pub fn start(self) -> Outlive {
        let scratch = self.out.is_none().then(|| tempfile::tempdir().expect("scratch folder"));
        let out =
            self.out.unwrap_or_else(|| scratch.as_ref().expect("made above").path().join("out"));
        let mut command = Command::new(Outlive::binary());
        command.args(["attach", &self.pid.to_string(), "--out"]).arg(&out).args(&self.args);
        let mut outlive = Outlive::spawn(command, out, scratch);
        outlive.wait_until_attached(self.pid);
        outlive
    }
}

/// What a run of `outlive` left behind.
pub struct Finished {
    pub code: Option<i32>,
    pub stderr: String,
    pub out: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Finished {
    /// What a run left in a folder.
    pub fn in_folder(code: Option<i32>, stderr: String, out: PathBuf) -> Self {
        Self { code, stderr, out, _folder: None }
    }

    /// A file of `--out`.
    pub fn file(&self, name: &str) -> String {
        let path = self.out.join(name);
        let read = std::fs::read_to_string(&path);
        read.unwrap_or_else(|e| panic!("{}: {e}\noutlive said:\n{}", path.display(), self.stderr))
    }

    pub fn report(&self) -> Report {
        Report(serde_json::from_str(&self.file("report.json")).expect("report.json is JSON"))
    }

    /// Done (0), or done in a window too short to judge growth (3).
    pub fn assert_done(&self) {
        assert!(matches!(self.code, Some(0 | 3)), "exit {:?}:\n{}", self.code, self.stderr);
    }
}

/// Runs `outlive` to its end; for commands that are expected to end by themselves.
pub fn run_outlive<S: AsRef<OsStr>>(args: &[S]) -> std::process::Output {
    let mut command = Command::new(Outlive::binary());
    command.args(args).stdin(Stdio::null());
    run_to_end(command)
}

/// Runs a command to its end, with its output; fails the test when it takes too long.
pub fn run_to_end(mut command: Command) -> std::process::Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_parent(&mut command);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    let stdout = lines_of(child.stdout.take().expect("piped"));
    let stderr = lines_of(child.stderr.take().expect("piped"));
    let status = wait(&mut child, &format!("{command:?}"));
    let text = |lines: Receiver<String>| lines.iter().map(|line| line + "\n").collect::<String>();
    std::process::Output {
        status,
        stdout: text(stdout).into_bytes(),
        stderr: text(stderr).into_bytes(),
    }
}

pub fn send_signal(pid: u32, number: i32) {
    // SAFETY: kill touches no memory; the PID is that of a child which was not waited for yet.
    let result = unsafe { libc::kill(pid as i32, number) };
    assert_eq!(result, 0, "signal {number} to {pid}");
}

/// Asks until the answer is yes; panics with `what` when it never is.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + at_this_speed(Duration::from_secs(10));
    while !holds() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn next_json(stdout: &Receiver<String>) -> Value {
    let deadline = Instant::now() + at_this_speed(PATIENCE);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match stdout.recv_timeout(left) {
            Ok(line) => {
                if let Ok(value @ Value::Object(_)) = serde_json::from_str(&line) {
                    return value;
                }
            }
            Err(RecvTimeoutError::Timeout) => panic!("the target said nothing in time"),
            Err(RecvTimeoutError::Disconnected) => panic!("the target ended without a word"),
        }
    }
}

fn wait(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + at_this_speed(PATIENCE);
    loop {
        if let Some(status) = child.try_wait().expect("wait for child") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{what} did not end in time");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lines_of(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// No child outlives the test that started it, however that ends.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe, and touches nothing of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}
