//! A loaded and attached kernel side, read once a tick.

use super::{
    attach, calibrate,
    detacher::Detacher,
    error::ProbeError,
    events::Event,
    kernel_log::KernelLog,
    live_blocks,
    load::{self, load_object, mapped, taken},
    mapped::MappedArray,
    overhead::Overhead,
    process_table::ProcessTable,
    processes::Traced,
    regimes::Regimes,
    settings::Settings,
    slot_totals::SlotTotals,
    sweep::Sweep,
    unwind_tables::{TableSizes, UnwindTables},
};
use crate::{
    plan::{LoaderHook, ProbePlan},
    target::TableKey,
    tick::{Counters, SiteReading, Tick},
    unwind::UnwindTable,
    warning::Warning,
};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, RingBuf},
    programs::{RawTracePoint, uprobe::UProbeLink},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    os::fd::{AsFd as _, BorrowedFd},
};
use tracer_common::{
    counter::COUNTERS,
    limits::DEFAULT_MAX_ALL_CODE_RANGES,
    process::MAX_PROCESSES,
    regime::MAX_REGIMES,
    slot::{Control, Slot},
    unwind::MAX_RULES,
};

/// A loaded kernel side. Dropping it detaches every probe and frees every map.
pub struct Probes {
    /// The traced processes by thread-group ID. First, so that the probes go before the programs.
    pub(super) traced: BTreeMap<u32, Traced>,
    pub(super) detacher: Detacher,
    loader_link: Option<UProbeLink>,
    pub(super) sweep: Sweep,
    pub(super) ebpf: Ebpf,
    settings: Settings,
    pub(super) slots: MappedArray<Slot>,
    pub(super) control: MappedArray<Control>,
    pub(super) regimes: Regimes,
    counters: PerCpuArray<MapData, u64>,
    pub(super) events: RingBuf<MapData>,
    /// Events that were taken out of the ring buffer and not asked for yet.
    pub(super) waiting: Vec<Event>,
    pub(super) table: ProcessTable,
    pub(super) tables: UnwindTables,
    /// The process of each image.
    pub(super) owners: HashMap<u32, u32>,
    /// Changes of mappings of processes that were released since the last tick.
    pub(super) leftover: Vec<SiteReading>,
    seen: Vec<Slot>,
    totals: SlotTotals,
    /// Image of each stack, by hash.
    pub(super) images: HashMap<u64, u32>,
    /// Images that were replaced.
    pub(super) ended_images: HashSet<u32>,
    pub(super) unknown_records: u64,
    overhead: Overhead,
    /// Full collections of V8, by index in the process table.
    pub(super) full_collections: MappedArray<u64>,
}

impl Probes {
    /// Loads maps and the programs that `plan` needs; attaches nothing yet. `tables` are those of
    /// the files in its code ranges (`unwind::tables_of`).
    ///
    /// # Errors
    /// See [`ProbeError`].
    ///
    /// # Kernel
    /// 5.12 (atomics), 5.8 (ring buffer); tested from 6.1.
    pub fn load(
        settings: Settings,
        plan: &ProbePlan,
        tables: &[(TableKey, UnwindTable)],
    ) -> Result<(Self, Vec<Warning>), ProbeError> {
        let sizes = TableSizes::for_tables(tables, settings.limits.max_rows);
        let mut ebpf = load_object(&settings, sizes)?;
        for name in attach::programs(&plan.points) {
            attach::loaded(&mut ebpf, name)?;
        }
        let trap = calibrate::measure(&mut ebpf)?;
        let slots = mapped(&mut ebpf, "OUTLIVE_SLOTS", settings.limits.all_slots() as usize)?;
        let control: MappedArray<Control> = mapped(&mut ebpf, "OUTLIVE_CONTROL", 1)?;
        let rules = mapped(&mut ebpf, "OUTLIVE_REGIMES", MAX_REGIMES as usize)?;
        let regimes = Regimes::new(rules, &settings.first_regime, &slots, &control);
        let full_collections = mapped(&mut ebpf, "OUTLIVE_GCS", MAX_PROCESSES as usize)?;
        let table = ProcessTable::new(
            mapped(&mut ebpf, "OUTLIVE_PROCS", MAX_PROCESSES as usize)?,
            taken(&mut ebpf, "OUTLIVE_TGIDS")?,
            mapped(&mut ebpf, "OUTLIVE_RANGES", DEFAULT_MAX_ALL_CODE_RANGES as usize)?,
        );
        let live = ebpf.map("OUTLIVE_LIVE").ok_or_else(|| load::no_map("OUTLIVE_LIVE"))?;
        let live = live_blocks::descriptor(live).map_err(|e| ProbeError::Map(e.to_string()))?;
        let sweep = Sweep::new(live);
        let mut probes = Self {
            traced: BTreeMap::new(),
            detacher: Detacher::default(),
            loader_link: None,
            sweep,
            slots,
            control,
            regimes,
            counters: taken(&mut ebpf, "OUTLIVE_COUNTS")?,
            events: taken(&mut ebpf, "OUTLIVE_EVENTS")?,
            waiting: Vec::new(),
            table,
            tables: UnwindTables::new(
                mapped(&mut ebpf, "OUTLIVE_ROWS", sizes.rows as usize / 2)?,
                mapped(&mut ebpf, "OUTLIVE_PAGES", sizes.pages as usize / 2)?,
                mapped(&mut ebpf, "OUTLIVE_RULES", MAX_RULES as usize)?,
            ),
            owners: HashMap::new(),
            leftover: Vec::new(),
            ebpf,
            settings,
            seen: Vec::new(),
            totals: SlotTotals::default(),
            images: HashMap::new(),
            ended_images: HashSet::new(),
            unknown_records: 0,
            overhead: Overhead::new(trap),
            full_collections,
        };
        let warnings = probes.add_tables(tables);
        Ok((probes, warnings))
    }

