//! Why memory was not copied, each a sentence: what is wrong, and what to do.

use super::budget::BudgetError;
use super::stop::StopError;
use crate::target::TargetError;
use crate::units;
use std::time::Duration;

/// Why memory was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Not a process that can be looked at.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is too little memory for it.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The kernel does not let us.
    #[error(
        "the memory of process {tgid} may not be read ({error}): that needs root or CAP_SYS_PTRACE, and a kernel.yama.ptrace_scope below 3"
    )]
    Denied {
        /// The process.
        tgid: u32,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// It ended.
    #[error("process {0} ended while its memory was read")]
    Ended(u32),
    /// It was not stopped, since that would have been too long.
    #[error(
        "a consistent read would stop it for about {}, and {} are allowed; allow more with --max-stop, or use --no-stop",
        units::duration(.estimated.as_nanos() as u64), units::duration(.allowed.as_nanos() as u64)
    )]
    StopTooLong {
        /// How long it would have been.
        estimated: Duration,
        /// How long it may be.
        allowed: Duration,
    },
    /// It was stopped, and let go before all was read.
    #[error(
        "its memory could not be read within the {} that it may be stopped, and it stood for {}; allow more with --max-stop, or use --no-stop",
        units::duration(.allowed.as_nanos() as u64), units::duration(.stopped.as_nanos() as u64)
    )]
    StopOverran {
        /// How long it may be.
        allowed: Duration,
        /// How long it was stopped.
        stopped: Duration,
    },
    /// It was not stopped.
    #[error(transparent)]
    Stop(#[from] StopError),
}

impl CopyError {
    /// How long the process, or threads of it, stood all the same; `None` where none did.
    pub fn stood(&self) -> Option<Duration> {
        match self {
            Self::StopOverran { stopped, .. } => Some(*stopped),
            Self::Stop(StopError::NotStopped { stood, .. }) => {
                Some(*stood).filter(|stood| !stood.is_zero())
            }
            _ => None,
        }
    }

    /// Whether it can be read without a stop all the same.
    pub fn allows_live(&self) -> bool {
        match self {
            Self::StopTooLong { .. } | Self::StopOverran { .. } => true,
            Self::Stop(error) => *error != StopError::Gone,
            _ => false,
        }
    }
}
