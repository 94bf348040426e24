//! The tick: what the probes have to say once an interval. Live sessions and replayed captures
//! join here, and loss travels in the same stream.

use crate::stack::StackId;
use std::collections::BTreeMap;
use tracer_common::counter::Counter;

/// Everything that changed since the previous tick. Counters are cumulative since the session
/// began, so that a lost tick costs resolution and never correctness.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Nanoseconds since the session began (monotonic).
    pub at_ns: u64,
    /// Counters of the (stack, birth epoch) pairs that changed.
    pub sites: Vec<SiteReading>,
    /// Every kernel and user-side counter, cumulative, zeros included.
    pub counters: Counters,
    /// The target's memory, where it could be read.
    pub memory: Option<MemorySplit>,
    /// What the probes cost so far, where it was measured by now.
    pub overhead: Option<OverheadReading>,
    /// The processes that live, where more than the target is followed.
    pub processes: Vec<ProcessReading>,
    /// What is seen from outside of the V8 in each process that has one.
    pub v8: Vec<V8Reading>,
}

/// The V8 of a followed process at a tick, as far as it shows from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V8Reading {
    /// Number of the process in the session; the target's is 0.
    pub process: u32,
    /// Resident memory of its heap, told by its mappings; bytes. `None` where it was not read for
    /// this tick.
    pub heap_bytes: Option<u64>,
    /// Full garbage collections that it began since its probes were in place, cumulative; `None`
    /// where they cannot be seen.
    pub full_collections: Option<u64>,
}

/// A followed process at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessReading {
    /// Its number in the session; the target's is 0.
    pub process: u32,
    /// Its memory.
    pub memory: MemorySplit,
}

/// What variances are counted in: squares of 256 bytes. Those of means from 1 KiB on are whole, and a
/// sum over 2⁴⁸ blocks drawn at 64 KiB fits into a word.
pub const VARIANCE_UNIT: f64 = 65_536.0;

/// Cumulative counters of one (stack, birth epoch). Where births are sampled, they are estimates:
/// what the blocks that were drawn stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteReading {
    /// Stack; `StackId(UNATTRIBUTED_STACK)` for what could not be given one.
    pub stack: StackId,
    /// Epoch of birth of the blocks counted here.
    pub epoch: u32,
    /// Requested bytes born.
    pub allocated_bytes: u64,
    /// Blocks born.
    pub allocated_blocks: u64,
    /// Requested bytes of those freed since.
    pub freed_bytes: u64,
    /// Those freed since.
    pub freed_blocks: u64,
    /// Variance of `allocated_bytes`, in [`VARIANCE_UNIT`]; 0 where it is exact.
    pub allocated_variance: u64,
    /// What those freed since have added to it. What is live has the difference.
    pub freed_variance: u64,
}

impl SiteReading {
    /// Of nothing yet.
    pub fn new(stack: StackId, epoch: u32) -> Self {
        Self {
            stack,
            epoch,
            allocated_bytes: 0,
            allocated_blocks: 0,
            freed_bytes: 0,
            freed_blocks: 0,
            allocated_variance: 0,
            freed_variance: 0,
        }
    }
}

/// Counters by name: `tracer_common::counter::Counter` and those of user space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Kernel-side counters, in the order of `Counter::ALL`.
    pub kernel: Vec<u64>,
    /// User-side counters by name (`unknown_records`, `capture_bytes_refused`...); all are losses.
    pub user: BTreeMap<String, u64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self { kernel: vec![0; Counter::ALL.len()], user: BTreeMap::new() }
    }
}

impl Counters {
    /// Value of a kernel-side counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.kernel.get(counter as usize).copied().unwrap_or(0)
    }
}

/// The target's resident memory, from /proc/PID/status; bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySplit {
    /// Resident, all kinds.
    pub resident_bytes: u64,
    /// Resident, anonymous.
    pub anonymous_bytes: u64,
    /// Resident, of files.
    pub file_bytes: u64,
    /// Resident, shared memory.
    pub shared_bytes: u64,
}

/// What the probes cost, measured during the session; cumulative where not said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OverheadReading {
    /// Probe hits since the session began.
    pub hits: u64,
    /// Mean time in our programs per hit, nanoseconds, over the sampled windows so far.
    pub program_ns_per_hit: f64,
    /// Mean cost of the trap itself per hit, nanoseconds, calibrated at start on this machine.
    pub trap_ns_per_hit: f64,
}
