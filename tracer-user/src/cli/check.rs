//! `outlive check`.

use super::arguments::{Budget, Check, ReportFormat};
use super::report::deliver;
use super::trace::config;
use crate::check::{self, Baseline, CiSystem, Course, Rules, Status, Suppression};
use crate::growth;
use crate::printable::printable;
use crate::report::{self, Detail};
use crate::session::{self, Outcome, Schedule, Setback, Story, Whom};
use crate::stderr::say;
use anyhow::{Context as _, Result, bail, ensure};
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

/// How long a target without cycles is watched, where nothing else was said.
const WATCHED_FOR: Duration = Duration::from_secs(60);

/// Fails when work leaves memory behind.
pub fn check(verb: Check, verbose: u8, quiet: bool) -> Result<u8> {
    match run(&verb, verbose, quiet) {
        Ok(code) => Ok(code),
        Err(error) => {
            // A CI system shows what it finds in the files, so they say that nothing was checked.
            let failed = check::not_run(&format!("{error:#}"));
            let _ = write_files(&verb, &failed);
            annotate(&verb, &failed)?;
            Err(error)
        }
    }
}

fn run(verb: &Check, verbose: u8, quiet: bool) -> Result<u8> {
    session::require_privileges()?;
    ensure!(
        verb.cycle.is_none() || verb.watch.duration.is_none(),
        "--duration is for checks without --cycle; cycles are counted by --cycles"
    );
    let rules = rules(verb)?;
    let whom = match verb.pid {
        Some(pid) => Whom::Process(pid),
        None => Whom::Command(verb.command.clone()),
    };
    let mut config = config(whom, &verb.watch, verbose, quiet);
    // A gate counts everything, unless somebody else depends on the program.
    config.max_overhead = config.max_overhead.filter(|_| verb.watch.max_overhead.is_some());
    config.duration = None;
    config.lane = !verb.no_lane;
    config.schedule = Some(Schedule {
        ready: verb.ready.clone(),
        cycle: verb.cycle.clone(),
        warm_up: verb.warmup,
        cycles: verb.cycles,
        settle: verb.settle,
        timeout: verb.timeout,
        duration: verb.watch.duration.unwrap_or(WATCHED_FOR),
        tell: !quiet,
    });
    if verb.watch.js_heap.is_none() && !verb.watch.no_js_heap && is_node(&verb.command) {
        config.js_heap = session::JsHeapMode::Asked;
    }
    let Outcome { recording, folder, story } = session::watch(config)?;
    let found = check::build(&recording, &rules, &course(verb, story.unwrap_or_default()));
    let detail = if verb.watch.full { Detail::Full } else { Detail::Folded };
    if let Some(folder) = folder {
        let report = report::build(&recording, &growth::Limits::default());
        session::write_reports(&folder, &report, detail)?;
        session::write_beside(&folder.join("check.json"), check::json(&found).as_bytes())?;
        say(&format!("capture, reports and flamegraphs are in {}", folder.display()));
    }
    write_files(verb, &found)?;
    annotate(verb, &found)?;
    let stdout = std::io::stdout();
    let answer = match verb.watch.format {
        ReportFormat::Text => check::text(&found, stdout.is_terminal(), detail),
        ReportFormat::Json => check::json(&found),
        ReportFormat::Markdown => check::markdown(&found),
    };
    let code = update(verb, &rules, &found)?;
    match deliver(answer.as_bytes(), None) {
        // Whoever read it had enough; the answer stands.
        Err(error) if super::is_broken_pipe(&error) => Ok(code),
        delivered => delivered.map(|()| code),
    }
}

/// Whether a command is Node itself: then its JavaScript heap is looked into.
fn is_node(command: &[OsString]) -> bool {
    let name = command.first().and_then(|program| Path::new(program).file_name());
    name.and_then(OsStr::to_str).is_some_and(|name| matches!(name, "node" | "nodejs"))
}

fn rules(verb: &Check) -> Result<Rules> {
    let baseline = match &verb.baseline {
        Some(path) if path.exists() => {
            let text = read(path, check::MAX_BASELINE_BYTES)?;
            let baseline = Baseline::parse(&text).with_context(|| path.display().to_string())?;
            Some(baseline)
        }
        Some(path) => {
            let shown = path.display();
            match verb.update_baseline {
                true => say(&format!("{shown} does not exist yet; it will be written")),
                false => say(&format!(
                    "warning: {shown} does not exist, so nothing is accepted; --update-baseline writes it"
                )),
            }
            Some(Baseline::default())
        }
        None => None,
    };
    let suppressions = match &verb.suppressions {
        Some(path) => suppressions(path)?,
        None => Vec::new(),
    };
    Ok(Rules {
        cycles: verb.cycle.as_ref().map(|_| (verb.warmup, verb.cycles)),
        budget_bytes: bytes(verb, verb.budget)?,
        site_budget_bytes: verb.site_budget.map(|budget| bytes(verb, budget)).transpose()?,
        baseline,
        suppressions,
    })
}

