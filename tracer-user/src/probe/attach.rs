//! Which kernel program a function gets, and the order in which probes go in.

use super::{
    error::ProbeError,
    keeper::{Keeper, Kept},
};
use crate::plan::{Function, LoaderHook, ProbePlan, ProbePoint};
use aya::{
    Ebpf,
    programs::{
        ProgramError, UProbe,
        uprobe::{UProbeLink, UProbeScope},
    },
};
use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::Entry},
    io,
    num::NonZeroU32,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

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
        Function::Free | Function::PyFree | Function::Throw | Function::Munmap => 0,
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
    function: Function,
    path: String,
    offset: u64,
    #[source]
    source: ProgramError,
}

/// What tells a placed probe from others of the same process.
type PlaceKey = (FileKey, u64, &'static str);
/// Device and inode: the same file may be reached by several paths.
type FileKey = (u64, u64);

/// Placed probes of one process; dropping them takes them out.
///
/// # Cost
/// The kernel waits for a grace period for each probe (some 80 ms on Linux 6.18) and takes them
/// one at a time, whatever the number of threads that close them. A thread of the target that hits
/// one meanwhile may wait too: see [`super::keeper`] for how that is spared it.
#[derive(Default)]
pub struct Links {
    links: HashMap<PlaceKey, UProbeLink>,
    /// A path to each file that the kernel can open.
    files: HashMap<FileKey, PathBuf>,
}

impl Links {
    /// Number of probes.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// The probes one by one, to be dropped at leisure.
    pub fn into_each(self) -> Vec<UProbeLink> {
        self.links.into_values().collect()
    }

    /// Places one probe more wherever they are, that does nothing: what keeps the breakpoints of
    /// process `tgid` while these go. None where the kernel has no such probes.
    pub fn keep(&self, keeper: &Keeper, tgid: u32) -> Vec<Kept> {
        let mut places: HashMap<FileKey, BTreeSet<u64>> = HashMap::new();
        for (file, offset, _) in self.links.keys() {
            places.entry(*file).or_default().insert(*offset);
        }
        let keep = |(file, offsets): (FileKey, BTreeSet<u64>)| {
            let offsets: Vec<u64> = offsets.into_iter().collect();
            keeper.keep(self.files.get(&file)?, &offsets, tgid).ok()
        };
        places.into_iter().filter_map(keep).collect()
    }

    /// Places a probe into process `tgid`, unless it is there.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn place(
        &mut self,
        ebpf: &mut Ebpf,
        placement: Placement<'_>,
        tgid: u32,
    ) -> Result<(), AttachFailure> {
        let Placement { program: name, point, offset } = placement;
        let failure = |source| AttachFailure {
            function: point.function,
            path: point.display_path.display().to_string(),
            offset,
            source,
        };
        let file = file_key(&point.file).map_err(ProgramError::IOError).map_err(failure)?;
        let Entry::Vacant(place) = self.links.entry((file, offset, name)) else { return Ok(()) };
        let program: &mut UProbe = ebpf
            .program_mut(name)
            .ok_or(ProgramError::NotLoaded)
            .and_then(TryInto::try_into)
            .map_err(failure)?;
        let link = program
            .attach(offset, &point.file, scope(tgid))
            .and_then(|link| program.take_link(link))
            .map_err(failure)?;
        place.insert(link);
        self.files.entry(file).or_insert_with(|| point.file.clone());
        Ok(())
    }
}

/// One probe of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    program: &'static str,
    point: &'a ProbePoint,
    offset: u64,
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

fn file_key(path: &Path) -> io::Result<FileKey> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
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
