//! The shape of a series: what it does in its window, whatever its numbers are.
//!
//! Growing is what rises in its lower envelope (`envelope`): what is freed again, however late
//! within the window, never entered it. The envelope is taken of what has *settled*, blocks that
//! have outlived what is transient, so that a leak shows beneath any churn of the same stack; where
//! there are no cohorts to tell them, of all live bytes. It must rise often enough, by enough
//! against floor and fluctuation, in both halves, and still in the last two quarters; the
//! Mann-Kendall test must call it a trend; and it must not slow down (`filling`). Where the oldest
//! cohorts have died (`cohorts`) it may be a turn-over, of which more is asked: each quarter must
//! have its part. The same is asked where nothing settles and live bytes rise all the same: one
//! block that is replaced by a larger one, again and again.
//!
//! What begins with a start-up is looked at once more from behind it.

use super::cohorts::Cohorts;
use super::drift::chance_of_drift;
use super::envelope::Envelope;
use super::filling::{self, Pace};
use super::slope::{Interval, median_slope, theil_sen};
use super::trend::mann_kendall;
use super::verdict::needed_ns;
use super::{Judgement, Limits, SINGLE_LEVEL, Verdict, sawtooth, thinned};
use crate::aggregate::{Sample, Series};
use crate::units;

/// Share of the window at its beginning that is left out, besides the first tick: attaching,
/// and stacks that only then are seen for the first time.
const WARM_UP_DIVISOR: usize = 20;
/// Each half must have held growth of at least this share of an even split.
const HALF_SHARE: f64 = 0.25;
/// Each of the last two quarters must have held growth of at least this share of an even split.
const QUARTER_SHARE: f64 = 0.2;
/// Where it may be a turn-over, each quarter must have at least this share.
const TURNOVER_QUARTER_SHARE: f64 = 0.5;
/// Growth over the fluctuation around it, at least.
const SIGNAL: f64 = 5.0;
/// The same where it may be a turn-over.
const TURNOVER_SIGNAL: f64 = 8.0;
/// Early cohorts that hold less than this share of what the growth until then was are gone.
const EARLY_LEFT: f64 = 0.25;
/// Survival of the oldest cohorts over that of later ones below which it may be a turn-over.
const PLATEAU: f64 = 0.5;
/// The largest fall of what had settled, as a share of its growth, that is no turn-over.
const LARGEST_FALL: f64 = 0.25;
/// Share of the width of one interval at which another is much narrower.
const MUCH_NARROWER: f64 = 0.5;
/// Where a window begins that leaves out a start-up, as a share of the samples.
const BEHIND_START_UP: f64 = 0.4;

/// Judges the shape. `steady_numbers` says that what is transient is not in the numbers anyway.
pub(super) fn judge_shape(series: &Series, limits: &Limits, steady_numbers: bool) -> Judgement {
    let samples = after_warm_up(&series.samples);
    let span_ns = span_of(samples);
    if samples.len() < limits.min_samples || span_ns < limits.min_span_ns {
        return not_enough(samples.len(), span_ns, limits);
    }
    let whole = Window::of(samples, series, steady_numbers);
    let judgement = whole.judge(limits, SINGLE_LEVEL);
    let may =
        matches!(judgement.verdict, Verdict::OneOff | Verdict::Steady | Verdict::NotEnoughData);
    if !may || !whole.begins_with_start_up() {
        return judgement;
    }
    let from = (samples.len() as f64 * BEHIND_START_UP) as usize;
    let later = &samples[from..];
    if later.len() < limits.min_samples || span_of(later) < limits.min_span_ns {
        return judgement;
    }
    // Two looks, each at half the level.
    let mut behind = Window::of(later, series, steady_numbers).judge(limits, SINGLE_LEVEL / 2.0);
    if behind.verdict != Verdict::Growing {
        return judgement;
    }
    let began = units::duration(later[0].at_ns.saturating_sub(samples[0].at_ns));
    behind.reasons.push(format!("the first {began} were left out: it started up"));
    behind.survival = judgement.survival;
    behind
}

fn span_of(samples: &[Sample]) -> u64 {
    match samples {
        [first, .., last] => last.at_ns.saturating_sub(first.at_ns),
        _ => 0,
    }
}

fn not_enough(samples: usize, span_ns: u64, limits: &Limits) -> Judgement {
    let reason = format!(
        "{samples} usable ticks over {}; a verdict needs {} over {}",
        units::duration(span_ns),
        limits.min_samples,
        units::duration(limits.min_span_ns),
    );
    let between_ns = span_ns / (samples.max(2) as u64 - 1);
    let missing = limits.min_samples.saturating_sub(samples) as u64;
    let needs_ns =
        between_ns.saturating_mul(missing).max(limits.min_span_ns.saturating_sub(span_ns));
    Judgement {
        needs_ns: Some(needs_ns.max(1)),
        ..Judgement::plain(Verdict::NotEnoughData, None, vec![reason])
    }
}

