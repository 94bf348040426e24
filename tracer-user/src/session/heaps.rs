//! Heaps in a session: the target's and those of other Pythons that take memory are looked at as it
//! goes on, and at the end those of processes in which something grows.

use super::{
    heap::{Heap, LastCopy},
    watch::Session,
};
use crate::{
    capture::HeapMeta,
    report::{WantedStack, wanted_stacks},
    units,
};
use std::collections::BTreeMap;

/// Processes whose heaps are looked at when a session ends, the target included.
const MAX_PROCESSES: usize = 4;
/// What another process than the target has to take before it is looked at; bytes.
const WORTH_A_LOOK_BYTES: u64 = 512 << 10;

impl Session {
    /// Looks at heaps, when it is time to; one at a time, since each look has a copy of its own.
    pub(super) fn look_at_heap(&mut self) {
        self.begin_heaps_of_others();
        let mut is_looking = self.heaps.values().any(Heap::is_looking);
        for (tgid, heap) in &mut self.heaps {
            if is_looking && !heap.is_looking() && !heap.is_followed() {
                continue;
            }
            let python = self.processes.followed.get(tgid).and_then(|one| one.plan.python.as_ref());
            heap.look(self.processes.target_of(*tgid), python);
            is_looking |= heap.is_looking();
        }
    }

    /// Other processes that are followed and run Python are looked at once they took memory in this
    /// window: of many workers few do what leaks.
    fn begin_heaps_of_others(&mut self) {
        let has_room = self.heaps.len() < MAX_PROCESSES;
        if !self.config.heap.read || !has_room || self.processes.followed.len() < 2 {
            return;
        }
        let taken = self.taken_by_image();
        let others = self
            .processes
            .followed
            .iter()
            .filter(|(tgid, one)| !self.heaps.contains_key(tgid) && one.plan.python.is_some())
            .filter_map(|(tgid, one)| Some((*taken.get(&one.image)?, *tgid)));
        for tgid in worth_a_look(others, self.heaps.len()) {
            let settings = self.config.heap.clone();
            if let Some(heap) = Heap::new(settings, self.config.heap_window(), self.began) {
                self.heaps.insert(tgid, heap.starting_now());
            }
        }
    }

    /// Live bytes of this window by image of a process; bytes.
    fn taken_by_image(&self) -> BTreeMap<u32, u64> {
        let recording = &self.recorder.recording;
        let mut taken: BTreeMap<u32, u64> = BTreeMap::new();
        for (id, totals) in recording.aggregate.stacks() {
            if let Some(raw) = recording.raw_stacks.get(&id) {
                let bytes = taken.entry(raw.image).or_default();
                *bytes = bytes.saturating_add(totals.live_bytes());
            }
        }
        taken
    }

    /// Copies what is worth a look, while the probes still say which blocks are alive.
    pub(super) fn copy_heaps(&mut self) -> Vec<Result<LastCopy, (u32, String)>> {
        if !self.config.heap.read {
            return Vec::new();
        }
        // Blocks that were freed unseen would be taken for live ones that nothing points to; and a
        // target that is left alone since it was too hot is not stopped either.
        if self.is_blind || self.is_left_alone {
            let reason = "the probes had been taken out to hold --max-overhead";
            return self.heaps.keys().map(|tgid| Err((*tgid, reason.to_owned()))).collect();
        }
        self.heaps.values_mut().for_each(Heap::settle);
        let mut wanted: BTreeMap<u32, Vec<WantedStack>> = BTreeMap::new();
        for stack in wanted_stacks(&self.recorder.recording) {
            wanted.entry(stack.image).or_default().push(stack);
        }
        let mut copies = Vec::new();
        // The target first.
        let mut tgids: Vec<u32> = self.processes.followed.keys().copied().collect();
        tgids.sort_by_key(|tgid| (*tgid != self.tgid, *tgid));
        for tgid in tgids {
            let Some(followed) = self.processes.followed.get(&tgid) else { continue };
            let Some(target) = self.processes.target_of(tgid) else { continue };
            let wanted = wanted.remove(&followed.image).unwrap_or_default();
            let grows = wanted.iter().any(|stack| stack.grows);
            let python = followed.plan.python.as_ref();
            let is_python = self.heaps.contains_key(&tgid) && python.is_some();
            if copies.len() >= MAX_PROCESSES || !(grows || is_python) {
                continue;
            }
            let copy = LastCopy::take(
                target,
                python,
                &self.probes,
                &wanted,
                &self.config.heap,
                self.began,
            );
            if let Some(stopped_ns) = copy.as_ref().ok().and_then(LastCopy::stopped_ns) {
                self.recorder.console.say(&format!(
                    "process {tgid} was stopped for {} while its memory was copied",
                    units::duration(stopped_ns)
                ));
            }
            copies.push(copy.map_err(|reason| (tgid, reason)));
        }
        copies
    }

