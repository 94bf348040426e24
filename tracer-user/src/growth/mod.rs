//! The judge: does what a stack holds keep growing? Statistics over a [`Series`]; no clock, no
//! I/O, no names. Everything goes through [`judge_with`], so that a better judge replaces one
//! function.

mod collected;
mod envelope;
mod sampling;
mod slope;
#[cfg(test)]
mod tests;

pub use collected::Collections;
pub use sampling::Sampling;
pub use slope::{Interval, theil_sen};

use crate::aggregate::{Sample, Series};
use crate::units;
use envelope::Envelope;

/// What is to be said about a stack, or about several that are judged as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// What it holds kept growing to the end of the window.
    Growing,
    /// It did not.
    Steady,
    /// Too few ticks, or samples, to say.
    NotEnoughData,
    /// It grew, and no garbage collection that could have freed it has passed since.
    PendingGc,
    /// It grew more and more slowly, towards a bound that can be told.
    Filling,
    /// It rose and was freed again, at least twice.
    Sawtooth,
    /// It rose once, or in one part of the window, and stayed.
    OneOff,
}

impl Verdict {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Growing => "growing",
            Verdict::Steady => "steady",
            Verdict::NotEnoughData => "not-enough-data",
            Verdict::PendingGc => "pending-gc",
            Verdict::Filling => "filling",
            Verdict::Sawtooth => "sawtooth",
            Verdict::OneOff => "one-off",
        }
    }
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Growth in bytes per second, 95 % interval; `None` when there is not enough data.
    pub rate: Option<Interval>,
    /// How sure it is that there is a trend at all: one less the chance that a series without any
    /// looks like this, 0 to 1. `None` where no test was made.
    pub confidence: Option<f64>,
    /// Of what was born early in the window, the share that was still live at its end; 0 to 1.
    /// `None` where there are too few cohorts to say.
    pub survival: Option<f64>,
    /// What it fills up to, bytes of this window; for `Filling` only.
    pub bound_bytes: Option<u64>,
    /// Time from one peak to the next, nanoseconds; for `Sawtooth` only.
    pub period_ns: Option<u64>,
    /// How much longer it would have to be watched; for `NotEnoughData` only.
    pub needs_ns: Option<u64>,
    /// Why, in sentences for people.
    pub reasons: Vec<String>,
}

impl Judgement {
    /// One that says no more than that.
    pub fn plain(verdict: Verdict, rate: Option<Interval>, reasons: Vec<String>) -> Self {
        Self {
            verdict,
            rate,
            confidence: None,
            survival: None,
            bound_bytes: None,
            period_ns: None,
            needs_ns: None,
            reasons,
        }
    }
}

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
    /// steps: a leak in bursts every five seconds takes as many in 30 s.
    fn default() -> Self {
        Self {
            min_samples: 8,
            min_span_ns: 5_000_000_000,
            min_growth_bytes: 16 * 1024,
            min_steps: 5,
        }
    }
}

/// Points that the quadratic slope is computed from; chosen so that thousands of stacks are judged
/// in about a second.
const SLOPE_POINTS: usize = 96;
/// Share of the window at its beginning that is left out, besides the first tick: attaching,
/// and stacks that only then are seen for the first time.
const WARM_UP_DIVISOR: usize = 20;
/// Each half must have held growth of at least this share of an even split.
const HALF_SHARE: f64 = 0.25;
/// Each of the last two quarters must have held growth of at least this share of an even split.
const QUARTER_SHARE: f64 = 0.2;
/// Where the blocks of the early cohorts are gone, growth is turnover of a larger set: each quarter
/// must then have at least this share.
const TURNOVER_QUARTER_SHARE: f64 = 0.5;
/// Cohorts born before this share of the window are early.
const EARLY_SHARE: f64 = 0.6;
/// Early cohorts that hold less than this share of what the growth until then was are gone.
const SURVIVOR_SHARE: f64 = 0.25;

/// What has to be known of a series besides its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Where its numbers are samples.
    pub sampling: Option<Sampling>,
    /// Where only a garbage collector frees its blocks, and its collections are seen.
    pub collections: Option<Collections>,
}

