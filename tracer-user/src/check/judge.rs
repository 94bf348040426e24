//! The judge of cycles: does each cycle leave something behind? Pure numbers.
//!
//! What the last cycle left may be in use yet, what one cycle left may be a cache that is filled,
//! and what is replaced by the next of its kind is no growth. So growth is what goes on in nearly
//! every cycle, to the last one, out of proportion to its own unevenness. How uneven it may be is
//! Student's t test of the changes against a walk that goes up as easily as down: the worst that a
//! program which keeps its memory can look like. The chance of a false alarm is shared out among
//! all places of a run, so that a program with many of them is not accused more often. Where
//! cycles do more or less work (by what the whole program allocates), changes are compared by work.

use super::student::tail;
use crate::growth::{Interval, theil_sen};

/// The chance that a run without any leak is failed, if all its places walk at random.
const FALSE_ALARMS: f64 = 1e-4;
/// Cycles that count, below which nothing is said.
pub const FEWEST_CYCLES: usize = 4;
/// Cycles below which only an exact pattern is believed.
const FEWEST_FOR_RATE: usize = 5;
/// Share of the cycles that has to leave something behind; of sampled numbers, which miss some.
const RISES: f64 = 0.8;
const RISES_SAMPLED: f64 = 0.6;
/// What the last quarter of the cycles has to leave, as a share of what the others did.
const TO_THE_END: f64 = 0.5;
/// What has to live yet of the births of a cycle, as a share of what the level rose by.
const SURVIVING: f64 = 0.5;
/// By how much the pattern of survivors may differ from that of the level.
const SAME_PATTERN: f64 = 0.25;
/// What falls to nothing within so many times the cycles that were seen fills something.
const FILLS_WITHIN: f64 = 2.0;

/// What a place held at the ends of cycles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Live bytes before the first cycle that counts, and at the end of each.
    pub bytes: Vec<u64>,
    /// Live blocks in the same way.
    pub blocks: Vec<u64>,
    /// Bytes that the whole program allocated in each cycle; empty where that is not known.
    pub work: Vec<u64>,
    /// Bytes and blocks that were born in each cycle and are live at the end of all.
    pub survivors: Vec<(u64, u64)>,
    /// Whether the numbers are samples.
    pub is_sampled: bool,
    /// Where only a collector frees: the number of cycles that were over when it came last.
    pub collected: Option<usize>,
}

/// What a place is found to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Growth {
    /// It leaves nothing behind, or not in every cycle.
    None,
    /// It grew, but may have stopped, or is too uneven to tell from chance; why.
    Doubtful(&'static str),
    /// It grew, and a collector may free it yet.
    Pending(Pattern),
    /// Each cycle leaves this behind.
    Growing(Pattern),
}

/// What each cycle leaves behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pattern {
    /// Bytes, with the 95 % interval.
    pub bytes: Interval,
    /// Blocks.
    pub blocks: f64,
    /// Whether every cycle left exactly that.
    pub exact: bool,
}

impl Levels {
    /// Changes of live bytes from cycle to cycle.
    pub fn changes(&self) -> Vec<i64> {
        changes(&self.bytes)
    }

    /// Changes of live blocks.
    pub fn block_changes(&self) -> Vec<i64> {
        changes(&self.blocks)
    }

    /// Whether it holds more than before the first cycle.
    pub fn rose(&self) -> bool {
        self.bytes.last() > self.bytes.first()
    }
}

fn changes(levels: &[u64]) -> Vec<i64> {
    let signed = |level: u64| i64::try_from(level).unwrap_or(i64::MAX);
    levels.windows(2).map(|pair| signed(pair[1]).saturating_sub(signed(pair[0]))).collect()
}

/// Judges a place, one of `candidates` that hold more than they did.
pub fn judge(levels: &Levels, candidates: usize) -> Growth {
    let (bytes, blocks) = (levels.changes(), levels.block_changes());
    if bytes.len() < FEWEST_CYCLES || !levels.rose() {
        return Growth::None;
    }
    let found = exact(levels, &bytes, &blocks)
        .map_or_else(|| uneven(levels, &bytes, &blocks, candidates), Growth::Growing);
    match (found, levels.collected) {
        (Growth::Growing(pattern), Some(cycles)) if cycles + 1 < bytes.len() => {
            survived_collection(levels, cycles, pattern, candidates)
        }
        (found, _) => found,
    }
}

/// The same in every cycle: of the level, or of what was born and lives, whatever else came and went
/// at this place.
fn exact(levels: &Levels, bytes: &[i64], blocks: &[i64]) -> Option<Pattern> {
    if levels.is_sampled {
        return None;
    }
    let of = |bytes: f64, blocks: f64| Pattern {
        bytes: Interval { estimate: bytes, low: bytes, high: bytes },
        blocks,
        exact: true,
    };
    let all_same = |changes: &[i64]| changes.windows(2).all(|pair| pair[0] == pair[1]);
    if bytes[0] > 0 && all_same(bytes) && all_same(blocks) && blocks[0] >= 0 {
        return Some(of(bytes[0] as f64, blocks[0] as f64));
    }
    // What the last cycle left is in use yet.
    let settled = levels.survivors.len().checked_sub(1).filter(|n| *n >= FEWEST_CYCLES)?;
    let (left, count) = levels.survivors[0];
    let is_same = levels.survivors[..settled].iter().all(|survivor| *survivor == (left, count));
    let usual = median(&by_work(bytes, &[]));
    let agrees = |change: f64| (change - left as f64).abs() <= SAME_PATTERN * left as f64;
    let mean = bytes.iter().map(|change| *change as f64).sum::<f64>() / bytes.len() as f64;
    (left > 0 && is_same && agrees(usual) && mean >= SURVIVING * left as f64)
        .then(|| of(left as f64, count as f64))
}

