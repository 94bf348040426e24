//! What of a process' memory is to be copied, whether there is room for it, and the ways to do it.

use super::budget;
use super::copy::{Copied, Copy, MAX_ADDRESS_SPACE_BYTES};
use super::copy_error::CopyError;
use super::region::{self, Parts, StaticSpan};
use crate::runtime::pagemap;
use crate::target::{self, Target, memory_limits};
use std::fs::File;
use std::time::Duration;

/// What is to be copied.
#[derive(Debug)]
pub struct Plan {
    pub(super) target: Target,
    pub(super) statics: Vec<StaticSpan>,
    resident_bytes: u64,
    need_bytes: u64,
}

/// Plans a copy of the memory of process `tgid`.
///
/// # Errors
/// When it cannot be looked at, or when there is too little memory for that.
pub fn plan(tgid: u32) -> Result<Plan, CopyError> {
    let (target, _) = target::discover(tgid)?;
    plan_of(target)
}

/// As [`plan`], of a process that was discovered.
///
/// # Errors
/// As [`plan`].
pub fn plan_of(mut target: Target) -> Result<Plan, CopyError> {
    let tgid = target.tgid;
    target.mappings = target::read_mappings(tgid)?;
    let statics = region::statics(&target);
    let Parts { parts, .. } = region::parts(&target.mappings, &statics, &[]);
    let pagemap = open_pagemap(tgid)?;
    let mut left = MAX_ADDRESS_SPACE_BYTES / pagemap::page_bytes();
    let mut resident_bytes = 0_u64;
    for part in parts {
        let runs = pagemap::runs(&pagemap, part.range, part.with_file_pages, &mut left);
        resident_bytes += runs.map_err(|error| unreadable(tgid, error))?.resident_bytes();
    }
    let need_bytes = budget::need_bytes(resident_bytes);
    let ours = memory_limits::read(std::process::id());
    budget::check(need_bytes, &ours, &memory_limits::read(tgid))?;
    Ok(Plan { target, statics, resident_bytes, need_bytes })
}

pub(super) fn open_pagemap(tgid: u32) -> Result<File, CopyError> {
    File::open(format!("/proc/{tgid}/pagemap")).map_err(|error| unreadable(tgid, error))
}

pub(super) fn unreadable(tgid: u32, error: std::io::Error) -> CopyError {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => CopyError::Ended(tgid),
        _ => CopyError::Denied { tgid, error },
    }
}

impl Plan {
    /// Memory that would be copied, bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// What copying and evaluating it may take, bytes.
    pub fn need_bytes(&self) -> u64 {
        self.need_bytes
    }

    /// Its process, as it was discovered.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Copies while the process runs: counts are good, what moves meanwhile may be seen twice or not
    /// at all.
    ///
    /// # Errors
    /// When the process ends or may not be read.
    pub fn live(&self) -> Result<Copied, CopyError> {
        let mut copy = Copy::new(self)?;
        copy.read_live()?;
        Ok(copy.finish(None, Vec::new()))
    }

    /// Copies in one stop of at most `max_stop`.
    ///
    /// # Errors
    /// As [`Plan::live`], and when it would take, or took, longer, or cannot be stopped: see
    /// [`CopyError::allows_live`].
    pub fn stopped(&self, max_stop: Duration) -> Result<Copied, CopyError> {
        Copy::new(self)?.read_stopped(max_stop).map_err(|refused| refused.0)
    }

    /// Copies in one stop of at most `max_stop` where that can be done, else while it runs, with the
    /// reason.
    ///
    /// # Errors
    /// As [`Plan::live`].
    pub fn best(&self, max_stop: Duration) -> Result<(Copied, Option<CopyError>), CopyError> {
        match Copy::new(self)?.read_stopped(max_stop).map_err(|refused| *refused) {
            Ok(copied) => Ok((copied, None)),
            Err((error, _)) if !error.allows_live() => Err(error),
            Err((error, mut copy)) => {
                copy.read_later()?;
                let mut copied = copy.finish(error.stood(), Vec::new());
                copied.reading.was_read_after_stop = error.stood().is_some();
                Ok((copied, Some(error)))
            }
        }
    }
}
