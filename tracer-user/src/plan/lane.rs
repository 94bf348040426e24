//! The fast lane's library in a command: whether it draws the sample there, and where its places
//! for probes are.
//!
//! It does only where it stands before the one allocator of the program, and that is a shared
//! glibc whose functions it finds by their other names. Everywhere else the command is started
//! anew without it, so a doubt costs nothing but the lane.

use super::allocator::point_at;
use super::function::GLIBC_MARK;
use super::{Function, ProbePlan, ProbePoint};
use crate::target::elf::{Elf, Table};
use crate::target::{MappedFile, Target};
use std::sync::Arc;
use tracer_common::lane::{FILE_NAME, SECTION};

/// The places by the names under which the library exports them.
const PLACES: [(&str, Function); 3] = [
    ("outlive_lane_birth", Function::LaneBirth),
    ("outlive_lane_death", Function::LaneDeath),
    ("outlive_lane_settle", Function::LaneSettle),
];

/// The names by which the library reaches glibc's functions.
const REACHED: [&str; 8] = [
    "__libc_malloc",
    "__libc_calloc",
    "__libc_realloc",
    "__libc_free",
    "__libc_memalign",
    "__libc_valloc",
    "__libc_pvalloc",
    "__errno_location",
];

/// Functions that the library stands before.
const INTERPOSED: [Function; 8] = [
    Function::Malloc,
    Function::Calloc,
    Function::Realloc,
    Function::Reallocarray,
    Function::Free,
    Function::PosixMemalign,
    Function::AlignedAlloc,
    Function::Valloc,
];

/// Why the lane cannot be taken; each continues "the fast lane was not taken: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error(
        "its library was not loaded into {exe}; the program is static, runs with other rights than whoever started it, or its libc cannot preload"
    )]
    NotLoaded { exe: String },
    #[error("{file} has an allocator of its own")]
    OtherAllocator { file: String },
    #[error("the allocator in {file} is not the shared glibc's")]
    NotGlibc { file: String },
    #[error("{file} does not export {name}, by which the lane would reach its allocator")]
    Unreachable { file: String, name: &'static str },
    #[error("{file} has {name}, which the lane does not stand before")]
    NotInterposed { file: String, name: String },
    #[error("its library is not as it was made")]
    Damaged,
}

/// Whether a file is the library. What it defines is no allocator of its own.
pub fn is_library(file: &MappedFile) -> bool {
    file.display_path.to_str().and_then(|path| path.strip_prefix("/memfd:")) == Some(FILE_NAME)
}

/// Leads the plan of a command through the lane: the allocator's functions are probed no more, the
/// library's places are.
///
/// # Errors
/// [`Refusal`]; the plan is as before then.
pub fn take(target: &Target, plan: &mut ProbePlan) -> Result<(), Refusal> {
    let library = target.files.values().find(|file| is_library(file));
    let library =
        library.ok_or_else(|| Refusal::NotLoaded { exe: target.exe.display().to_string() })?;
    sound(target, plan)?;
    let (places, control_avma) = places(target, library).ok_or(Refusal::Damaged)?;
    plan.points.retain(|point| !is_allocators(point.function));
    plan.points.extend(places);
    plan.lane_control_avma = Some(control_avma);
    Ok(())
}

/// Whether a function is probed for the allocator's sake.
fn is_allocators(function: Function) -> bool {
    !function.is_mapping() && function != Function::FullCollection
}

/// Whether all that is allocated comes by the lane.
fn sound(target: &Target, plan: &ProbePlan) -> Result<(), Refusal> {
    for point in plan.points.iter().filter(|point| is_allocators(point.function)) {
        let file = point.display_path.display().to_string();
        let found = target.files.values().find(|file| file.open_path == point.file);
        let is_shared_libc = found.is_some_and(is_libc);
        if !is_shared_libc {
            return Err(Refusal::OtherAllocator { file });
        }
        if !point.is_glibc {
            return Err(Refusal::NotGlibc { file });
        }
        if !INTERPOSED.contains(&point.function) {
            return Err(Refusal::NotInterposed { file, name: point.symbols.join(", ") });
        }
        let missing = found.and_then(|file| missing(&file.elf));
        if let Some(name) = missing {
            return Err(Refusal::Unreachable { file, name });
        }
    }
    Ok(())
}

/// Whether a file is a libc that others share.
fn is_libc(file: &Arc<MappedFile>) -> bool {
    let mut is_libc = false;
    file.elf.visit_symbols(Table::Dynamic, |name, _| {
        is_libc |= name == GLIBC_MARK;
    });
    is_libc
}

/// The first name that the lane needs and a libc does not export.
fn missing(libc: &Elf) -> Option<&'static str> {
    let mut missing = REACHED.to_vec();
    libc.visit_symbols(Table::Dynamic, |name, _| missing.retain(|wanted| *wanted != name));
    missing.first().copied()
}

/// The library's places, and where its control is.
fn places(target: &Target, library: &MappedFile) -> Option<(Vec<ProbePoint>, u64)> {
    let bias = target.bias_of(library)?;
    let control = library.elf.section(SECTION)?.svma.wrapping_add(bias);
    let mut symbols = Vec::new();
    library.elf.visit_symbols(Table::Dynamic, |name, symbol| {
        symbols.extend(PLACES.iter().filter(|(own, _)| *own == name).map(|place| (*place, symbol)));
    });
    let points = symbols.iter().map(|((name, function), symbol)| {
        point_at(library, symbol.svma, *function, (*name).to_owned())
    });
    let points: Vec<ProbePoint> = points.collect::<Option<_>>()?;
    let is_whole = points.len() == PLACES.len() && points.iter().all(|point| point.emulated);
    is_whole.then_some((points, control))
}
