//! What a frame of the stack costs: pairs at the end of a short and of a long stack, asked of one
//! process in turns while outlive is attached to it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{PATIENCE, attach, compile, median};
use crate::child::{Guarded, bound_command};
use crate::{debian, workspace};

/// Frames of the program itself in the short stack, and in the long one.
const FRAMES: [u32; 2] = [3, 30];

/// One kind of stack.
pub(super) struct Depth {
    key: &'static str,
    label: &'static str,
    /// Nanoseconds per pair with the short stack, and with the long one.
    ns: [Vec<f64>; 2],
}

impl Depth {
    fn medians(&self) -> [f64; 2] {
        self.ns.each_ref().map(|ns| median(ns))
    }

    fn ns_per_frame(&self) -> f64 {
        let [short, long] = self.medians();
        (long - short) / f64::from(FRAMES[1] - FRAMES[0])
    }

    pub(super) fn json(&self) -> Value {
        let [short, long] = self.medians();
        json!({
            "stack": self.key, "frames": FRAMES, "median_ns_per_pair": [short, long],
            "rounds_ns": self.ns, "ns_per_frame": self.ns_per_frame(),
        })
    }

    pub(super) fn print(&self) {
        let [short, long] = self.medians();
        println!(
            "{:<42}{short:>9.1} ns with {} frames, {long:.1} ns with {}: {:.1} ns a frame",
            self.label,
            FRAMES[0],
            FRAMES[1],
            self.ns_per_frame(),
        );
    }
}

/// Measures every kind.
pub(super) fn measure(rounds: u32) -> Result<Vec<Depth>> {
    // No frame pointers: these frames are found by unwind tables.
    let native = compile("pair-tables", &["-fomit-frame-pointer"])?;
    let mut all = vec![of("native", "native stack, by unwind tables", &native, &[], rounds)?];
    // The system's Python as distributions build it.
    debian::ensure(&["python3"], "the bench")?;
    let script = workspace::root().join("tests/targets/bench/pair.py");
    let script = script.to_str().context("a path that is not UTF-8")?;
    all.push(of("python", "Python stack", Path::new("/usr/bin/python3"), &[script], rounds)?);
    Ok(all)
}

fn of(
    key: &'static str,
    label: &'static str,
    program: &Path,
    args: &[&str],
    rounds: u32,
) -> Result<Depth> {
    let mut command: Command = bound_command(program, "KILL");
    command.args(args);
    let mut pair = Guarded::start(label, &mut command)?;
    pair.wait_for("ready line", PATIENCE, |line| line.starts_with("ready ").then_some(()))?;
    let out = tempfile::tempdir().context("making a folder for the capture")?;
    let pid = pair.pid();
    let mut tracer = attach(&["attach", &pid.to_string(), "--exact"], Some(out.path()), pid)?;
    let mut ns = [Vec::new(), Vec::new()];
    // Round 0 warms the caches and is thrown away.
    for round in 0..=rounds {
        for (frames, ns) in FRAMES.iter().zip(&mut ns) {
            pair.send(&format!("round {frames}"))?;
            let took = pair.wait_for("measurement", PATIENCE, |line| line.trim().parse().ok())?;
            if round > 0 {
                ns.push(took);
            }
        }
    }
    tracer.end("INT")?;
    pair.end("TERM")?;
    Ok(Depth { key, label, ns })
}
