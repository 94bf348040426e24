//! The judge: does what a stack holds keep growing? Statistics over a [`Series`]; no clock, no
//! I/O, no names. Everything goes through [`judge_with`], so that a better judge replaces one
//! function.

mod cohorts;
mod collected;
mod correlation;
mod drawn;
mod drift;
mod envelope;
mod family;
mod filling;
mod sampling;
mod sawtooth;
mod shape;
#[cfg(test)]
mod simulation;
mod slope;
#[cfg(test)]
mod tests;
mod trend;
mod turnover;
mod verdict;

pub use collected::Collections;
pub use drawn::Drawn;
pub use family::holm;
pub use sampling::Sampling;
pub use slope::{Interval, theil_sen};
pub use trend::{Trend, mann_kendall};
pub use turnover::UnknownFrees;
pub use verdict::{Judgement, Verdict};

use crate::aggregate::Series;
use shape::{after_warm_up, judge_shape};

/// What the judge asks for before it calls something growing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Ticks, without warm-up, below which there is no verdict.
    pub min_samples: usize,
    /// Time, without warm-up, below which there is no verdict; nanoseconds.
    pub min_span_ns: u64,
    /// Held growth over the window below which nothing is flagged; bytes.
    pub min_growth_bytes: u64,
    /// Ticks at which the held bytes rose, below which growth is a one-off.
    pub min_steps: usize,
}

impl Default for Limits {
    /// Eight ticks over five seconds: fewer give Sen's interval no power. 16 KiB: less is start-up
    /// and allocator noise in any real program, and 2 MB an hour even in a window of 30 s. Five
    /// steps: fewer may be chance, and those that have nothing else to show are told so.
    fn default() -> Self {
        Self {
            min_samples: 8,
            min_span_ns: 5_000_000_000,
            min_growth_bytes: 16 * 1024,
            min_steps: 5,
        }
    }
}

/// Chance with which a series without a trend passes the test for one, by itself. Of several that
/// are judged together more is asked, see [`holm`] and [`Judgement::held_to`].
pub const SINGLE_LEVEL: f64 = 0.01;
/// Chance with which any of all the series of a report that have no trend passes the test.
pub const FAMILY_LEVEL: f64 = 0.01;
/// Share of leakless series, of whatever shape, that are called growing; the simulation shows it.
pub const FALSE_FLAGS: f64 = 0.001;
/// Points that what is quadratic is computed from; chosen so that thousands of stacks are judged
/// in about a second.
const MAX_POINTS: usize = 96;

/// What has to be known of a series besides its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Where its numbers are samples of V8's.
    pub sampling: Option<Sampling>,
    /// Where its blocks were drawn by the probes.
    pub drawn: Option<Drawn>,
    /// Where only a garbage collector frees its blocks, and its collections are seen.
    pub collections: Option<Collections>,
    /// What was freed in the window of what had been allocated before it, as far as this series
    /// may have replaced it.
    pub unknown_frees: Option<UnknownFrees>,
}

impl Evidence {
    /// Whether its numbers are estimates from samples.
    pub fn is_sampled(&self) -> bool {
        self.sampling.is_some() || self.drawn.is_some()
    }
}

/// Judges a stack whose numbers are exact, and whose blocks are freed by whoever allocates them.
pub fn judge(series: &Series, limits: &Limits) -> Judgement {
    judge_with(series, limits, &Evidence::default())
}

/// Judges a stack.
///
/// What only a collector frees is growing when the blocks born before its last collection are
/// (`collected`). Sampled growth needs enough samples, and their error is part of the rate's
/// (`sampling`, `drawn`). What may have replaced blocks from before the session is in doubt (`turnover`).
pub fn judge_with(series: &Series, limits: &Limits, evidence: &Evidence) -> Judgement {
    let mut judgement = match &evidence.collections {
        Some(collections) => collected::judge(series, limits, collections),
        None if evidence.sampling.is_some() => judge_sampled(series, limits),
        None => judge_shape(series, limits, false),
    };
    if let Some(sampling) = &evidence.sampling {
        judgement = believe(judgement, series, sampling);
    }
    if let Some(drawn) = &evidence.drawn {
        judgement = drawn.believe(judgement, series);
    }
    if let Some(frees) = &evidence.unknown_frees {
        judgement = doubt_turnover(judgement, series, frees);
    }
    judgement
}

/// Samples are taken where a collection has just been, so that little of them is transient and a few
/// of them tell; but what is in flight then may fluctuate more than a slow leak grows, which only
/// what has settled shows. That is a second look, which the chance has to allow for.
fn judge_sampled(series: &Series, limits: &Limits) -> Judgement {
    let live = judge_shape(series, limits, true);
    if live.verdict == Verdict::Growing {
        return live;
    }
    let settled = judge_shape(series, limits, false);
    if settled.verdict != Verdict::Growing {
        return live;
    }
    let p_value = settled.p_value.map(|p| (2.0 * p).min(1.0));
    Judgement { p_value, confidence: p_value.map(|p| 1.0 - p), ..settled }
}

/// As far as the samples allow.
fn believe(judgement: Judgement, series: &Series, sampling: &Sampling) -> Judgement {
    let samples = after_warm_up(&series.samples);
    let ([first, .., last], Some(rate)) = (samples, judgement.rate) else { return judgement };
    let span_ns = last.at_ns.saturating_sub(first.at_ns);
    let seconds = span_ns as f64 / 1e9;
    let growth_bytes = (rate.estimate * seconds).max(0.0);
    let rate = sampling.widen(rate, growth_bytes, seconds);
    let judgement = Judgement { rate: Some(rate), ..judgement };
    if judgement.verdict != Verdict::Growing {
        return judgement;
    }
    let missing = sampling.samples_missing(growth_bytes);
    let reason = match missing {
        None if rate.low > 0.0 => return judgement,
        None => "its samples cannot tell its growth from zero".to_owned(),
        Some(1) => "its growth rests on too few samples: 1 more is needed".to_owned(),
        Some(more) => format!("its growth rests on too few samples: {more} more are needed"),
    };
    let share = missing.map_or(0.5, |more| sampling.share_missing(more, growth_bytes));
    judgement.doubted(reason, Some((span_ns as f64 * share) as u64))
}

/// The judgement on a series, unless that may only replace what was there before. Where several
/// grow, what explains one ([`UnknownFrees::less`]) must not explain another.
pub fn doubt_turnover(judgement: Judgement, series: &Series, frees: &UnknownFrees) -> Judgement {
    if judgement.verdict != Verdict::Growing || !frees.may_explain(series) {
        return judgement;
    }
    let ends = [series.samples.first(), series.samples.last()];
    let ends = ends.map(|end| end.map_or(0, |end| end.at_ns));
    let reason = "blocks from before the session were freed all the time, about as many as it gained: it may replace the entries of a set that was full before, and has to turn over once to tell";
    judgement.doubted(reason.into(), Some(ends[1].saturating_sub(ends[0])))
}

/// At most [`MAX_POINTS`] of them, evenly spread, the first and the last among them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let count = points.len().min(MAX_POINTS);
    (0..count).map(|index| points[index * (points.len() - 1) / (count - 1).max(1)]).collect()
}
