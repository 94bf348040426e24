//! The fast lane of a command: its library, handed to the command when it starts, and what is
//! said to it while it runs.
//!
//! The library is in memory only. The command inherits a descriptor of it, which LD_PRELOAD names,
//! and closes that before its own code runs; nothing is left anywhere, whatever happens to either of
//! us. What is said goes through the memory of the command, by a handle that belongs to the very
//! program that was started: after an exec it leads nowhere.

use super::Config;
use crate::{capture::LaneMeta, warning::Warning};
use anyhow::{Context as _, Result};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{fs::FileExt as _, process::CommandExt as _},
    },
    process::Command,
};
use tracer_common::{
    lane::{FILE_NAME, MAGIC, ORDER, SET_FULL, pack_order},
    regime::Regime,
};

/// The library, as the build script has made it; empty for a machine that it is not written for.
static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/outlive-lane.so"));
/// What the loader preloads.
const PRELOAD: &str = "LD_PRELOAD";
/// `MFD_EXEC` of Linux 6.3: the file may be mapped as code whatever the machine's default is.
const MFD_EXEC: libc::c_uint = 0x10;

/// How the sample of a command is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// By the kernel side, as in any session; the lane was not asked for.
    #[default]
    Unasked,
    /// Inside the command.
    Taken,
    /// By the kernel side, for this reason.
    Refused(String),
}

impl Lane {
    /// As the recording keeps it.
    pub fn recorded(&self) -> Option<LaneMeta> {
        match self {
            Self::Unasked => None,
            Self::Taken => Some(LaneMeta { taken: true, reason: None }),
            Self::Refused(reason) => Some(LaneMeta { taken: false, reason: Some(reason.clone()) }),
        }
    }

    /// What is to be said about it.
    pub fn warning(&self) -> Option<Warning> {
        let Self::Refused(reason) = self else { return None };
        Some(Warning::new(
            "no-fast-lane",
            format!(
                "The fast lane was not taken: {reason}. The sample is drawn by plain probes, which stop the command at every call of its allocator."
            ),
            "",
        ))
    }
}

/// The library, ready to be preloaded.
pub struct Library {
    file: OwnedFd,
}

impl Library {
    /// Where it may serve: a sample is asked for, and the lane was not ruled out.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ready(config: &Config) -> Result<Option<Self>> {
        if !config.lane || config.sample_mean_bytes == 0 || LIBRARY.is_empty() {
            return Ok(None);
        }
        let mut file = File::from(memory_file().context("making a file in memory")?);
        file.write_all(LIBRARY).context("writing a file in memory")?;
        let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK;
        // SAFETY: takes a descriptor of ours and a number. Without seals it serves as well.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
        Ok(Some(Self { file: file.into() }))
    }

    /// Has it preloaded into `command`, before what is preloaded anyway: whatever stands before the
    /// allocator there stands behind this. The command must be started while this is held.
    pub fn preload_into(&self, command: &mut Command) {
        let descriptor = self.file.as_raw_fd();
        let mut value = OsString::from(format!("/proc/self/fd/{descriptor}"));
        if let Some(others) = std::env::var_os(PRELOAD).filter(|others| !others.is_empty()) {
            value.push(":");
            value.push(others);
        }
        command.env(PRELOAD, value);
        // SAFETY: one bare system call between fork and exec, on a descriptor that the child has
        // a copy of.
        unsafe {
            command.pre_exec(move || match libc::fcntl(descriptor, libc::F_SETFD, 0) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
    }
}

fn memory_file() -> io::Result<OwnedFd> {
    let name = std::ffi::CString::new(FILE_NAME)?;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: takes a string that ends with a zero, and a number.
    let make = |flags| unsafe { libc::memfd_create(name.as_ptr(), flags) };
    let mut descriptor = make(flags | MFD_EXEC);
    if descriptor < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        descriptor = make(flags);
    }
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The memory of a process in which the library is at work.
#[derive(Debug)]
pub struct Line {
    memory: File,
    control_avma: u64,
    /// Blocks that were drawn and not followed, as it was read last.
    set_full_blocks: u64,
}

impl Line {
    /// To process `tgid`, whose library has its control at `control_avma`.
    ///
    /// # Errors
    /// When there is no such control, or it cannot be reached.
    pub fn open(tgid: u32, control_avma: u64) -> io::Result<Self> {
        let memory = File::options().read(true).write(true).open(format!("/proc/{tgid}/mem"))?;
        let line = Self { memory, control_avma, set_full_blocks: 0 };
        if line.word(0)? == MAGIC {
            Ok(line)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the library is not where it was"))
        }
    }

    /// Tells it how to draw from now on.
    ///
    /// # Errors
    /// When the program is gone.
    pub fn order(&self, number: u32, regime: &Regime) -> io::Result<()> {
        let order = match u16::try_from(number) {
            Ok(number) if regime.is_paused == 0 => pack_order(number, regime.sample_mean_bytes),
            _ => 0,
        };
        self.write_order(order)
    }

    /// Tells it to draw nothing any more: who reads it goes.
    pub fn hang_up(&self) {
        // A program that is gone draws nothing either.
        let _ = self.write_order(0);
    }

    fn write_order(&self, order: u64) -> io::Result<()> {
        self.memory.write_all_at(&order.to_le_bytes(), self.control_avma + ORDER)
    }

    /// Blocks that were drawn and not followed since its set of drawn blocks was full.
    pub fn set_full_blocks(&mut self) -> u64 {
        // What was read last stands when the program is gone.
        self.set_full_blocks = self.word(SET_FULL).unwrap_or(self.set_full_blocks);
        self.set_full_blocks
    }

    fn word(&self, offset: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, self.control_avma + offset)?;
        Ok(u64::from_le_bytes(bytes))
    }
}
