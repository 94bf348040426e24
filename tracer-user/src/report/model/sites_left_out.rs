//! The sites that report.json has no room for.

use super::Site;
use serde::{Serialize, Serializer};

/// Sites that JSON has: some ten kilobytes each with deep stacks. The others are in the capture, and
/// in the other forms of the report.
pub const MAX_SITES_IN_JSON: usize = 10_000;

/// Sites behind those, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct SitesLeftOut {
    pub count: u64,
    pub live_bytes: u64,
    pub live_blocks: u64,
    pub allocated_bytes: u64,
    pub allocated_blocks: u64,
}

impl SitesLeftOut {
    /// Of all sites, in their order; `None` where all are in.
    pub fn of(sites: &[Site]) -> Option<Self> {
        let others = sites.get(MAX_SITES_IN_JSON..).filter(|others| !others.is_empty())?;
        let sum = |amount: fn(&Site) -> u64| {
            others.iter().map(amount).fold(0, |sum: u64, amount| sum.saturating_add(amount))
        };
        Some(Self {
            count: others.len() as u64,
            live_bytes: sum(|site| site.live_bytes),
            live_blocks: sum(|site| site.live_blocks),
            allocated_bytes: sum(|site| site.allocated_bytes),
            allocated_blocks: sum(|site| site.allocated_blocks),
        })
    }
}

/// Writes those that JSON has.
pub(super) fn first_sites<S: Serializer>(sites: &[Site], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(sites.iter().take(MAX_SITES_IN_JSON))
}