fn uneven(levels: &Levels, bytes: &[i64], blocks: &[i64], candidates: usize) -> Growth {
    let share = if levels.is_sampled { RISES_SAMPLED } else { RISES };
    let rises = bytes.iter().filter(|change| **change > 0).count();
    if (rises as f64) < share * bytes.len() as f64 {
        return Growth::None;
    }
    let raw = by_work(bytes, &[]);
    let worked = by_work(bytes, &levels.work);
    if !goes_on(&worked) {
        return Growth::Doubtful("it stopped before the last cycles");
    }
    // Two tests, so that each may err half as often.
    let bound = FALSE_ALARMS / candidates.max(1) as f64 / 2.0;
    if bytes.len() < FEWEST_FOR_RATE || chance(&raw).min(chance(&worked)) > bound {
        return Growth::Doubtful("it is too uneven for so few cycles: give more of them");
    }
    if fills(&worked) {
        return Growth::Doubtful("it grows less and less, as what is being filled does");
    }
    if !lives_on(levels, bytes, blocks) {
        return Growth::Doubtful("what was born in the early cycles has been freed since");
    }
    let levels = levels.bytes.iter().enumerate();
    let points: Vec<(f64, f64)> = levels.map(|(i, level)| (i as f64, *level as f64)).collect();
    match theil_sen(&points).filter(|rate| rate.low > 0.0) {
        Some(rate) => Growth::Growing(Pattern {
            bytes: rate,
            blocks: blocks.iter().map(|change| *change as f64).sum::<f64>() / blocks.len() as f64,
            exact: false,
        }),
        None => Growth::Doubtful("its rate cannot be told from zero"),
    }
}

/// The chance that changes without any tendency add up to this much.
fn chance(changes: &[f64]) -> f64 {
    let count = changes.len() as f64;
    let mean = changes.iter().sum::<f64>() / count;
    let squares: f64 = changes.iter().map(|change| (change - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    match error > 0.0 {
        true => tail(mean / error, changes.len() as u32 - 1),
        false if mean > 0.0 => 0.0,
        false => 1.0,
    }
}

/// Whether the last quarter of the cycles leaves about as much behind as those before.
fn goes_on(changes: &[f64]) -> bool {
    let last = changes.len().div_ceil(4);
    let (before, end) = changes.split_at(changes.len() - last);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    mean(end) >= TO_THE_END * mean(before)
}

/// Whether it will have stopped soon, if it goes on as it did.
fn fills(changes: &[f64]) -> bool {
    let points: Vec<(f64, f64)> =
        changes.iter().enumerate().map(|(i, change)| (i as f64, *change)).collect();
    let Some(slope) = theil_sen(&points).filter(|slope| slope.high < 0.0) else { return false };
    let count = changes.len() as f64;
    median(changes) + slope.estimate * (count / 2.0 + FILLS_WITHIN * count) <= 0.0
}

/// Whether the growth is blocks that were born in these cycles, or one block that gets larger.
fn lives_on(levels: &Levels, bytes: &[i64], blocks: &[i64]) -> bool {
    // What was born in the last two may be in use yet.
    let settled = bytes.len().saturating_sub(2);
    let born = levels.survivors.iter().take(settled);
    let lives: f64 = born.clone().map(|(bytes, _)| *bytes as f64).sum();
    let rose: f64 = bytes[..settled].iter().map(|change| *change as f64).sum();
    let with_survivors = born.filter(|(_, blocks)| *blocks > 0).count() as f64;
    let share = if levels.is_sampled { RISES_SAMPLED } else { RISES };
    let one_block = blocks.iter().all(|change| *change == 0) && bytes.iter().all(|c| *c > 0);
    one_block || (lives >= SURVIVING * rose && with_survivors >= share * settled as f64)
}

/// The changes as they would be if every cycle had done as much work as the mean one: a busy machine
/// serves fewer requests in the same time, and a leak by request is uneven then. The same where
/// nothing is known of the work.
fn by_work(changes: &[i64], work: &[u64]) -> Vec<f64> {
    let raw = || changes.iter().map(|change| *change as f64).collect();
    if work.len() != changes.len() || work.contains(&0) {
        return raw();
    }
    let mean = work.iter().map(|work| *work as f64).sum::<f64>() / work.len() as f64;
    changes.iter().zip(work).map(|(change, work)| *change as f64 * mean / *work as f64).collect()
}

/// What it was found to leave, seen by what has been through a collection.
fn survived_collection(
    levels: &Levels,
    cycles: usize,
    pattern: Pattern,
    candidates: usize,
) -> Growth {
    let survivors = &levels.survivors[..cycles.min(levels.survivors.len())];
    let survived: Vec<i64> =
        survivors.iter().map(|(bytes, _)| i64::try_from(*bytes).unwrap_or(i64::MAX)).collect();
    let is_clear = survived.len() >= FEWEST_FOR_RATE
        && survived.iter().all(|bytes| *bytes > 0)
        && chance(&by_work(&survived, &[])) <= FALSE_ALARMS / candidates.max(1) as f64;
    if is_clear { Growth::Growing(pattern) } else { Growth::Pending(pattern) }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}
