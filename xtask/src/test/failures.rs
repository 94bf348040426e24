//! Which tests failed, and what they said, out of what `cargo test` prints: for the summary, since
//! logs of long runs are cut in the middle.

use std::fmt;

/// Lines of a failed test that are repeated.
const KEPT_LINES: usize = 8;

/// Characters of each.
const KEPT_CHARACTERS: usize = 400;

/// Failed tests that are repeated with what they said; of others only the names.
const KEPT_TESTS: usize = 40;

/// A test that failed.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    name: String,
    /// What it said, from its panic on.
    said: Vec<String>,
}

/// Reads along; see [`Failures::feed`].
#[derive(Debug, Default)]
pub struct Failures {
    failures: Vec<Failure>,
    /// The beginning of a line whose end is yet to come.
    unfinished: Vec<u8>,
    /// The test that was started last, until its verdict.
    started: Option<String>,
    /// The index of the test whose output is being read.
    telling: Option<usize>,
}

impl Failures {
    /// Takes the next bytes of what `cargo test` writes to stdout.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.unfinished.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.unfinished)).into_owned();
            self.line(line.trim_end_matches('\r'));
        }
    }

    /// Takes the end of the output.
    pub fn finish(&mut self) {
        if !self.unfinished.is_empty() {
            self.feed(b"\n");
        }
        self.died();
    }

    fn line(&mut self, line: &str) {
        if let Some((name, verdict)) = started_test(line) {
            self.died();
            match verdict {
                "ok" => {}
                verdict if verdict.starts_with("ignored") => {}
                verdict if verdict.ends_with("FAILED") => self.failed(name),
                // Something else was printed before the verdict, which has a line of its own.
                _ => self.started = Some(name.to_owned()),
            }
            return;
        }
        match line {
            "ok" => self.started = None,
            "FAILED" => {
                if let Some(name) = self.started.take() {
                    self.failed(&name);
                }
            }
            "failures:" => self.telling = None,
            _ if line.starts_with("test result: ") => self.telling = None,
            _ if line.starts_with("running ") && line.contains(" test") => self.died(),
            _ => match line.strip_prefix("---- ").and_then(|l| l.strip_suffix(" stdout ----")) {
                // The last of that name: other test binaries may have one of the same name.
                Some(name) => self.telling = self.failures.iter().rposition(|f| f.name == name),
                None => self.tell(line),
            },
        }
    }

    fn failed(&mut self, name: &str) {
        self.failures.push(Failure { name: name.to_owned(), said: Vec::new() });
    }

    /// A test without a verdict took its whole process with it.
    fn died(&mut self) {
        if let Some(name) = self.started.take() {
            let said = vec!["no verdict: the process ended while it ran".to_owned()];
            self.failures.push(Failure { name, said });
        }
    }

    /// Keeps the first lines from the panic on; what the test printed before is not its message.
    fn tell(&mut self, line: &str) {
        if line == "stack backtrace:" {
            self.telling = None;
        }
        let Some(failure) = self.telling.and_then(|index| self.failures.get_mut(index)) else {
            return;
        };
        let begins = line.starts_with("thread '") && line.contains(" panicked at ");
        let wanted = begins || !failure.said.is_empty();
        let is_noise = line.trim().is_empty() || line.starts_with("note: run with `RUST_BACKTRACE");
        if wanted && !is_noise && failure.said.len() < KEPT_LINES {
            failure.said.push(line.chars().take(KEPT_CHARACTERS).collect());
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.failures.iter().enumerate() {
            writeln!(formatter, "         {}", failure.name)?;
            for line in failure.said.iter().take(if index < KEPT_TESTS { KEPT_LINES } else { 0 }) {
                writeln!(formatter, "             {line}")?;
            }
        }
        Ok(())
    }
}

/// The name of a test and its verdict, in a line that libtest begins when it starts one.
fn started_test(line: &str) -> Option<(&str, &str)> {
    let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    (!name.contains(' ')).then_some((name, verdict))
}

#[cfg(test)]
mod tests {
    use super::Failures;

    const OUTPUT: &str = "
running 4 tests
test holds::small ... ok
test holds::large ... FAILED
test holds::other ... the target says hello
ok
test skipped ... ignored, no reason

failures:

---- holds::large stdout ----
the target said much
thread 'holds::large' (4711) panicked at tests/holds.rs:12:5:
assertion `left == right` failed
  left: 1
 right: 2
stack backtrace:
   0: core::panicking::panic_fmt
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


failures:
    holds::large

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 1 test
test kills_the_process ... 
running 1 test
test late ... the target says
FAILED
";

    fn collected(output: &str, step: usize) -> String {
        let mut failures = Failures::default();
        for piece in output.as_bytes().chunks(step) {
            failures.feed(piece);
        }
        failures.finish();
        failures.to_string()
    }

    #[test]
    fn failed_tests_are_told_with_their_panic_and_no_others() {
        let told = collected(OUTPUT, OUTPUT.len());
        let lines: Vec<&str> = told.lines().map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                "holds::large",
                "thread 'holds::large' (4711) panicked at tests/holds.rs:12:5:",
                "assertion `left == right` failed",
                "left: 1",
                "right: 2",
                "kills_the_process",
                "no verdict: the process ended while it ran",
                "late",
            ]
        );
    }

    #[test]
    fn it_does_not_matter_how_the_output_arrives() {
        let whole = collected(OUTPUT, OUTPUT.len());
        for step in 1..7 {
            assert_eq!(collected(OUTPUT, step), whole, "in pieces of {step} bytes");
        }
    }

    #[test]
    fn a_run_that_stops_within_a_test_names_it() {
        assert!(collected("running 1 test\ntest last ... ", 5).starts_with("         last\n"));
    }

    #[test]
    fn what_is_told_is_bounded() {
        let mut output = String::new();
        for test in 0..200 {
            output += &format!("test t{test} ... FAILED\n");
        }
        output += "failures:\n---- t0 stdout ----\nthread 't0' panicked at a.rs:1:1:\n";
        for _ in 0..1_000 {
            output += &("x".repeat(2_000) + "\n");
        }
        let told = collected(&output, 4096);
        assert!(told.len() < 20_000 && told.contains("t199"), "{} bytes", told.len());
    }
}
