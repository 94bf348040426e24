//! What the guest says: reads the lines that init.sh and `outlive -v doctor` print, and decides
//! whether a step passed.

/// How every line begins that is meant for the host.
const PREFIX: &str = "outlive-guest: ";

/// What tests print when they decide not to run.
const SKIP_MARK: &str = "SKIPPED";

/// How a line of outlive ends that says what a program cost the verifier.
const VERIFIED_MARK: &str = " instructions verified";

/// One line of the console, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A step began.
    Begin(String),
    /// A step ended with this exit code.
    End(String, i32),
    /// The verifier went through so many instructions of a program.
    Program(Program),
    /// Everything was tried; the guest powers off.
    Done,
    /// The kernel gave up.
    Panic,
    /// A test says that it does not run.
    Skip,
    /// Anything else.
    Other,
}

/// A program of the kernel side, as the guest's kernel loaded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Name, cut to 15 characters by the kernel.
    pub name: String,
    /// Instructions that the verifier went through; its limit is a million.
    pub instruction_count: u64,
}

impl Word {
    /// Reads one line.
    pub fn parse(line: &str) -> Self {
        // A message of the kernel may have got in front.
        let Some((_, rest)) = line.split_once(PREFIX) else {
            return match line {
                _ if line.ends_with(VERIFIED_MARK) => {
                    verified(line).map_or(Word::Other, Word::Program)
                }
                _ if line.contains("Kernel panic") => Word::Panic,
                _ if line.contains(SKIP_MARK) => Word::Skip,
                _ => Word::Other,
            };
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        match words.as_slice() {
            ["begin", name] => Word::Begin((*name).to_owned()),
            ["end", name, code] => match code.parse() {
                Ok(code) => Word::End((*name).to_owned(), code),
                Err(_) => Word::Other,
            },
            ["done"] => Word::Done,
            _ => Word::Other,
        }
    }
}

/// The end of `[... INFO tracer_user::probe::trial] NAME: COUNT instructions verified`.
fn verified(line: &str) -> Option<Program> {
    let (front, count) = line.strip_suffix(VERIFIED_MARK)?.rsplit_once(": ")?;
    let name = front.split_whitespace().next_back()?.to_owned();
    Some(Program { name, instruction_count: count.parse().ok()? })
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The step's name.
    pub name: String,
    /// Its exit code.
    pub code: i32,
    /// Whether it said that it does not run.
    pub skipped: bool,
}

impl Verdict {
    /// Whether the step ran, and succeeded.
    pub fn passed(&self) -> bool {
        self.code == 0 && !self.skipped
    }
}

/// Why step `name` counts as failed; `None` when it passed, once.
pub fn failure(name: &str, verdicts: &[Verdict]) -> Option<String> {
    let mut own = verdicts.iter().filter(|verdict| verdict.name == name);
    match (own.next(), own.next()) {
        (None, _) => Some("no verdict".to_owned()),
        (Some(_), Some(_)) => Some("more than one verdict".to_owned()),
        (Some(verdict), None) if verdict.skipped => Some("it was skipped".to_owned()),
        (Some(verdict), None) if verdict.code != 0 => Some(format!("exit code {}", verdict.code)),
        (Some(_), None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Program, Verdict, Word, failure};

    #[test]
    fn lines_are_told_apart() {
        for (line, word) in [
            ("outlive-guest: begin a::b", Word::Begin("a::b".into())),
            ("outlive-guest: end a::b 101", Word::End("a::b".into(), 101)),
            ("[  3.1] noise outlive-guest: end a 0", Word::End("a".into(), 0)),
            ("outlive-guest: end a none", Word::Other),
            ("outlive-guest: end a", Word::Other),
            (
                "[2026-11-21T17:00:00Z INFO  outlive] free_enter: 512 instructions verified",
                Word::Program(Program { name: "free_enter".into(), instruction_count: 512 }),
            ),
            ("no number: x instructions verified", Word::Other),
            ("outlive-guest: done", Word::Done),
            ("[ 5.7] Kernel panic - not syncing: Attempted to kill init!", Word::Panic),
            ("SKIPPED: needs root", Word::Skip),
            ("test it ... ok", Word::Other),
            ("", Word::Other),
        ] {
            assert_eq!(Word::parse(line), word, "{line}");
        }
    }

    #[test]
    fn only_one_good_verdict_is_a_pass() {
        let verdict = |code, skipped| Verdict { name: "it".to_owned(), code, skipped };
        assert_eq!(failure("it", &[verdict(0, false)]), None);
        assert!(failure("it", &[]).is_some());
        assert!(failure("other", &[verdict(0, false)]).is_some());
        assert!(failure("it", &[verdict(1, false)]).is_some());
        assert!(failure("it", &[verdict(0, true)]).is_some());
        assert!(failure("it", &[verdict(0, false), verdict(0, false)]).is_some());
    }
}
