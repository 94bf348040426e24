//! A child process that a verb starts, talks to and is sure to end: its lines are read with a
//! deadline, and it dies with the verb, however the verb ends.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command;

/// How long a child may take to end after it was asked to.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// How often an ending child is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Lines kept to explain what went wrong with a child.
const KEPT_LINES: usize = 12;

/// A command that receives `signal` (`"INT"`, `"KILL"`) when this process dies, even when it is
/// killed outright. Without util-linux's setpriv it is the plain command: then Ctrl-C still
/// reaches it through the terminal, and `Drop` ends it in every other case.
pub fn bound_command(program: impl AsRef<OsStr>, signal: &str) -> Command {
    if command::which("setpriv").is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal, "--"]).arg(program);
    command
}

/// A running child whose stdout and stderr are read line by line.
pub struct Guarded {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: VecDeque<String>,
}

impl Guarded {
    /// Starts `command` with both outputs captured and its stdin held open.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let (sender, lines) = mpsc::channel();
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        for pipe in [stdout, stderr].into_iter().flatten() {
            let sender = sender.clone();
            // Reads on when nobody listens any more, so that the child never blocks on a pipe.
            thread::spawn(move || {
                for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        let stdin = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, stdin, lines, seen: VecDeque::new() })
    }

    /// The child's process id. `setpriv` becomes the program, so it is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes `line` to the child's stdin.
    ///
    /// # Errors
    /// When the child has gone.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is closed")?;
        // In one piece: half a line may be taken for a whole one.
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdin.flush())
            .with_context(|| format!("writing to {}", self.name))
    }

    /// The next line for which `wanted` returns something; others are passed over.
    ///
    /// # Errors
    /// When none came in `timeout`, or the child ended before; says what it printed.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.remember(line);
                    if let Some(found) = found {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{}: no {what} in {timeout:?}{}", self.name, self.last_lines())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended before its {what}{}", self.name, self.last_lines())
                }
            }
        }
    }

    /// Asks the child to end with `signal`, waits, and kills it when it does not.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn end(&mut self, signal: &str) -> Result<ExitStatus> {
        self.stdin = None;
        self.signal(signal);
        self.wait(END_TIMEOUT)
    }

    /// Sends the child `signal`, if it is still there.
    pub fn signal(&self, signal: &str) {
        let _ = command::probe(
            Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]),
        );
    }

    /// Closes the child's stdin, and leaves it to others to wait.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Closes the child's stdin and waits for it to end of that.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn close(&mut self) -> Result<ExitStatus> {
        self.stdin = None;
        self.wait(END_TIMEOUT)
    }

    /// Waits for the child to end by itself.
    ///
    /// # Errors
    /// When it has not after `timeout`; it is killed then.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        bail!("{} did not end within {timeout:?} and was killed", self.name)
    }

    fn remember(&mut self, line: String) {
        if self.seen.len() == KEPT_LINES {
            self.seen.pop_front();
        }
        self.seen.push_back(line);
    }

    fn last_lines(&self) -> String {
        if self.seen.is_empty() {
            return "; it printed nothing".to_owned();
        }
        let lines: Vec<&str> = self.seen.iter().map(String::as_str).collect();
        format!("; its last lines:\n    {}", lines.join("\n    "))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::Guarded;

    #[test]
    fn a_child_that_ends_early_is_reported_with_its_last_words() {
        let mut child =
            Guarded::start("it", Command::new("sh").args(["-c", "echo no luck >&2"])).unwrap();
        let error = child
            .wait_for("line", Duration::from_secs(10), |l| l.contains("ready").then_some(()))
            .unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
    }

    #[test]
    fn a_child_answers_and_ends_when_asked() {
        let mut child = Guarded::start("cat", &mut Command::new("cat")).unwrap();
        child.send("hello").unwrap();
        let line = child.wait_for("echo", Duration::from_secs(10), |l| Some(l.to_owned()));
        assert_eq!(line.unwrap(), "hello");
        assert!(child.end("TERM").is_ok());
    }
}
