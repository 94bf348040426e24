//! Which functions a process handles its signals with, from the kernel's own table.

use super::{error::ProbeError, probes::Probes};
use aya::{
    Btf,
    programs::{Iter, ProgramError},
};
use std::{io::Read as _, mem};
use tracer_common::signals::{SIGNALS, SignalHandlers};

/// The program, as the kernel side calls it.
const PROGRAM: &str = "signal_table";
/// Most processes of which the kernel's answer is read.
const MAX_PROCESSES: usize = 1 << 20;

/// Loads the iterator.
///
/// # Kernel
/// 5.8.
pub fn load(program: &mut Iter) -> Result<(), ProgramError> {
    program.load("task", &Btf::from_sys_fs()?)
}

impl Probes {
    /// The handlers of process `tgid`, signal 1 first: addresses in the process, 0 for the default
    /// action, 1 for a signal that is ignored. `None` when there is no such process, or no longer.
    ///
    /// # Errors
    /// When the kernel refuses the program, or its answer cannot be read.
    ///
    /// # Cost
    /// A few microseconds for each process of the machine.
    pub fn signal_handlers(&mut self, tgid: u32) -> Result<Option<[u64; SIGNALS]>, ProbeError> {
        let failed = |error: &dyn std::fmt::Display| ProbeError::Signals(error.to_string());
        let program: &mut Iter = self
            .ebpf
            .program_mut(PROGRAM)
            .ok_or(ProbeError::NoProgram(PROGRAM))?
            .try_into()
            .map_err(|error| ProbeError::load(PROGRAM, error))?;
        if program.fd().is_err() {
            load(program).map_err(|error| ProbeError::load(PROGRAM, error))?;
        }
        let link = program.attach().map_err(|error| failed(&error))?;
        let link = program.take_link(link).map_err(|error| failed(&error))?;
        let file = link.into_file().map_err(|error| failed(&error))?;
        const LENGTH: usize = mem::size_of::<SignalHandlers>();
        let mut answer = Vec::new();
        file.take((MAX_PROCESSES * LENGTH) as u64)
            .read_to_end(&mut answer)
            .map_err(|error| failed(&error))?;
        Ok(answer.chunks_exact(LENGTH).find_map(|bytes| handlers_of(bytes, tgid)))
    }
}

/// The handlers in a record, if they are those of process `tgid`.
fn handlers_of(record: &[u8], tgid: u32) -> Option<[u64; SIGNALS]> {
    let number = |at: usize| Some(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?));
    if number(0)? != tgid {
        return None;
    }
    let mut handlers = [0; SIGNALS];
    for (handler, bytes) in handlers.iter_mut().zip(record.get(8..)?.chunks_exact(8)) {
        *handler = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(handlers)
}
