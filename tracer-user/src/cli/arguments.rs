//! Arguments as they are typed. What they mean is `session::Config`.

mod check;
mod heap;
mod watch;

pub use check::{Budget, Check};
pub use heap::Heap;
pub use watch::{JsHeap, Overhead, Watch};

use crate::units::{parse_duration, parse_size};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Which stacks of a running process hold its memory, and which keep growing.
///
/// outlive puts eBPF probes on the allocator of a process that already runs. Nothing is
/// restarted, nothing is injected, and nothing is left behind.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  sudo outlive attach 4321 --duration 60s --out findings
  sudo outlive attach --name '^gunicorn: worker'
  sudo outlive run -- python3 app.py
  outlive report findings/capture.outlive --format svg --view growth -o growth.svg

Exit codes: 0 done; 1 growth found and --fail-on-growth given; 2 could not run;
3 inconclusive (window too short, something was lost, or the probes
were out for most of it to hold --max-overhead)."
)]
pub struct Arguments {
    /// Say more on stderr; twice: debug messages, those of the kernel side included.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// No progress on stderr; warnings and errors stay.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Watch a process that already runs (needs root)
    #[command(after_help = "\
Examples:
  sudo outlive attach 4242 --duration 60s --out findings
  sudo outlive attach --name '^gunicorn: master' --follow --duration 5m
  sudo outlive attach --unit gateway --format json --fail-on-growth --duration 2m
  sudo outlive attach 4242 --js-heap --duration 2m        # Node: the JavaScript heap too")]
    Attach(Attach),
    /// Start a command and watch it from its first instruction (needs root)
    #[command(after_help = "\
Examples:
  sudo outlive run -- python3 app.py
  sudo outlive run --follow --out findings -- gunicorn -w 4 app:app
  sudo outlive run --python-objects -- python3 app.py
  sudo outlive run --js-heap -- node app.js")]
    Run(Run),
    /// Fail when a program's work leaves memory behind: a gate for CI (needs root)
    #[command(after_help = check::EXAMPLES)]
    Check(Box<Check>),
    /// Say what the objects of a process are, what of them grew, and who holds it (needs root)
    #[command(after_help = heap::EXAMPLES)]
    Heap(Heap),
    /// Make a report from a capture, here or on another machine
    #[command(after_help = "\
Examples:
  outlive report findings/capture.outlive --full
  outlive report findings/capture.outlive@90s
  outlive report findings/capture.outlive --format markdown -o leak.md
  outlive report findings/capture.outlive --format pprof -o live.pb.gz")]
    Report(Report),
    /// Compare two captures, or two moments of one
    #[command(after_help = "\
Examples:
  outlive diff monday/capture.outlive tuesday/capture.outlive
  outlive diff findings/capture.outlive@30s findings/capture.outlive@90s
  outlive diff old/capture.outlive@60s new/capture.outlive@60s --format svg -o change.svg

Stacks are matched by the names in them, not by addresses or lines, so that restarts and new builds
do not matter. Exit codes: 0 done; 1 more than --fail-above; 2 could not run; 3 --fail-above was
given, and a capture is incomplete.")]
    Diff(Diff),
    /// Show what would be probed in a process and why; attaches nothing
    Plan(Look),
    /// Check what works on this machine, and what to do about what does not
    Doctor(Doctor),
    /// Attach empty probes where outlive would attach its own, for the benchmark
    #[command(hide = true)]
    Floor(Floor),
}

/// Form of a report on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// For people, as a page for an issue or a pull request.
    Markdown,
    /// For scripts; see docs/report-schema.md.
    Json,
}

/// Watch a process that already runs.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["pid", "name", "unit"]))]
pub struct Attach {
    /// The process.
    pub pid: Option<u32>,
    /// The one process whose command line matches this regular expression (as pgrep -f).
    #[arg(long, value_name = "PATTERN")]
    pub name: Option<String>,
    /// The oldest process of this systemd unit (of its control group).
    #[arg(long, value_name = "SYSTEMD-UNIT")]
    pub unit: Option<String>,
    /// How.
    #[command(flatten)]
    pub watch: Watch,
}

/// Start a command and watch it.
#[derive(Debug, Args)]
pub struct Run {
    /// How.
    #[command(flatten)]
    pub watch: Watch,
    /// With --sample, do not draw the sample inside the command (by a preloaded library, where it
    /// takes the shared glibc's allocator), but by probes, as `attach` does.
    #[arg(long)]
    pub no_lane: bool,
    /// The command and its arguments.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Make a report from a capture.
#[derive(Debug, Args)]
pub struct Report {
    /// The capture (capture.outlive of --out); FILE@90s: as if the session had ended at that moment.
    pub capture: OsString,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// What the widths of a flamegraph, or the numbers of folded stacks, mean.
    #[arg(long, value_enum, default_value_t = View::Live)]
    pub view: View,
    /// Show all findings, reasons and frames, and each kind of loss, also where it is zero.
    #[arg(long)]
    pub full: bool,
    /// Write here instead of to stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Exit with 1 when something grows.
    #[arg(long)]
    pub fail_on_growth: bool,
}

/// Form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For people, as a page for an issue or a pull request.
    Markdown,
    /// For scripts; see docs/report-schema.md.
    Json,
    /// Folded stacks, one a line, outermost frame first.
    Folded,
    /// A flamegraph.
    Svg,
    /// A profile for `go tool pprof` and what reads its format; binary.
    Pprof,
}

/// Compare two captures.
#[derive(Debug, Args)]
pub struct Diff {
    /// What was: a capture as it ended, or at a moment (FILE@90s, FILE@start, FILE@end).
    #[arg(value_name = "BEFORE")]
    pub before: OsString,
    /// What came after, in the same way.
    #[arg(value_name = "AFTER")]
    pub after: OsString,
    /// Form of the comparison.
    #[arg(long, value_enum, default_value_t = DiffFormat::Text)]
    pub format: DiffFormat,
    /// Places that are listed, the largest change first (text: 10; JSON: all).
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Write here instead of to stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Exit with 1 when live bytes grew by more than this, all places together (0, 64KiB), and with 3
    /// when the numbers cannot tell: something was lost, or they are sampled and it may be an error.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub fail_above: Option<u64>,
}

/// Form of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people.
    Text,
    /// For scripts; see docs/diff-schema.md.
    Json,
    /// Folded stacks, outermost frame first, with live bytes before and after.
    Folded,
    /// A differential flamegraph.
    Svg,
}

/// What a flamegraph shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// Bytes live at the end.
    Live,
    /// Bytes that growing stacks gained.
    Growth,
    /// Bytes allocated in the window.
    Allocated,
}

/// Look at a process.
#[derive(Debug, Args)]
pub struct Look {
    /// The process.
    pub pid: u32,
    /// For scripts.
    #[arg(long)]
    pub json: bool,
}

/// Check the machine, and a process where one is named.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The process.
    pub pid: Option<u32>,
    /// For scripts.
    #[arg(long)]
    pub json: bool,
}

/// Attach empty probes.
#[derive(Debug, Args)]
pub struct Floor {
    /// The process.
    pub pid: u32,
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("a time of 0 watches nothing; give for example 30s".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
