//! Heaps that are made up block by block, and how often the judge is wrong about them. Ten thousand
//! leakless ones of each shape show the rate of false flags that [`FALSE_FLAGS`] promises; leaks at
//! the rates that matter show its power and the error of its rate.

mod leakless;
mod leaks;

use super::{Evidence, Judgement, Limits, UnknownFrees, judge_with};
use crate::aggregate::{Cohort, Sample, Series, UnknownFreed, settled_age_ns};
use fastrand::Rng;

const SECOND: u64 = 1_000_000_000;

/// A heap at a tick a second, from the beginning of a session.
struct Heap {
    live: Vec<i64>,
    blocks: Vec<i64>,
    settled: Vec<i64>,
    /// The epoch of each tick, and when each is settled.
    epoch_of: Vec<usize>,
    settles_at: Vec<usize>,
    cohorts: Vec<Cohort>,
    unknown: Vec<UnknownFreed>,
}

impl Heap {
    fn new(ticks: usize) -> Self {
        let (mut epoch_of, mut cohorts, mut began) = (Vec::new(), Vec::<Cohort>::new(), 0);
        for tick in 0..ticks {
            // As `session::epoch` has it.
            if tick == 0 || tick - began >= (tick / 24).max(1) {
                began = tick;
                let born_ns = tick as u64 * SECOND;
                cohorts.push(Cohort { born_ns, ..Cohort::default() });
            }
            epoch_of.push(cohorts.len() - 1);
        }
        let settled = |born_ns: u64| {
            let settles = |tick: &usize| {
                let at_ns = *tick as u64 * SECOND;
                born_ns + settled_age_ns(at_ns) <= at_ns
            };
            (0..ticks).find(settles).unwrap_or(ticks)
        };
        let settles_at = cohorts.iter().map(|cohort| settled(cohort.born_ns)).collect();
        let zeros = || vec![0; ticks + 1];
        let unknown = vec![UnknownFreed { bytes: Some(0), ..UnknownFreed::default() }; ticks];
        Self {
            live: zeros(),
            blocks: zeros(),
            settled: zeros(),
            epoch_of,
            settles_at,
            cohorts,
            unknown,
        }
    }

    fn ticks(&self) -> usize {
        self.epoch_of.len()
    }

    /// A block that is born by the tick `born` and dead by `dies`.
    fn block(&mut self, born: usize, dies: usize, bytes: u64) {
        self.blocks_of(born, dies, bytes, 1);
    }

    fn blocks_of(&mut self, born: usize, dies: usize, bytes: u64, blocks: i64) {
        let epoch = self.epoch_of[born];
        self.cohorts[epoch].allocated_bytes += bytes;
        let dies = dies.max(born);
        if dies >= self.ticks() {
            self.cohorts[epoch].live_bytes += bytes;
        }
        let dies = dies.min(self.ticks());
        let bytes = bytes as i64;
        self.live[born] += bytes;
        self.live[dies] -= bytes;
        self.blocks[born] += blocks;
        self.blocks[dies] -= blocks;
        let settles = self.settles_at[epoch].max(born);
        if settles < dies {
            self.settled[settles] += bytes;
            self.settled[dies] -= bytes;
        }
    }

    /// A block from before the session is freed.
    fn unknown(&mut self, tick: usize, bytes: u64) {
        self.unknown[tick].blocks += 1;
        self.unknown[tick].bytes = self.unknown[tick].bytes.map(|known| known + bytes);
    }

    fn series(&self) -> Series {
        let (mut live, mut blocks, mut settled) = (0, 0, 0);
        let samples = (0..self.ticks()).map(|tick| {
            live += self.live[tick];
            blocks += self.blocks[tick];
            settled += self.settled[tick];
            Sample {
                at_ns: tick as u64 * SECOND,
                live_bytes: live as u64,
                live_blocks: blocks as u64,
                settled_bytes: settled as u64,
                ..Sample::default()
            }
        });
        let born = self.cohorts.iter().filter(|cohort| cohort.allocated_bytes > 0);
        let cohorts = (1..).zip(born.copied()).collect();
        Series { samples: samples.collect(), cohorts }
    }

    fn judgement(&self) -> Judgement {
        let mut sum = UnknownFreed { bytes: Some(0), ..UnknownFreed::default() };
        let unknown = (0..).zip(&self.unknown).map(|(tick, freed)| {
            sum.blocks += freed.blocks;
            sum.bytes = sum.bytes.zip(freed.bytes).map(|(a, b)| a + b);
            UnknownFreed { at_ns: tick * SECOND, ..sum }
        });
        let unknown: Vec<UnknownFreed> = unknown.collect();
        let evidence =
            Evidence { unknown_frees: UnknownFrees::of(&unknown), ..Evidence::default() };
        judge_with(&self.series(), &Limits::default(), &evidence)
    }
}

fn exponential(random: &mut Rng, mean: f64) -> f64 {
    -(1.0 - random.f64()).ln() * mean
}

/// How many things happen in a second of which `mean` do on average.
fn poisson(random: &mut Rng, mean: f64) -> usize {
    let (limit, mut product, mut count) = ((-mean).exp(), random.f64(), 0);
    while product > limit {
        product *= random.f64();
        count += 1;
    }
    count
}
