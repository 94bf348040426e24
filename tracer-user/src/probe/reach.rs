//! Takes the probes of hot functions out while a session goes on, from any thread, and keeps them
//! out. Putting them in again is the session's business ([`super::Probes::place`]).
//!
//! Only functions that are hot go: the kernel takes some 80 ms for each probe, and a probe that is
//! not hit costs nothing. What is left in follows no births meanwhile, which the regime says.

use super::{
    keeper::Keeper,
    kernel_map::KernelMap,
    links::{Gate, Links},
    mapped::MappedArray,
    meter::Meter,
    urgency::Urgency,
};
use crate::plan::Function;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tracer_common::{
    slot::Control,
    thread::{CALL_WORD_MASK, is_allocation},
};

/// How long programs are counted before it is said which are hot; and how many times as long where
/// hardly any was hit, as between two bursts.
const GLANCE: Duration = Duration::from_millis(10);
const GLANCES: u32 = 10;
/// Hits that say enough.
const ENOUGH_HITS: u64 = 100;
/// Shares its program with malloc, and is hardly ever called.
const RARE: Function = Function::Valloc;
/// A function is hot that has at least this share of all hits, percent.
const HOT_PERCENT: u64 = 2;

/// The probes of every process.
#[derive(Clone)]
pub struct Reach {
    processes: Arc<Mutex<BTreeMap<u32, Links>>>,
    gate: Gate,
    threads: Arc<Mutex<KernelMap>>,
    control: Arc<MappedArray<Control>>,
}

impl Reach {
    /// `threads` is the map of calls in flight.
    pub(super) fn new(threads: KernelMap, control: Arc<MappedArray<Control>>) -> Self {
        Self {
            processes: Arc::default(),
            gate: Gate::default(),
            threads: Arc::new(Mutex::new(threads)),
            control,
        }
    }

    /// The links of a process that is taken up.
    pub(super) fn enter(&self, tgid: u32) -> Links {
        let links = Links::behind(&self.gate);
        self.lock().insert(tgid, links.clone());
        links
    }

    /// Lets go of a process.
    pub(super) fn leave(&self, tgid: u32) {
        self.lock().remove(&tgid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Links>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes that are traced.
    pub fn tgids(&self) -> Vec<u32> {
        self.lock().keys().copied().collect()
    }

    /// From now on probes of the allocator may go in again.
    pub fn open(&self) {
        self.gate.set_closed(false);
    }

    /// From now on they may not, and those that are in follow no births, until the session has
    /// begun a regime: with some probes out births would be seen without their deaths. At the end
    /// (`is_end`) mapping calls are not followed either.
    pub fn close(&self, is_end: bool) {
        self.gate.set_closed(true);
        self.control.update(0, |control| {
            // SAFETY: aligned fields of element 0, which only user space writes.
            unsafe {
                (&raw mut (*control).is_paused).write_volatile(1);
                (&raw mut (*control).leaves_mappings).write_volatile(u32::from(is_end));
            }
        });
    }

    /// Takes the probes of hot functions out, the hottest first, behind [`Reach::close`]: those of the
    /// allocator, or at the end all that are hot. Returns when the last one is out.
    pub fn take_out(&self, meter: &mut Meter, is_end: bool) {
        let processes: Vec<(u32, Links)> =
            self.lock().iter().map(|(tgid, links)| (*tgid, links.clone())).collect();
        let keeper = Keeper::new().ok();
        let _urgency = Urgency::begin();
        // Programs are counted, not functions: one that shares its program with a hot one goes only
        // where the program is hot still when that one is out.
        for (spared, glances) in [(Some(RARE), GLANCES), (None, 1)] {
            let mut hot = hot_functions(meter, &processes, is_end, glances);
            hot.retain(|function| Some(*function) != spared);
            let mut kept = Vec::new();
            for (tgid, links) in &processes {
                kept.extend(keeper.as_ref().map(|keeper| links.keep(keeper, *tgid, Some(&hot))));
            }
            for function in hot {
                processes.iter().for_each(|(_, links)| drop(links.take_function(function)));
            }
            // One grace period for all breakpoints.
            drop(kept);
        }
        self.end_calls();
    }

    /// Ends the calls in flight whose return will not be seen: the next call of the thread would be
    /// taken for one inside them. A call that has its return probe still is given up too, and a
    /// mapping call that begins in this instant.
    fn end_calls(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.keys() {
            let call = threads.get(thread).and_then(|words| words.first().copied());
            if call.is_some_and(|word| is_allocation((word & CALL_WORD_MASK) as u32)) {
                threads.remove(thread);
            }
        }
    }
}

/// Functions whose programs have a share in the hits of the next moment, the hottest first: those of
/// the allocator, or at the end all. Where the kernel does not count, each may be hot.
fn hot_functions(
    meter: &mut Meter,
    processes: &[(u32, Links)],
    is_end: bool,
    glances: u32,
) -> Vec<Function> {
    let counts = meter.open_window().then(|| hits_of_programs(meter, glances));
    let all: u64 = counts.iter().flat_map(BTreeMap::values).sum();
    let mut hot: Vec<(u64, Function)> = Vec::new();
    for (program, functions) in processes.iter().flat_map(|(_, links)| links.functions(is_end)) {
        let count = counts.as_ref().map_or(1, |counts| counts.get(program).copied().unwrap_or(0));
        if count * 100 <= all * HOT_PERCENT {
            continue;
        }
        for function in functions {
            if !hot.iter().any(|(_, known)| *known == function) {
                hot.push((count, function));
            }
        }
    }
    hot.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    hot.into_iter().map(|(_, function)| function).collect()
}

/// How often each program was hit in the next moment, or in the next few where that says little.
fn hits_of_programs(meter: &Meter, glances: u32) -> BTreeMap<String, u64> {
    let before = meter.look();
    let mut counts = BTreeMap::new();
    for _ in 0..glances {
        std::thread::sleep(GLANCE);
        for (program, time) in meter.look() {
            let before = before.get(&program).map_or(0, |time| time.runs);
            counts.insert(program, time.runs.saturating_sub(before));
        }
        if counts.values().sum::<u64>() >= ENOUGH_HITS {
            break;
        }
    }
    counts
}
