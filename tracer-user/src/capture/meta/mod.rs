//! The circumstances of a recording, as captures keep them. JSON within the capture: fields may be
//! added, and absent ones take their default.

mod governor;
mod heap;
mod mark;
mod regime;
mod residency;
mod source_line;

pub use governor::{GovernorMeta, GovernorStep};
pub use heap::{
    BlocksOfStack, Census, Chain, GrownContainer, HeapMeta, HeapReading, Held, HeldSubject,
    PointedFrom, TypeCount,
};
pub use mark::Mark;
pub use regime::Regime;
pub use residency::{FreeChunks, MemoryLimit, Residency};
pub use source_line::SourceLine;

use crate::warning::Warning;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Circumstances of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Version of outlive that recorded.
    pub outlive_version: String,
    /// The process that was watched.
    pub target: TargetMeta,
    /// Where it ran.
    pub host: Host,
    /// When.
    pub window: Window,
    /// How.
    pub settings: Settings,
    /// Why it ended.
    pub end: EndReason,
    /// What outlive itself took, where it was measured.
    pub tracer: Option<TracerMemory>,
    /// Every process that was followed; its number is its place here, and the target's is 0. Empty
    /// in captures of version 1.
    pub processes: Vec<ProcessMeta>,
    /// Children that ended, or could not be traced, before they were followed.
    pub children_missed: u64,
    /// What is seen of Python's small objects, where the target runs Python.
    pub python_objects: Option<PythonObjects>,
    /// The target's V8, where it has one.
    pub node: Option<NodeMeta>,
    /// Where its resident memory was, in the order of time; a bounded number of readings.
    pub residency: Vec<Residency>,
    /// Names of the allocators in it other than glibc's (`jemalloc`), as far as known.
    pub other_allocators: Vec<String>,
    /// What bounds its memory.
    pub memory_limits: Vec<MemoryLimit>,
    /// What was done to hold the cost of the probes; `None` where no budget was to be held.
    pub governor: Option<GovernorMeta>,
    /// How births were followed, from one moment to the next; the first from the beginning. Empty
    /// in captures before version 4, which know one: every block from `settings.min_size_bytes`.
    pub regimes: Vec<Regime>,
    /// Whether the sample of a command was drawn inside it; `None` where that was not asked for.
    pub lane: Option<LaneMeta>,
    /// Moments that have a meaning, in the order of time.
    pub marks: Vec<Mark>,
    /// Lines of source code that findings point at.
    pub source_lines: Vec<SourceLine>,
    /// Heaps that were looked at from outside, the target's first.
    pub heaps: Vec<HeapMeta>,
}

/// How the sample of a command was drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneMeta {
    /// By the fast lane's library, inside the command; else by probes.
    pub taken: bool,
    /// Why not, where it was not.
    pub reason: Option<String>,
}

/// The V8 of a target, at the session's end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeMeta {
    /// Version of V8.
    pub v8_version: String,
    /// Distinct JavaScript frames in native stacks by result: `named`, or why they have no names.
    pub js_frames: BTreeMap<String, u64>,
    /// How its heap was looked into; `None` where it was not.
    pub js_heap: Option<JsHeapMeta>,
    /// Heaps that run side by side: one, and one more each worker thread; `None` where unknown.
    pub isolates: Option<u32>,
    /// Parts of the main heap, as V8 tells them; empty where it was not asked.
    pub spaces: Vec<HeapSpace>,
    /// Memory outside the heap that its objects keep alive (Buffers), as V8 tells it; bytes.
    pub external_bytes: Option<u64>,
}

/// A part of V8's heap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeapSpace {
    /// As V8 calls it (`old_space`).
    pub name: String,
    /// Taken by objects; bytes.
    pub used_bytes: u64,
    /// Taken from the system; bytes.
    pub size_bytes: u64,
}

/// How V8's heap was looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JsHeapMeta {
    /// `listening`: the inspector was open; `signal`: it was opened for this session; `launched`:
    /// the command was started with it.
    pub way: String,
    /// Mean distance between two samples; bytes.
    pub sampling_interval_bytes: u64,
    /// Profiles that were fetched, the main thread's and the workers'.
    pub profiles: u64,
    /// The longest that a fetch kept the program waiting, its garbage collection included;
    /// nanoseconds.
    pub longest_pause_ns: u64,
    /// Whether the inspector is closed again; `None` where it was not opened for this session.
    pub closed: Option<bool>,
}

