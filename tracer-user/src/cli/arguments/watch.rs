//! Arguments of whatever watches: `attach`, `run` and `check`.

use super::{ReportFormat, positive_duration};
use crate::{
    session::{HeapSettings, JsHeapMode},
    units::parse_size,
};
use clap::{Args, ValueEnum};
use std::{path::PathBuf, time::Duration};
use tracer_common::{
    limits::{DEFAULT_MAX_LIVE_BLOCKS, DEFAULT_MAX_STACKS},
    sampling::{MAX_MEAN_BYTES, MIN_MEAN_BYTES},
};

/// How to watch.
#[derive(Debug, Args)]
pub struct Watch {
    /// How long to watch (500ms, 60s, 2m, 1h30m); without it until Ctrl-C or the target's end.
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    pub duration: Option<Duration>,
    /// Time between two readings of the counters.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = positive_duration)]
    pub interval: Duration,
    /// Follow only blocks of at least this size (4096, 64KiB); smaller ones are counted.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_size)]
    pub min_size: u64,
    /// Follow a sample of the blocks, one in so many bytes on average (64KiB): what is not drawn
    /// costs less, and all numbers are estimates with an error.
    #[arg(long, value_name = "BYTES", value_parser = sample_mean)]
    pub sample: Option<u64>,
    /// Sample otherwise from that time on (2s=64KiB, 4s=0); for tests of what spans a change.
    #[arg(long, hide = true, value_name = "TIME=BYTES", value_parser = later_mean)]
    pub sample_at: Vec<(Duration, u64)>,
    /// Follow every block, whatever that costs.
    #[arg(long, conflicts_with = "sample")]
    pub exact: bool,
    /// What the probes may cost: a share of the CPU time that the program uses (of one core where it
    /// uses less), held over any ten seconds. Where it is not enough, small blocks are left out, then
    /// blocks are sampled, then watched in windows with pauses, then only mappings are. Every step
    /// is said and recorded, and taken back when there is room. `off`: whatever it costs. 5% is
    /// usual for `attach`; `run` and `check` hold no budget unless asked to.
    #[arg(long, value_name = "SHARE", value_parser = overhead)]
    pub max_overhead: Option<Overhead>,
    /// Folder for capture.outlive, report.json, report.txt, live.svg and growth.svg.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Form of the report on stdout.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
    /// Show all findings, reasons and frames, and each kind of loss, also where it is zero.
    #[arg(long)]
    pub full: bool,
    /// Exit with 1 when something grows.
    #[arg(long)]
    pub fail_on_growth: bool,
    /// Blocks that can be followed at once; each takes 32 bytes of kernel memory, at once.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_LIVE_BLOCKS, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub max_live: u32,
    /// Distinct stacks that can be told apart.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_STACKS, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub max_stacks: u32,
    /// Trace the children too, those that run already and those to come: workers of gunicorn or
    /// uvicorn, multiprocessing. Each has numbers of its own.
    #[arg(long)]
    pub follow: bool,
    /// Follow Python objects of up to 512 bytes too, one by one. `run` starts Python so that it
    /// takes them from libc (PYTHONMALLOC=malloc); `attach` probes Python's own allocator, where
    /// its build allows that. A busy program makes a million of these calls a second.
    #[arg(long)]
    pub python_objects: bool,
    /// Look into the JavaScript heap of a Node, by Node's own sampling heap profiler: functions that
    /// hold objects, strings, Maps. `attach` opens its inspector by SIGUSR1 (on the loopback device,
    /// at port 9229 or that of --inspect-port), where the process handles that signal by opening
    /// it, and closes it at the end; `run` adds --inspect=127.0.0.1:0 to NODE_OPTIONS. Each profile
    /// costs the program a garbage collection, about a millisecond for each megabyte that is alive;
    /// there are as many as two percent of the time allow. Without this option the heap is looked
    /// into where the inspector listens already (node --inspect). With `force` the signal is sent
    /// even where the program handles it itself, or where that cannot be told.
    #[arg(long, value_name = "force", num_args = 0..=1, require_equals = true, default_missing_value = "asked", hide_possible_values = true, conflicts_with = "no_js_heap")]
    pub js_heap: Option<JsHeap>,
    /// Leave the JavaScript heap alone even where Node's inspector listens.
    #[arg(long)]
    pub no_js_heap: bool,
    /// Mean distance between two samples of the JavaScript heap (16KiB). Smaller finds slow leaks
    /// sooner and costs more. Without it by how much the program allocates: 500 samples a second,
    /// 16 to 512 KiB apart.
    #[arg(long, value_name = "BYTES", value_parser = sampling_interval)]
    pub js_heap_interval: Option<u64>,
    /// At the end, when no probe is left, have V8 make a snapshot of its heap, and say which objects
    /// are in it and who holds them (implies --js-heap). The program stands still meanwhile, for up
    /// to 50 seconds per 100 MB of heap on a busy machine, and needs up to 13 times the heap's size of
    /// memory more (with small objects; strings take little). Both are said before, and nothing is done where its memory limit would not allow it. The
    /// snapshot is evaluated by outlive and kept nowhere.
    #[arg(long, conflicts_with = "no_js_heap")]
    pub js_retainers: bool,
    /// Have V8 collect all garbage before the last reading (through its inspector), so that
    /// Buffers which nobody holds are gone.
    #[arg(long)]
    pub force_gc: bool,
    /// Leave the heap alone: do not look, from outside, at which Python objects and containers grow
    /// and who holds them, nor whether anything points to the blocks of findings.
    #[arg(long)]
    pub no_heap: bool,
    /// The longest that the process may be stopped, once and at the end, while its memory is copied;
    /// where that would take longer it is copied while it runs.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = positive_duration, conflicts_with_all = ["no_stop", "no_heap"])]
    pub max_stop: Duration,
    /// Never stop the process. Who holds what is then less sure.
    #[arg(long, conflicts_with = "no_heap")]
    pub no_stop: bool,
    /// Leave out keys of dictionaries where it is told who holds what.
    #[arg(long)]
    pub hide_keys: bool,
    /// Do not follow mmap, munmap, mremap, brk and sbrk.
    #[arg(long)]
    pub no_mappings: bool,
}