/// Judges a stack whose numbers are exact, and whose blocks are freed by whoever allocates them.
pub fn judge(series: &Series, limits: &Limits) -> Judgement {
    judge_with(series, limits, &Evidence::default())
}

/// Judges a stack.
///
/// What only a collector frees is growing when the blocks born before its last collection are
/// (`collected`). Sampled growth needs enough samples, and their error is part of the rate's
/// (`sampling`).
pub fn judge_with(series: &Series, limits: &Limits, evidence: &Evidence) -> Judgement {
    let mut judgement = judge_shape(series, limits);
    if let Some(collections) = &evidence.collections {
        judgement = collected::reconsider(judgement, series, limits, collections);
    }
    if let Some(sampling) = &evidence.sampling {
        judgement = believe(judgement, series, sampling);
    }
    judgement
}

/// As far as the samples allow.
fn believe(judgement: Judgement, series: &Series, sampling: &Sampling) -> Judgement {
    let samples = after_warm_up(&series.samples);
    let ([first, .., last], Some(rate)) = (samples, judgement.rate) else { return judgement };
    let seconds = last.at_ns.saturating_sub(first.at_ns) as f64 / 1e9;
    let growth_bytes = (rate.estimate * seconds).max(0.0);
    let rate = sampling.widen(rate, growth_bytes, seconds);
    if judgement.verdict != Verdict::Growing {
        return Judgement { rate: Some(rate), ..judgement };
    }
    let missing = match sampling.samples_missing(growth_bytes) {
        None if rate.low > 0.0 => return Judgement { rate: Some(rate), ..judgement },
        None => "its samples cannot tell its growth from zero".to_owned(),
        Some(1) => "its growth rests on too few samples: 1 more is needed".to_owned(),
        Some(more) => format!("its growth rests on too few samples: {more} more are needed"),
    };
    Judgement::plain(Verdict::NotEnoughData, Some(rate), vec![missing])
}

/// Judges the shape of a series, whatever its numbers are.
///
/// Growing is what rises in its lower envelope, m(t) = the least that was live at t or later: what
/// is freed again, however late within the window, never entered it. So a sawtooth is flat, and so
/// is a cache once it evicts. The envelope (its youngest tenth left out, since nothing had time to
/// die there) must rise often enough, by enough against floor and noise, in both halves, and still
/// in the last two quarters, and the slope of live bytes must be positive with confidence. Where
/// birth cohorts are known and the early ones died, the demands are higher.
///
/// A set that is replaced more slowly than the window lasts (a cache filled before attach, whose
/// old blocks are unknown) looks like growth until it has turned over once: watch for longer.
fn judge_shape(series: &Series, limits: &Limits) -> Judgement {
    let samples = after_warm_up(&series.samples);
    let span_ns = match samples {
        [first, .., last] => last.at_ns.saturating_sub(first.at_ns),
        _ => 0,
    };
    if samples.len() < limits.min_samples || span_ns < limits.min_span_ns {
        return not_enough(samples.len(), span_ns, limits);
    }
    let Some(rate) = slope_of(samples) else {
        return not_enough(samples.len(), span_ns, limits);
    };
    let envelope = Envelope::of(samples);
    let refusal = refuse(&envelope, samples, series, rate, limits);
    let (verdict, reasons) = match refusal {
        Some(reason) => (Verdict::Steady, vec![reason]),
        None => (Verdict::Growing, grounds(&envelope, series, samples)),
    };
    Judgement::plain(verdict, Some(rate), reasons)
}

fn not_enough(samples: usize, span_ns: u64, limits: &Limits) -> Judgement {
    let reason = format!(
        "{samples} usable ticks over {}; a verdict needs {} over {}",
        units::duration(span_ns),
        limits.min_samples,
        units::duration(limits.min_span_ns),
    );
    Judgement::plain(Verdict::NotEnoughData, None, vec![reason])
}

fn after_warm_up(samples: &[Sample]) -> &[Sample] {
    let skipped = (samples.len() / WARM_UP_DIVISOR).max(1);
    samples.get(skipped..).unwrap_or_default()
}

