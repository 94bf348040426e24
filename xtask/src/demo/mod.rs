//! Verb `demo`: a real gateway under load, outlive attached to it while it runs, and what
//! outlive says compared with what the gateway itself knows.

mod comparison;
mod service;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::child::bound_command;
use crate::{build, command, debian, venv, workspace};
use comparison::{Comparison, Conclusion};
use service::Services;

/// Load before outlive attaches: by then the gateway's caches and histories are full, and what
/// grows from there on is not start-up.
const WARM_UP: Duration = Duration::from_secs(8);

/// What `outlive attach --out` leaves.
const RESULTS: [&str; 5] =
    ["capture.outlive", "report.json", "report.txt", "live.svg", "growth.svg"];

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Let the gateway free what it should; then nothing may be flagged
    #[arg(long)]
    no_leak: bool,
    /// How long outlive stays attached
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=900))]
    seconds: u64,
    /// Folder for capture, report and flamegraphs [default: outlive-demo in the workspace]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// When something could not be set up, or when outlive's answer is not the truth.
pub fn run(args: &DemoArgs) -> Result<()> {
    if !debian::is_root() {
        bail!(
            "loading eBPF programs and probing another process needs root; \
             run: sudo cargo xtask demo"
        );
    }
    build::bpf_object()?;
    build::outlive(true)?;
    let python = venv::ensure(&venv::GATEWAY)?;
    let out = args.out.clone().unwrap_or_else(|| workspace::root().join("outlive-demo"));
    for name in RESULTS {
        // An earlier demo's results must not pass for this one's.
        let _ = fs::remove_file(out.join(name));
    }

    command::heading("starting the gateway, its model and a load");
    let mut services = Services::start(&python, !args.no_leak, args.seconds)?;
    let pid = services.gateway_pid();
    let leak = if args.no_leak { "frees its streams" } else { "keeps every finished stream" };
    eprintln!("xtask: gateway {pid} {leak}; {} s of load first", WARM_UP.as_secs());
    std::thread::sleep(WARM_UP);

    command::heading("attaching outlive to the running gateway");
    let before = services.truth()?;
    attach(pid, args.seconds, &out)?;
    let after = services.truth()?;
    services.end()?;

    let report = read_json(&out.join("report.json"))?;
    let comparison = Comparison::new(&report, &before, &after)
        .context("reading report.json and the gateway's truth")?;
    println!("\n{comparison}");
    conclude(&comparison, args, &out)
}

fn attach(pid: u32, seconds: u64, out: &Path) -> Result<()> {
    let mut outlive = bound_command(workspace::outlive_binary(), "INT");
    outlive
        .args([
            "attach",
            &pid.to_string(),
            "--duration",
            &format!("{seconds}s"),
            "--exact",
            "--out",
        ])
        .arg(out);
    command::run(&mut outlive)
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Prints the last lines and turns the conclusion into success or failure.
fn conclude(comparison: &Comparison, args: &DemoArgs, out: &Path) -> Result<()> {
    let missing: Vec<&str> = RESULTS.into_iter().filter(|name| !out.join(name).is_file()).collect();
    if !missing.is_empty() {
        bail!("outlive left no {} in {}", missing.join(", "), out.display());
    }
    println!("left in {}: {}", out.display(), RESULTS.join(", "));
    match (comparison.conclusion(), args.no_leak) {
        (Conclusion::Nothing, true) => {
            println!("found: nothing that grows, and nothing leaks");
            Ok(())
        }
        (Conclusion::Nothing, false) => bail!("nothing was flagged, but the gateway leaks"),
        (Conclusion::Leak(found), false) => {
            named_in_pictures(found.function, out)?;
            println!(
                "found: {} ({}:{}), growing by {}",
                found.function, found.file, found.line, found.rate
            );
            Ok(())
        }
        (Conclusion::Innocent(names), _) => bail!("innocent functions were flagged: {names}"),
        (Conclusion::Leak(found), true) => {
            bail!("{} was flagged, but the gateway does not leak", found.function)
        }
    }
}

/// Both flamegraphs must show what the verdict names.
fn named_in_pictures(function: &str, out: &Path) -> Result<()> {
    let short = comparison::short_name(function);
    for name in ["live.svg", "growth.svg"] {
        let picture =
            fs::read_to_string(out.join(name)).with_context(|| format!("reading {name}"))?;
        if !picture.contains(short) {
            bail!("{name} does not show {short}");
        }
    }
    Ok(())
}
