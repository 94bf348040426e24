//! Which kernel program a function gets, and the order in which probes go in.

use super::error::ProbeError;
use crate::plan::{Function, LoaderHook, ProbePlan, ProbePoint};
use aya::{
    Ebpf,
    programs::{
        ProgramError, UProbe,
        uprobe::{UProbeLink, UProbeScope},
    },
};
use std::{collections::HashSet, num::NonZeroU32};

/// Name of the entry program of a probe.
pub const fn entry_program(point: &ProbePoint) -> &'static str {
    match point.function {
        // These look at the headers of blocks that they do not know.
        Function::Free if point.is_glibc => "gfree_enter",
        Function::Realloc if point.is_glibc => "grealloc_enter",
        Function::Reallocarray if point.is_glibc => "grealloca_enter",
        Function::Malloc | Function::Valloc => "malloc_enter",
        Function::Calloc => "calloc_enter",
        Function::Realloc => "realloc_enter",
        Function::Reallocarray => "reallocarr_enter",
        Function::Free => "free_enter",
        Function::PosixMemalign => "posix_enter",
        Function::AlignedAlloc => "aligned_enter",
        Function::Reallocf => "reallocf_enter",
        Function::Xallocx => "xallocx_enter",
        Function::New => "new_enter",
        Function::NewArray => "newarray_enter",
        Function::Throw => "throw_enter",
        Function::HeapMalloc => "hmalloc_enter",
        Function::HeapCalloc => "hcalloc_enter",
        Function::HeapRealloc => "hrealloc_enter",
        Function::PyMalloc => "pymalloc_enter",
        Function::PyCalloc => "pycalloc_enter",
        Function::PyRealloc => "pyrealloc_enter",
        Function::PyFree => "pyfree_enter",
        Function::FullCollection => "fullgc_enter",
        Function::LaneBirth => "lane_birth",
        Function::LaneDeath => "lane_death",
        Function::LaneSettle => "lane_settle",
        Function::Mmap => "mmap_enter",
        Function::Munmap => "munmap_enter",
        Function::Mremap => "mremap_enter",
        Function::Brk => "brk_enter",
        Function::Sbrk => "sbrk_enter",
    }
}

/// Name of the program on the return instructions of functions that may throw.
pub const EXIT_PROGRAM: &str = "alloc_exit";

/// Name of the return program of a function.
pub const fn return_program(function: Function) -> Option<&'static str> {
    if !function.has_return_probe() {
        None
    } else if function.is_mapping() {
        Some("mapping_return")
    } else {
        Some("alloc_return")
    }
}

/// Every program that the points need, without repetition.
pub fn programs(points: &[ProbePoint]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = points
        .iter()
        .flat_map(|point| {
            [
                Some(entry_program(point)),
                return_program(point.function),
                (!point.exits.is_empty()).then_some(EXIT_PROGRAM),
            ]
        })
        .flatten()
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The named probe program, loaded.
///
/// # Errors
/// When the object lacks it or the kernel refuses it.
pub fn loaded<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, ProbeError> {
    let program: &mut UProbe = ebpf
        .program_mut(name)
        .ok_or(ProbeError::NoProgram(name))?
        .try_into()
        .map_err(|error| ProbeError::load(name, error))?;
    if program.fd().is_err() {
        program.load().map_err(|error| ProbeError::load(name, error))?;
    }
    Ok(program)
}

/// Fires for one process; 0 is this one.
pub fn scope(tgid: u32) -> UProbeScope {
    NonZeroU32::new(tgid).map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess)
}

/// The order of attaching. Frees first: a block that is born under our eyes must not die unseen.
/// realloc before malloc, because the one may call the other.
const fn rank(function: Function) -> u32 {
    match function {
        Function::Free
        | Function::PyFree
        | Function::Throw
        | Function::LaneDeath
        | Function::LaneSettle
        | Function::Munmap => 0,
        Function::Realloc
        | Function::Reallocarray
        | Function::Reallocf
        | Function::Xallocx
        | Function::HeapRealloc
        | Function::PyRealloc
        | Function::Mremap => 1,
        _ => 2,
    }
}

/// A probe that could not be placed.
#[derive(Debug, thiserror::Error)]
#[error("{function:?} at {path}+{offset:#x}")]
pub struct AttachFailure {
    pub(super) function: Function,
    pub(super) path: String,
    pub(super) offset: u64,
    #[source]
    pub(super) source: ProgramError,
}

/// One probe of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    pub(super) program: &'static str,
    pub(super) point: &'a ProbePoint,
    pub(super) offset: u64,
}

/// Every probe of the plan, in the order in which they go in. A return probe goes in before its
/// entry probe: a return without an entry is ignored, an entry without a return would be counted
/// as a loss.
pub fn placements(plan: &ProbePlan) -> Vec<Placement<'_>> {
    let mut points: Vec<&ProbePoint> = plan.points.iter().collect();
    points.sort_by_key(|point| rank(point.function));
    let mut placements = Vec::new();
    // Functions may end in one another and share exits.
    let mut exits = HashSet::new();
    for point in points {
        for offset in &point.exits {
            if exits.insert((&point.file, *offset)) {
                placements.push(Placement { program: EXIT_PROGRAM, point, offset: *offset });
            }
        }
        if let Some(program) = return_program(point.function) {
            placements.push(Placement { program, point, offset: point.return_offset() });
        }
        let program = entry_program(point);
        placements.push(Placement { program, point, offset: point.probe_offset });
    }
    placements
}

/// Places the probe at the dynamic loader's hook.
///
/// # Errors
/// When the kernel refuses.
pub fn place_hook(ebpf: &mut Ebpf, hook: &LoaderHook, tgid: u32) -> Result<UProbeLink, ProbeError> {
    const PROGRAM: &str = "loader_hook";
    let failure = |error| ProbeError::load(PROGRAM, error);
    let program = loaded(ebpf, PROGRAM)?;
    let link = program.attach(hook.offset, &hook.file, scope(tgid)).map_err(failure)?;
    program.take_link(link).map_err(failure)
}
