//! Arguments of `outlive check`.

use super::{Watch, positive_duration};
use crate::units::{parse_duration, parse_size};
use clap::Args;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// What `outlive check --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  sudo outlive check --ready 'curl -sf localhost:8080/healthz' \\
       --cycle './batch.sh 200' --junit outlive.xml -- ./server
  sudo outlive check --cycle 'npm run batch' --ready 'curl -sf localhost:3000' -- node app.js
  sudo outlive check --pid 4242 --cycle './batch.sh' --baseline outlive.baseline
  sudo outlive check --cycle ./batch.sh --baseline outlive.baseline --update-baseline -- ./server
  sudo outlive check --duration 5m --budget 1MiB/h -- python3 app.py     # no cycles: over time

A cycle is a piece of work after which the program should hold no more than before: a batch of
requests, a test. It is run --warmup times for caches to fill, then --cycles times. What each of
these leaves behind, and goes on leaving to the last one, counts against --budget. What comes and
goes, stops growing, or came once does not.

Exit codes: 0 clean; 1 more than the budget is left behind; 2 could not run, or never was ready;
3 inconclusive: the command or a cycle failed, something was lost, or V8 has not collected what
grew. Never 0 unless every cycle ran and everything was seen.";

/// Fail when work leaves memory behind.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["pid", "command"]))]
pub struct Check {
    /// With --sample, do not draw the sample inside the command, but by probes.
    #[arg(long)]
    pub no_lane: bool,
    /// A process that runs already, instead of a command. It is left running.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Succeeds when the program is ready (sh -c; OUTLIVE_PID is set). Tried every 200 ms. Without
    /// it the program is given a second, and until nothing changes or --settle is over.
    #[arg(long, value_name = "CMD")]
    pub ready: Option<OsString>,
    /// One cycle of work (sh -c; OUTLIVE_PID and OUTLIVE_CYCLE, from 0 on, are set). It has to
    /// succeed. Without it growth is judged over --duration.
    #[arg(long, value_name = "CMD")]
    pub cycle: Option<OsString>,
    /// Cycles that do not count, at the beginning: caches fill, code is compiled.
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub warmup: u32,
    /// Cycles that count. Four are enough for a leak that is the same in each; uneven ones need
    /// more, the more uneven they are.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub cycles: u32,
    /// How long a cycle may take to settle. It has when two readings 150 ms apart say the same.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = settle)]
    pub settle: Duration,
    /// How long the program may take to be ready, and a cycle to end.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = positive_duration)]
    pub timeout: Duration,
    /// What all places together may leave behind: in each cycle (0B/cycle, 64KiB), or without
    /// --cycle in an hour (1MiB/h).
    #[arg(long, value_name = "BYTES", default_value = "0B", value_parser = Budget::parse)]
    pub budget: Budget,
    /// A place that leaves no more than this does not count.
    #[arg(long, value_name = "BYTES", value_parser = Budget::parse)]
    pub site_budget: Option<Budget>,
    /// What is known and accepted: a text file, made to be kept beside the code. One that does not
    /// exist accepts nothing.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write what was found to the baseline, with which the check then passes; what is no longer
    /// seen is taken out. Nothing is written unless the check is conclusive.
    #[arg(long, requires = "baseline")]
    pub update_baseline: bool,
    /// Leaks that are not looked at, as LeakSanitizer's: a line leak:PATTERN each, which is searched
    /// for in function, file and module of every frame; * stands for anything, ^ and $ for the ends.
    #[arg(long, value_name = "FILE")]
    pub suppressions: Option<PathBuf>,
    /// Write JUnit XML here.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write Markdown here. What GITHUB_STEP_SUMMARY names gets it too.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Write SARIF 2.1.0 here.
    #[arg(long, value_name = "FILE")]
    pub sarif: Option<PathBuf>,
    /// How to watch.
    #[command(flatten)]
    pub watch: Watch,
    /// The command and its arguments. What it prints goes to stderr; it is stopped at the end.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// An amount, with what it is per where that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes.
    pub bytes: u64,
    /// Whether per cycle (`true`) or per hour; `None` where that was not said.
    pub per_cycle: Option<bool>,
}

impl Budget {
    fn parse(text: &str) -> Result<Self, String> {
        let (size, per_cycle) = match text.split_once('/') {
            None => (text, None),
            Some((size, "cycle")) => (size, Some(true)),
            Some((size, "h" | "hour")) => (size, Some(false)),
            Some((_, unit)) => {
                return Err(format!("per {unit:?}? give for example 64KiB/cycle or 1MiB/h"));
            }
        };
        let bytes = parse_size(size).map_err(|error| error.to_string())?;
        Ok(Self { bytes, per_cycle })
    }
}

fn settle(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_as_meant() {
        for (text, bytes, per_cycle) in [
            ("0B/cycle", 0, Some(true)),
            ("0", 0, None),
            ("64KiB", 65_536, None),
            ("64KiB/cycle", 65_536, Some(true)),
            ("1MiB/h", 1 << 20, Some(false)),
            ("1MiB/hour", 1 << 20, Some(false)),
        ] {
            assert_eq!(Budget::parse(text), Ok(Budget { bytes, per_cycle }), "{text}");
        }
        for text in ["", "/cycle", "1KiB/day", "-1/cycle", "much", "1/cycle/h"] {
            assert!(Budget::parse(text).is_err(), "{text}");
        }
    }
}
