//! What a thread of its own can read of the probes while the session is busy: hits from the
//! counters, runs of programs and the time in them from the kernel's statistics.

use super::kernel_map::KernelMap;
use crate::governor::{Hits, ProgramTime};
use aya::{
    Ebpf,
    programs::Program,
    sys::{Stats, enable_stats},
};
use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};
use tracer_common::counter::Counter;

/// Programs by name, as far as they are loaded.
#[derive(Clone, Default)]
pub struct LoadedPrograms(Arc<Mutex<BTreeMap<String, OwnedFd>>>);

impl LoadedPrograms {
    /// Those of the object that were loaded since, too.
    pub fn refresh(&self, ebpf: &Ebpf) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, program) in ebpf.programs() {
            if !known.contains_key(name)
                && let Program::UProbe(program) = program
                && let Ok(fd) = program.fd()
                && let Ok(fd) = fd.as_fd().try_clone_to_owned()
            {
                known.insert(name.to_owned(), fd);
            }
        }
    }

    /// Runs of each program and the time in it, as the kernel counted while its statistics were on.
    fn statistics(&self) -> BTreeMap<String, ProgramTime> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(|(name, fd)| Some((name.clone(), statistics(fd)?))).collect()
    }
}

/// From the text of /proc, which is the same on every kernel.
fn statistics(fd: &OwnedFd) -> Option<ProgramTime> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    Some(ProgramTime { runs: number("run_cnt:")?, time_ns: number("run_time_ns:")? as f64 })
}

/// Reads.
pub struct Meter {
    counters: KernelMap,
    programs: LoadedPrograms,
    /// While statistics are on: the switch, and what they stood at.
    window: Option<(OwnedFd, BTreeMap<String, ProgramTime>)>,
}

impl Meter {
    /// Of these.
    pub(super) fn new(counters: KernelMap, programs: LoadedPrograms) -> Self {
        Self { counters, programs, window: None }
    }

    /// Hits so far.
    pub fn hits(&mut self) -> Hits {
        let mut count = |counter: Counter| self.counters.per_cpu_sum(counter as u32);
        Hits {
            entries: count(Counter::AllocationHits) + count(Counter::FreeHits),
            returns: count(Counter::ReturnHits),
            mappings: count(Counter::MappingHits),
        }
    }

    /// Has the kernel measure from now on. It costs some 30 ns a hit, so it is for a while only. Says
    /// whether it does: that takes CAP_SYS_ADMIN.
    pub fn open_window(&mut self) -> bool {
        if self.window.is_none()
            && let Ok(switch) = enable_stats(Stats::RunTime)
        {
            self.window = Some((switch, self.programs.statistics()));
        }
        self.window.is_some()
    }

    /// What each program took since the window was opened; it stays open.
    pub fn look(&self) -> BTreeMap<String, ProgramTime> {
        let Some((_, before)) = &self.window else { return BTreeMap::new() };
        let mut now = self.programs.statistics();
        for (name, time) in &mut now {
            let before = before.get(name).copied().unwrap_or_default();
            time.runs = time.runs.saturating_sub(before.runs);
            time.time_ns = (time.time_ns - before.time_ns).max(0.0);
        }
        now
    }

    /// Ends the window; what all programs took.
    pub fn close_window(&mut self) -> Option<ProgramTime> {
        let seen = self.look();
        self.window.take()?;
        let mut sum = ProgramTime::default();
        for time in seen.values() {
            sum.runs += time.runs;
            sum.time_ns += time.time_ns;
        }
        Some(sum)
    }
}
