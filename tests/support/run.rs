//! `outlive run`, and the command under it.

use super::{Finished, Outlive, PATIENCE, die_with_parent, lines_of, next_json, send_signal, wait};
use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// A command that runs under `outlive run`.
pub struct Run {
    pub outlive: Outlive,
    stdin: ChildStdin,
    stdout: Receiver<String>,
}

impl Run {
    /// Starts it with a tick of 200 ms, and returns when the probes are in place. `command` starts
    /// outlive itself, where something stands before it.
    pub fn start<S: AsRef<OsStr>>(mut command: Command, options: &[&str], program: &[S]) -> Self {
        let scratch = tempfile::tempdir().expect("scratch folder");
        let out = scratch.path().join("out");
        command.args(["run", "--interval", "200ms", "--out"]).arg(&out).args(options);
        command.arg("--").args(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        let stderr = lines_of(child.stderr.take().expect("piped"));
        let stdout = lines_of(child.stdout.take().expect("piped"));
        let stdin = child.stdin.take().expect("piped");
        let outlive = Outlive { child, stderr, said: String::new(), out, _folder: Some(scratch) };
        let mut run = Self { outlive, stdin, stdout };
        run.outlive.wait_for("outlive: attached to PID");
        run
    }

    /// Writes the line that a waiting command waits for.
    pub fn go(&mut self) {
        self.stdin.write_all(b"go\n").expect("write to the command");
    }

    /// The next line of JSON that the command prints.
    pub fn json(&self) -> Value {
        next_json(&self.stdout)
    }

    /// Ctrl-C to outlive while the command runs; the command ends afterwards.
    pub fn stop(self) -> Finished {
        self.stop_with(|| {})
    }

    /// As [`Self::stop`], with what ends a command that does not care for its stdin.
    pub fn stop_with(mut self, end_command: impl FnOnce()) -> Finished {
        send_signal(self.outlive.pid(), libc::SIGINT);
        wait(&mut self.outlive.child, "outlive");
        // Its stderr is the command's too, and open as long as that runs.
        drop(self.stdin);
        end_command();
        self.outlive.wait()
    }

    /// Closes the command's stdin, upon which it ends, and outlive with it.
    pub fn finish(self) -> Finished {
        drop(self.stdin);
        self.outlive.wait()
    }
}

impl Outlive {
    /// Waits for a line on stderr that contains this.
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => self.said += &(line + "\n"),
                Err(_) => panic!("outlive never said {text:?}:\n{}", self.said),
            }
        }
    }
}
