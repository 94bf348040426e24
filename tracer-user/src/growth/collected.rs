//! Growth of what only a garbage collection frees. Until one has passed it cannot be told from
//! garbage, so that blocks which were born before the last one are all the evidence there is.

use super::{Judgement, Limits, Verdict, judge_shape};
use crate::aggregate::{Sample, Series};
use crate::units;

/// The full collections of the collector that frees the blocks of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collections {
    /// Those that were seen.
    pub count: u64,
    /// A time before the last one ended: what was born by then has been through it. Nanoseconds
    /// since the session began.
    pub last_ns: Option<u64>,
}

/// Judges a series whose blocks a collector frees.
pub(super) fn judge(series: &Series, limits: &Limits, collections: &Collections) -> Judgement {
    // When blocks died says when there were collections, nothing else.
    let undated = Series { samples: series.samples.clone(), ..Series::default() };
    let plain = judge_shape(&undated, limits, false);
    if plain.verdict != Verdict::Growing {
        return plain;
    }
    let (Some(first), Some(last)) = (series.samples.first(), series.samples.last()) else {
        return plain;
    };
    let Some(collected_ns) = collections.last_ns.filter(|at_ns| *at_ns > first.at_ns) else {
        let span = units::duration(last.at_ns.saturating_sub(first.at_ns));
        let reason = format!(
            "no full garbage collection was seen in {span}, and V8 frees such memory only in one: it may be garbage"
        );
        return pending(plain, reason);
    };
    let survivors = survivors(series, collected_ns);
    let judgement = judge_shape(&survivors, limits, false);
    let seen = match collections.count {
        1 => "1 full garbage collection was seen".to_owned(),
        count => format!("{} full garbage collections were seen", units::count(count)),
    };
    match judgement.verdict {
        Verdict::Growing => {
            let held = survivors.samples.last().map_or(0, |sample| sample.live_bytes);
            let mut reasons = judgement.reasons;
            reasons.push(format!(
                "{seen}, and {} that were born before the last one are still live",
                units::bytes(held)
            ));
            Judgement { reasons, ..judgement }
        }
        _ => {
            let since = units::duration(last.at_ns.saturating_sub(collected_ns));
            let reason = format!(
                "{seen}, the last {since} before the end; what was born before it did not keep growing, and what was born since has not been through one"
            );
            pending(plain, reason)
        }
    }
}

fn pending(plain: Judgement, reason: String) -> Judgement {
    Judgement { verdict: Verdict::PendingGc, reasons: vec![reason], ..plain }
}

/// At each sample until `until_ns`, the bytes born by then that are still live at the end. They
/// only grow, and hold no garbage but what was born while the last collection marked.
fn survivors(series: &Series, until_ns: u64) -> Series {
    let mut cohorts: Vec<(u64, u64)> =
        series.cohorts.values().map(|cohort| (cohort.born_ns, cohort.live_bytes)).collect();
    cohorts.sort_unstable();
    let mut cohorts = cohorts.into_iter().peekable();
    let mut live_bytes = 0_u64;
    let samples =
        series.samples.iter().take_while(|sample| sample.at_ns <= until_ns).map(|sample| {
            while let Some((_, live)) = cohorts.next_if(|(born_ns, _)| *born_ns <= sample.at_ns) {
                live_bytes = live_bytes.saturating_add(live);
            }
            Sample { live_bytes, settled_bytes: live_bytes, ..*sample }
        });
    Series { samples: samples.collect(), cohorts: series.cohorts.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Cohort, settled_age_ns};
    use crate::growth::{Evidence, judge_with};
    use std::collections::BTreeMap;

    const SECOND: u64 = 1_000_000_000;
    const KIB: u64 = 1024;

    /// 60 seconds in which `leaked` and `garbage` KiB are born in each; collections free the
    /// garbage at these seconds.
    fn gateway(leaked: u64, garbage: u64, collections: &[u64]) -> (Series, Collections) {
        let mut series = Series::default();
        let mut cohorts = BTreeMap::<u32, Cohort>::new();
        for second in 0..60_u64 {
            if collections.contains(&second) {
                cohorts.values_mut().for_each(|cohort| cohort.live_bytes = leaked * KIB);
            }
            let cohort = Cohort {
                born_ns: second * SECOND,
                allocated_bytes: (leaked + garbage) * KIB,
                live_bytes: (leaked + garbage) * KIB,
                ..Cohort::default()
            };
            cohorts.insert(second as u32 + 1, cohort);
            let live_bytes = cohorts.values().map(|cohort| cohort.live_bytes).sum();
            let settled_bytes = (cohorts.values())
                .filter(|cohort| {
                    cohort.born_ns + settled_age_ns(second * SECOND) <= second * SECOND
                })
                .map(|cohort| cohort.live_bytes);
            series.samples.push(Sample {
                at_ns: second * SECOND,
                live_bytes,
                settled_bytes: settled_bytes.sum(),
                ..Sample::default()
            });
        }
        series.cohorts = cohorts;
        let last_ns = collections.last().map(|second| (second - 1) * SECOND);
        (series, Collections { count: collections.len() as u64, last_ns })
    }

    fn judged(leaked: u64, garbage: u64, collections: &[u64]) -> Judgement {
        let (series, collections) = gateway(leaked, garbage, collections);
        let evidence = Evidence { collections: Some(collections), ..Evidence::default() };
        judge_with(&series, &Limits::default(), &evidence)
    }

    #[test]
    fn growth_without_a_collection_is_pending_whatever_it_is() {
        for (leaked, garbage) in [(0, 16), (16, 0), (16, 16)] {
            let judgement = judged(leaked, garbage, &[]);
            assert_eq!(judgement.verdict, Verdict::PendingGc, "{leaked} {garbage}");
            assert!(judgement.reasons[0].contains("no full garbage collection"), "{judgement:?}");
            assert!(judgement.rate.is_some());
        }
        assert_eq!(judged(0, 0, &[]).verdict, Verdict::Steady);
    }

    #[test]
    fn garbage_is_never_growth() {
        for collections in [&[20][..], &[50], &[20, 40], &[10, 20, 30, 40, 50, 58], &[2]] {
            let verdict = judged(0, 64, collections).verdict;
            assert_ne!(verdict, Verdict::Growing, "{collections:?}");
        }
        // What came after an early one has not been through any.
        assert_eq!(judged(0, 64, &[10]).verdict, Verdict::PendingGc);
    }

    #[test]
    fn a_leak_that_survived_a_collection_is_growth_at_the_leaks_own_rate() {
        for collections in [&[50][..], &[30], &[20, 40], &[10, 20, 30, 40, 50, 58]] {
            let judgement = judged(16, 0, collections);
            assert_eq!(judgement.verdict, Verdict::Growing, "{collections:?}: {judgement:?}");
        }
        let judgement = judged(16, 2, &[55]);
        assert_eq!(judgement.verdict, Verdict::Growing, "{judgement:?}");
        let rate = judgement.rate.expect("rate");
        assert!((rate.estimate / KIB as f64 - 16.0).abs() < 0.5, "{rate:?}");
        assert!(
            judgement.reasons.iter().any(|reason| reason.contains("1 full garbage collection"))
        );
    }

    #[test]
    fn a_collection_from_before_the_series_is_none() {
        let (mut series, collections) = gateway(16, 0, &[20]);
        series.samples.retain(|sample| sample.at_ns >= 30 * SECOND);
        let evidence = Evidence { collections: Some(collections), ..Evidence::default() };
        let judgement = judge_with(&series, &Limits::default(), &evidence);
        assert_eq!(judgement.verdict, Verdict::PendingGc);
    }
}
