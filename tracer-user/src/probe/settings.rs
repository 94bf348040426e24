//! What is decided before the kernel side is loaded.

use tracer_common::{
    limits::{
        DEFAULT_MAX_LIVE_BLOCKS, DEFAULT_MAX_SLOTS, DEFAULT_MAX_STACKS, DEFAULT_MAX_THREADS,
        DEFAULT_RING_BYTES, MAX_ROWS,
    },
    regime::Regime,
    slot::UNATTRIBUTED_SLOTS,
};

/// Sizes of the kernel-side maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Blocks that can be live at once.
    pub max_live: u32,
    /// Distinct stacks.
    pub max_stacks: u32,
    /// Counter slots (stack and birth epoch).
    pub max_slots: u32,
    /// Threads.
    pub max_threads: u32,
    /// Unwind rows of all files together, at most.
    pub max_rows: u32,
    /// Bytes of the ring buffer.
    pub ring_bytes: u32,
}

impl Limits {
    /// Length of the array of slots: with those of what has no stack.
    pub(super) fn all_slots(&self) -> u32 {
        self.max_slots.saturating_add(UNATTRIBUTED_SLOTS)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_live: DEFAULT_MAX_LIVE_BLOCKS,
            max_stacks: DEFAULT_MAX_STACKS,
            max_slots: DEFAULT_MAX_SLOTS,
            max_threads: DEFAULT_MAX_THREADS,
            max_rows: MAX_ROWS,
            ring_bytes: DEFAULT_RING_BYTES,
        }
    }
}

/// What is decided before loading.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Sizes of maps.
    pub limits: Limits,
    /// How births are followed at first.
    pub first_regime: Regime,
    /// Process to trace, in the PID namespace of outlive.
    pub target_tgid: u32,
    /// Whether children of traced processes are announced.
    pub follow: bool,
    /// Inode number of outlive's PID namespace; 0 when it is the initial one.
    pub pid_namespace: u32,
    /// Debug messages from the kernel side (through `log`).
    pub verbose: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            first_regime: Regime::EXACT,
            target_tgid: 0,
            follow: false,
            pid_namespace: 0,
            verbose: false,
        }
    }
}
