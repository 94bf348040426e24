//! `outlive heap`: copies the memory of a process once or twice, and has it evaluated.

mod python;

use super::{JsHeapMode, js_heap, measure, output::Folder};
use crate::{
    capture::{HeapMeta, HeapReading},
    heap::{Copied, CopyError, Plan, plan_of},
    printable::printable,
    runtime::python as cpython,
    target::{self, Target},
    warning::Warning,
};
use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use python::Look;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Between two looks whether the process still runs.
const NAP: Duration = Duration::from_millis(100);

/// What was typed, as it is meant.
#[derive(Clone, Debug)]
pub struct HeapLook {
    /// The process.
    pub pid: u32,
    /// Between the two moments; `None` for one.
    pub window: Option<Duration>,
    /// The longest that it may be stopped; `None` for not at all.
    pub max_stop: Option<Duration>,
    /// Whether keys of dictionaries are left out.
    pub hide_keys: bool,
    /// By which way V8 is asked for a snapshot; `None` for not at all.
    pub js_retainers: Option<JsHeapMode>,
    /// Types that are listed.
    pub types: usize,
    /// Types whose holders are wanted.
    pub holders: Vec<String>,
    /// Folder that files will be written to.
    pub out: Option<PathBuf>,
    /// Whether to draw progress on stderr.
    pub progress: bool,
}

/// What there was to see.
#[derive(Clone, Debug)]
pub struct HeapLooked {
    /// All of it.
    pub heap: HeapMeta,
    /// Between the two moments, nanoseconds; `None` where there was one.
    pub window_ns: Option<u64>,
    /// Whether nothing that was wanted is missing.
    pub is_conclusive: bool,
}

/// Looks at the heap of a process.
///
/// # Errors
/// When it cannot be looked at: a sentence that says why and what to do.
pub fn look_at_heap(wanted: HeapLook) -> Result<HeapLooked> {
    target::pid_namespace::own()?;
    let mut folder = wanted.out.clone().map(Folder::prepare).transpose()?;
    let (target, _) = target::discover(wanted.pid)?;
    if let Some(mode) = wanted.js_retainers {
        let heap = js_heap::look(target, mode, wanted.hide_keys, wanted.holders)?;
        if let Some(folder) = &mut folder {
            folder.keep();
        }
        return Ok(HeapLooked { heap, window_ns: None, is_conclusive: true });
    }
    let (found, warnings) = cpython::detect(&target);
    let Some(runtime) = found else { return Err(no_python(&target)) };
    let mut session = Session::new(wanted, target, &runtime, &warnings);
    let looked = session.look(&runtime);
    session.bar.finish_and_clear();
    let window_ns = looked?;
    if let Some(folder) = &mut folder {
        folder.keep();
    }
    Ok(HeapLooked { heap: session.heap, window_ns, is_conclusive: session.is_conclusive })
}

/// Why there are no objects to look at, and what to do instead.
fn no_python(target: &Target) -> anyhow::Error {
    let tgid = target.tgid;
    let program = target.exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if program == "node" || program == "nodejs" {
        return anyhow::anyhow!(
            "process {tgid} is a Node; what its JavaScript heap holds is told by its inspector: outlive heap {tgid} --js-retainers (a snapshot, for which it stands still), or outlive attach {tgid} --js-heap (a sample by function)"
        );
    }
    anyhow::anyhow!(
        "process {tgid} runs no CPython: of blocks of a native program only the stacks that allocated them say what they are. outlive attach {tgid} records those, and tells blocks that nothing points to any more from those that are still held"
    )
}

fn spinner(is_wanted: bool) -> ProgressBar {
    if !is_wanted {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed}  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(NAP);
    bar
}

/// A look under way.
struct Session {
    wanted: HeapLook,
    target: Target,
    heap: HeapMeta,
    /// Notes of the first look; those of the second one take their place.
    first_notes: Vec<String>,
    is_conclusive: bool,
    began: Instant,
    bar: ProgressBar,
}

impl Session {
    fn new(
        wanted: HeapLook,
        target: Target,
        runtime: &cpython::PythonRuntime,
        warnings: &[Warning],
    ) -> Self {
        Self {
            heap: HeapMeta {
                pid: target.tgid,
                runtime: format!("CPython {}", runtime.version),
                notes: warnings.iter().map(ToString::to_string).collect(),
                ..HeapMeta::default()
            },
            first_notes: Vec::new(),
            is_conclusive: true,
            began: Instant::now(),
            bar: spinner(wanted.progress),
            wanted,
            target,
        }
    }

