//! Notices when a process goes on without its first thread. The kernel finds the memory that a
//! probe belongs to through the thread that it was asked for, and takes the probe out when that
//! thread has none any more: what the others allocate from then on is not seen.

use crate::{target, warning::Warning};
use std::collections::BTreeSet;

/// Processes without their first thread.
#[derive(Debug, Default)]
pub struct FirstThreads {
    /// Seen so once: a process that ends looks the same for a moment.
    suspected: BTreeSet<u32>,
    ended: BTreeSet<u32>,
}

impl FirstThreads {
    /// Looks at the followed processes; to be called once a tick.
    pub fn look(&mut self, followed: impl Iterator<Item = u32>) -> Vec<Warning> {
        let without: BTreeSet<u32> =
            followed.filter(|tgid| target::has_lost_first_thread(*tgid)).collect();
        let certain: Vec<u32> = without
            .iter()
            .copied()
            .filter(|tgid| self.suspected.contains(tgid) && !self.ended.contains(tgid))
            .collect();
        self.suspected = without;
        self.ended.extend(&certain);
        certain.into_iter().map(warning).collect()
    }

    /// How many processes are watched no more for this reason.
    pub fn count(&self) -> u64 {
        self.ended.len() as u64
    }
}

fn warning(tgid: u32) -> Warning {
    Warning::new(
        "first-thread-ended",
        format!(
            "The first thread of process {tgid} has ended while others go on; the kernel has taken the probes out, and what they allocate and free from now on is not seen."
        ),
        "Have the program's main function wait for its threads.",
    )
}
