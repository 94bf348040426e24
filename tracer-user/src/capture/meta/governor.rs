//! What the governor did to hold the probes' cost within its budget.

use serde::{Deserialize, Serialize};

/// A governor's account of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GovernorMeta {
    /// What the probes might cost: share of the target's CPU time, 0 to 1.
    pub budget_share: f64,
    /// Its steps, in the order of time; none where everything was followed as asked for.
    pub steps: Vec<GovernorStep>,
    /// How often the allocator's probes were taken out.
    pub pauses: u64,
    /// For how long they were out, all in all; nanoseconds.
    pub paused_ns: u64,
    /// Blocks that were live when probes were taken out, and whose end was not seen.
    pub forgotten_blocks: u64,
    /// Their bytes.
    pub forgotten_bytes: u64,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GovernorStep {
    /// When, nanoseconds since the session began.
    pub at_ns: u64,
    /// To where: `as-asked`, `size-floor`, `sampled`, `sampled-short-stacks`, `windows`,
    /// `mappings-only`, `detached`.
    pub step: String,
    /// What the probes took of the target's CPU time just before, 0 to 1; with the governor's
    /// margin.
    pub cost_share: f64,
}

impl GovernorStep {
    /// What that means, in words.
    pub fn words(&self) -> String {
        match self.step.as_str() {
            "as-asked" => "blocks are followed as asked for again".into(),
            "size-floor" => "small blocks are no longer followed".into(),
            "sampled" => "blocks are sampled".into(),
            "sampled-short-stacks" => "few blocks are sampled, with short stacks".into(),
            "windows" => {
                "blocks are followed in windows only, with pauses in which the probes are out"
                    .into()
            }
            "mappings-only" => "the allocator's probes are out; only mappings are followed".into(),
            "detached" => "all probes are taken out, and the session ends".into(),
            other => format!("step {other}"),
        }
    }
}
