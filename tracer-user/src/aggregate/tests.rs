//! The aggregate against a naive one that remembers every tick.

use super::*;
use crate::tick::SiteReading;
use tracer_common::counter::Counter;

fn reading(stack: u64, epoch: u32, allocated: u64, freed: u64) -> SiteReading {
    SiteReading {
        stack: StackId(stack),
        epoch,
        allocated_bytes: allocated * 100,
        allocated_blocks: allocated,
        freed_bytes: freed * 100,
        freed_blocks: freed,
        allocated_variance: 0,
        freed_variance: 0,
    }
}

/// A session of `ticks` seconds: cumulative counters that grow by a small generator.
fn session(ticks: u64) -> Vec<Tick> {
    let mut state = 12345u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let mut born = std::collections::BTreeMap::<(u64, u32), (u64, u64)>::new();
    (0..ticks)
        .map(|tick| {
            let mut sites = Vec::new();
            for _ in 0..random(4) {
                let key = (10 + random(5), 1 + (tick / 7) as u32 - random(2).min(tick / 7) as u32);
                let entry = born.entry(key).or_default();
                entry.0 += random(10);
                entry.1 += random(entry.0 - entry.1 + 1);
                sites.retain(|site: &SiteReading| (site.stack.0, site.epoch) != key);
                sites.push(reading(key.0, key.1, entry.0, entry.1));
            }
            Tick { at_ns: tick * 1_000_000_000, sites, ..Tick::default() }
        })
        .collect()
}

/// Live bytes of a stack at every tick, from scratch each time.
fn oracle(ticks: &[Tick], stack: StackId) -> Vec<(u64, u64)> {
    (0..ticks.len())
        .map(|last| {
            let mut latest = BTreeMap::new();
            for site in ticks[..=last]
                .iter()
                .flat_map(|tick| &tick.sites)
                .filter(|site| site.stack == stack)
            {
                latest.insert(site.epoch, site.allocated_bytes - site.freed_bytes);
            }
            (ticks[last].at_ns, latest.values().sum())
        })
        .collect()
}

fn aggregate(ticks: &[Tick]) -> Aggregate {
    let mut aggregate = Aggregate::new();
    ticks.iter().for_each(|tick| aggregate.apply(tick));
    aggregate
}

#[test]
fn series_equal_a_naive_replay() {
    let ticks = session(300);
    let aggregate = aggregate(&ticks);
    for stack in 10..15 {
        let samples = aggregate.series(StackId(stack)).samples;
        let found: Vec<_> =
            samples.iter().map(|sample| (sample.at_ns, sample.live_bytes)).collect();
        assert_eq!(found, oracle(&ticks, StackId(stack)));
    }
}

#[test]
fn thinned_series_keep_true_values_and_the_latest_tick() {
    let ticks = session(5000);
    let aggregate = aggregate(&ticks);
    let truth = oracle_of_all(&ticks);
    for stack in 10..15 {
        let samples = aggregate.series(StackId(stack)).samples;
        assert!(
            samples.len() <= MAX_TICKS && samples.len() > MAX_TICKS / 2 - 2,
            "{}",
            samples.len()
        );
        assert_eq!(samples[0].at_ns, 0);
        assert_eq!(samples[samples.len() - 1].at_ns, 4999 * 1_000_000_000);
        for sample in samples {
            assert_eq!(
                sample.live_bytes,
                truth[&(stack, sample.at_ns)],
                "{stack} at {}",
                sample.at_ns
            );
        }
    }
}

/// As `oracle`, in one pass, for long sessions.
fn oracle_of_all(ticks: &[Tick]) -> BTreeMap<(u64, u64), u64> {
    let mut latest = BTreeMap::new();
    let mut truth = BTreeMap::new();
    for tick in ticks {
        for site in &tick.sites {
            latest.insert((site.stack.0, site.epoch), site.allocated_bytes - site.freed_bytes);
        }
        for stack in 10..15 {
            let live = latest.range((stack, 0)..=(stack, u32::MAX)).map(|(_, live)| *live).sum();
            truth.insert((stack, tick.at_ns), live);
        }
    }
    truth
}