    /// What the copies say.
    pub(super) fn evaluated_heaps(
        &mut self,
        copies: Vec<Result<LastCopy, (u32, String)>>,
    ) -> Vec<HeapMeta> {
        let hide_keys = self.config.heap.hide_keys;
        let mut heaps = Vec::new();
        for copy in copies {
            match copy {
                Ok(copy) => {
                    let own = self.heaps.remove(&copy.pid());
                    heaps.push(evaluated(copy, own, hide_keys));
                }
                Err((tgid, reason)) => {
                    let reason =
                        format!("its heap was not looked at when the session ended: {reason}");
                    let own = self.heaps.remove(&tgid);
                    let heap = match own {
                        Some(heap) => heap.without_last(reason.clone()),
                        None => None,
                    };
                    heaps.push(heap.unwrap_or_else(|| HeapMeta {
                        pid: tgid,
                        runtime: "native".into(),
                        notes: vec![reason],
                        ..HeapMeta::default()
                    }));
                }
            }
        }
        for heap in std::mem::take(&mut self.heaps).into_values() {
            heaps.extend(heap.without_last(
                "the process had ended before its heap could be looked at a last time".into(),
            ));
        }
        heaps
    }
}

/// Of processes by what they took, those that are worth a look: the ones that took most, as many as
/// are looked at beside so many others.
fn worth_a_look(taken: impl Iterator<Item = (u64, u32)>, looked_at: usize) -> Vec<u32> {
    let mut worth: Vec<(u64, u32)> =
        taken.filter(|(bytes, _)| *bytes >= WORTH_A_LOOK_BYTES).collect();
    worth.sort_unstable_by(|a, b| b.cmp(a));
    worth.truncate(MAX_PROCESSES.saturating_sub(looked_at));
    worth.into_iter().map(|(_, tgid)| tgid).collect()
}

/// What a copy says, worked out by a thread of its own: what was read is whatever the process made
/// of it, and no flaw in understanding it may take the session's recording along.
fn evaluated(copy: LastCopy, own: Option<Heap>, hide_keys: bool) -> HeapMeta {
    let before = own.as_ref().map(Heap::so_far);
    let before = before.unwrap_or_else(|| HeapMeta {
        pid: copy.pid(),
        runtime: "native".into(),
        ..HeapMeta::default()
    });
    guarded(before, move || copy.evaluate(own, hide_keys))
}

/// What `evaluate` answers; where it fails, what was seen before, and that it failed.
fn guarded(before: HeapMeta, evaluate: impl FnOnce() -> HeapMeta + Send + 'static) -> HeapMeta {
    let thread = std::thread::Builder::new().name("heap".into()).spawn(evaluate);
    let failure = match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(heap)) => return heap,
        Ok(Err(_)) => {
            "its heap could not be made sense of when the session ended, a flaw of outlive's: please report it; what is told of it is from earlier looks"
        }
        Err(_) => {
            "its heap was not looked at when the session ended: no thread could be had for it; what is told of it is from earlier looks"
        }
    };
    let mut told = before;
    told.notes.push(failure.to_owned());
    told
}

#[cfg(test)]
mod tests {
    use super::super::heap::{Heap, Settings};
    use super::{guarded, worth_a_look};
    use crate::capture::{HeapMeta, HeapReading};
    use std::time::{Duration, Instant};

    #[test]
    fn of_many_workers_those_that_took_most_are_looked_at() {
        let workers =
            [(600 << 10, 11), (511 << 10, 12), (9 << 20, 13), (2 << 20, 14), (3 << 20, 15)];
        let worth = |looked_at| worth_a_look(workers.into_iter(), looked_at);
        assert_eq!(worth(1), [13, 15, 14], "the target is one of the four");
        assert_eq!(worth(0), [13, 15, 14, 11], "too little was taken by one");
        assert_eq!(worth(3), [13]);
        assert!(worth(4).is_empty() && worth(5).is_empty());
    }

    #[test]
    fn a_flaw_in_the_last_look_keeps_what_was_seen_before() {
        let before = HeapMeta {
            pid: 7,
            readings: vec![HeapReading { at_ns: 1, ..HeapReading::default() }],
            ..HeapMeta::default()
        };
        let told = guarded(before.clone(), || panic!("a flaw, made by this test"));
        assert_eq!((told.pid, &told.readings), (7, &before.readings));
        assert!(told.notes[0].contains("please report it"), "{:?}", told.notes);
        assert_eq!(guarded(before, || HeapMeta { pid: 8, ..HeapMeta::default() }).pid, 8);
    }

    #[test]
    fn looks_are_made_early_and_after_a_part_of_the_window() {
        let seconds = Duration::from_secs;
        let attached = Settings::default();
        assert_eq!(attached.due(Some(seconds(60))), [seconds(0), seconds(15)]);
        assert_eq!(attached.due(Some(seconds(4))), [seconds(0), seconds(2)]);
        assert_eq!(attached.due(Some(seconds(86_400))), [seconds(0), seconds(600)]);
        assert_eq!(attached.due(None), [seconds(0), seconds(30)]);
        let started = Settings { is_command: true, ..Settings::default() };
        assert_eq!(
            started.due(Some(seconds(30))),
            [seconds(3), seconds(7) + Duration::from_millis(500)]
        );
        let never = Settings { read: false, ..Settings::default() };
        assert!(Heap::new(never, None, Instant::now()).is_none());
    }
}
