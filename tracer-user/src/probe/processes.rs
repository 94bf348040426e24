//! The traced processes: each has its entry in the table, probes of its own (a probe fires for one
//! address space), its mapping account and its images.

use super::{
    attach,
    error::ProbeError,
    keeper::{Keeper, Kept},
    links::Links,
    mapping_account::MappingAccount,
    probes::Probes,
    urgency::Urgency,
};
use crate::{
    plan::ProbePlan,
    target::{PlannedRange, TableKey},
    tick::SiteReading,
    unwind::UnwindTable,
    warning::Warning,
};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use tracer_common::{python::PythonLayout, slot::CodeRange, v8::V8Layout};

/// Images that a session can tell apart: the number is 16 bits of live-map keys.
const MAX_IMAGES: u32 = 65_535;

/// A traced process.
pub struct Traced {
    /// Its index in the process table.
    pub(super) index: u32,
    pub(super) links: Links,
    pub(super) mappings: MappingAccount,
    /// Numbers of its images, the present one last.
    pub(super) images: Vec<u32>,
    /// What its counter of full collections of V8 stood at when it was taken up; `None` where they
    /// are not probed.
    collections_before: Option<u64>,
}

impl Probes {
    /// Traces one more process: enters it in the table, then places its probes. `tables` are those
    /// that are missing ([`Self::missing_tables`]). Returns the number of its image.
    ///
    /// # Errors
    /// When the table is full or a probe cannot be placed; nothing stays then.
    pub fn adopt(
        &mut self,
        tgid: u32,
        plan: &ProbePlan,
        tables: &[(TableKey, UnwindTable)],
    ) -> Result<(u32, Vec<Warning>), ProbeError> {
        let image = self.next_image()?;
        let index = self.table.add(tgid, image, plan.python_layout(), plan.v8_layout())?;
        self.table.set_lane(index, plan.lane_control_avma);
        let traced = Traced {
            index,
            links: self.reach.enter(tgid),
            mappings: MappingAccount::default(),
            images: vec![image],
            collections_before: None,
        };
        self.traced.insert(tgid, traced);
        self.owners.insert(image, tgid);
        let warnings = self.set_code_ranges(tgid, &plan.code_ranges, tables);
        self.place(tgid, plan).inspect_err(|_| self.release(tgid))?;
        Ok((image, warnings))
    }

    /// Follows a process into the image that it has replaced its own by: places the probes that
    /// the new one needs. Those of a file that both use stay, unless the exec has made all of them
    /// useless (`anew`).
    ///
    /// # Errors
    /// When a probe cannot be placed.
    pub fn follow_exec(
        &mut self,
        tgid: u32,
        plan: &ProbePlan,
        tables: &[(TableKey, UnwindTable)],
        anew: bool,
    ) -> Result<Vec<Warning>, ProbeError> {
        let Some(traced) = self.traced.get_mut(&tgid) else { return Ok(Vec::new()) };
        if anew {
            self.detacher.take(traced.links.take());
        }
        self.table.set_lane(traced.index, plan.lane_control_avma);
        self.table.set_python(traced.index, plan.python_layout());
        self.table.set_v8(traced.index, plan.v8_layout());
        let warnings = self.set_code_ranges(tgid, &plan.code_ranges, tables);
        self.place(tgid, plan)?;
        Ok(warnings)
    }

    /// Full garbage collections that V8 began in a process since it was taken up; `None` where they
    /// are not probed.
    pub fn full_collections(&self, tgid: u32) -> Option<u64> {
        let traced = self.traced.get(&tgid)?;
        let count = self.full_collections.get(traced.index as usize)?;
        Some(count.saturating_sub(traced.collections_before?))
    }

    /// Places those probes of a plan into a traced process that are not there yet.
    ///
    /// # Errors
    /// When a probe cannot be placed.
    pub fn place(&mut self, tgid: u32, plan: &ProbePlan) -> Result<(), ProbeError> {
        if let Some(traced) = self.traced.get_mut(&tgid)
            && traced.collections_before.is_none()
            && plan.sees_full_collections()
        {
            traced.collections_before = self.full_collections.get(traced.index as usize);
        }
        for name in attach::programs(&plan.points) {
            attach::loaded(&mut self.ebpf, name)?;
        }
        self.programs.refresh(&self.ebpf);
        let _urgency = Urgency::begin();
        for placement in attach::placements(plan) {
            let Some(traced) = self.traced.get_mut(&tgid) else { break };
            traced.links.place(&mut self.ebpf, placement, tgid).map_err(ProbeError::Attach)?;
            // A probe may take the kernel a while, and the other processes go on meanwhile.
            self.collect();
        }
        Ok(())
    }