fn suppressions(path: &Path) -> Result<Vec<Suppression>> {
    let text = read(path, check::MAX_SUPPRESSION_BYTES)?;
    check::suppressions(&text).with_context(|| path.display().to_string())
}

fn read(path: &Path, max_bytes: u64) -> Result<String> {
    let shown = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("reading {shown}"))?;
    let mut text = String::new();
    file.take(max_bytes + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {shown}"))?;
    ensure!(text.len() as u64 <= max_bytes, "{shown} is longer than {max_bytes} bytes");
    Ok(text)
}

fn bytes(verb: &Check, budget: Budget) -> Result<u64> {
    match (budget.per_cycle, verb.cycle.is_some()) {
        (Some(true), false) => {
            bail!("a budget by cycle needs --cycle CMD; without it, give one by hour (1MiB/h)")
        }
        (Some(false), true) => {
            bail!("a budget by hour is for checks without --cycle; give one by cycle (64KiB/cycle)")
        }
        _ => Ok(budget.bytes),
    }
}

fn course(verb: &Check, story: Story) -> Course {
    let ran = story.ended;
    let setback = story.setback.map(|setback| match setback {
        Setback::NotReady(how) => (
            Status::CouldNotRun,
            format!("The ready command never succeeded: {how}. Run it by hand while the program runs, or give more time by --timeout."),
        ),
        Setback::TargetEnded(how) => {
            let how = how.map(|how| format!(" ({how})")).unwrap_or_default();
            let status = if ran == 0 { Status::CouldNotRun } else { Status::Inconclusive };
            (status, format!("The program ended by itself{how} after {ran} cycles; what it left behind until then proves nothing. Its own messages are above."))
        }
        Setback::CycleFailed(cycle, how) => (
            Status::Inconclusive,
            format!(
                "The command of cycle {} failed: {how}. Its messages are above{}.",
                cycle + 1,
                if verb.ready.is_none() { "; if the program was not ready yet, give --ready CMD" } else { "" },
            ),
        ),
        Setback::Interrupted => {
            (Status::Inconclusive, format!("Interrupted after {ran} cycles."))
        }
    });
    let mut notes = Vec::new();
    if verb.ready.is_none() && verb.pid.is_none() {
        notes.push(
            "Without --ready the program was taken to be ready when it first was still.".to_owned(),
        );
    }
    if verb.pid.is_some() {
        notes.push("What was there before the attach is not known: where that is replaced, it looks like growth until all of it has been. Let the program work for a while first.".to_owned());
    }
    Course { unsettled: story.unsettled, setback, notes }
}

/// Writes the files that were asked for, and the job's summary.
fn write_files(verb: &Check, found: &check::Check) -> Result<()> {
    if let Some(path) = &verb.junit {
        let junit = check::junit(found).context("writing JUnit XML")?;
        session::write_for_others(path, junit.as_bytes())?;
    }
    if let Some(path) = &verb.sarif {
        session::write_for_others(path, check::sarif(found, &root()).as_bytes())?;
    }
    if let Some(path) = &verb.markdown {
        session::write_for_others(path, check::markdown(found).as_bytes())?;
    }
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let appended = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(check::markdown(found).as_bytes()));
    if let Err(error) = appended {
        let shown = printable(&Path::new(&path).display().to_string());
        say(&format!("warning: the job's summary {shown} cannot be written: {error}"));
    }
    Ok(())
}

/// Tells the CI system which lines are meant; on stderr, which it reads too, where somebody parses
/// stdout.
fn annotate(verb: &Check, found: &check::Check) -> Result<()> {
    let Some(system) = CiSystem::of(|name| std::env::var(name).ok()) else { return Ok(()) };
    let lines = check::annotations(found, system, &root());
    match verb.watch.format {
        ReportFormat::Text => deliver(lines.as_bytes(), None),
        ReportFormat::Json | ReportFormat::Markdown => {
            std::io::stderr().lock().write_all(lines.as_bytes()).context("writing annotations")
        }
    }
}

/// The folder that files are named relative to: of the repository, or the present one.
fn root() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let repository = here.ancestors().find(|folder| folder.join(".git").exists());
    repository.unwrap_or(&here).display().to_string()
}

/// The exit code; with `--update-baseline` after what was found has been accepted.
fn update(verb: &Check, rules: &Rules, found: &check::Check) -> Result<u8> {
    let (Some(path), true) = (&verb.baseline, verb.update_baseline) else {
        return Ok(found.status.exit_code());
    };
    let shown = path.display();
    if !matches!(found.status, Status::Clean | Status::Growth) {
        say(&format!("{shown} was left as it is, since the check proves nothing"));
        return Ok(found.status.exit_code());
    }
    let known = rules.baseline.clone().unwrap_or_default();
    let updated = check::accepted(found, &known);
    if updated == known && path.exists() {
        say(&format!("{shown} says so already"));
        return Ok(0);
    }
    session::write_for_others(path, updated.text().as_bytes())?;
    say(&format!("wrote {shown}: review it and keep it beside the code"));
    Ok(0)
}
