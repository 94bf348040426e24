//! A loaded and attached kernel side, read once a tick.

use super::{
    attach::{self, AttachFailure, Links},
    calibrate,
    events::{self, Event},
    kernel_log::KernelLog,
    load::{load_object, mapped, taken},
    mapped::MappedArray,
    mapping_account::MappingAccount,
    object::ObjectError,
    overhead::Overhead,
    process_table::{ProcessTable, TableError},
    settings::Settings,
    slot_totals::SlotTotals,
    unwind_tables::{TableSizes, UnwindTables},
};
use crate::{
    plan::{LoaderHook, ProbePlan},
    target::{PlannedRange, TableKey},
    tick::{Counters, SiteReading, Tick},
    unwind::UnwindTable,
    warning::Warning,
};
use aya::{
    Ebpf, EbpfError,
    maps::{HashMap as BpfHashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::{ProgramError, RawTracePoint, uprobe::UProbeLink},
};
use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd as _, BorrowedFd},
};
use tracer_common::{
    counter::COUNTERS,
    limits::DEFAULT_MAX_ALL_CODE_RANGES,
    process::MAX_PROCESSES,
    python::PythonLayout,
    slot::{CodeRange, Control, Slot, UNATTRIBUTED_STACK},
    unwind::MAX_RULES,
};

