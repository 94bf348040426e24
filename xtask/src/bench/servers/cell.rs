//! What one follower did to one server, over all rounds.

use serde_json::{Value, json};

use super::process::Used;
use super::table::Who;
use crate::bench::load::Outcome;
use crate::bench::spread::{Spread, percentile};

/// Shares of the requests below which latencies are told.
pub(super) const SHARES: [f64; 3] = [0.5, 0.99, 0.999];

/// A round.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// Requests answered a second at half of the capacity, and at saturation.
    pub(super) open_per_s: f64,
    pub(super) closed_per_s: f64,
    /// By `SHARES`, at half of the capacity, milliseconds.
    pub(super) latency_ms: [f64; 3],
    pub(super) unanswered: u64,
    /// Of one core, at half of the capacity.
    pub(super) target_cores: f64,
    pub(super) tracer_cores: f64,
    pub(super) target_mb: f64,
    pub(super) tracer_mb: f64,
}

impl Round {
    pub(super) fn of(
        open: &Outcome,
        closed: &Outcome,
        before: Used,
        after: Used,
        seconds: f64,
    ) -> Self {
        let mut sorted = open.latencies_ms.clone();
        sorted.sort_by(f64::total_cmp);
        Self {
            open_per_s: open.per_second(),
            closed_per_s: closed.per_second(),
            latency_ms: SHARES.map(|share| percentile(&sorted, share)),
            unanswered: open.unanswered,
            target_cores: (after.target_cpu_s - before.target_cpu_s) / seconds,
            tracer_cores: (after.tracer_cpu_s - before.tracer_cpu_s) / seconds,
            target_mb: after.target_bytes as f64 / 1e6,
            tracer_mb: after.tracer_bytes as f64 / 1e6,
        }
    }
}

/// All rounds of one follower.
pub(super) struct Cell {
    pub(super) who: Who,
    pub(super) rounds: Vec<Round>,
    /// Why there are none, or not all.
    pub(super) absent: Option<String>,
}

/// The columns: title, key in the JSON, and the figure of a round.
type Column = (&'static str, &'static str, fn(&Round) -> f64);

pub(super) const COLUMNS: [Column; 9] = [
    ("sat. req/s", "closed_per_s", |round| round.closed_per_s),
    ("req/s", "open_per_s", |round| round.open_per_s),
    ("p50 ms", "p50_ms", |round| round.latency_ms[0]),
    ("p99 ms", "p99_ms", |round| round.latency_ms[1]),
    ("p99.9 ms", "p99_9_ms", |round| round.latency_ms[2]),
    ("target cores", "target_cores", |round| round.target_cores),
    ("tracer cores", "tracer_cores", |round| round.tracer_cores),
    ("target MB", "target_mb", |round| round.target_mb),
    ("tracer MB", "tracer_mb", |round| round.tracer_mb),
];

impl Cell {
    /// A figure by round.
    pub(super) fn figures(&self, of: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(of).collect()
    }

    pub(super) fn header() -> String {
        let titles = COLUMNS.iter().map(|column| format!("{:>1$}", column.0, width(column)));
        format!("  {:<24}{}\n", "", titles.collect::<String>())
    }

    pub(super) fn text(&self) -> String {
        let label = self.who.label();
        if self.rounds.is_empty() {
            let why = self.absent.as_deref().unwrap_or("no round");
            return format!("  {label:<24}not available: {}\n", why.lines().next().unwrap_or(why));
        }
        let columns = COLUMNS.iter().map(|column| {
            let Spread { median, min, max } = Spread::of(&self.figures(column.2));
            let text = match has_spread(column) {
                true => format!("{} ({}..{})", short(median), short(min), short(max)),
                false => short(median),
            };
            format!("{text:>0$}", width(column))
        });
        format!("  {label:<24}{}\n", columns.collect::<String>())
    }

    pub(super) fn json(&self) -> Value {
        if self.rounds.is_empty() {
            return json!({ "not_available": self.absent });
        }
        let mut told = json!({ "rounds": self.rounds.len() });
        for (_, key, of) in COLUMNS {
            let figures = self.figures(of);
            told[key] = json!({ "spread": Spread::of(&figures).json(), "rounds": figures });
        }
        let unanswered: u64 = self.rounds.iter().map(|round| round.unanswered).sum();
        told["unanswered"] = json!(unanswered);
        if let Some(why) = &self.absent {
            told["ended_early"] = json!(why);
        }
        told
    }
}

/// Whether the text, which is for a terminal, has room for the least and the most.
fn has_spread(column: &Column) -> bool {
    matches!(column.1, "closed_per_s" | "open_per_s" | "p99_ms")
}

fn width(column: &Column) -> usize {
    if has_spread(column) { 23 } else { 14 }
}

/// Three digits, or all before the point.
fn short(number: f64) -> String {
    let decimals = match number.abs() {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn figures_are_as_long_as_they_are_good() {
        assert_eq!([0.123, 9.99, 12.34, 1234.5].map(short), ["0.12", "9.99", "12.3", "1234"]);
        assert_eq!(short(f64::NAN), "NaN");
    }
}
