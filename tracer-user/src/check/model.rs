//! What `outlive check` has to say. Serialises as its JSON (docs/check-schema.md): a changed or
//! removed field raises [`SCHEMA_VERSION`], an added one does not.

use crate::report::{ContainerReport, FrameReport, Nature, Rate, WarningReport};
use crate::same::Same;
use serde::Serialize;

/// Version of the JSON.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that the renderers draw from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Check {
    pub schema_version: u32,
    pub outlive_version: String,
    pub status: Status,
    /// The answer.
    pub sentence: String,
    /// Why it is no answer, and what to do about it; empty for `clean` and `growth`.
    pub problems: Vec<String>,
    /// Command line of the target.
    pub command: String,
    pub pid: u32,
    /// How long it was watched, nanoseconds.
    pub duration_ns: u64,
    /// `None` where it was judged over time.
    pub cycles: Option<CyclesReport>,
    pub unit: Unit,
    /// What all places together may leave behind, bytes.
    pub budget_bytes: u64,
    /// What a single place may leave behind without being counted, bytes.
    pub site_budget_bytes: Option<u64>,
    /// What counts against the budget, bytes.
    pub counted_bytes: f64,
    /// Every place that leaves something behind: those that count first, the worst first.
    pub findings: Vec<CheckFinding>,
    /// Entries of the baseline that nothing answers to any more.
    pub unseen_baseline: Vec<String>,
    /// Suppressions that suppressed nothing.
    pub unused_suppressions: Vec<String>,
    /// What was lost, by name; above zero only.
    pub lossy: Vec<String>,
    pub notes: Vec<String>,
    pub warnings: Vec<WarningReport>,
}

/// The answer in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Status {
    Clean,
    Growth,
    CouldNotRun,
    Inconclusive,
}

impl Status {
    /// What the shell is told.
    pub const fn exit_code(self) -> u8 {
        match self {
            Status::Clean => 0,
            Status::Growth => 1,
            Status::CouldNotRun => 2,
            Status::Inconclusive => 3,
        }
    }
}

/// What amounts are per.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A cycle.
    Cycle,
    /// An hour.
    Hour,
}

impl Unit {
    /// As amounts are written: `/cycle`, `/h`.
    pub const fn suffix(self) -> &'static str {
        match self {
            Unit::Cycle => "/cycle",
            Unit::Hour => "/h",
        }
    }

    /// `cycle`, `hour`.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Cycle => "cycle",
            Unit::Hour => "hour",
        }
    }
}

/// The cycles of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CyclesReport {
    pub warm_up: u32,
    /// That were asked for, without the warm-up.
    pub wanted: u32,
    /// That count.
    pub measured: u32,
    /// That had not settled when their time was over.
    pub unsettled: u32,
}

/// What is to be made of a place that leaves something behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// It counts: the baseline does not know it.
    New,
    /// It counts: it leaves more than the baseline allows.
    Grew,
    /// A garbage collector may free it yet.
    Pending,
    /// Each place may leave that.
    WithinSiteBudget,
    /// The baseline allows it.
    InBaseline,
    /// A suppression names it.
    Suppressed,
    /// It rose, but that may be chance, or have stopped.
    Doubtful,
}

impl Disposition {
    /// Whether it counts against the budget.
    pub const fn counts(self) -> bool {
        matches!(self, Disposition::New | Disposition::Grew)
    }

    /// In words.
    pub const fn in_words(self) -> &'static str {
        match self {
            Disposition::New => "new",
            Disposition::Grew => "more than the baseline allows",
            Disposition::Pending => "waits for a garbage collection",
            Disposition::WithinSiteBudget => "within the budget of a place",
            Disposition::InBaseline => "known to the baseline",
            Disposition::Suppressed => "suppressed",
            Disposition::Doubtful => "not counted",
        }
    }
}

/// A place that leaves something behind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CheckFinding {
    pub disposition: Disposition,
    /// As the baseline names it.
    pub key: String,
    /// Kinds of memory.
    pub domains: Vec<&'static str>,
    /// Bytes per cycle or hour; nothing where that cannot be told.
    pub bytes: Rate,
    /// Blocks per cycle; `None` over time.
    pub blocks: Option<f64>,
    /// Whether every cycle left exactly that.
    pub exact: bool,
    /// In words.
    pub pattern: String,
    /// What the baseline allows, bytes.
    pub allowed_bytes: Option<u64>,
    /// The suppression that names it.
    pub suppressed_by: Option<String>,
    /// Change of live bytes in each cycle that counts.
    pub changes_bytes: Vec<i64>,
    /// Change of live blocks in each cycle that counts.
    pub changes_blocks: Vec<i64>,
    /// Who holds its blocks, or that nothing points to them any more, in words; empty where the
    /// heap was not looked at.
    pub held_by: Vec<String>,
    /// Whether it is held by the program or lost; `None` where that is not known.
    pub nature: Option<Nature>,
    /// The container that it is about, or where it is memory for Python's small objects, those that
    /// grew; a few.
    pub containers: Vec<ContainerReport>,
    /// Its distinct stacks.
    pub stacks: usize,
    /// Of the stack that leaves most: index of the nearest application frame in `frames`.
    pub application_frame: Option<usize>,
    pub truncated: Option<&'static str>,
    /// Leaf first.
    pub frames: Vec<Same<FrameReport>>,
}

impl CheckFinding {
    /// The frame that it is told by.
    pub fn place(&self) -> Option<&FrameReport> {
        self.frames.get(self.application_frame?).map(|frame| &**frame)
    }
}
