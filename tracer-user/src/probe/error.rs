//! Why the kernel side cannot be loaded, attached or read.

use super::{attach::AttachFailure, object::ObjectError, process_table::TableError};
use aya::{EbpfError, maps::MapError, programs::ProgramError};

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
    /// The table of signal handlers could not be read.
    #[error("the kernel's table of signal handlers could not be read: {0}")]
    Signals(String),
    /// A probe could not be placed.
    #[error("a probe could not be placed: {0}: {reason}", reason = chain(.0))]
    Attach(#[source] AttachFailure),
    /// The calibration at start failed.
    #[error("the cost of a probe could not be measured: {0}")]
    Calibration(String),
    /// The process table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Numbers of images.
    #[error("no more processes can be told apart in this session")]
    ImagesUsedUp,
    /// Numbers of regimes.
    #[error("how blocks are followed has changed too often in this session to change again")]
    RegimesUsedUp,
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
