//! Verb `accuracy`: servers that leak and servers that only look so, under load, with outlive
//! attached to them; what it says beside what they know of themselves.

mod built;
mod gate;
mod program;
mod run;
mod score;
mod service;
mod table;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{build, command, debian};
use built::Built;
use program::Case;
use run::Wish;
use score::Score;
use table::{Demand, Row};

/// Programs at a time, by processor: each needs some 5 % of one.
const PROGRAMS_PER_PROCESSOR: usize = 3;
/// In the short run, which many run on a machine that does other things too.
const MAX_PROGRAMS_SHORT: usize = 6;
/// Between the starts of two programs, so that they do not all attach at once.
const STAGGER: Duration = Duration::from_millis(1500);

/// Arguments of `cargo xtask accuracy`.
#[derive(Debug, clap::Args)]
pub struct AccuracyArgs {
    /// How often each program runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Each program once and its leak fast, in short windows: about four minutes
    #[arg(long, conflicts_with_all = ["runs", "gate"])]
    quick: bool,
    /// Only programs with one of these names
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Programs at a time [default: three a processor]
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// The table as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run `outlive check` on each server instead, its leak on and off, on a loaded machine
    #[arg(long)]
    gate: bool,
}

impl AccuracyArgs {
    /// The short run, of all programs.
    pub fn quick() -> Self {
        let (only, parallel, json) = (Vec::new(), None, None);
        Self { runs: 1, quick: true, only, parallel, json, gate: false }
    }
}

/// Runs the verb.
///
/// # Errors
/// When something could not be set up, or outlive missed what is demanded of it.
pub fn run(args: &AccuracyArgs) -> Result<()> {
    if !debian::is_root() {
        bail!("loading eBPF programs and probing other processes needs root; run as root");
    }
    let mut cases = program::cases(args.quick);
    cases.retain(|case| args.only.is_empty() || args.only.iter().any(|name| name == case.name));
    if cases.is_empty() {
        bail!("no program of the corpus has that name: {}", args.only.join(", "));
    }
    build::bpf_object()?;
    build::outlive(true)?;
    command::heading("building the corpus");
    let built = Built::new(&cases)?;
    if args.gate {
        return gate::run(&built, &cases, args.runs);
    }
    let mut rows = run_all(&built, &cases, args);
    if args.quick {
        run_again(&built, &mut rows);
    }
    print!("\n{}", table::text(&rows));
    if let Some(path) = &args.json {
        fs::write(path, format!("{:#}\n", table::json(&rows)))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    let missed = rows.iter().filter(|row| !row.missed().is_empty()).count();
    if missed > 0 {
        let of = |row: &Row<'_>| {
            let missed = row.missed();
            (!missed.is_empty())
                .then(|| format!("{} {}: {}", row.case.name, row.case.way, missed.join("; ")))
        };
        let said: Vec<String> = rows.iter().filter_map(of).collect();
        bail!(
            "{missed} of {} cases miss what is demanded (reports in target/accuracy): {}",
            rows.len(),
            said.join(" | ")
        );
    }
    Ok(())
}

/// Runs every case as often as wished, several at a time.
fn run_all<'a>(built: &Built, cases: &'a [Case], args: &AccuracyArgs) -> Vec<Row<'a>> {
    let runs = if args.quick { 1 } else { args.runs as usize };
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = if args.quick { MAX_PROGRAMS_SHORT } else { usize::MAX };
    let parallel = args.parallel.unwrap_or(most.min(processors * PROGRAMS_PER_PROCESSOR)).max(1);
    // All cases once, then again: what changes on the machine meanwhile touches all of them.
    let jobs: Vec<&Case> = (0..runs).flat_map(|_| cases).collect();
    let wish = if args.quick {
        short_wish(processors)
    } else {
        Wish { stretch: 1, first_flag: run::knows_moments(), tolerance: score::TOLERANCE }
    };
    command::heading(&format!("{} runs, {parallel} at a time", jobs.len()));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Score, String>)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..parallel.min(jobs.len()) {
            let (jobs, next, done) = (&jobs, &next, &done);
            scope.spawn(move || {
                thread::sleep(STAGGER * u32::try_from(worker).unwrap_or(0));
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = jobs.get(index) else { return };
                    let score = run::run(built, case, wish).map_err(|error| format!("{error:#}"));
                    tell(case, &score);
                    // A worker that panicked leaves whole entries behind.
                    done.lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((index, score));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    let mut rows: Vec<Row<'a>> =
        cases.iter().map(|case| Row { case, runs: Vec::new(), demand: Demand::Every }).collect();
    for (index, score) in done {
        rows[index % cases.len()].runs.push(score);
    }
    rows
}

/// In the short run: what a case missed while others ran beside it must hold when it runs by
/// itself. An innocent that was accused is accused: no second run makes that good.
fn run_again(built: &Built, rows: &mut [Row<'_>]) {
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for row in rows.iter_mut().filter(|row| !row.missed().is_empty() && !row.accuses()) {
        eprintln!("xtask: {} once more, by itself", row.case.name);
        let wish = short_wish(processors);
        let score = run::run(built, row.case, wish).map_err(|error| format!("{error:#}"));
        tell(row.case, &score);
        row.runs.push(score);
        row.demand = Demand::Last;
    }
}

fn short_wish(processors: usize) -> Wish {
    let (first_flag, tolerance) = (false, score::SHORT_TOLERANCE);
    Wish { stretch: stretch(processors), first_flag, tolerance }
}

/// How many times as long windows are: by how much more there is to run already than processors.
fn stretch(processors: usize) -> u64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    (load / processors as f64).round().clamp(1.0, 3.0) as u64
}

fn tell(case: &Case, score: &Result<Score, String>) {
    let said = match score {
        Ok(score) if score.missed.is_empty() => format!("as demanded ({})", score.verdict),
        Ok(score) => format!("MISSED {}", score.missed.join("; ")),
        Err(error) => format!("did not run: {error}"),
    };
    eprintln!("xtask: {:<16} {:<9} {said}", case.name, case.way);
}
