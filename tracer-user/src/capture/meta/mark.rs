//! Moments of a session that have a meaning: where a cycle of `outlive check` began and ended.

use serde::{Deserialize, Serialize};

/// A moment of a session. A tick was read at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// Time of the tick, nanoseconds since the session began.
    pub at_ns: u64,
    /// What it is: [`Mark::READY`], [`Mark::CYCLE`].
    pub kind: String,
    /// 0-based number of the cycle that ended here, warm-up included; 0 for other kinds.
    pub cycle: u32,
}

impl Mark {
    /// The program was ready, and the first cycle began.
    pub const READY: &str = "ready";
    /// A cycle had ended and settled.
    pub const CYCLE: &str = "cycle";
}