/// Why the probes could not be loaded or attached.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The embedded object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// BTF.
    #[error("{0}")]
    KernelLayout(String),
    /// The kernel refused the object or a map.
    #[error(
        "the kernel refused outlive's maps or programs: {0}. `outlive doctor` says what this machine lacks"
    )]
    Refused(String),
    /// The verifier refused a program.
    #[error(
        "the kernel refused the program {program}: {reason}. `outlive doctor` says what this machine lacks; if it finds nothing, this is a bug in outlive"
    )]
    Program {
        /// Its name.
        program: String,
        /// The kernel's words.
        reason: String,
    },
    /// The object lacks a program.
    #[error("the kernel side inside this outlive lacks the program {0}; build it anew")]
    NoProgram(&'static str),
    /// A probe could not be placed.
    #[error("a probe could not be placed: {0}: {reason}", reason = chain(.0))]
    Attach(#[source] AttachFailure),
    /// The calibration at start failed.
    #[error("the cost of a probe could not be measured: {0}")]
    Calibration(String),
    /// The process table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Mapping or reading a map.
    #[error("a map of the kernel side could not be used: {0}")]
    Map(String),
}

impl ProbeError {
    pub(super) fn load(program: &str, error: ProgramError) -> Self {
        ProbeError::Program { program: program.to_owned(), reason: chain(&error) }
    }

    pub(super) fn object(error: EbpfError) -> Self {
        ProbeError::Refused(chain(&error))
    }

    pub(super) fn map(error: MapError) -> Self {
        ProbeError::Map(chain(&error))
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A loaded kernel side. Dropping it detaches every probe and frees every map.
pub struct Probes {
    /// First, so that the probes go before the programs.
    links: Links,
    loader_link: Option<UProbeLink>,
    ebpf: Ebpf,
    settings: Settings,
    slots: MappedArray<Slot>,
    control: MappedArray<Control>,
    counters: PerCpuArray<MapData, u64>,
    events: RingBuf<MapData>,
    processes: ProcessTable,
    tables: UnwindTables,
    /// Index of the target in the process table.
    target: u32,
    seen: Vec<Slot>,
    totals: SlotTotals,
    /// Image of each stack, by hash.
    images: HashMap<u64, u32>,
    /// Images that were replaced.
    ended_images: HashSet<u32>,
    mappings: MappingAccount,
    unknown_records: u64,
    overhead: Overhead,
}

/// Number of the target's first image.
const FIRST_IMAGE: u32 = 1;

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
        let slots = mapped(&mut ebpf, "OUTLIVE_SLOTS", settings.limits.max_slots as usize)?;
        let control: MappedArray<Control> = mapped(&mut ebpf, "OUTLIVE_CONTROL", 1)?;
        // SAFETY: element 0 of the two mapped arrays, before any program runs.
        slots.update(0, |slot: *mut Slot| unsafe { (*slot).stack_hash = UNATTRIBUTED_STACK });
        // SAFETY: as above.
        control.update(0, |control| unsafe {
            (*control).slots_used = 1;
            (*control).epoch = 1;
            (*control).images_used = 1;
        });
        let mut processes = ProcessTable::new(
            mapped(&mut ebpf, "OUTLIVE_PROCS", MAX_PROCESSES as usize)?,
            taken(&mut ebpf, "OUTLIVE_TGIDS")?,
            mapped(&mut ebpf, "OUTLIVE_RANGES", DEFAULT_MAX_ALL_CODE_RANGES as usize)?,
        );
        let target = processes.add(settings.target_tgid, FIRST_IMAGE, plan.python_layout())?;
        let mut probes = Self {
            slots,
            control,
            counters: taken(&mut ebpf, "OUTLIVE_COUNTS")?,
            events: taken(&mut ebpf, "OUTLIVE_EVENTS")?,
            processes,
            tables: UnwindTables::new(
                mapped(&mut ebpf, "OUTLIVE_ROWS", sizes.rows as usize / 2)?,
                mapped(&mut ebpf, "OUTLIVE_PAGES", sizes.pages as usize / 2)?,
                mapped(&mut ebpf, "OUTLIVE_RULES", MAX_RULES as usize)?,
            ),
            target,
            links: Links::default(),
            loader_link: None,
            ebpf,
            settings,
            seen: Vec::new(),
            totals: SlotTotals::default(),
            images: HashMap::new(),
            ended_images: HashSet::new(),
            mappings: MappingAccount::default(),
            unknown_records: 0,
            overhead: Overhead::new(trap),
        };
        let warnings = probes.set_code_ranges(&plan.code_ranges, tables);
        Ok((probes, warnings))
    }

    /// Places the probes into the target.
    ///
    /// # Errors
    /// The first probe that could not be placed; none stays.
    pub fn attach(&mut self, plan: &ProbePlan) -> Result<(), ProbeError> {
        self.attach_tracepoint("process_exec", "sched_process_exec")?;
        self.attach_tracepoint("process_fork", "sched_process_fork")?;
        self.attach_tracepoint("thread_exit", "sched_process_exit")?;
        self.links = attach::attach(&mut self.ebpf, plan, self.settings.target_tgid)
            .map_err(ProbeError::Attach)?;
        Ok(())
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
        self.processes.set_loader_state(self.target, hook.state_avma);
        Ok(())
    }

    /// The loader's place in a new image of the target.
    pub fn move_loader_state(&mut self, avma: u64) {
        if self.loader_link.is_some() {
            self.processes.set_loader_state(self.target, avma);
        }
    }

    /// Ends [`Self::hold_at_loads`]. Stops that happened before are still among the events.
    pub fn let_loads_pass(&mut self) {
        self.processes.set_loader_state(self.target, 0);
        // The kernel waits until no program runs any more.
        self.loader_link = None;
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

    /// Those of the unwind tables of `ranges` that [`Self::set_code_ranges`] needs.
    pub fn missing_tables(&self, ranges: &[PlannedRange]) -> Vec<TableKey> {
        self.tables.missing(ranges)
    }

    /// Replaces the table of executable ranges of the target (sorted, not overlapping), and adds
    /// the unwind tables that are new in it. What does not fit is not walked, and said.
    pub fn set_code_ranges(
        &mut self,
        ranges: &[PlannedRange],
        new_tables: &[(TableKey, UnwindTable)],
    ) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.tables.add(new_tables) > 0 {
            warnings.push(Warning::new(
                "unwind-table-full",
                "The target's unwind tables exceed the room for them; stacks through some files end early.",
                "Attach anew: the room is chosen by what is mapped then.",
            ));
        }
        let ranges: Vec<CodeRange> =
            ranges.iter().map(|range| self.tables.code_range(range)).collect();
        if self.processes.set_code_ranges(self.target, &ranges) > 0 {
            warnings.push(Warning::new(
                "too-many-code-ranges",
                "The target has more executable ranges than there is room for; stacks through some end early.",
                "",
            ));
        }
        warnings
    }

    /// How Python frames of the target are walked from now on.
    pub fn set_python(&mut self, layout: PythonLayout) {
        self.processes.set_python(self.target, layout);
    }

    /// Births belong to this epoch from now on.
    pub fn set_epoch(&mut self, epoch: u32) {
        // SAFETY: an aligned field of element 0.
        self.control.update(0, |control| unsafe {
            (&raw mut (*control).epoch).write_volatile(epoch);
        });
    }

    fn epoch(&self) -> u32 {
        self.control.get(0).map_or(0, |control| control.epoch)
    }

    /// Takes all events that wait. Mapping events are accounted here; the others are returned.
    pub fn drain(&mut self) -> Vec<Event> {
        let epoch = self.epoch();
        let mut drained = Vec::new();
        let mut ended = Vec::new();
        while let Some(item) = self.events.next() {
            match events::decode(&item) {
                Some(Event::Mapping(mapping)) => self.mappings.apply(&mapping, epoch),
                Some(Event::NewStack(stack, image)) => {
                    self.images.insert(stack.id.0, image);
                    drained.push(Event::NewStack(stack, image));
                }
                Some(Event::Exec { tgid, image }) => {
                    self.mappings.clear();
                    ended.extend(
                        (FIRST_IMAGE..image).filter(|old| !self.ended_images.contains(old)),
                    );
                    drained.push(Event::Exec { tgid, image });
                }
                Some(Event::Fork { tgid, child }) => drained.push(Event::Fork { tgid, child }),
                Some(Event::Libraries { tgid }) => drained.push(Event::Libraries { tgid }),
                None => self.unknown_records += 1,
            }
        }
        if !ended.is_empty() {
            self.ended_images.extend(&ended);
            self.forget_ended_blocks();
        }
        drained
    }

    /// Removes the blocks of images that were replaced from the live map.
    fn forget_ended_blocks(&mut self) {
        let Some(map) = self.ebpf.map_mut("OUTLIVE_LIVE") else { return };
        let Ok(mut live) = BpfHashMap::<_, u64, [u64; 2]>::try_from(map) else { return };
        let has_ended = |key: &u64| self.ended_images.contains(&((key >> 48) as u32));
        let old: Vec<u64> = live.keys().flatten().filter(has_ended).collect();
        for key in old {
            // Gone already is as good.
            let _ = live.remove(&key);
        }
    }

    /// Reads what changed since the previous tick.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn tick(&mut self, at_ns: u64) -> Result<Tick, ProbeError> {
        let counters = self.read_counters()?;
        let mut sites = self.read_slots();
        sites.extend(self.mappings.take_changed());
        let overhead = self.overhead.reading(&counters);
        Ok(Tick { at_ns, sites, counters, memory: None, overhead })
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