    /// Lets a process go that has ended. Its counters stay; its probes are taken out some time.
    pub fn release(&mut self, tgid: u32) {
        let Some(mut traced) = self.traced.remove(&tgid) else { return };
        self.reach.leave(tgid);
        self.table.remove(traced.index);
        self.leftover.extend(traced.mappings.take_changed());
        self.detacher.take(traced.links.take());
        self.sweep.forget(traced.images.iter().copied().collect());
    }

    /// Those of the unwind tables of `ranges` that [`Self::set_code_ranges`] needs.
    pub fn missing_tables(&self, ranges: &[PlannedRange]) -> Vec<TableKey> {
        self.tables.missing(ranges)
    }

    /// Replaces the table of executable ranges of a process (sorted, not overlapping), and adds
    /// the unwind tables that are new in it. What does not fit is not walked, and said.
    pub fn set_code_ranges(
        &mut self,
        tgid: u32,
        ranges: &[PlannedRange],
        new_tables: &[(TableKey, UnwindTable)],
    ) -> Vec<Warning> {
        let mut warnings = self.add_tables(new_tables);
        let Some(traced) = self.traced.get(&tgid) else { return warnings };
        let ranges: Vec<CodeRange> =
            ranges.iter().map(|range| self.tables.code_range(range)).collect();
        if self.table.set_code_ranges(traced.index, &ranges) > 0 {
            warnings.push(Warning::new(
                "too-many-code-ranges",
                format!("There is no room for all executable ranges of process {tgid}; stacks through some end early."),
                "",
            ));
        }
        warnings
    }

    pub(super) fn add_tables(&mut self, tables: &[(TableKey, UnwindTable)]) -> Vec<Warning> {
        if self.tables.add(tables) == 0 {
            return Vec::new();
        }
        vec![Warning::new(
            "unwind-table-full",
            "The unwind tables of what is traced exceed the room for them; stacks through some files end early.",
            "Attach anew: the room is chosen by what is mapped then.",
        )]
    }

    /// How Python frames of a process are walked from now on.
    pub fn set_python(&mut self, tgid: u32, layout: PythonLayout) {
        if let Some(traced) = self.traced.get(&tgid) {
            self.table.set_python(traced.index, layout);
        }
    }

    /// How JavaScript frames of a process are told from now on.
    pub fn set_v8(&mut self, tgid: u32, layout: V8Layout) {
        if let Some(traced) = self.traced.get(&tgid) {
            self.table.set_v8(traced.index, layout);
        }
    }

    /// Begins to take out every probe, in another thread: those of living processes first. How
    /// many these are. Dropping waits for the last one.
    pub fn detach(&mut self) -> usize {
        let keeper = Keeper::new().ok();
        let keep = |(tgid, traced): (&u32, &Traced)| {
            let _urgency = Urgency::begin();
            keeper.as_ref().map(|keeper| traced.links.keep(keeper, *tgid, None))
        };
        let kept: Vec<Kept> = self.traced.iter().filter_map(keep).flatten().collect();
        let links: Vec<Links> = self.traced.values().map(|traced| traced.links.take()).collect();
        let placed = links.iter().map(Links::len).sum();
        self.detacher.finish(links, kept);
        placed
    }

    /// What a process has mapped itself since it was taken up, and still has, in the order of
    /// addresses.
    pub fn mapped_ranges(&self, tgid: u32) -> Vec<Range<u64>> {
        let traced = self.traced.get(&tgid);
        traced.map_or(Vec::new(), |traced| traced.mappings.live().collect())
    }

    /// What the mappings of all processes have changed since the last call.
    pub(super) fn take_mapping_changes(&mut self) -> Vec<SiteReading> {
        let mut changed = std::mem::take(&mut self.leftover);
        changed.extend(self.traced.values_mut().flat_map(|traced| traced.mappings.take_changed()));
        changed
    }

    /// A number that no image has had.
    fn next_image(&self) -> Result<u32, ProbeError> {
        let mut used = MAX_IMAGES;
        self.control.update(0, |control| {
            // SAFETY: an aligned u32 of the mapped element 0, which the kernel side raises too, at
            // an exec, and also atomically.
            let images = unsafe { AtomicU32::from_ptr(&raw mut (*control).images_used) };
            used = images.fetch_add(1, Ordering::Relaxed);
        });
        if used >= MAX_IMAGES { Err(ProbeError::ImagesUsedUp) } else { Ok(used + 1) }
    }
}
