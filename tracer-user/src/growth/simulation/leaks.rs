//! Heaps with a leak: how surely it is found, and how well its rate is told.

use super::{Heap, exponential, poisson};
use crate::growth::Verdict;
use fastrand::Rng;

/// A leak of this shape in so many windows of `ticks`: the share that is found, and the worst error
/// of its rate against the truth, as a share of that, of 99 in 100.
fn power(shape: fn(&mut Rng, &mut Heap) -> f64, ticks: usize, rounds: usize) -> (f64, f64) {
    let mut random = Rng::with_seed(7);
    let mut errors = Vec::new();
    for _ in 0..rounds {
        let mut heap = Heap::new(ticks);
        let truth = shape(&mut random, &mut heap) / ticks as f64;
        let judgement = heap.judgement();
        match judgement.rate {
            Some(rate) if judgement.verdict == Verdict::Growing => {
                errors.push((rate.estimate / truth - 1.0).abs());
            }
            _ => println!("missed: {:?} {:?}", judgement.verdict, judgement.reasons),
        }
    }
    errors.sort_unstable_by(f64::total_cmp);
    let found = errors.len() as f64 / rounds as f64;
    (found, errors.get((errors.len() * 99 / 100).saturating_sub(1)).copied().unwrap_or(1.0))
}

/// 20 MB a second of blocks that live for less than two seconds, in bulk.
fn churn(random: &mut Rng, heap: &mut Heap) {
    for tick in 0..heap.ticks() {
        for _ in 0..20 {
            let dies = tick + usize::from(random.f64() < 0.2) * random.usize(1..3);
            heap.blocks_of(tick, dies, random.u64(500_000..1_500_000), 60);
        }
    }
}

/// A leak of blocks of this size at this rate, bytes a second.
fn leak(random: &mut Rng, heap: &mut Heap, rate: f64, block: u64) -> f64 {
    let mut leaked = 0;
    for tick in 0..heap.ticks() {
        for _ in 0..poisson(random, rate / block as f64) {
            heap.block(tick, usize::MAX, block);
            leaked += block;
        }
    }
    leaked as f64
}

const SLOW: f64 = 60e6 / 3600.0;
const FAST: f64 = 1e6;

fn slow_alone(random: &mut Rng, heap: &mut Heap) -> f64 {
    leak(random, heap, SLOW, 2048)
}

fn slow_amid_churn(random: &mut Rng, heap: &mut Heap) -> f64 {
    churn(random, heap);
    leak(random, heap, SLOW, 2048)
}

fn fast_amid_churn(random: &mut Rng, heap: &mut Heap) -> f64 {
    churn(random, heap);
    leak(random, heap, FAST, 16 << 10)
}

fn slow_behind_a_start(random: &mut Rng, heap: &mut Heap) -> f64 {
    for _ in 0..300 {
        let born = (exponential(random, 6.0) as usize).min(40);
        heap.block(born, usize::MAX, 20_000);
    }
    leak(random, heap, SLOW, 2048)
}

fn slow_under_a_sawtooth(random: &mut Rng, heap: &mut Heap) -> f64 {
    let (period, phase) = (random.usize(5..20), random.usize(0..20));
    for tick in 0..heap.ticks() {
        heap.block(tick, tick + period - (tick + phase) % period, 10_000);
    }
    leak(random, heap, SLOW, 2048)
}

/// The rate itself wanders by some 20 %, with a memory of five seconds.
fn fluctuating(random: &mut Rng, heap: &mut Heap) -> f64 {
    let (mut leaked, mut deviation) = (0, 0.0);
    for tick in 0..heap.ticks() {
        deviation = 0.8 * deviation + (random.f64() - 0.5) * 0.4;
        let bytes = (SLOW * (1.0 + deviation).max(0.0)) as u64;
        heap.block(tick, usize::MAX, bytes);
        leaked += bytes;
    }
    leaked as f64
}

fn in_bursts(random: &mut Rng, heap: &mut Heap) -> f64 {
    let phase = random.usize(0..5);
    let mut leaked = 0;
    for tick in (0..heap.ticks()).filter(|tick| (tick + phase).is_multiple_of(5)) {
        heap.block(tick, usize::MAX, 5 * SLOW as u64);
        leaked += 5 * SLOW as u64;
    }
    leaked as f64
}

/// Beside a store of sessions that were there before, and are given up in half a minute.
fn beside_old_frees(random: &mut Rng, heap: &mut Heap) -> f64 {
    churn(random, heap);
    for tick in 0..heap.ticks() {
        (0..30 - tick.min(30)).for_each(|_| heap.unknown(tick, 40_000));
        (0..poisson(random, 1.0)).for_each(|_| heap.unknown(tick, 4_000));
    }
    leak(random, heap, SLOW, 2048)
}

#[test]
fn leaks_are_found_at_their_rate() {
    type Leak = fn(&mut Rng, &mut Heap) -> f64;
    let leaks: [(&str, Leak, usize); 9] = [
        ("slow, alone", slow_alone, 120),
        ("slow, amid churn", slow_amid_churn, 120),
        ("fast, amid churn", fast_amid_churn, 30),
        ("slow, behind a start", slow_behind_a_start, 120),
        ("slow, under a sawtooth", slow_under_a_sawtooth, 120),
        ("fluctuating", fluctuating, 120),
        ("in bursts", in_bursts, 120),
        ("beside old frees", beside_old_frees, 120),
        ("slow, long", slow_amid_churn, 1000),
    ];
    for (name, shape, ticks) in leaks {
        let (found, error) = power(shape, ticks, if ticks > 500 { 50 } else { 500 });
        println!("{name}: {found} found, rates within {error}");
        assert!(found >= 0.99, "{name}: {found} found");
        assert!(error <= 0.15, "{name}: rates within {error}");
    }
}
