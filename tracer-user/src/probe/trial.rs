//! Loads every program of the kernel side once and lets go of it again, to learn what this
//! kernel takes. Attaches nothing.

use super::{
    error::ProbeError,
    load::load_object,
    settings::{Limits, Settings},
    unwind_tables::TableSizes,
};
use aya::programs::{Program, ProgramError};

/// Maps as small as they can be: no program runs.
const LIMITS: Limits = Limits {
    max_live: 1,
    max_stacks: 1,
    max_slots: 1,
    max_threads: 1,
    max_rows: 1,
    ring_bytes: RING_BYTES,
};

/// Smallest ring buffer, in bytes: a page.
const RING_BYTES: u32 = 4096;

/// Tables of as many rows and pages as hold one in each half.
const SIZES: TableSizes = TableSizes { rows: 2, pages: 2 };

/// A program that the kernel took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its name.
    pub name: String,
    /// Instructions that the verifier went through, each path anew; it gives up at a million.
    /// `None` where the kernel does not say (before Linux 5.16).
    pub verified_count: Option<u32>,
}

/// Loads all programs and returns them, the verifier's greatest labour first.
///
/// # Errors
/// The first thing that the kernel refused.
///
/// # Cost
/// About half a second of the verifier's work.
pub fn load_every_program() -> Result<Vec<Accepted>, ProbeError> {
    // With everything switched on: what is off is not verified, since it is never reached.
    let settings = Settings { limits: LIMITS, follow: true, verbose: true, ..Settings::default() };
    let mut ebpf = load_object(&settings, SIZES)?;
    let mut accepted = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let verified_count = load(program).map_err(|error| ProbeError::load(name, error))?;
        if let Some(count) = verified_count {
            log::info!("{name}: {count} instructions verified");
        }
        accepted.push(Accepted { name: name.to_owned(), verified_count });
    }
    accepted.sort_by_key(|program| std::cmp::Reverse(program.verified_count));
    Ok(accepted)
}

fn load(program: &mut Program) -> Result<Option<u32>, ProgramError> {
    match program {
        Program::UProbe(program) => program.load()?,
        Program::RawTracePoint(program) => program.load()?,
        Program::Iter(program) => super::signals::load(program)?,
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    Ok(program.info()?.verified_instruction_count())
}