pub(super) fn after_warm_up(samples: &[Sample]) -> &[Sample] {
    let skipped = (samples.len() / WARM_UP_DIVISOR).max(1);
    samples.get(skipped..).unwrap_or_default()
}

/// Why a series does not grow.
enum Refusal {
    /// By less than the floor, in bytes.
    Floor(u64),
    /// At so many ticks only.
    Steps(usize),
    /// In one half of the window only.
    OneHalf,
    /// It had stopped before the end.
    Stopped,
    /// Within its own fluctuation, in bytes.
    Fluctuation(u64),
    /// Its early blocks are gone, and it grew unevenly.
    TurnOver,
    /// It may be chance.
    Chance,
}

/// Numbers over time, with all that is to be known of their rise.
struct Rise {
    points: Vec<(u64, u64)>,
    envelope: Envelope,
}

impl Rise {
    fn of(points: Vec<(u64, u64)>) -> Self {
        let envelope = Envelope::of(&points);
        Self { points, envelope }
    }

    /// Chance that it only seems to rise. By the drift of its steps, which is no surer of a
    /// fluctuation around a level than of a walk; the test for a trend has to agree at its level,
    /// but what it takes off for residuals that are alike, however small, is no measure of chance.
    fn p_value(&self, level: f64) -> Option<f64> {
        let line = self.line();
        let (trend, drift) = (mann_kendall(&line)?.p, chance_of_drift(&line));
        Some(if trend <= level { drift } else { trend.max(drift) })
    }

    fn line(&self) -> Vec<(f64, f64)> {
        thinned(&seconds(&self.points))
    }

    /// What speaks against growth; `p` is the chance that there is no trend.
    fn refuse(&self, strict: bool, p: f64, limits: &Limits, level: f64) -> Option<Refusal> {
        let growth = self.envelope.growth();
        if growth < limits.min_growth_bytes {
            return Some(Refusal::Floor(growth));
        }
        if self.envelope.steps() < limits.min_steps {
            return Some(Refusal::Steps(self.envelope.steps()));
        }
        let halves = self.envelope.parts(2);
        if halves.iter().any(|part| (*part as f64) < HALF_SHARE * growth as f64 / 2.0) {
            return Some(Refusal::OneHalf);
        }
        let quarters = self.envelope.parts(4);
        let even = growth as f64 / 4.0;
        if quarters[2..].iter().any(|part| (*part as f64) < QUARTER_SHARE * even) {
            return Some(Refusal::Stopped);
        }
        if strict && quarters.iter().any(|part| (*part as f64) < TURNOVER_QUARTER_SHARE * even) {
            return Some(Refusal::TurnOver);
        }
        let signal = if strict { TURNOVER_SIGNAL } else { SIGNAL };
        if (growth as f64) < signal * self.fluctuation() {
            return Some(Refusal::Fluctuation(growth));
        }
        (p > level).then_some(Refusal::Chance)
    }

    /// Robust standard deviation around the line: 1.4826 times the median absolute deviation.
    fn fluctuation(&self) -> f64 {
        let line = self.line();
        let Some(slope) = median_slope(&line) else { return 0.0 };
        let mut residuals: Vec<f64> = line.iter().map(|(x, y)| y - slope * x).collect();
        let center = median(&mut residuals);
        residuals.iter_mut().for_each(|residual| *residual = (*residual - center).abs());
        1.4826 * median(&mut residuals)
    }

    /// The largest fall from what had been reached, bytes.
    fn fall(&self) -> u64 {
        let mut most = 0;
        self.points.iter().fold(0, |fall: u64, (_, bytes)| {
            most = most.max(*bytes);
            fall.max(most - bytes)
        })
    }
}

/// The part of a series that is looked at.
struct Window {
    /// What settled, or all where that is not known.
    held: Rise,
    live: Rise,
    /// Whether what settled is known.
    settled: bool,
    cohorts: Cohorts,
    span_ns: u64,
}

impl Window {
    fn of(samples: &[Sample], series: &Series, steady_numbers: bool) -> Self {
        let live = || samples.iter().map(|sample| (sample.at_ns, sample.live_bytes)).collect();
        let ends = [samples.first(), samples.last()].map(|end| end.map_or(0, |end| end.at_ns));
        let cohorts = Cohorts::of(series, ends[0], ends[1]);
        let settled = cohorts.are_known() && !steady_numbers;
        let held = match settled {
            true => samples.iter().map(|sample| (sample.at_ns, sample.settled_bytes)).collect(),
            false => live(),
        };
        Self {
            held: Rise::of(held),
            live: Rise::of(live()),
            settled,
            cohorts,
            span_ns: span_of(samples),
        }
    }

