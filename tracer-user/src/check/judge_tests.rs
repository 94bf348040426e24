//! The judge of cycles on programs whose truth is known, since they are simulated block by block.

use super::judge::{Growth, Levels, Pattern, judge};
use fastrand::Rng;
use std::collections::VecDeque;

const CYCLES: usize = 10;
const WARM_UP: usize = 3;
/// Places of one program that are judged together.
const PLACES: usize = 40;

/// A place that allocates: blocks with the cycle of their birth.
#[derive(Default)]
struct Place {
    live: VecDeque<(usize, u64)>,
    bytes: Vec<u64>,
    blocks: Vec<u64>,
}

impl Place {
    /// A program's life: `cycle` is called for each with its number.
    fn run(cycles: usize, mut cycle: impl FnMut(&mut VecDeque<(usize, u64)>, usize)) -> Levels {
        let mut place = Self::default();
        for number in 0..WARM_UP + cycles {
            cycle(&mut place.live, number);
            if number + 1 >= WARM_UP {
                place.bytes.push(place.live.iter().map(|(_, bytes)| bytes).sum());
                place.blocks.push(place.live.len() as u64);
            }
        }
        let survivors = (WARM_UP..WARM_UP + cycles).map(|number| {
            let born = place.live.iter().filter(|(born, _)| *born == number);
            born.fold((0, 0), |(bytes, blocks), (_, size)| (bytes + size, blocks + 1))
        });
        Levels {
            survivors: survivors.collect(),
            bytes: place.bytes,
            blocks: place.blocks,
            ..Levels::default()
        }
    }
}

fn leak(levels: &Levels) -> Option<Pattern> {
    match judge(levels, PLACES) {
        Growth::Growing(pattern) => Some(pattern),
        _ => None,
    }
}

fn uneven(rng: &mut Rng, mean: u64) -> u64 {
    rng.u64(mean / 2..=mean * 3 / 2)
}

/// A leakless place of every kind.
fn innocent(kind: usize, rng: &mut Rng, cycles: usize) -> Levels {
    let capacity = rng.usize(5..400);
    let each = rng.usize(1..60);
    let chosen = rng.usize(0..WARM_UP + cycles / 2);
    let period = rng.usize(2..cycles.max(5) / 2 + 1);
    match kind {
        // The latest response is kept.
        0 => Place::run(cycles, |live, number| {
            live.clear();
            live.push_back((number, uneven(rng, 4000)));
        }),
        // A cache that throws the oldest out.
        1 => Place::run(cycles, |live, number| {
            if number == 0 {
                (0..capacity).for_each(|_| live.push_back((0, uneven(rng, 4000))));
            }
            for _ in 0..each {
                live.push_back((number, uneven(rng, 4000)));
                live.pop_front();
            }
        }),
        // A cache that throws anything out.
        2 => Place::run(cycles, |live, number| {
            if number == 0 {
                (0..capacity).for_each(|_| live.push_back((0, uneven(rng, 4000))));
            }
            for _ in 0..each {
                let index = rng.usize(0..live.len());
                live[index] = (number, uneven(rng, 4000));
            }
        }),
        // A cache that is filled in the first half.
        3 => Place::run(cycles, |live, number| {
            if number <= chosen {
                (0..each).for_each(|_| live.push_back((number, uneven(rng, 4000))));
            }
        }),
        // One large thing, once.
        4 => Place::run(cycles, |live, number| {
            if number == chosen {
                live.push_back((number, 1 << 20));
            }
        }),
        // A collector that comes from time to time.
        5 => Place::run(cycles, |live, number| {
            if (number + chosen).is_multiple_of(period) {
                live.clear();
            }
            (0..each).for_each(|_| live.push_back((number, uneven(rng, 4000))));
        }),
        // What is in use when a cycle ends: any number, at random.
        6 => Place::run(cycles, |live, number| {
            live.clear();
            (0..rng.usize(0..=each)).for_each(|_| live.push_back((number, uneven(rng, 4000))));
        }),
        // A walk that goes up as easily as down.
        7 => Place::run(cycles, |live, number| {
            if number == 0 {
                (0..1000).for_each(|_| live.push_back((0, 4000)));
            }
            for _ in 0..rng.usize(0..=each) {
                match rng.bool() {
                    true => live.push_back((number, uneven(rng, 4000))),
                    false => drop(live.pop_front()),
                }
            }
        }),
        // Keys at random into a table: fewer new ones from cycle to cycle. One that takes in about
        // one entry a cycle for as long as it is looked at is a leak by all its looks.
        _ => Place::run(cycles, |live, number| {
            let each = each + 8;
            for _ in 0..each {
                if rng.usize(0..each * 4) >= live.len() {
                    live.push_back((number, 500));
                }
            }
        }),
    }
}

#[test]
fn ten_thousand_leakless_runs_of_each_kind_fail_none() {
    let mut rng = Rng::with_seed(20_261_121);
    for (cycles, runs) in [(5, 2000), (CYCLES, 10_000), (20, 1000)] {
        // What is still being filled may leave one entry in each of five cycles; ten tell.
        let kinds = if cycles < CYCLES { 8 } else { 9 };
        for kind in 0..kinds {
            let accused =
                (0..runs).filter(|_| leak(&innocent(kind, &mut rng, cycles)).is_some()).count();
            assert_eq!(accused, 0, "kind {kind}, {cycles} cycles");
        }
    }
}