    /// Looks once or twice; the time between.
    fn look(&mut self, runtime: &cpython::PythonRuntime) -> Result<Option<u64>> {
        let mut look = Look::default();
        let Some(window) = self.wanted.window else {
            self.look_last(&mut look, runtime)?;
            return Ok(None);
        };
        let first = Instant::now();
        self.look_first(&mut look, runtime).context("the first look")?;
        let window_ns = self.wait(window)?.then(|| first.elapsed().as_nanos() as u64);
        self.look_again(&mut look, runtime, window_ns)
    }

    /// Looks the first of two times. What there is stays the answer where there is no second time.
    fn look_first(&mut self, look: &mut Look, runtime: &cpython::PythonRuntime) -> Result<()> {
        // Counts need no stop.
        let plan = self.plan()?;
        let (copied, reading) = self.read(|| Ok((plan.live()?, None)))?;
        let types = self.wanted.types;
        let (census, notes) = look.first(&copied.image, &self.target, runtime, types)?;
        self.keep(reading);
        self.heap.census = Some(census);
        self.first_notes = notes.into_iter().chain(copied.notes).collect();
        Ok(())
    }

    /// Looks the second time, `window_ns` after the first one; that, or `None` where the process has
    /// ended meanwhile.
    fn look_again(
        &mut self,
        look: &mut Look,
        runtime: &cpython::PythonRuntime,
        window_ns: Option<u64>,
    ) -> Result<Option<u64>> {
        if window_ns.is_some() {
            match self.look_last(look, runtime) {
                // It may also end while it is read.
                Err(_) if !self.target.is_alive() => {}
                looked => return looked.map(|()| window_ns),
            }
        }
        self.is_conclusive = false;
        self.heap.notes.append(&mut self.first_notes);
        self.heap.notes.push(format!(
            "Process {} ended before the second look: what lay in it at the first one is told, and nothing of growth or holders.",
            self.target.tgid
        ));
        Ok(None)
    }

    /// Looks the last or only time.
    fn look_last(&mut self, look: &mut Look, runtime: &cpython::PythonRuntime) -> Result<()> {
        let plan = self.plan()?;
        let max_stop = self.wanted.max_stop;
        let (copied, reading) = self.read(|| match max_stop {
            Some(max_stop) => plan.best(max_stop),
            None => Ok((plan.live()?, None)),
        })?;
        self.bar.set_message("looking for objects and their holders");
        let began_ns = self.heap.readings.first().map_or(0, |first| first.at_ns);
        let times = (began_ns, reading.at_ns);
        let told = look.last(&copied, &self.target, runtime, &self.wanted, times)?;
        self.is_conclusive &= reading.unread_bytes == 0;
        self.keep(reading);
        self.heap.census = Some(told.census);
        self.heap.containers = told.containers;
        self.heap.held = told.held;
        self.heap.notes.extend(told.notes);
        self.heap.notes.extend(copied.notes);
        Ok(())
    }

    /// What is to be copied; refuses where there is no room for that.
    fn plan(&self) -> Result<Plan> {
        Ok(plan_of(self.target.clone())?)
    }

    /// Copies; notes why it was not stopped where it should have been.
    fn read(
        &mut self,
        copy: impl FnOnce() -> Result<(Copied, Option<CopyError>), CopyError>,
    ) -> Result<(Copied, HeapReading)> {
        let at_ns = self.began.elapsed().as_nanos() as u64;
        self.bar.set_message("copying its memory");
        let (copied, refusal) = copy()?;
        if let Some(refusal) = refusal {
            self.is_conclusive = false;
            let refusal = printable(&refusal.to_string());
            self.heap.notes.push(format!(
                "It was read while it ran, so that chains of holders may be missing: {refusal}."
            ));
        }
        let reading = HeapReading { at_ns, ..copied.reading.clone() };
        Ok((copied, reading))
    }

    /// Keeps what is to be said of a reading that has been evaluated.
    fn keep(&mut self, mut reading: HeapReading) {
        let now = self.began.elapsed().as_nanos() as u64;
        reading.took_ns = now.saturating_sub(reading.at_ns);
        reading.tracer_bytes = measure::own_peak_bytes();
        self.heap.readings.push(reading);
    }

    /// Waits for the second moment; whether the process is still there.
    fn wait(&self, window: Duration) -> Result<bool> {
        let until = Instant::now() + window;
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let seconds = left.as_secs();
            self.bar.set_message(format!("the second look is in {seconds} s"));
            if !self.target.is_alive() {
                return Ok(false);
            }
            std::thread::sleep(left.min(NAP));
        }
        Ok(self.target.is_alive())
    }
}

#[cfg(test)]
mod tests;
