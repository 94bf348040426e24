//! `--js-retainers`: a snapshot of V8's heap, and who holds what in it. What it costs the program
//! is said before, and where memory would not allow it there is none.

use crate::{
    capture::{HeapMeta, HeapReading},
    heap::v8::{self, Asked, Reader, SnapshotError},
    runtime::node::{
        self,
        inspector::{Client, InspectorError, take_snapshot, used_bytes},
    },
    session::measure,
    target::{
        Target,
        memory_limits::{self, MemoryLimit},
    },
    units,
};
use std::time::{Duration, Instant};

/// How long V8 stops the program for each megabyte of its heap; microseconds. Least with large
/// strings, most with small objects (30,000 of them in a megabyte) on a machine that others keep
/// busy: 100 MB took 0.5 to 1.7 s and 13 to 47 s there, by version.
const LEAST_STOP_US_PER_MB: u64 = 4_000;
const STOP_US_PER_MB: u64 = 500_000;
/// What V8 takes inside the process, in tenths of the heap: the graph that it makes of it (small
/// objects took 11 to 12 times themselves, large strings a fifth), and the text that is on its way.
const LEAST_TARGET_TENTHS: u64 = 1;
const TARGET_TENTHS: u64 = 130;
/// What it takes besides, at most; bytes.
const TARGET_BESIDES_BYTES: u64 = 32 << 20;
/// What evaluating takes in outlive, in tenths of the heap; of small objects it is twice the heap.
const OWN_TENTHS: u64 = 25;
const OWN_BESIDES_BYTES: u64 = 128 << 20;
/// Of what the process's own limit has left at most one part in this many is ventured, in percent.
const VENTURED_PERCENT: u64 = 80;
/// Longest text of a snapshot, in heaps, and what every Node has; bytes.
const TEXT_PER_HEAP: u64 = 30;
const TEXT_BESIDES_BYTES: u64 = 512 << 20;
/// Longest time for a snapshot, in the longest estimates of it.
const PATIENCE: u32 = 4;
const PATIENCE_BESIDES: Duration = Duration::from_secs(30);

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum RetainersError {
    /// The process, or the machine, lacks the memory.
    #[error(
        "a snapshot of its JavaScript heap ({}) may take {} more inside the process, and {place} has {} left",
        units::bytes(*.heap_bytes), units::bytes(*.needed_bytes), units::bytes(*.room_bytes)
    )]
    NoRoom {
        /// Size of the heap; bytes.
        heap_bytes: u64,
        /// What it may take; bytes.
        needed_bytes: u64,
        /// What is left; bytes.
        room_bytes: u64,
        /// Where.
        place: String,
    },
    /// Outlive lacks it.
    #[error(
        "evaluating a snapshot of its JavaScript heap ({}) may take outlive {} of memory, and {place} has {} left",
        units::bytes(*.heap_bytes), units::bytes(*.needed_bytes), units::bytes(*.room_bytes)
    )]
    NoOwnRoom {
        /// Size of the heap; bytes.
        heap_bytes: u64,
        /// What it may take; bytes.
        needed_bytes: u64,
        /// What is left; bytes.
        room_bytes: u64,
        /// Where.
        place: String,
    },
    /// The inspector failed.
    #[error(transparent)]
    Inspector(#[from] InspectorError),
    /// What came is no snapshot, or too large.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl RetainersError {
    /// Whether the inspector can be asked on: nothing of a snapshot is under way.
    pub fn leaves_connection(&self) -> bool {
        matches!(self, Self::NoRoom { .. } | Self::NoOwnRoom { .. })
    }

    /// What to do.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoRoom { .. } => {
                "Give it more memory, or look at a process whose heap is smaller still."
            }
            Self::NoOwnRoom { .. } | Self::Snapshot(SnapshotError::TooLarge { .. }) => {
                "Run outlive where it may take more memory."
            }
            _ => "",
        }
    }
}

/// What a snapshot will cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    heap_bytes: u64,
    least_stop: Duration,
    stop: Duration,
    least_target_bytes: u64,
    target_bytes: u64,
    own_bytes: u64,
}

impl Cost {
    fn of(heap_bytes: u64) -> Self {
        let tenths = |tenths: u64| (heap_bytes / 10).saturating_mul(tenths);
        let stop = |us_per_mb: u64| {
            Duration::from_micros((heap_bytes >> 20).saturating_mul(us_per_mb))
                .max(Duration::from_millis(100))
        };
        Self {
            heap_bytes,
            least_stop: stop(LEAST_STOP_US_PER_MB),
            stop: stop(STOP_US_PER_MB),
            least_target_bytes: tenths(LEAST_TARGET_TENTHS),
            target_bytes: tenths(TARGET_TENTHS).saturating_add(TARGET_BESIDES_BYTES),
            own_bytes: tenths(OWN_TENTHS).saturating_add(OWN_BESIDES_BYTES),
        }
    }

