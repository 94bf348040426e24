//! `--gate`: `outlive check` on each server, its leak on and off, while another process loads the
//! machine. It must answer 1 and name the line, or 0.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::built::Built;
use super::program::Case;
use super::service::Service;
use crate::child::{Guarded, bound_command};
use crate::loopback::free_port;
use crate::{command, workspace};

/// Cycles before anything is looked at, and those that are.
const WARM_UP: &str = "3";
const CYCLES: &str = "6";
/// A minute's check is long; one that takes this has come to a standstill.
const PATIENCE: Duration = Duration::from_secs(600);
/// Exit codes of `outlive check`.
const CLEAN: i32 = 0;
const OVER_BUDGET: i32 = 1;

/// Where a leak is, as a report names it.
struct Place {
    file: String,
    lines: Vec<u64>,
}

/// Runs the checks, `runs` of each.
///
/// # Errors
/// When one cannot be made, or any answer was wrong.
pub fn run(built: &Built, cases: &[Case], runs: u32) -> Result<()> {
    let on: Vec<&Case> = cases.iter().filter(|case| case.way == "fast").collect();
    let mut burner = bound_command("sh", "KILL");
    let mut burner = Guarded::start("the other load", burner.args(["-c", "while :; do :; done"]))?;
    let (mut wrong, mut count) = (Vec::new(), 0);
    for case in on {
        let place = place_of(built, case)?;
        let off = Case {
            way: "off",
            leaks: false,
            args: case.args.iter().copied().filter(|one| *one != "--leak").collect(),
            ..case.clone()
        };
        for case in [case, &off] {
            for run in 1..=runs {
                count += 1;
                let said = check(built, case, &place);
                let shown =
                    said.as_ref().map_or_else(|why| format!("{why:#}"), |()| "right".into());
                eprintln!("xtask: {} {} run {run}: {shown}", case.name, case.way);
                wrong.extend(said.err().map(|why| format!("{} {}: {why:#}", case.name, case.way)));
            }
        }
    }
    burner.end("KILL")?;
    for one in &wrong {
        println!("WRONG {one}");
    }
    println!("{} of {count} answers are right", count - wrong.len());
    if !wrong.is_empty() {
        bail!("{} of {count} checks answered wrongly", wrong.len());
    }
    Ok(())
}

/// One check; the error says what was wrong with its answer.
fn check(built: &Built, case: &Case, place: &Place) -> Result<()> {
    let port = free_port()?;
    let mut check = bound_command(workspace::outlive_binary(), "INT");
    check.args(["check", "--ready", &built.drive(port, 0), "--warmup", WARM_UP]);
    check.args(["--cycles", CYCLES, "--cycle", &built.drive(port, case.cycle_turns)]);
    if case.options.contains(&"--js-heap") {
        check.arg("--js-heap");
    }
    check.arg("--").args(built.words(case)).args(["--port", &port.to_string()]);
    if case.load == 0 {
        check.arg("--no-load");
    }
    built.give_environment(&mut check, case);
    let (code, said) = output(&mut check)?;
    let expected = if case.leaks { OVER_BUDGET } else { CLEAN };
    if code != Some(expected) {
        bail!("exit {code:?} instead of {expected}; it said:\n{said}");
    }
    let names = |line: &u64| said.contains(&format!("{}:{line}", place.file));
    if case.leaks && !place.lines.iter().any(names) {
        bail!("{}:{:?} is not named; it said:\n{said}", place.file, place.lines);
    }
    Ok(())
}

/// Runs a command to its end, with a stdin that stays open; its exit code and all that it said.
fn output(command: &mut Command) -> Result<(Option<i32>, String)> {
    let folder = tempfile::tempdir().context("making a folder for the output")?;
    let path = folder.path().join("said");
    let said = std::fs::File::create(&path).context("making a file for the output")?;
    let both = said.try_clone().context("the output's file")?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(said)
        .stderr(both)
        .spawn()
        .context("starting outlive check")?;
    let begin = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for outlive check")? {
            break status;
        }
        if begin.elapsed() > PATIENCE {
            let asked =
                command::probe(Command::new("kill").args(["-INT", &child.id().to_string()]));
            let status = child.wait().context("ending outlive check")?;
            bail!("it did not end in {PATIENCE:?} ({}, {status})", asked.is_some());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let said = std::fs::read(&path).context("reading the output")?;
    Ok((status.code(), String::from_utf8_lossy(&said).into_owned()))
}

/// The place of its leak, as the server tells it.
fn place_of(built: &Built, case: &Case) -> Result<Place> {
    let service = Service::start(built, case, 0)?;
    let truth = service.truth()?;
    service.end()?;
    let retained = &truth["retained"][0];
    let file = retained["file"].as_str().context("the truth names no file")?;
    let lines = retained["lines"].as_array().context("the truth names no lines")?.iter();
    let lines = lines.chain([&retained["defined_line"]]).filter_map(Value::as_u64);
    let file = file.rsplit('/').next().unwrap_or(file).to_owned();
    Ok(Place { file, lines: lines.collect() })
}
