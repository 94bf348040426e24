//! One run of a case: server, warm-up, `outlive attach`, and the score of what it said.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::built::Built;
use super::program::Case;
use super::score::{self, Score};
use super::service::Service;
use crate::child::{Guarded, bound_command};
use crate::{command, workspace};

/// Longest wait for outlive to attach, and to make its report behind the window.
const PATIENCE: Duration = Duration::from_secs(300);
/// Load beyond warm-up and window: outlive's own start and end take time too.
const SLACK_S: u64 = 600;
/// Between two moments at which a capture is asked whether it flags the leak by then.
const STEP_S: u64 = 5;

/// What a run is asked for beyond its case.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Windows are so many times as long: on a machine that is busy with others.
    pub stretch: u64,
    /// Whether the time to the first flag is looked for.
    pub first_flag: bool,
    /// How far from the truth a rate may be, as a share of it.
    pub tolerance: f64,
}

/// Runs a case once.
///
/// # Errors
/// When server or outlive could not run, or the server came to harm.
pub fn run(built: &Built, case: &Case, wish: Wish) -> Result<Score> {
    let window_s = case.window_s * wish.stretch;
    let service = Service::start(built, case, case.warm_s + window_s + SLACK_S)?;
    thread::sleep(Duration::from_secs(case.warm_s));
    let out = tempfile::tempdir().context("making a folder for the capture")?;

    let mut outlive = bound_command(workspace::outlive_binary(), "INT");
    let duration = format!("{window_s}s");
    outlive.args(["attach", &service.pid().to_string(), "--duration", &duration, "--exact"]);
    outlive.args(case.options).arg("--out").arg(out.path());
    let mut outlive = Guarded::start("outlive attach", &mut outlive)?;
    let announcement = format!("attached to PID {}", service.pid());
    outlive.wait_for("word that it is attached", PATIENCE, |line| {
        line.contains(&announcement).then_some(())
    })?;
    // Asked at the window's ends: outlive goes on for a while behind it, and so does the leak.
    let before = service.truth()?;
    thread::sleep(Duration::from_secs(window_s));
    let after = service.truth()?;
    let status = outlive.wait(PATIENCE)?;
    // 3 where nothing can be concluded, which is scored as what it is.
    if !matches!(status.code(), Some(0 | 3)) {
        bail!("outlive attach ended with {status}");
    }
    service.end()?;

    let text = fs::read_to_string(out.path().join("report.json")).context("reading report.json")?;
    let report = serde_json::from_str(&text).context("report.json")?;
    let mut score = score::score(&report, &before, &after, case.leaks, wish.tolerance)?;
    if case.leaks && wish.first_flag {
        score.first_flag_s = first_flag(&out.path().join("capture.outlive"), window_s, &after);
    }
    if !score.missed.is_empty() {
        keep(case, out.path(), &[&before, &after])?;
    }
    Ok(score)
}

/// Seconds by which the leak was flagged; `None` where that was never, or cannot be asked.
fn first_flag(capture: &Path, window_s: u64, truth: &Value) -> Option<u64> {
    // Each step is small, so that the first one is found even where later ones are undecided.
    (1..=window_s / STEP_S).map(|step| step * STEP_S).find(|at| {
        let moment = format!("{}@{at}s", capture.display());
        let mut ask = Command::new(workspace::outlive_binary());
        ask.args(["report", &moment, "--format", "json"]);
        let report = ask.stderr(std::process::Stdio::null()).output().ok();
        let report = report.and_then(|said| serde_json::from_slice(&said.stdout).ok());
        report.is_some_and(|report| score::flags(&report, truth))
    })
}

/// Whether captures can be asked for a moment of them.
pub fn knows_moments() -> bool {
    command::probe(Command::new(workspace::outlive_binary()).args(["report", "--help"]))
        .is_some_and(|help| help.contains("@TIME"))
}

/// Keeps what a run that missed something left, for people to look at.
fn keep(case: &Case, out: &Path, truths: &[&Value]) -> Result<()> {
    let folder =
        workspace::target_dir().join("accuracy").join(format!("{}-{}", case.name, case.way));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for name in ["capture.outlive", "report.json", "report.txt"] {
        fs::copy(out.join(name), folder.join(name)).with_context(|| format!("keeping {name}"))?;
    }
    let truths = serde_json::to_string_pretty(truths).context("the truths")?;
    fs::write(folder.join("truth.json"), truths).context("keeping the truths")
}
