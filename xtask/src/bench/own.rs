//! What outlive itself takes: CPU and memory at rates of allocation, with many blocks alive, and
//! with many stacks; that of the kernel on its behalf included.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::program::{PATIENCE, ask, compile, start};
use super::section::{Demand, Section};
use super::tracer::{self, Attached};
use super::usage;
use crate::child::Guarded;

/// How long a rate is watched.
const WINDOW: Duration = Duration::from_secs(6);

/// Ticks that pass before it is watched, so that what is done once is over.
const SETTLING: Duration = Duration::from_millis(2500);

/// Demands: of a core; of kernel memory for each live block, bytes; of outlive's own, megabytes.
const MAX_CORES: f64 = 0.01;
const MAX_BLOCK_BYTES: f64 = 96.0;
const MAX_RESIDENT_MB: f64 = 150.0;

/// What the target is brought to.
#[derive(Clone, Copy, Debug)]
struct Load {
    key: &'static str,
    label: &'static str,
    /// Allocations a second while it is watched.
    rate: u64,
    /// Blocks that are alive meanwhile.
    blocks: u64,
    /// Distinct stacks that have been seen.
    stacks: u64,
    /// Left out when it is to be quick.
    is_long: bool,
}

const LOADS: [Load; 7] = [
    of("idle", "nothing", 0, 0, 0),
    of("rate_1k", "1,000 allocations a second", 1_000, 0, 0),
    of("rate_10k", "10,000 allocations a second", 10_000, 0, 0),
    of("rate_100k", "100,000 allocations a second", 100_000, 0, 0),
    of("blocks_1m", "1 million live blocks", 1_000, 1_000_000, 0),
    Load { is_long: true, ..of("blocks_10m", "10 million live blocks", 1_000, 10_000_000, 0) },
    Load { is_long: true, ..of("stacks_100k", "100,000 stacks", 1_000, 0, 100_000) },
];

const fn of(key: &'static str, label: &'static str, rate: u64, blocks: u64, stacks: u64) -> Load {
    Load { key, label, rate, blocks, stacks, is_long: false }
}

/// What was measured.
struct Taken {
    load: Load,
    /// Share of one core.
    cores: f64,
    resident_bytes: u64,
    /// BPF maps and programs, before the blocks and with them.
    kernel_bytes: [u64; 2],
    /// Of the thread that allocates at a rate; short of it when the target cannot keep up.
    made_per_s: f64,
    /// Sum of the losses that make numbers wrong, and what outlive says was alive at the end.
    lost: u64,
    live_blocks: u64,
    /// From Ctrl-C until the reports were written.
    report_s: f64,
}

/// Measures every load.
pub(super) fn measure(quick: bool) -> Result<Section> {
    let target = compile("rate")?.display().to_string();
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for load in LOADS.into_iter().filter(|load| !(quick && load.is_long)) {
        match take(load, &target) {
            Ok(taken) => all.push(taken),
            Err(error) => failures.push(format!("{}: {error:#}", load.label)),
        }
        eprintln!("xtask: own: {} done", load.label);
    }
    let mut text = format!(
        "  {:<30}{:>12}{:>14}{:>14}{:>14}{:>12}{:>8}{:>12}\n",
        "", "made/s", "% of a core", "resident MB", "kernel MB", "B a block", "lost", "report s"
    );
    all.iter().for_each(|taken| text.push_str(&taken.text()));
    let loads: serde_json::Map<_, _> =
        all.iter().map(|taken| (taken.load.key.to_owned(), taken.json())).collect();
    Ok(Section {
        key: "own",
        text,
        json: json!({ "window_s": WINDOW.as_secs_f64(), "loads": loads }),
        demands: all.iter().flat_map(Taken::demands).collect(),
        failures,
    })
}

fn take(load: Load, target: &str) -> Result<Taken> {
    let mut program = start(load.label, &[target.to_owned()])?;
    // What is not asked for here is as any user has it.
    let blocks = (load.blocks + load.blocks / 10).to_string();
    let stacks = (load.stacks + load.stacks / 10).to_string();
    let mut options = Vec::new();
    if load.blocks > 0 {
        options.extend(["--max-live", &blocks]);
    }
    if load.stacks > 0 {
        options.extend(["--max-stacks", &stacks]);
    }
    let outlive = tracer::exact(program.pid(), &options)?;
    let before_bytes = usage::kernel_bytes(outlive.pid())?;
    let (cores, made_per_s) = watch(load, &mut program, &outlive)?;
    let resident_bytes = usage::resident_bytes(outlive.pid())?;
    let kernel_bytes = [before_bytes, usage::kernel_bytes(outlive.pid())?];
    let began = Instant::now();
    let report = outlive.end_with_report()?;
    let report_s = began.elapsed().as_secs_f64();
    ask(&mut program, "rate 0")?;
    program.close()?;
    let live_blocks = report["totals"]["live_blocks"].as_u64().context("no live blocks told")?;
    let lost = lost(&report)?;
    Ok(Taken { load, cores, resident_bytes, kernel_bytes, made_per_s, lost, live_blocks, report_s })
}