    /// Whether there is memory for it, by what bounds the process and what bounds outlive.
    fn check(&self, theirs: &[MemoryLimit], ours: &[MemoryLimit]) -> Result<(), RetainersError> {
        let heap_bytes = self.heap_bytes;
        let ventured = |limit: &MemoryLimit| limit.room_bytes() / 100 * VENTURED_PERCENT;
        let is_shared = |limit: &MemoryLimit, with: &[MemoryLimit]| {
            with.iter().any(|other| other.group == limit.group)
        };
        for limit in theirs {
            // Where both live, both are needed.
            let own_bytes = if is_shared(limit, ours) { self.own_bytes } else { 0 };
            let needed_bytes = self.target_bytes.saturating_add(own_bytes);
            if needed_bytes > ventured(limit) {
                let (room_bytes, place) = (limit.room_bytes(), place(limit));
                return Err(RetainersError::NoRoom { heap_bytes, needed_bytes, room_bytes, place });
            }
        }
        for limit in ours.iter().filter(|limit| !is_shared(limit, theirs)) {
            let needed_bytes = self.own_bytes;
            if needed_bytes > ventured(limit) {
                let (room_bytes, place) = (limit.room_bytes(), place(limit));
                return Err(RetainersError::NoOwnRoom {
                    heap_bytes,
                    needed_bytes,
                    room_bytes,
                    place,
                });
            }
        }
        Ok(())
    }

    fn say(&self) -> String {
        format!(
            "takes a snapshot of its JavaScript heap ({}): V8 stops the program for that, for about {} to {}, and takes {} to {} more memory inside the process meanwhile (large strings take least; small objects most, and longest on a busy machine)",
            units::bytes(self.heap_bytes),
            units::duration(self.least_stop.as_nanos() as u64),
            units::duration(self.stop.as_nanos() as u64),
            units::bytes(self.least_target_bytes),
            units::bytes(self.target_bytes),
        )
    }
}

fn place(limit: &MemoryLimit) -> String {
    match &limit.group {
        Some(group) => format!("control group {group}"),
        None => "the machine".to_owned(),
    }
}

/// Takes a snapshot of the main thread's heap and evaluates it. The times of the reading and of
/// lengths are left zero. A sampler that is at work is ended with the snapshot.
///
/// # Errors
/// When memory does not allow it, or V8 does not give it.
pub fn take(
    client: &mut Client,
    target: &Target,
    asked: &Asked<'_>,
    say: impl FnOnce(String),
) -> Result<HeapMeta, RetainersError> {
    let cost = Cost::of(used_bytes(client)?);
    let (theirs, ours) =
        (memory_limits::read(target.tgid), memory_limits::read(std::process::id()));
    cost.check(&theirs, &ours)?;
    say(cost.say());
    let began = Instant::now();
    let mut reader = Reader::new(cost.own_bytes);
    let mut failed = None;
    let within = cost.stop.saturating_mul(PATIENCE).saturating_add(PATIENCE_BESIDES);
    let max_bytes =
        cost.heap_bytes.saturating_mul(TEXT_PER_HEAP).saturating_add(TEXT_BESIDES_BYTES);
    let taken = take_snapshot(client, within, max_bytes, |piece| {
        failed = reader.feed(piece).err();
        failed.is_none()
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let taken = taken?;
    let snapshot = reader.finish()?;
    let found = v8::find(&snapshot, asked);
    let tracer_bytes = measure::own_peak_bytes();
    drop(snapshot);
    let version = node::detect(target, &mut node::Settled::default()).0.map(|node| node.version);
    let mut notes = vec![format!(
        "V8 kept the program waiting for {} to make the snapshot: {} objects, {}. Constructors and holders are those at that moment; of worker threads' heaps nothing is told.",
        units::duration(taken.pause.as_nanos() as u64),
        units::count(found.objects),
        units::bytes(found.bytes),
    )];
    notes.extend(found.notes);
    Ok(HeapMeta {
        pid: target.tgid,
        runtime: version.map_or("V8".to_owned(), |version| format!("V8 {version}")),
        readings: vec![HeapReading {
            took_ns: began.elapsed().as_nanos() as u64,
            copied_bytes: taken.text_bytes,
            tracer_bytes,
            stopped_ns: Some(taken.pause.as_nanos() as u64),
            ..HeapReading::default()
        }],
        containers: found.containers,
        held: found.held,
        blocks: found.blocks,
        constructors: found.constructors,
        notes,
        ..HeapMeta::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(group: Option<&str>, room_bytes: u64) -> MemoryLimit {
        MemoryLimit {
            group: group.map(str::to_owned),
            limit_bytes: 64 << 30,
            used_bytes: (64 << 30) - room_bytes,
        }
    }

    #[test]
    fn a_heap_for_which_memory_is_short_is_not_looked_at() {
        let cost = Cost::of(500 << 20);
        let machine = |room: u64| limit(None, room);
        assert!(cost.check(&[machine(16 << 30)], &[machine(16 << 30)]).is_ok());
        // The container has too little, whatever the machine has.
        let theirs = [limit(Some("/box"), 1 << 30), machine(16 << 30)];
        let error = cost.check(&theirs, &[machine(16 << 30)]).unwrap_err().to_string();
        assert!(error.contains("control group /box has 1.0 GiB left"), "{error}");
        // Both would fit the machine alone, but not together.
        let room = cost.target_bytes + cost.own_bytes;
        assert!(cost.check(&[machine(room)], &[machine(room)]).is_err());
        let ours = [limit(Some("/own"), 200 << 20), machine(16 << 30)];
        let error = cost.check(&[machine(16 << 30)], &ours).unwrap_err();
        assert!(matches!(error, RetainersError::NoOwnRoom { .. }), "{error}");
        assert!(Cost::of(u64::MAX).check(&[machine(16 << 30)], &[]).is_err());
    }
}
