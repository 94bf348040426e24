//! A session: the only place with the clock, signals and tokio's loop. It drives discovery, plan,
//! probes and symbols, and hands back a recording.

mod address_space;
mod console;
mod cost_watch;
mod cycle_commands;
mod cycles;
mod describe;
mod descriptor;
mod epoch;
mod finish;
mod first_thread;
mod governor;
mod guardian;
mod heap;
mod heap_look;
mod heaps;
mod held;
mod images;
mod insistence;
mod js_heap;
mod js_names;
mod lane;
mod late_node;
mod late_python;
mod launch;
mod measure;
mod newcomer;
mod output;
mod own_memory;
mod privilege;
mod processes;
mod python_objects;
mod recorder;
mod regime;
mod residency;
mod setup;
mod source_lines;
mod told;
mod v8_outside;
mod watch;

pub use cycles::{Schedule, Setback, Story};
pub use heap::Settings as HeapSettings;
pub use heap_look::{HeapLook, HeapLooked, look_at_heap};
pub use output::{write_beside, write_for_others, write_reports, write_with};
pub use privilege::require_privileges;

use crate::{
    capture::Recording,
    plan::ProbePlan,
    probe::{Floor, Limits},
    stderr::say,
    target,
};
use anyhow::{Context as _, Result};
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Whom to watch.
#[derive(Clone, Debug)]
pub enum Whom {
    /// A process that runs.
    Process(u32),
    /// A command to start.
    Command(Vec<OsString>),
}

/// Whether the JavaScript heap of a Node is looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsHeapMode {
    /// Never.
    Never,
    /// Where its inspector listens already.
    #[default]
    IfListening,
    /// Its inspector is opened where that is safe.
    Asked,
    /// Its inspector is opened though the signal may do something else.
    Force,
}

/// What was typed, as it is meant.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whom to watch.
    pub whom: Whom,
    /// How long; `None` until interrupted or the target's end.
    pub duration: Option<Duration>,
    /// Time between ticks.
    pub interval: Duration,
    /// Blocks smaller than this are not followed.
    pub min_size_bytes: u64,
    /// Whether the sample of a command may be drawn inside it.
    pub lane: bool,
    /// Mean distance between two samples of allocated bytes, bytes; 0 for none: every block is
    /// followed.
    pub sample_mean_bytes: u64,
    /// Other such distances, and how long after the beginning they are to take its place.
    pub later_means: Vec<(Duration, u64)>,
    /// What the probes may cost: share of the target's CPU time, 0 to 1; `None` whatever it costs.
    pub max_overhead: Option<f64>,
    /// Folder for everything that is written.
    pub out: Option<PathBuf>,
    /// Sizes of the kernel-side maps.
    pub limits: Limits,
    /// Whether mapping calls are followed.
    pub mappings: bool,
    /// Whether children are followed too.
    pub follow: bool,
    /// Whether Python's small objects are to be followed, where that can be done.
    pub python_objects: bool,
    /// Whether the JavaScript heap is looked into.
    pub js_heap: JsHeapMode,
    /// Mean distance between two samples of the JavaScript heap, bytes; `None` for one that suits
    /// the program.
    pub js_heap_interval_bytes: Option<u64>,
    /// Whether a snapshot of the JavaScript heap is to say who holds what in it.
    pub js_retainers: bool,
    /// How heaps are looked at from outside.
    pub heap: HeapSettings,
    /// Whether V8 is to collect all garbage before the last reading.
    pub force_gc: bool,
    /// Whether debug messages of the kernel side are wanted.
    pub kernel_log: bool,
    /// Whether to draw progress on stderr.
    pub progress: bool,
    /// What is to be done to the target meanwhile, by `outlive check`.
    pub schedule: Option<Schedule>,
}

impl Config {
    /// How long heaps are watched, as far as that is known.
    fn heap_window(&self) -> Option<Duration> {
        match &self.schedule {
            // That says itself when it is time to look.
            Some(schedule) if schedule.cycle.is_some() => Some(Duration::MAX),
            Some(schedule) => Some(schedule.duration),
            None => self.duration,
        }
    }
}

/// What a session leaves.
#[derive(Debug)]
pub struct Outcome {
    /// All that was seen.
    pub recording: Recording,
    /// Where the capture is, when it was asked for.
    pub folder: Option<PathBuf>,
    /// How the schedule went, where there was one.
    pub story: Option<Story>,
}

/// Watches a process from attach to detach.
///
/// # Errors
/// When it cannot be watched: a sentence that says why and what to do.
pub fn watch(config: Config) -> Result<Outcome> {
    own_memory::return_large_ones();
    // Before anything is touched: a PID of another namespace would name somebody else.
    target::pid_namespace::own()?;
    js_heap::close_left_open();
    let folder = config.out.clone().map(output::Folder::prepare).transpose()?;
    // The command is started by this thread, since only a tracer's own thread may steer its child.
    let (started, probes) = match &config.whom {
        Whom::Process(pid) => {
            descriptor::raise_limit();
            setup::attach(*pid, &config)?
        }
        Whom::Command(command) => launch::start(command, &config)?,
    };
    runtime()?.block_on(watch::watch(config, started, probes, folder))
}

/// Holds empty probes in a process until interrupted (for the benchmark).
///
/// # Errors
/// As [`watch`].
pub fn hold_floor(plan: &ProbePlan, pid: u32) -> Result<()> {
    let floor = Floor::attach(plan, pid)?;
    say(&format!("attached to PID {pid}"));
    runtime()?.block_on(console::interrupted())?;
    drop(floor);
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")
}