    /// Places the probes into the target; returns the number of its image.
    ///
    /// # Errors
    /// The first probe that could not be placed; none stays.
    pub fn attach(&mut self, plan: &ProbePlan) -> Result<u32, ProbeError> {
        self.attach_tracepoint("process_exec", "sched_process_exec")?;
        self.attach_tracepoint("process_fork", "sched_process_fork")?;
        self.attach_tracepoint("thread_exit", "sched_process_exit")?;
        self.adopt(self.settings.target_tgid, plan, &[]).map(|(image, _)| image)
    }

    /// From now on the target is stopped each time that its loader has mapped libraries, until
    /// somebody who heard of it ([`Event::Libraries`]) continues it (SIGCONT).
    ///
    /// # Errors
    /// When the probe cannot be placed.
    ///
    /// # Kernel
    /// 5.3 (bpf_send_signal).
    pub fn hold_at_loads(&mut self, hook: &LoaderHook) -> Result<(), ProbeError> {
        let link = attach::place_hook(&mut self.ebpf, hook, self.settings.target_tgid)?;
        self.loader_link = Some(link);
        self.set_loader_state(hook.state_avma);
        Ok(())
    }

    /// The loader's place in a new image of the target.
    pub fn move_loader_state(&mut self, avma: u64) {
        if self.loader_link.is_some() {
            self.set_loader_state(avma);
        }
    }

    /// Ends [`Self::hold_at_loads`]. Stops that happened before are still among the events.
    pub fn let_loads_pass(&mut self) {
        self.set_loader_state(0);
        // The kernel waits until no program runs any more.
        self.loader_link = None;
    }

    fn set_loader_state(&self, avma: u64) {
        if let Some(target) = self.traced.get(&self.settings.target_tgid) {
            self.table.set_loader_state(target.index, avma);
        }
    }

    fn attach_tracepoint(
        &mut self,
        name: &'static str,
        tracepoint: &str,
    ) -> Result<(), ProbeError> {
        let program: &mut RawTracePoint = self
            .ebpf
            .program_mut(name)
            .ok_or(ProbeError::NoProgram(name))?
            .try_into()
            .map_err(|error| ProbeError::load(name, error))?;
        program.load().map_err(|error| ProbeError::load(name, error))?;
        program.attach(tracepoint).map(drop).map_err(|error| ProbeError::load(name, error))
    }

    /// Reader of the kernel side's debug messages; it can be taken once.
    pub fn kernel_log(&mut self) -> Option<KernelLog> {
        KernelLog::open(&mut self.ebpf)
    }

    /// Becomes readable when events wait.
    pub fn events_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Reads what changed since the previous tick.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn tick(&mut self, at_ns: u64) -> Result<Tick, ProbeError> {
        let counters = self.read_counters()?;
        let mut sites = self.read_slots();
        sites.extend(self.take_mapping_changes());
        let overhead = self.overhead.reading(&counters);
        Ok(Tick { at_ns, sites, counters, overhead, ..Tick::default() })
    }

    fn read_slots(&mut self) -> Vec<SiteReading> {
        let used = self.control.get(0).map_or(0, |control| control.slots_used as usize);
        let used = used.min(self.slots.len());
        self.seen.resize(used, Slot::default());
        for index in 0..used {
            let Some(mut slot) = self.slots.get(index) else { break };
            let image = self.images.get(&slot.stack_hash);
            if image.is_some_and(|image| self.ended_images.contains(image)) {
                slot.freed_bytes = slot.allocated_bytes;
                slot.freed_blocks = slot.allocated_blocks;
                slot.freed_variance = slot.allocated_variance;
            }
            let before = std::mem::replace(&mut self.seen[index], slot);
            if slot != before && slot.stack_hash != 0 {
                self.totals.add(&before, &slot);
            }
        }
        self.totals.take_changed()
    }

    fn read_counters(&self) -> Result<Counters, ProbeError> {
        let mut counters = Counters::default();
        for index in 0..COUNTERS {
            let values = self.counters.get(&index, 0).map_err(ProbeError::map)?;
            counters.kernel[index as usize] = values.iter().sum();
        }
        counters.user.insert("unknown_records".into(), self.unknown_records);
        Ok(counters)
    }

    /// Switches the kernel's run-time statistics on for a while, to measure our programs.
    pub fn open_overhead_window(&mut self) {
        self.overhead.open_window(&self.ebpf);
    }

    /// Ends that while.
    pub fn close_overhead_window(&mut self) {
        self.overhead.close_window(&self.ebpf);
    }
}
