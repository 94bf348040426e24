//! What was not seen, by name: kernel-side and user-side counters as reports show them.

use crate::tick::Counters;
use std::collections::BTreeMap;
use tracer_common::counter::{Class, Counter};

/// Losses of user space that are always shown, also when they are zero.
const USER_LOSSES: [&str; 5] = [
    "capture_bytes_refused",
    "first_threads_ended",
    "stacks_not_looked_at",
    "unknown_capture_records",
    "unknown_records",
];

pub(super) struct Losses {
    pub(super) all: BTreeMap<String, u64>,
    /// Above zero, and more than a lack of detail.
    pub(super) lossy: Vec<String>,
    pub(super) traffic: BTreeMap<String, u64>,
}

pub(super) fn losses(counters: &Counters) -> Losses {
    let mut found = Losses { all: BTreeMap::new(), lossy: Vec::new(), traffic: BTreeMap::new() };
    for counter in Counter::ALL {
        let (name, value) = (counter.name(), counters.get(*counter));
        match counter.class() {
            Class::Traffic => {
                found.traffic.insert(name.into(), value);
                continue;
            }
            Class::Walk => continue,
            Class::Loss if value > 0 => found.lossy.push(name.into()),
            Class::Loss | Class::Detail => {}
        }
        found.all.insert(name.into(), value);
    }
    // Counters of a newer kernel side: what they mean is not known, so they count as losses.
    let known = Counter::ALL.len();
    for (index, value) in counters.kernel.iter().enumerate().skip(known) {
        let name = format!("unknown_counter_{index}");
        if *value > 0 {
            found.lossy.push(name.clone());
        }
        found.all.insert(name, *value);
    }
    for name in USER_LOSSES {
        found.all.insert(name.into(), 0);
    }
    for (name, value) in &counters.user {
        if *value > 0 {
            found.lossy.push(name.clone());
        }
        found.all.insert(name.clone(), *value);
    }
    found
}