#[test]
fn a_leak_of_the_same_in_every_cycle_is_named_exactly() {
    let levels = Place::run(4, |live, number| {
        [65_536, 32_768, 32_768].iter().for_each(|size| live.push_back((number, *size)));
    });
    let found = leak(&levels).expect("a leak");
    assert!(found.exact);
    assert_eq!((found.blocks, found.bytes.estimate), (3.0, 131_072.0));
    assert_eq!(found.bytes.low, found.bytes.high);
}

#[test]
fn a_leak_beside_what_comes_and_goes_is_named_exactly() {
    let mut rng = Rng::with_seed(7);
    let mut leaked = VecDeque::new();
    let levels = Place::run(CYCLES, |live, number| {
        leaked.push_back((number, 50_000));
        live.clone_from(&leaked);
        live.push_back((number, rng.u64(1..9000)));
    });
    let found = leak(&levels).expect("a leak");
    assert!(found.exact, "{found:?}");
    assert_eq!((found.blocks, found.bytes.estimate), (1.0, 50_000.0));
}

#[test]
fn uneven_leaks_are_found_with_their_rate() {
    let mut rng = Rng::with_seed(3);
    for _ in 0..1000 {
        let per_cycle = rng.usize(12..60);
        let levels = Place::run(CYCLES, |live, number| {
            for _ in 0..per_cycle {
                live.push_back((number, uneven(&mut rng, 30_000)));
            }
        });
        let found = leak(&levels).expect("a leak");
        let expected = per_cycle as f64 * 30_000.0;
        assert!((found.bytes.estimate / expected - 1.0).abs() < 0.15, "{found:?}, not {expected}");
        assert!(found.bytes.low > 0.0 && found.bytes.low <= found.bytes.estimate);
    }
}

#[test]
fn a_leak_under_uneven_work_is_found_and_uneven_work_alone_accuses_nobody() {
    let mut rng = Rng::with_seed(5);
    for _ in 0..1000 {
        let requests: Vec<usize> = (0..WARM_UP + CYCLES).map(|_| rng.usize(10..100)).collect();
        let work = requests[WARM_UP..].iter().map(|requests| *requests as u64 * 900_000);
        let work: Vec<u64> = work.map(|work| work + rng.u64(0..2_000_000)).collect();
        let leaky = Place::run(CYCLES, |live, number| {
            let each = rng.u64(29_000..31_000);
            (0..requests[number]).for_each(|_| live.push_back((number, each)));
        });
        let leaky = Levels { work: work.clone(), ..leaky };
        assert!(leak(&leaky).is_some(), "{:?} {:?}", leaky.changes(), leaky.work);
        for kind in 0..8 {
            let innocent = innocent(kind, &mut rng, CYCLES);
            let levels = Levels { work: work.clone(), ..innocent };
            assert_eq!(leak(&levels), None, "kind {kind}");
        }
    }
}

#[test]
fn a_block_that_gets_larger_is_found() {
    let levels = Place::run(CYCLES, |live, number| {
        live.clear();
        live.push_back((number, 1000 + 640 * number as u64));
    });
    let found = leak(&levels).expect("growth");
    assert_eq!((found.bytes.estimate, found.blocks, found.exact), (640.0, 0.0, true));
}

#[test]
fn three_cycles_prove_nothing() {
    let levels = Place::run(3, |live, number| live.push_back((number, 4096)));
    assert_eq!(judge(&levels, 1), Growth::None);
    assert_eq!(judge(&Levels::default(), 1), Growth::None);
}

#[test]
fn what_waits_for_a_collector_is_pending() {
    let pattern = |collected| {
        let levels = Place::run(CYCLES, |live, number| live.push_back((number, 4096)));
        judge(&Levels { collected: Some(collected), ..levels }, 1)
    };
    assert!(matches!(pattern(0), Growth::Pending(_)));
    assert!(matches!(pattern(4), Growth::Pending(_)));
    assert!(matches!(pattern(6), Growth::Growing(_)), "six cycles went through one, and live");
    assert!(matches!(pattern(CYCLES), Growth::Growing(_)));
    // What was born before the collection has gone; what came since has not been through one.
    let levels = Place::run(CYCLES, |live, number| {
        if number == 9 {
            live.clear();
        }
        live.push_back((number, 4096));
    });
    assert_eq!(leak(&Levels { collected: Some(6), ..levels }), None);
}

#[test]
fn numbers_that_no_program_makes_are_judged() {
    for bytes in [vec![u64::MAX; 8], vec![0, u64::MAX, 0, u64::MAX, 0, u64::MAX], vec![]] {
        let levels = Levels { blocks: bytes.clone(), bytes, ..Levels::default() };
        assert_eq!(judge(&levels, usize::MAX), Growth::None);
    }
    let rising: Vec<u64> = (0..8).map(|i| i * (u64::MAX / 8)).collect();
    let survivors = vec![(u64::MAX, u64::MAX); 7];
    let levels = Levels { blocks: rising.clone(), bytes: rising, survivors, ..Levels::default() };
    judge(&levels, 0);
}