fn slope_of(samples: &[Sample]) -> Option<Interval> {
    let count = samples.len().min(SLOPE_POINTS);
    let points: Vec<(f64, f64)> = (0..count)
        .map(|index| samples[index * (samples.len() - 1) / (count - 1).max(1)])
        .map(|sample| (sample.at_ns as f64 / 1e9, sample.live_bytes as f64))
        .collect();
    theil_sen(&points)
}

/// Why this is not growth; `None` when it is.
fn refuse(
    envelope: &Envelope,
    samples: &[Sample],
    series: &Series,
    rate: Interval,
    limits: &Limits,
) -> Option<String> {
    let growth = envelope.growth();
    if growth < limits.min_growth_bytes {
        let floor = units::bytes(limits.min_growth_bytes);
        return Some(format!(
            "what it holds rose by {}, less than the floor of {floor}",
            units::bytes(growth)
        ));
    }
    if envelope.steps() < limits.min_steps {
        return Some(format!("what it holds rose at {} ticks only: a one-off", envelope.steps()));
    }
    if rate.low <= 0.0 {
        return Some("its slope cannot be told from zero".into());
    }
    let noise = noise_of(samples, rate.estimate);
    if (growth as f64) < 2.0 * noise {
        return Some(format!(
            "what it holds rose by {}, within its own fluctuation",
            units::bytes(growth)
        ));
    }
    let halves = envelope.parts(2);
    if halves.iter().any(|part| (*part as f64) < HALF_SHARE * growth as f64 / 2.0) {
        return Some("it grew in one half of the window only".into());
    }
    let quarters = envelope.parts(4);
    let even = growth as f64 / 4.0;
    if quarters[2..].iter().any(|part| (*part as f64) < QUARTER_SHARE * even) {
        return Some("it had stopped growing before the window ended".into());
    }
    let turnover = survivors(series, samples, growth).is_some_and(|share| share < SURVIVOR_SHARE);
    if turnover && quarters.iter().any(|part| (*part as f64) < TURNOVER_QUARTER_SHARE * even) {
        return Some("its early blocks have been freed and its growth is uneven: turnover".into());
    }
    None
}

fn grounds(envelope: &Envelope, series: &Series, samples: &[Sample]) -> Vec<String> {
    let growth = envelope.growth();
    let mut reasons = vec![
        format!("what it holds rose by {} and was not freed again", units::bytes(growth)),
        format!(
            "it rose at {} of {} ticks, in both halves of the window",
            envelope.steps(),
            envelope.ticks()
        ),
    ];
    match survivors(series, samples, growth) {
        Some(share) if share < SURVIVOR_SHARE => {
            reasons.push(
                "its early blocks have been freed since: a backlog or one growing block".into(),
            );
        }
        Some(_) => reasons.push("blocks born early in the window are still live".into()),
        None => {}
    }
    reasons
}

/// What the early cohorts hold at the end, as a share of what the growth until then was; `None`
/// where there are too few cohorts to say.
fn survivors(series: &Series, samples: &[Sample], growth: u64) -> Option<f64> {
    let (first, last) = (samples.first()?.at_ns, samples.last()?.at_ns);
    let until = first + ((last - first) as f64 * EARLY_SHARE) as u64;
    let mut early = 0u32;
    let mut live_bytes = 0u64;
    for cohort in series.cohorts.values().filter(|cohort| cohort.born_ns <= until) {
        early += 1;
        live_bytes = live_bytes.saturating_add(cohort.live_bytes);
    }
    (early >= 3 && growth > 0).then(|| live_bytes as f64 / (growth as f64 * EARLY_SHARE))
}

/// Robust standard deviation of live bytes around the line: 1.4826 times the median absolute
/// deviation.
fn noise_of(samples: &[Sample], slope: f64) -> f64 {
    let mut residuals: Vec<f64> =
        samples.iter().map(|s| s.live_bytes as f64 - slope * (s.at_ns as f64 / 1e9)).collect();
    let center = median(&mut residuals);
    residuals.iter_mut().for_each(|residual| *residual = (*residual - center).abs());
    1.4826 * median(&mut residuals)
}

fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
