//! Reads, tick by tick, what shows from outside of the V8 in the followed processes. Reading the
//! size of a heap takes time in proportion to it, so that is done at a bounded share of the time.

use super::processes::Processes;
use crate::{probe::Probes, runtime::v8_mappings, tick::V8Reading};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The shortest time between two sizes of a heap.
const SHORTEST: Duration = Duration::from_millis(250);
/// Reading a size takes at most one part in this many of the time.
const TIME_SHARE: u32 = 100;

/// When each process's heap is due, by thread-group ID.
#[derive(Debug, Default)]
pub struct V8Outside(HashMap<u32, Instant>);

impl V8Outside {
    /// What shows now. `is_last`: sizes are read whatever that takes.
    pub fn readings(
        &mut self,
        processes: &Processes,
        probes: &Probes,
        is_last: bool,
    ) -> Vec<V8Reading> {
        self.0.retain(|tgid, _| processes.followed.contains_key(tgid));
        let with_v8 =
            processes.followed.iter().filter(|(_, followed)| followed.plan.node.is_some());
        with_v8
            .map(|(tgid, followed)| V8Reading {
                process: followed.number,
                heap_bytes: self.size(*tgid, is_last),
                full_collections: probes.full_collections(*tgid),
            })
            .collect()
    }

    fn size(&mut self, tgid: u32, is_last: bool) -> Option<u64> {
        let began = Instant::now();
        if !is_last && self.0.get(&tgid).is_some_and(|due| began < *due) {
            return None;
        }
        let found = v8_mappings::heap_bytes(tgid);
        self.0.insert(tgid, began + SHORTEST.max(began.elapsed() * TIME_SHARE));
        found
    }
}
