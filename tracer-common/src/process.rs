//! The traced processes: one entry each, filled by user space, read by every program.

use crate::{python::PythonLayout, v8::V8Layout};

/// Entries of the process table.
pub const MAX_PROCESSES: u32 = 256;
/// Keys of the map from thread-group ID to entry: every process, and children that still share
/// their parent's memory (vfork).
pub const MAX_TGIDS: u32 = 1024;

/// A traced process. An entry of `OUTLIVE_PROCS`; `OUTLIVE_TGIDS` leads to its index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Thread-group ID, in the PID namespace of outlive.
    pub tgid: u32,
    /// Number of its present image (1 to 65535), unique in the session: every process has one, and
    /// a new one after each exec. Part of live-map keys and stack hashes. 0: the entry is unused.
    pub image: u32,
    /// First entry of its code ranges in `OUTLIVE_RANGES`.
    pub code_ranges_first: u32,
    /// How many there are.
    pub code_ranges_count: u32,
    /// Mixed into the tags of the unwind cache, and kept with stacks that are remembered; another one
    /// after every change of the code ranges and of the layouts below.
    pub cache_salt: u64,
    /// Where the dynamic loader says whether its list of libraries is whole (`r_debug.r_state`; 0
    /// is whole). The process is stopped there each time that the list has changed, until user
    /// space has looked at what is new. 0: it is not stopped; 1: no such place is known, it is
    /// stopped at every call of the loader's hook.
    pub loader_state_avma: u64,
    /// Where the preloaded library of the fast lane has its control
    /// ([`LaneControl`](crate::lane::LaneControl)); 0 without one.
    pub lane_control_avma: u64,
    /// How its Python frames are walked; `kind` 0 when there are none.
    pub python: PythonLayout,
    /// How its JavaScript frames are told; `kind` 0 when there are none.
    pub v8: V8Layout,
}
const _: () =
    assert!(size_of::<ProcessEntry>() == 40 + size_of::<PythonLayout>() + size_of::<V8Layout>());