impl Watch {
    /// What the probes may cost, as it is meant; `None` whatever that is.
    pub fn max_overhead(&self, is_command: bool) -> Option<f64> {
        match (self.exact, self.max_overhead) {
            (true, _) | (_, Some(Overhead::Off)) => None,
            (_, Some(Overhead::Share(share))) => Some(share),
            (_, None) => (!is_command).then_some(USUAL_OVERHEAD),
        }
    }

    /// What was said of heaps, as it is meant.
    pub fn heap(&self, is_command: bool) -> HeapSettings {
        HeapSettings {
            read: !self.no_heap,
            max_stop: (!self.no_stop).then_some(self.max_stop),
            hide_keys: self.hide_keys,
            is_command,
        }
    }

    /// What was said of the JavaScript heap, as it is meant.
    pub fn js_heap_mode(&self) -> JsHeapMode {
        match (self.no_js_heap, self.js_heap) {
            (true, _) => JsHeapMode::Never,
            (false, None) if self.js_retainers => JsHeapMode::Asked,
            (false, None) => JsHeapMode::IfListening,
            (false, Some(JsHeap::Asked)) => JsHeapMode::Asked,
            (false, Some(JsHeap::Force)) => JsHeapMode::Force,
        }
    }
}

/// What the probes may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Overhead {
    /// Whatever it is.
    Off,
    /// Share of the target's CPU time, 0 to 1.
    Share(f64),
}

/// What the probes may cost in a process that others depend on, unless something else was said.
const USUAL_OVERHEAD: f64 = 0.05;

/// How much is ventured for the JavaScript heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JsHeap {
    /// The inspector is opened where that is safe.
    Asked,
    /// The inspector is opened in any case.
    Force,
}

/// A budget smaller than this is spent before it can be seen.
const LEAST_OVERHEAD: f64 = 0.001;

fn overhead(text: &str) -> Result<Overhead, String> {
    if text == "off" {
        return Ok(Overhead::Off);
    }
    let share = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match share.map(|percent| percent / 100.0) {
        Some(share) if (LEAST_OVERHEAD..=1.0).contains(&share) => Ok(Overhead::Share(share)),
        _ => Err("between 0.1% and 100%, or off; 5% is usual".into()),
    }
}

/// Smallest and largest distance between two samples that makes sense; bytes.
const SAMPLING_INTERVALS: std::ops::RangeInclusive<u64> = 512..=64 << 20;

fn sampling_interval(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    if !SAMPLING_INTERVALS.contains(&bytes) {
        return Err("between 512 bytes and 64 MiB; 32KiB is usual".into());
    }
    Ok(bytes)
}

fn sample_mean(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    if !(MIN_MEAN_BYTES..=MAX_MEAN_BYTES).contains(&bytes) {
        return Err("between 1 KiB and 64 MiB; 64KiB is usual".into());
    }
    Ok(bytes)
}

fn later_mean(text: &str) -> Result<(Duration, u64), String> {
    let (at, mean) = text.split_once('=').ok_or("give a time and a size, as in 2s=64KiB")?;
    let mean = if mean == "0" { 0 } else { sample_mean(mean)? };
    Ok((positive_duration(at)?, mean))
}
