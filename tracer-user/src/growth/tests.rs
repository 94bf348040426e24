//! Shapes that programs make, and what the judge says to them.

use super::*;
use crate::aggregate::{Cohort, Sample};

const KIB: u64 = 1024;

/// A series of one sample a second.
fn series(live_bytes: impl IntoIterator<Item = u64>) -> Series {
    let samples = (0u64..).zip(live_bytes).map(|(second, live_bytes)| Sample {
        at_ns: second * 1_000_000_000,
        live_bytes,
        settled_bytes: live_bytes,
        ..Sample::default()
    });
    Series { samples: samples.collect(), ..Series::default() }
}

fn verdict(live_bytes: impl IntoIterator<Item = u64>) -> Verdict {
    judge(&series(live_bytes), &Limits::default()).verdict
}

/// The small linear congruential generator that all random series here come from.
struct Random(u64);
impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn leaks_are_growing() {
    let mut random = Random(7);
    assert_eq!(verdict((0..30).map(|t| t * 4 * KIB)), Verdict::Growing, "linear");
    assert_eq!(verdict((0..600).map(|t| t * KIB)), Verdict::Growing, "slow and long");
    assert_eq!(
        verdict((0..46).map(|t| t / 5 * 50 * KIB)),
        Verdict::Growing,
        "bursts every 5 s for 45 s"
    );
    assert_eq!(
        verdict((0..61).map(|t| t / 5 * 50 * KIB)),
        Verdict::Growing,
        "bursts every 5 s for 60 s"
    );
    let noisy = (0..40).map(|t| t * 8 * KIB + random.below(20 * KIB));
    assert_eq!(verdict(noisy), Verdict::Growing, "linear under transient buffers");
    let saw = (0..120).map(|t| t * 8 * KIB + t % 6 * 20 * KIB);
    assert_eq!(verdict(saw), Verdict::Growing, "linear under a sawtooth");
}

#[test]
fn the_rate_of_a_leak_is_in_its_interval() {
    let mut random = Random(12);
    let judgement =
        judge(&series((0..60).map(|t| t * 10_000 + random.below(30_000))), &Limits::default());
    let rate = judgement.rate.expect("rate");
    assert!(rate.low <= 10_000.0 && 10_000.0 <= rate.high, "{rate:?}");
    assert!(rate.high - rate.low < 2_000.0, "{rate:?}");
}

#[test]
fn innocent_shapes_are_told_apart() {
    let mut random = Random(3);
    assert_eq!(verdict([500 * KIB; 60]), Verdict::Steady, "constant");
    assert_eq!(verdict([0; 60]), Verdict::Steady, "nothing");
    assert_eq!(verdict((0..60).map(|t| t % 10 * 100 * KIB)), Verdict::Sawtooth, "sawtooth");
    assert_eq!(verdict((0..60).map(|t| t % 23 * 100 * KIB)), Verdict::Sawtooth, "sawtooth, cut");
    assert_eq!(
        verdict((0..60).map(|t| t.min(30) * 100 * KIB)),
        Verdict::OneOff,
        "cache full at half time"
    );
    assert_eq!(
        verdict((0..60).map(|t| t.min(42) * 100 * KIB)),
        Verdict::OneOff,
        "cache full at 70 %"
    );
    assert_eq!(
        verdict((0..60).map(|t| if t > 20 { 9000 * KIB } else { 0 })),
        Verdict::OneOff,
        "one-off"
    );
    assert_eq!(
        verdict((0..60).map(|t| if t > 58 { 9000 * KIB } else { 0 })),
        Verdict::Steady,
        "late one-off"
    );
    assert_eq!(verdict((0..60).map(|t| t * 100)), Verdict::Steady, "below the floor");
    assert_eq!(verdict((0..60).map(|t| 9000 * KIB - t * 100 * KIB)), Verdict::Steady, "shrinking");
    assert_eq!(verdict((0..60).map(|_| random.below(900 * KIB))), Verdict::Steady, "churn");
}

