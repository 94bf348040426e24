//! Reads, tick by tick, what shows from outside of the V8 in the followed processes. Reading the
//! size of a heap takes time in proportion to it, so that is done at a bounded share of the time,
//! by one process after another.

use super::processes::Processes;
use crate::{probe::Probes, runtime::v8_mappings, tick::V8Reading};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The shortest time between two sizes of a heap.
const SHORTEST: Duration = Duration::from_millis(250);
/// Reading sizes takes at most one part in this many of the time, whatever the number of heaps.
const TIME_SHARE: u32 = 100;

/// Whose heap is read when.
#[derive(Debug, Default)]
pub struct V8Outside {
    /// What was spent is paid for by then.
    due: Option<Instant>,
    /// When sizes were asked for last: time that nobody used before then is not saved up.
    asked: Option<Instant>,
    /// When each process's heap was read last, by thread-group ID.
    read: HashMap<u32, Instant>,
}

impl V8Outside {
    /// What shows now. `is_last`: sizes are read whatever that takes.
    pub fn readings(
        &mut self,
        processes: &Processes,
        probes: &Probes,
        is_last: bool,
    ) -> Vec<V8Reading> {
        let with_v8 = processes.followed.iter();
        let with_v8 = with_v8.filter(|(_, followed)| followed.plan.node.is_some());
        let tgids: Vec<u32> = with_v8.clone().map(|(tgid, _)| *tgid).collect();
        let sizes = if is_last {
            tgids.iter().map(|tgid| (*tgid, v8_mappings::heap_bytes(*tgid))).collect()
        } else {
            self.take_turns(&tgids, Instant::now(), |tgid| {
                let began = Instant::now();
                (v8_mappings::heap_bytes(tgid), began.elapsed())
            })
        };
        with_v8
            .map(|(tgid, followed)| V8Reading {
                process: followed.number,
                heap_bytes: sizes.get(tgid).copied().flatten(),
                full_collections: probes.full_collections(*tgid),
            })
            .collect()
    }

    /// Reads as many as there is time for at `now`, those first that have waited longest. `read`
    /// says too how long it took.
    fn take_turns<T>(
        &mut self,
        tgids: &[u32],
        now: Instant,
        mut read: impl FnMut(u32) -> (T, Duration),
    ) -> HashMap<u32, T> {
        self.read.retain(|tgid, _| tgids.contains(tgid));
        let is_ripe = |tgid: &u32| self.read.get(tgid).is_none_or(|last| *last + SHORTEST <= now);
        let mut turns: Vec<u32> = tgids.iter().copied().filter(is_ripe).collect();
        turns.sort_by_key(|tgid| self.read.get(tgid).copied());
        let mut due = self.due.max(self.asked).unwrap_or(now);
        let mut found = HashMap::new();
        for tgid in turns {
            if due > now {
                break;
            }
            let (size, took) = read(tgid);
            found.insert(tgid, size);
            self.read.insert(tgid, now);
            due += took * TIME_SHARE;
        }
        self.due = Some(due);
        self.asked = Some(now);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(1);

    /// Turns of each of `tgids` in `ticks` ticks, and the time that all of them took.
    fn turns(tgids: &[u32], ticks: u32, took: Duration) -> (HashMap<u32, u32>, Duration) {
        let began = Instant::now();
        let mut outside = V8Outside::default();
        let mut turns = HashMap::new();
        let mut spent = Duration::ZERO;
        for tick in 0..ticks {
            outside.take_turns(tgids, began + TICK * tick, |tgid| {
                *turns.entry(tgid).or_default() += 1;
                spent += took;
                ((), took)
            });
        }
        (turns, spent)
    }

    #[test]
    fn all_heaps_together_take_a_hundredth_of_the_time_and_each_gets_its_turn() {
        let tgids: Vec<u32> = (1..=64).collect();
        let took = Duration::from_millis(5);
        let (turns, spent) = turns(&tgids, 640, took);
        assert!(spent <= TICK * 640 / TIME_SHARE + took, "{spent:?}");
        assert!(spent >= TICK * 630 / TIME_SHARE, "{spent:?}");
        assert_eq!(turns.len(), 64);
        let (least, most) = (turns.values().min().unwrap(), turns.values().max().unwrap());
        assert!(most - least <= 1, "{turns:?}");
    }

    #[test]
    fn small_heaps_are_read_at_each_tick_and_a_large_one_when_it_is_paid_for() {
        let (small, _) = turns(&[1, 2, 3], 50, Duration::from_millis(1));
        assert!(small.values().all(|count| *count >= 49), "{small:?}");
        // 10 s of the time for each.
        let (large, spent) = turns(&[1], 51, Duration::from_millis(100));
        assert_eq!((large[&1], spent), (6, Duration::from_millis(600)));
    }

    #[test]
    fn none_is_read_twice_in_a_short_time() {
        let now = Instant::now();
        let mut outside = V8Outside::default();
        let mut look = |at: Duration| outside.take_turns(&[7], now + at, |_| ((), Duration::ZERO));
        assert_eq!(look(Duration::ZERO).len(), 1);
        assert_eq!(look(SHORTEST / 2).len(), 0);
        assert_eq!(look(SHORTEST).len(), 1);
    }
}