#[test]
fn a_tick_applied_twice_changes_nothing() {
    let ticks = session(100);
    let once = aggregate(&ticks);
    let mut twice = once.clone();
    ticks.iter().for_each(|tick| twice.apply(tick));
    assert_eq!(once.totals(), twice.totals());
    assert_eq!(once.tick_count(), twice.tick_count());
    for stack in 10..15 {
        assert_eq!(once.series(StackId(stack)).samples, twice.series(StackId(stack)).samples);
    }
}

#[test]
fn ticks_out_of_order_add_up_to_the_same() {
    let ticks = session(100);
    let mut shuffled = ticks.clone();
    shuffled.reverse();
    assert_eq!(aggregate(&ticks).totals(), aggregate(&shuffled).totals());
    shuffled.sort_by_key(|tick| tick.at_ns % 7);
    assert_eq!(aggregate(&ticks).totals(), aggregate(&shuffled).totals());
}

#[test]
fn absurd_readings_do_not_overflow() {
    let all = SiteReading {
        stack: StackId(1),
        epoch: 0,
        allocated_bytes: u64::MAX,
        allocated_blocks: u64::MAX,
        freed_bytes: u64::MAX,
        freed_blocks: u64::MAX,
        allocated_variance: 0,
        freed_variance: 0,
    };
    let tick = Tick { sites: vec![all, SiteReading { epoch: 9, ..all }], ..Tick::default() };
    assert_eq!(aggregate(&[tick]).totals().live_bytes(), 0);
}

#[test]
fn losses_of_user_space_are_kept_at_their_highest() {
    let mut aggregate = Aggregate::new();
    aggregate.note_loss("capture_bytes_refused", 7);
    aggregate.note_loss("capture_bytes_refused", 5);
    assert_eq!(aggregate.counters().user["capture_bytes_refused"], 7);
}

#[test]
fn a_pinned_tick_outlasts_every_thinning() {
    let ticks = session(5 * MAX_TICKS as u64);
    let mut aggregate = Aggregate::new();
    let pinned = [1, 777, 1023, 1025, 3001];
    for (number, tick) in ticks.iter().enumerate() {
        aggregate.apply(tick);
        if pinned.contains(&number) {
            aggregate.pin_latest();
        }
    }
    let stack = StackId(11);
    let expected = oracle(&ticks, stack);
    let samples = aggregate.series(stack).samples;
    assert!(samples.len() <= MAX_TICKS + pinned.len(), "{}", samples.len());
    for number in pinned {
        let (at_ns, live_bytes) = expected[number];
        let found = samples.iter().find(|sample| sample.at_ns == at_ns);
        assert_eq!(found.map(|sample| sample.live_bytes), Some(live_bytes), "tick {number}");
    }
}

#[test]
fn what_is_transient_never_settles_and_what_stays_does() {
    let mut aggregate = Aggregate::new();
    for second in 0..60_u64 {
        let mut sites = vec![reading(1, second as u32 + 1, 10, 0)];
        if second > 0 {
            sites.push(reading(1, second as u32, 10, 9));
        }
        aggregate.apply(&Tick { at_ns: second * 1_000_000_000, sites, ..Tick::default() });
    }
    for (second, sample) in aggregate.series(StackId(1)).samples.iter().enumerate() {
        let old = (0..60)
            .filter(|born| born * 1_000_000_000 + settled_age_ns(sample.at_ns) <= sample.at_ns);
        assert_eq!(sample.settled_bytes, old.count() as u64 * 100, "{second}");
        assert_eq!(sample.live_bytes, (second as u64 + 10) * 100);
    }
}

#[test]
fn what_was_freed_unseen_is_kept_for_the_ticks_that_are() {
    let mut aggregate = Aggregate::new();
    for second in 0..3000_u64 {
        let mut tick = Tick { at_ns: second * 1_000_000_000, ..Tick::default() };
        tick.counters.kernel[Counter::FreedUnknownBlocks as usize] = second * 2;
        aggregate.apply(&tick);
    }
    let (frees, samples) = (aggregate.unknown_frees(), aggregate.series(StackId(1)).samples);
    assert_eq!(frees.len(), samples.len());
    for (freed, sample) in frees.iter().zip(samples) {
        assert_eq!((freed.at_ns, freed.blocks), (sample.at_ns, sample.at_ns / 500_000_000));
    }
}