/// A process that was followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessMeta {
    /// Thread-group ID, as outlive saw it.
    pub pid: u32,
    /// That of the process that started it; 0 where that was not followed.
    pub parent_pid: u32,
    /// Numbers of its images, the first one first: one more after each exec.
    pub images: Vec<u32>,
    /// Executable of its last image, as the process sees it.
    pub exe: String,
    /// Arguments of its last image, joined by spaces.
    pub cmdline: String,
    /// Identity of its container, where there is one.
    pub container: Option<String>,
    /// When it was started, in clock ticks since boot.
    pub start_time_ticks: u64,
    /// When its probes were in place, nanoseconds since the session began.
    pub attached_ns: u64,
    /// How long it had lived unseen by then, nanoseconds since its fork (or its exec, where it had
    /// shared its parent's memory until then); `None` where it ran before outlive came.
    pub followed_from_ns: Option<u64>,
    /// When it ended, nanoseconds since the session began.
    pub ended_ns: Option<u64>,
    /// Why its numbers end.
    pub end: ProcessEnd,
}

/// Why the numbers of a process end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessEnd {
    /// It outlived the session.
    Running,
    /// It ended.
    Exited,
    /// Not known, or a reason of a newer outlive.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What is seen of Python's small objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PythonObjects {
    /// How they are followed: `malloc`, `probed` or `arenas`.
    pub way: String,
    /// What that covers, in a sentence.
    pub covers: String,
    /// Bytes of arenas, which hold objects that cannot be attributed to a line; `None` where
    /// everything is attributed, or where they could not be read.
    pub unattributed_bytes: Option<u64>,
}

impl PythonObjects {
    /// [`PythonObjects::way`] of arenas.
    pub const ARENAS: &str = "arenas";
}

/// The process that was watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetMeta {
    /// Thread-group ID, as outlive saw it.
    pub pid: u32,
    /// Executable, as the target sees it.
    pub exe: String,
    /// Arguments, joined by spaces.
    pub cmdline: String,
    /// `native`, `python`, `node`...
    pub runtime: String,
    /// Its version, where known.
    pub runtime_version: Option<String>,
    /// Identity of the container, where there is one.
    pub container: Option<String>,
    /// Its control group, as /proc names it.
    pub cgroup: Option<String>,
}

/// Where the target ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// `uname -r`.
    pub kernel_release: String,
    /// `uname -m`.
    pub machine: String,
}

/// When the target was watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Begin, nanoseconds since 1970 (UTC).
    pub start_unix_ns: u64,
    /// Length, nanoseconds.
    pub duration_ns: u64,
    /// Time between ticks as asked for, nanoseconds.
    pub interval_ns: u64,
}

/// How the target was watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Blocks smaller than this were not followed; bytes.
    pub min_size_bytes: u64,
    /// What was probed, one line each.
    pub probes: Vec<String>,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The time asked for was over.
    Duration,
    /// Ctrl-C or a termination signal.
    Interrupted,
    /// The target ended.
    TargetExited,
    /// The probes cost more than `--max-overhead` even at the last step.
    TooDear,
    /// Not known, or a reason of a newer outlive.
    #[default]
    #[serde(other)]
    Unknown,
}

impl EndReason {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            EndReason::Duration => "duration",
            EndReason::Interrupted => "interrupted",
            EndReason::TargetExited => "target-exited",
            EndReason::TooDear => "too-dear",
            EndReason::Unknown => "unknown",
        }
    }
}

/// What outlive itself took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TracerMemory {
    /// Resident memory of the outlive process, at its highest; bytes.
    pub resident_bytes: u64,
    /// Kernel memory of its maps, at its highest; bytes.
    pub kernel_map_bytes: u64,
}

/// A warning in a recording; its code may be of another version of outlive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedWarning {
    /// As in [`Warning::code`].
    pub code: String,
    /// As in [`Warning::message`].
    pub message: String,
    /// As in [`Warning::advice`].
    pub advice: String,
}

impl From<&Warning> for RecordedWarning {
    fn from(warning: &Warning) -> Self {
        Self {
            code: warning.code.into(),
            message: warning.message.clone(),
            advice: warning.advice.clone(),
        }
    }
}

/// A file mapped by a process that was followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MappedFile {
    /// Number of the image that mapped it; 0 in captures of version 1.
    pub image: u32,
    /// First address in the process.
    pub start_avma: u64,
    /// First address behind it.
    pub end_avma: u64,
    /// Offset of `start_avma` in the file, bytes.
    pub file_offset: u64,
    /// Path, as the target sees it.
    pub path: String,
    /// Build ID, lower-case hex, where it has one.
    pub build_id: Option<String>,
}
