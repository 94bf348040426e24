//! outlive itself, as the bench runs it: attached to a process, or as what starts one.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::{Guarded, bound_command};
use crate::{command, workspace};

/// Longest wait for probes to be in place, and for the report of the largest session.
const PATIENCE: Duration = Duration::from_secs(180);

/// How it samples in the bench: mean bytes between two blocks that are followed.
pub(super) const SAMPLED: [&str; 2] = ["--sample", "64KiB"];

/// Blocks are exact, whatever the default is.
const EXACT: &str = "--exact";

/// outlive, attached to a process. When this is dropped it is killed, and the kernel takes the probes
/// back.
pub(super) struct Attached {
    outlive: Guarded,
    out: TempDir,
    /// From its start until all probes were in place.
    pub(super) took: Duration,
}

/// Whether the verb of the binary that is there knows an option.
pub(super) fn knows(verb: &str, option: &str) -> bool {
    let help = command::probe(Command::new(workspace::outlive_binary()).args([verb, "--help"]));
    help.is_some_and(|help| names(&help, option))
}

/// Whether the text names exactly this option.
fn names(help: &str, option: &str) -> bool {
    help.split(|letter: char| letter != '-' && !letter.is_ascii_alphanumeric())
        .any(|word| word == option)
}

/// Attaches with every block followed, and `options` besides.
///
/// # Errors
/// When it does not attach.
pub(super) fn exact(pid: u32, options: &[&str]) -> Result<Attached> {
    let mut arguments = options.to_vec();
    if knows("attach", EXACT) {
        arguments.push(EXACT);
    }
    attach("attach", pid, &arguments)
}

/// Attaches with sampling, and without a budget: with one the probes would go, and what sampling
/// costs would not be measured.
///
/// # Errors
/// When it does not attach.
pub(super) fn sampled(pid: u32) -> Result<Attached> {
    attach("attach", pid, &[SAMPLED[0], SAMPLED[1], "--max-overhead", "off"])
}

/// Attaches as it is without options: within a budget of 5 %.
///
/// # Errors
/// When it does not attach.
pub(super) fn budgeted(pid: u32) -> Result<Attached> {
    attach("attach", pid, &[])
}

/// Places empty probes where outlive's own would be.
///
/// # Errors
/// When it does not attach.
pub(super) fn floor(pid: u32) -> Result<Attached> {
    attach("floor", pid, &[])
}

/// Whether the binary can sample, or why that is not measured.
pub(super) fn can_sample() -> Result<()> {
    if !knows("attach", SAMPLED[0]) {
        bail!("this build of outlive has no --sample");
    }
    Ok(())
}

/// A command that outlive starts by way of its preloaded library, ready for the command itself.
///
/// # Errors
/// When the binary knows no such way.
pub(super) fn lane(out: &TempDir) -> Result<Command> {
    if !knows("run", "--no-lane") || !knows("run", SAMPLED[0]) {
        bail!("this build of outlive has no fast lane");
    }
    let mut command = bound_command(workspace::outlive_binary(), "INT");
    command.arg("run").args(SAMPLED).arg("--out").arg(out.path()).arg("--");
    Ok(command)
}

/// A folder for what outlive records.
///
/// # Errors
/// When there is no room for one.
pub(super) fn folder() -> Result<TempDir> {
    tempfile::tempdir().context("making a folder for the capture")
}

fn attach(verb: &str, pid: u32, options: &[&str]) -> Result<Attached> {
    let out = folder()?;
    let mut command = bound_command(workspace::outlive_binary(), "INT");
    command.args([verb, &pid.to_string()]).args(options);
    if verb == "attach" {
        command.arg("--out").arg(out.path());
    }
    let began = Instant::now();
    let mut outlive = Guarded::start(&format!("outlive {verb}"), &mut command)?;
    let announcement = format!("attached to PID {pid}");
    outlive.wait_for("word that it is attached", PATIENCE, |line| {
        line.contains(&announcement).then_some(())
    })?;
    Ok(Attached { outlive, out, took: began.elapsed() })
}

/// How long its end took.
pub(super) struct Ended {
    /// From the signal until the report stood there.
    pub(super) report: Duration,
    /// From the signal until outlive was gone, and its last probe with it.
    pub(super) whole: Duration,
}

impl Attached {
    pub(super) fn pid(&self) -> u32 {
        self.outlive.pid()
    }

    /// Ends it as Ctrl-C does.
    ///
    /// # Errors
    /// When it does not end, or says that it failed. Exit codes 1 and 3 are answers.
    pub(super) fn end(mut self) -> Result<()> {
        self.outlive.signal("INT");
        self.wait()
    }

    /// The same, timed.
    ///
    /// # Errors
    /// As `end`, and when it prints no report.
    pub(super) fn end_timed(mut self) -> Result<Ended> {
        let began = Instant::now();
        self.outlive.signal("INT");
        // A heading that each report has.
        let heading = |line: &str| (line.trim_end() == "Totals").then_some(());
        self.outlive.wait_for("report", PATIENCE, heading)?;
        let report = began.elapsed();
        self.wait()?;
        Ok(Ended { report, whole: began.elapsed() })
    }

    /// Ends it and returns its report.
    ///
    /// # Errors
    /// As `end`, and when there is no report.
    pub(super) fn end_with_report(mut self) -> Result<Value> {
        self.outlive.signal("INT");
        self.wait()?;
        let text = fs::read_to_string(self.out.path().join("report.json"));
        serde_json::from_str(&text.context("reading report.json")?).context("report.json")
    }

    fn wait(&mut self) -> Result<()> {
        let status = self.outlive.wait(PATIENCE)?;
        if !matches!(status.code(), Some(0 | 1 | 3)) {
            bail!("outlive ended with {status}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn an_option_is_known_by_its_whole_name() {
        let help = "      --sample <BYTES>  Follow a sample\n      --exact, -x\n";
        assert!(names(help, "--sample"));
        assert!(names(help, "--exact"));
        assert!(!names(help, "--samp"));
        assert!(!names("--sample-size <N>", "--sample"));
    }
}
