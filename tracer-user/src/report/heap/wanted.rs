//! The stacks whose live blocks are worth a look in the heap, before anything has a name.

use crate::capture::Recording;
use crate::growth::{Limits, Verdict, judge};
use crate::stack::{Domain, StackId};
use std::cmp::Reverse;

/// Stacks that are judged, those with the most live bytes first.
const MAX_JUDGED: usize = 2048;
/// Stacks that grow, and largest others, that are named.
const MAX_GROWING: usize = 192;
const MAX_OTHERS: usize = 32;

/// A stack whose live blocks are worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedStack {
    /// Its number.
    pub id: StackId,
    /// The image of the process that it is of.
    pub image: u32,
    /// Whether it grows by itself; the others may be part of what grows.
    pub grows: bool,
}

/// The stacks that findings may be about: those that grow by themselves, and of the rest those with
/// the most live bytes, since a place may grow in many stacks none of which does. What is no block
/// of an allocator's is not among them.
pub fn wanted_stacks(recording: &Recording) -> Vec<WantedStack> {
    let limits = Limits::default();
    let mut live: Vec<(u64, StackId, u32)> = recording
        .aggregate
        .stacks()
        .filter_map(|(id, totals)| {
            let raw = recording.raw_stacks.get(&id)?;
            let is_block = matches!(raw.domain, Domain::Malloc | Domain::Python);
            let is_large = totals.live_bytes() >= limits.min_growth_bytes / 8;
            (is_block && is_large).then_some((totals.live_bytes(), id, raw.image))
        })
        .collect();
    live.sort_by_key(|(bytes, id, _)| (Reverse(*bytes), *id));
    live.truncate(MAX_JUDGED);
    let grows = |id: StackId| {
        let series = recording.aggregate.series(id);
        judge(&series, &limits).verdict == Verdict::Growing
    };
    let judged = live.into_iter().map(|(_, id, image)| WantedStack { id, image, grows: grows(id) });
    let (mut growing, mut others): (Vec<_>, Vec<_>) = judged.partition(|stack| stack.grows);
    growing.truncate(MAX_GROWING);
    others.truncate(MAX_OTHERS);
    growing.append(&mut others);
    growing
}
