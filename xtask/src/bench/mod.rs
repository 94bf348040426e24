//! Verb `bench`: what a malloc/free pair costs with no probe, with empty probes at the same
//! sites (the floor) and with outlive, interleaved so that the machine's moods hit all three; and
//! what a frame of its stack adds (`depth`); and what a look at a heap costs (`heap`).

mod depth;
mod heap;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::child::{Guarded, bound_command};
use crate::{build, command, debian, workspace};
use depth::Depth;
use heap::Heap;

/// Longest wait for a probe to be in place, or for one measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// Frames of the target itself on the stack of a pair.
const STACK_FRAMES: u32 = 10;

/// What is measured, in this order in every round.
const MODES: [Mode; 3] = [Mode::Bare, Mode::Floor, Mode::Outlive];

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Rounds; each measures all three once
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(5..))]
    rounds: u32,
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Pairs of malloc and free, and what a frame adds
    Probes,
    /// Looks at heaps
    Heap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bare,
    Floor,
    Outlive,
}

impl Mode {
    fn label(self) -> &'static str {
        match self {
            Mode::Bare => "no probe",
            Mode::Floor => "empty probes at the same sites (floor)",
            Mode::Outlive => "outlive, every block exact, native stack",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Mode::Bare => "no_probe",
            Mode::Floor => "floor",
            Mode::Outlive => "outlive",
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When it is not root, a build fails, or a probe does not attach.
pub fn run(args: &BenchArgs) -> Result<()> {
    if !debian::is_root() {
        bail!("attaching probes to another process needs root; run as root");
    }
    build::bpf_object()?;
    build::outlive(true)?;
    let wanted = |part| args.only.is_none_or(|only| only == part);
    let pairs = if wanted(Part::Probes) { Some(pairs(args)?) } else { None };
    let heaps = if wanted(Part::Heap) { heap::measure()? } else { Vec::new() };
    print(pairs.as_ref(), &heaps, args);
    Ok(())
}

/// What pairs cost, by mode and by depth.
struct Pairs {
    samples: [Vec<f64>; 3],
    depths: Vec<Depth>,
}

fn pairs(args: &BenchArgs) -> Result<Pairs> {
    let target = compile("pair", &["-fno-omit-frame-pointer"])?;
    let mut pair = Guarded::start("the bench target", &mut bound_command(&target, "KILL"))?;
    pair.wait_for("ready line", PATIENCE, |line| line.starts_with("ready ").then_some(()))?;

    let mut samples = MODES.map(|_| Vec::new());
    for round in 1..=args.rounds {
        for (mode, ns) in MODES.into_iter().zip(&mut samples) {
            ns.push(measure(mode, &mut pair)?);
        }
        let last = samples.iter().filter_map(|ns| ns.last());
        let shown: Vec<String> = last.map(|ns| format!("{ns:.0}")).collect();
        eprintln!("xtask: round {round} of {}: {} ns", args.rounds, shown.join(" / "));
    }
    pair.end("TERM")?;
    Ok(Pairs { samples, depths: depth::measure(args.rounds)? })
}

fn compile(name: &str, flags: &[&str]) -> Result<PathBuf> {
    let dir = workspace::root().join("target/bench");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let target = dir.join(name);
    command::run(
        Command::new("gcc")
            .args(["-O2", "-g", "-fno-optimize-sibling-calls"])
            .args(flags)
            .arg("-o")
            .arg(&target)
            .arg(workspace::root().join("tests/targets/bench/pair.c")),
    )?;
    Ok(target)
}

/// Attaches what `mode` says, measures once, detaches. Nanoseconds per pair.
fn measure(mode: Mode, pair: &mut Guarded) -> Result<f64> {
    let pid = pair.pid();
    let out = tempfile::tempdir().context("making a folder for the capture")?;
    let mut tracer = match mode {
        Mode::Bare => None,
        Mode::Floor => Some(attach(&["floor", &pid.to_string()], None, pid)?),
        Mode::Outlive => {
            Some(attach(&["attach", &pid.to_string(), "--exact"], Some(out.path()), pid)?)
        }
    };
    // The first one warms caches and the breakpoint pages and is thrown away.
    request(pair)?;
    let ns = request(pair)?;
    if let Some(tracer) = &mut tracer {
        tracer.end("INT")?;
    }
    Ok(ns)
}

fn request(pair: &mut Guarded) -> Result<f64> {
    pair.send(&format!("round {STACK_FRAMES}"))?;
    pair.wait_for("measurement", PATIENCE, |line| line.trim().parse().ok())
}

fn attach(arguments: &[&str], out: Option<&Path>, pid: u32) -> Result<Guarded> {
    let mut command = bound_command(workspace::outlive_binary(), "INT");
    command.args(arguments);
    if let Some(out) = out {
        command.arg("--out").arg(out);
    }
    let name = format!("outlive {}", arguments[0]);
    let mut tracer = Guarded::start(&name, &mut command)?;
    let announcement = format!("attached to PID {pid}");
    tracer.wait_for("word that it is attached", PATIENCE, |line| {
        line.contains(&announcement).then_some(())
    })?;
    Ok(tracer)
}

fn print(pairs: Option<&Pairs>, heaps: &[Heap], args: &BenchArgs) {
    let (machine, kernel) = (machine(), kernel());
    if args.json {
        let mut result = pairs.map_or_else(|| json!({}), Pairs::json);
        result["machine"] = json!(machine);
        result["kernel"] = json!(kernel);
        result["rounds"] = json!(args.rounds);
        result["heaps"] = heaps.iter().map(Heap::json).collect();
        println!("{result:#}");
        return;
    }
    println!("{machine}, Linux {kernel}");
    if let Some(pairs) = pairs {
        pairs.print(args.rounds);
    }
    heaps.iter().for_each(Heap::print);
}

impl Pairs {
    fn medians(&self) -> [f64; 3] {
        self.samples.each_ref().map(|ns| median(ns))
    }

    fn ratio(&self) -> f64 {
        let medians = self.medians();
        medians[2] / medians[1]
    }

    fn json(&self) -> Value {
        let modes = MODES.iter().zip(&self.samples).zip(self.medians());
        let modes = modes.map(|((mode, ns), median)| {
            (mode.key().to_owned(), json!({ "median_ns_per_pair": median, "rounds_ns": ns }))
        });
        let modes: serde_json::Map<_, _> = modes.collect();
        json!({
            "stack_frames": STACK_FRAMES, "modes": modes, "ratio_to_floor": self.ratio(),
            "depths": self.depths.iter().map(Depth::json).collect::<Vec<_>>(),
        })
    }

    fn print(&self, rounds: u32) {
        println!("cost of a malloc/free pair, medians of {rounds} interleaved rounds");
        println!("64-byte blocks, {STACK_FRAMES} frames deep\n");
        for ((mode, ns), median_ns) in MODES.iter().zip(&self.samples).zip(self.medians()) {
            let (low, high) = range(ns);
            println!("{:<42}{median_ns:>9.1} ns   ({low:.1} to {high:.1})", mode.label());
        }
        println!("\noutlive is {:.2} times the floor\n", self.ratio());
        self.depths.iter().for_each(Depth::print);
    }
}

/// The middle value, or the mean of the middle two; not a number when there is none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.len()) {
        (None, _) => f64::NAN,
        (Some(middle), count) if count % 2 == 1 => *middle,
        (Some(middle), count) => f64::midpoint(sorted[count / 2 - 1], *middle),
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(*value), high.max(*value))
    })
}

fn machine() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?.to_owned();
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{} ({count} CPUs)", model.unwrap_or_else(|| "unknown CPU".to_owned()))
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