#[test]
fn too_little_is_no_verdict() {
    assert_eq!(verdict([]), Verdict::NotEnoughData);
    assert_eq!(verdict([1]), Verdict::NotEnoughData);
    assert_eq!(
        verdict((0..8).map(|t| t * 900 * KIB)),
        Verdict::NotEnoughData,
        "seven ticks without warm-up"
    );
    let mut stopped = series((0..100).map(|t| t * 900 * KIB));
    stopped.samples.iter_mut().for_each(|sample| sample.at_ns = 5);
    assert_eq!(
        judge(&stopped, &Limits::default()).verdict,
        Verdict::NotEnoughData,
        "all at one time"
    );
    assert_eq!(judge(&stopped, &Limits::default()).rate, None);
}

#[test]
fn uneven_growth_counts_only_where_early_cohorts_survive() {
    let live: Vec<u64> =
        (0..60u64).map(|t| if t < 30 { t * KIB } else { 30 * KIB + (t - 30) * 6 * KIB }).collect();
    let with_cohorts = |held_by_early: u64| {
        let cohort = |number: u32| {
            let early = number < 7;
            let born_ns = u64::from(number) * 6_000_000_000;
            let live_bytes = if early { held_by_early } else { 40 * KIB };
            (number, Cohort { born_ns, allocated_bytes: 90 * KIB, live_bytes, ..Cohort::default() })
        };
        Series { cohorts: (0..10).map(cohort).collect(), ..series(live.iter().copied()) }
    };
    assert_eq!(judge(&with_cohorts(30 * KIB), &Limits::default()).verdict, Verdict::Growing);
    assert_eq!(judge(&with_cohorts(0), &Limits::default()).verdict, Verdict::Steady);
}

/// Leakless series of many kinds: independent noise, blocks with lifetimes, caches that turn over.
fn leakless(random: &mut Random) -> Vec<u64> {
    let ticks = 20 + random.below(100) as usize;
    let block = 1 + random.below(64) * KIB;
    match random.below(4) {
        0 => (0..ticks).map(|_| random.below(100) * block).collect(),
        1 => with_lifetimes(random, ticks, block),
        2 => {
            let (capacity, fill) = (50 * block, 1 + random.below(20));
            (0..ticks as u64 + 40)
                .skip(40)
                .map(|t| (t * fill * block).min(capacity) + random.below(3) * block)
                .collect()
        }
        _ => {
            let period = 2 + random.below(ticks as u64 / 3);
            (0..ticks as u64).map(|t| t % period * block + random.below(4) * block).collect()
        }
    }
}

/// Births at random, each dying at random after at most an eighth of the window.
fn with_lifetimes(random: &mut Random, ticks: usize, block: u64) -> Vec<u64> {
    let longest = (ticks as u64 / 8).max(2);
    let mut live = vec![0u64; ticks + 200];
    for birth in 0..live.len() {
        for _ in 0..random.below(20) {
            let death = (birth + 1 + random.below(longest) as usize).min(live.len());
            live[birth..death].iter_mut().for_each(|bytes| *bytes += block);
        }
    }
    live.split_off(200)
}

#[test]
fn fewer_than_one_in_a_thousand_leakless_series_is_flagged() {
    let mut random = Random(2026);
    let rounds = 5000;
    let flagged =
        (0..rounds).filter(|_| verdict(leakless(&mut random)) == Verdict::Growing).count();
    assert!(flagged * 1000 < rounds, "{flagged} of {rounds}");
}

#[test]
fn the_interval_holds_the_truth_as_often_as_it_says() {
    let mut random = Random(5);
    let rounds = 400;
    let held = (0..rounds)
        .filter(|_| {
            let live: Vec<u64> = (0..50).map(|t| t * 5000 + random.below(60_000)).collect();
            let rate = judge(&series(live), &Limits::default()).rate.expect("rate");
            rate.low <= 5000.0 && 5000.0 <= rate.high
        })
        .count();
    assert!(held * 100 >= rounds * 93, "{held} of {rounds}");
}