    fn judge(&self, limits: &Limits, level: f64) -> Judgement {
        let strict = self.may_turn_over();
        let is_large = |rise: &Rise| rise.envelope.growth() >= limits.min_growth_bytes;
        let mut p_value = is_large(&self.held).then(|| self.held.p_value(level)).flatten();
        let mut refusal = self.held.refuse(strict, p_value.unwrap_or(1.0), limits, level);
        let mut rise = &self.held;
        if matches!(refusal, Some(Refusal::Floor(_))) && self.settled && is_large(&self.live) {
            // A second look, which the chance has to allow for.
            p_value = self.live.p_value(level).map(|p| (2.0 * p).min(1.0));
            refusal = self.live.refuse(true, p_value.unwrap_or(1.0), limits, level);
            rise = &self.live;
        }
        let judgement = match refusal {
            Some(refusal) => self.refused(&refusal, p_value, limits, level),
            None => self.grown(rise, strict, p_value, level),
        };
        Judgement {
            p_value,
            confidence: p_value.map(|p| 1.0 - p),
            survival: self.cohorts.survival(),
            ..judgement
        }
    }

    /// Whether its early blocks are gone, or what had settled fell back.
    fn may_turn_over(&self) -> bool {
        let growth = self.held.envelope.growth();
        self.cohorts.early_share_of(growth).is_some_and(|share| share < EARLY_LEFT)
            || self.cohorts.plateau().is_some_and(|ratio| ratio < PLATEAU)
            || (self.settled && self.held.fall() as f64 > LARGEST_FALL * growth as f64)
    }

    /// Whether it gained more at first than later, evenly since, and lost nothing of it.
    fn begins_with_start_up(&self) -> bool {
        let gains = self.held.envelope.parts(2)[1] > 0;
        gains && !self.may_turn_over() && self.pace(false) == Pace::Settled
    }

    fn refused(
        &self,
        refusal: &Refusal,
        p_value: Option<f64>,
        limits: &Limits,
        level: f64,
    ) -> Judgement {
        let rate = theil_sen(&self.live.line());
        let judge = |verdict, reason: String| Judgement::plain(verdict, rate, vec![reason]);
        if self.live_range() >= limits.min_growth_bytes
            && let Some(period_ns) = sawtooth::period_ns(&self.live.points)
        {
            let reason =
                format!("it rises and is freed again, about every {}", units::duration(period_ns));
            return Judgement { period_ns: Some(period_ns), ..judge(Verdict::Sawtooth, reason) };
        }
        match refusal {
            Refusal::Floor(growth) => judge(
                Verdict::Steady,
                format!(
                    "what it holds rose by {}, less than the floor of {}",
                    units::bytes(*growth),
                    units::bytes(limits.min_growth_bytes)
                ),
            ),
            Refusal::Fluctuation(growth) => judge(
                Verdict::Steady,
                format!(
                    "what it holds rose by {}, within its own fluctuation",
                    units::bytes(*growth)
                ),
            ),
            Refusal::TurnOver => judge(
                Verdict::Steady,
                "its early blocks have been freed and its growth is uneven: turnover".into(),
            ),
            Refusal::Chance => {
                let p = p_value.unwrap_or(1.0);
                let reason = format!("its rise may be chance (p = {p:.1e})");
                judge(Verdict::NotEnoughData, String::new())
                    .doubted(reason, Some(needed_ns(p, level, self.span_ns)))
            }
            _ if (self.held.envelope.growth() as f64) < 2.0 * self.held.fluctuation() => {
                judge(Verdict::Steady, "what it holds rose within its own fluctuation".into())
            }
            Refusal::Steps(steps) => judge(
                Verdict::OneOff,
                format!("what it holds rose at {steps} ticks only, and stayed"),
            ),
            Refusal::OneHalf | Refusal::Stopped => match self.pace(self.may_turn_over()) {
                Pace::Filling { to_come } => self.filling(rate, to_come),
                _ if matches!(refusal, Refusal::OneHalf) => judge(
                    Verdict::OneOff,
                    "it grew in one half of the window only, and stayed".into(),
                ),
                _ => {
                    judge(Verdict::OneOff, "it had stopped growing before the window ended".into())
                }
            },
        }
    }

    fn live_range(&self) -> u64 {
        let bytes = || self.live.points.iter().map(|(_, bytes)| *bytes);
        bytes().max().unwrap_or(0) - bytes().min().unwrap_or(0)
    }

