//! What a report says of where resident memory went, and of the limit that it runs into.

use super::Rate;
use serde::Serialize;

/// Where resident memory went in the window.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct LedgerReport {
    /// The process that it is of: the target, whoever else is followed.
    pub pid: u32,
    /// The part of the window that it covers: first and last reading, nanoseconds since the session
    /// began.
    pub from_ns: u64,
    pub to_ns: u64,
    /// Resident (or swapped) at these.
    pub first_bytes: u64,
    pub last_bytes: u64,
    /// Largest change first.
    pub rows: Vec<LedgerRow>,
    /// Share of the change in resident memory that rows other than `unexplained` account for, 0 to
    /// 1; `None` where it changed by too little to say.
    pub explained_share: Option<f64>,
    /// What the change mostly is, and what helps, where it is not what findings show.
    pub advice: Vec<LedgerAdvice>,
}

/// What one kind of memory has to do with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct LedgerRow {
    /// As [`crate::ledger::Kind::name`] has it: `live-malloc`, `allocator-retained`, `shared`...
    pub kind: &'static str,
    /// The same for people.
    pub title: &'static str,
    pub change_bytes: i64,
    /// At the end, where that is known (what lived before the attach is not).
    pub last_bytes: Option<u64>,
    /// What it rests on, where it is not read off directly.
    pub note: Option<String>,
}

/// Something to be known about growth that no finding explains.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct LedgerAdvice {
    /// `retention`, `untouched`, `unattributed`...
    pub code: &'static str,
    pub sentence: String,
    /// What to do, and what that would give back.
    pub advice: String,
    pub bytes: u64,
}

/// The limit that is reached first at the present rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct LimitReport {
    /// `cgroup` or `machine`.
    pub kind: String,
    /// The control group's path, or empty.
    pub name: String,
    pub limit_bytes: u64,
    pub used_bytes: u64,
    /// Growth of resident memory that it is computed from.
    pub growth_bytes_per_s: Rate,
    /// Seconds until it is reached, and the 95 % interval of that: `None` as latest where it may
    /// never be.
    pub seconds: f64,
    pub earliest_seconds: f64,
    pub latest_seconds: Option<f64>,
}