/// Brings the target to where it is wanted and watches outlive there: cores, and allocations a
/// second.
fn watch(load: Load, program: &mut Guarded, outlive: &Attached) -> Result<(f64, f64)> {
    // A million blocks are some seconds of allocating.
    const AT_ONCE: u64 = 1_000_000;
    let mut left = load.blocks;
    while left > 0 {
        let now = left.min(AT_ONCE);
        ask(program, &format!("hold {now}"))
            .with_context(|| format!("{now} blocks in {PATIENCE:?}"))?;
        left -= now;
    }
    ask(program, &format!("stacks {}", load.stacks))?;
    ask(program, &format!("rate {}", load.rate))?;
    thread::sleep(SETTLING);
    let began = Instant::now();
    let (cpu_s, made) = (usage::cpu_s(outlive.pid())?, made(program)?);
    thread::sleep(WINDOW);
    let used_s = usage::cpu_s(outlive.pid())? - cpu_s;
    let made = self::made(program)? - made;
    let took_s = began.elapsed().as_secs_f64();
    Ok((used_s / took_s, made / took_s))
}

fn made(program: &mut Guarded) -> Result<f64> {
    ask(program, "count")?["made"].as_f64().context("the target does not say what it made")
}

/// The losses that the report itself calls such.
fn lost(report: &Value) -> Result<u64> {
    let lossy = report["lossy"].as_array().context("the report says nothing of losses")?;
    let names = lossy.iter().filter_map(Value::as_str);
    Ok(names.filter_map(|name| report["losses"][name].as_u64()).sum())
}

impl Taken {
    /// Bytes of the kernel's memory for each live block; `None` with few of them.
    fn block_bytes(&self) -> Option<f64> {
        let [before, with] = self.kernel_bytes;
        let grown = with.saturating_sub(before) as f64;
        // What stands there before, so that blocks need not make it grow, counts with them.
        let at_first = before as f64;
        (self.load.blocks > 0).then(|| (grown + at_first) / self.load.blocks as f64)
    }

    fn resident_mb(&self) -> f64 {
        self.resident_bytes as f64 / 1e6
    }

    fn demands(&self) -> Vec<Demand> {
        let of = |what: &str| format!("{what}, {}", self.load.label);
        let mut demands =
            vec![Demand::at_most(of("of a core"), self.cores * 100.0, MAX_CORES * 100.0, " %")];
        if let Some(bytes) = self.block_bytes() {
            let what = of("kernel memory for a live block, all maps counted");
            demands.push(Demand::at_most(what, bytes, MAX_BLOCK_BYTES, " bytes"));
            let missing = self.load.blocks.saturating_sub(self.live_blocks) + self.lost;
            demands.push(Demand::at_most(of("blocks lost"), missing as f64, 0.0, ""));
        }
        if self.load.stacks > 0 {
            let what = of("resident memory");
            demands.push(Demand::at_most(what, self.resident_mb(), MAX_RESIDENT_MB, " MB"));
            demands.push(Demand::at_most(of("lost"), self.lost as f64, 0.0, ""));
        }
        demands
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let block = self.block_bytes().map_or_else(String::new, |bytes| format!("{bytes:.1}"));
        let _ = writeln!(
            text,
            "  {:<30}{:>12.0}{:>14.2}{:>14.1}{:>14.1}{block:>12}{:>8}{:>12.1}",
            self.load.label,
            self.made_per_s,
            self.cores * 100.0,
            self.resident_mb(),
            self.kernel_bytes[1] as f64 / 1e6,
            self.lost,
            self.report_s,
        );
        text
    }

    fn json(&self) -> Value {
        json!({
            "label": self.load.label, "rate": self.load.rate, "blocks": self.load.blocks,
            "stacks": self.load.stacks, "made_per_s": self.made_per_s, "cores": self.cores,
            "resident_bytes": self.resident_bytes, "kernel_bytes": self.kernel_bytes[1],
            "kernel_bytes_at_first": self.kernel_bytes[0], "block_bytes": self.block_bytes(),
            "lost": self.lost, "live_blocks_told": self.live_blocks, "report_s": self.report_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{LOADS, lost};

    #[test]
    fn only_losses_that_make_numbers_wrong_are_counted() {
        let report = json!({
            "lossy": ["live_map_full_blocks", "slot_table_full"],
            "losses": {"live_map_full_blocks": 3, "slot_table_full": 4, "stack_ring_full": 9},
        });
        assert_eq!(lost(&report).unwrap(), 7);
        assert_eq!(lost(&json!({"lossy": []})).unwrap(), 0);
        assert!(lost(&json!({})).is_err());
    }

    #[test]
    fn a_quick_run_leaves_out_what_takes_long() {
        assert!(
            LOADS
                .iter()
                .all(|load| load.is_long == (load.blocks.max(load.stacks * 100) > 1_000_000))
        );
    }
}