    fn filling(&self, rate: Option<Interval>, to_come: f64) -> Judgement {
        let now = self.live.points.last().map_or(0, |(_, bytes)| *bytes);
        let bound_bytes = now.saturating_add(to_come as u64);
        let reason = format!(
            "it grows more and more slowly, towards about {}, of which it has {}",
            units::bytes(bound_bytes),
            units::bytes(now)
        );
        let bound_bytes = Some(bound_bytes);
        Judgement { bound_bytes, ..Judgement::plain(Verdict::Filling, rate, vec![reason]) }
    }

    /// How it goes on: by what is left of the cohorts where they tell, since churn is in live bytes.
    fn pace(&self, strict: bool) -> Pace {
        let seconds = self.span_ns as f64 / 1e9 * 0.9;
        let by_cohorts = self.cohorts.pace(filling::PARTS);
        let of_cohorts = Pace::of(&by_cohorts, seconds / by_cohorts.len().max(1) as f64);
        if self.settled && !strict && by_cohorts.len() >= filling::FEWEST {
            return of_cohorts;
        }
        let parts = self.live.envelope.ticks().saturating_sub(1).min(filling::PARTS);
        let part_seconds = seconds / parts.max(1) as f64;
        let gained = self.live.envelope.parts(parts as u64);
        let rates: Vec<f64> = gained.iter().map(|bytes| *bytes as f64 / part_seconds).collect();
        Pace::of(&rates, part_seconds).or(of_cohorts)
    }

    /// Its shape is that of growth.
    fn grown(&self, rise: &Rise, strict: bool, p_value: Option<f64>, level: f64) -> Judgement {
        let by_live = theil_sen(&self.live.line());
        match self.pace(strict) {
            Pace::Filling { to_come } => return self.filling(by_live, to_come),
            Pace::Settled => {
                let reason = "it grew faster at first than later".to_owned();
                return Judgement::plain(Verdict::OneOff, by_live, vec![reason]);
            }
            Pace::Doubtful => {
                let reason = "it rose, but perhaps more and more slowly".to_owned();
                return Judgement::plain(Verdict::NotEnoughData, by_live, Vec::new())
                    .doubted(reason, Some(self.span_ns / 2));
            }
            Pace::Even => {}
        }
        let by_cohorts = if self.settled && !strict { self.cohorts.rate() } else { None };
        let rate = surer(by_live, by_cohorts);
        let Some(found) = rate.filter(|rate| rate.low > 0.0) else {
            let reason = "its slope cannot be told from zero".to_owned();
            let needs_ns = rate.map(|rate| needs_of_slope(rate, self.span_ns));
            return Judgement::plain(Verdict::NotEnoughData, rate, Vec::new())
                .doubted(reason, needs_ns);
        };
        let chance = p_value.unwrap_or(1.0).max(level * 1e-30);
        let mut reasons = vec![
            format!(
                "what it holds rose by {} and was not freed again",
                units::bytes(rise.envelope.growth())
            ),
            format!(
                "it rose at {} of {} ticks, in both halves of the window (p = {chance:.0e})",
                rise.envelope.steps(),
                rise.envelope.ticks()
            ),
        ];
        reasons.extend(self.of_cohorts(strict));
        Judgement::plain(Verdict::Growing, Some(found), reasons)
    }

    fn of_cohorts(&self, strict: bool) -> Option<String> {
        let survival = self.cohorts.survival()?;
        Some(match strict {
            true => "its early blocks have been freed since: a backlog or one growing block".into(),
            false => format!(
                "blocks born early in the window are still live: {} % of their bytes",
                units::unsigned(survival * 100.0)
            ),
        })
    }
}

/// The rate of live bytes, which is that of the whole window; or by cohorts, which is that of their
/// births alone, where what is transient makes the former much less sure.
fn surer(by_live: Option<Interval>, by_cohorts: Option<Interval>) -> Option<Interval> {
    match (by_live, by_cohorts) {
        (Some(live), Some(cohorts)) => {
            let is_surer = cohorts.high - cohorts.low < MUCH_NARROWER * (live.high - live.low);
            Some(if is_surer { cohorts } else { live })
        }
        (live, cohorts) => live.or(cohorts),
    }
}

/// How much longer until a slope's interval excludes zero: its width shrinks with the power 1.5 of
/// time. At most ten times as long.
fn needs_of_slope(rate: Interval, span_ns: u64) -> u64 {
    let times = ((rate.estimate - rate.low) / rate.estimate.max(1e-9)).powf(2.0 / 3.0) - 1.0;
    (span_ns as f64 * times.clamp(0.05, 10.0)) as u64
}

fn seconds(points: &[(u64, u64)]) -> Vec<(f64, f64)> {
    points.iter().map(|(at_ns, bytes)| (*at_ns as f64 / 1e9, *bytes as f64)).collect()
}

fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
