//! Bounded fuzzing inside unit tests: seeded mutations of real inputs, for a few seconds.
//!
//! `OUTLIVE_FUZZ_SECONDS` makes it last longer, `OUTLIVE_FUZZ_SEED` start elsewhere; what failed is
//! told by seed and round, and comes again with the same seed.

use crate::work_time::work_time;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// How long one call takes, in seconds.
const DEFAULT_SECONDS: u64 = 2;
/// Longest time that one input may take, of a processor.
const MAX_ROUND: Duration = Duration::from_secs(5);
/// Mutations piled on one input.
const MAX_MUTATIONS: usize = 12;
/// Numbers at which bounds are.
const BORDERS: [u64; 9] = [0, 1, 7, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 47, u64::MAX];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Hands mutations of `inputs` to `check`, which must neither panic nor dawdle.
pub fn fuzz(what: &str, inputs: &[Vec<u8>], mut check: impl FnMut(&[u8])) {
    let seed = setting("OUTLIVE_FUZZ_SEED", 1);
    let limit = Duration::from_secs(setting("OUTLIVE_FUZZ_SECONDS", DEFAULT_SECONDS));
    let mut random = fastrand::Rng::with_seed(seed);
    let started = Instant::now();
    let mut round = 0_u64;
    while started.elapsed() < limit {
        let mut bytes = inputs[random.usize(..inputs.len())].clone();
        for _ in 0..random.usize(1..=MAX_MUTATIONS) {
            mutate(&mut bytes, &mut random);
        }
        let before = work_time();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&bytes))) {
            eprintln!("{what}: round {round} of OUTLIVE_FUZZ_SEED={seed} panicked");
            resume_unwind(panic);
        }
        let took = work_time().saturating_sub(before);
        assert!(took < MAX_ROUND, "{what}: round {round} of seed {seed} took {took:?}");
        round += 1;
    }
    assert!(round > 10, "{what}: only {round} inputs in {limit:?}");
}

/// One mutation: a flipped bit, a byte or a word at a border, a cut, a repeated or a moved piece.
fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    if bytes.is_empty() {
        bytes.push(random.u8(..));
        return;
    }
    let at = random.usize(..bytes.len());
    match random.u8(..8) {
        0 | 1 => bytes[at] ^= 1 << random.u8(..8),
        2 => bytes[at] = random.u8(..),
        3 | 4 => {
            let width = [1, 2, 4, 8][random.usize(..4)].min(bytes.len() - at);
            let value = BORDERS[random.usize(..BORDERS.len())].to_le_bytes();
            bytes[at..at + width].copy_from_slice(&value[..width]);
        }
        5 => bytes.truncate(at),
        6 => {
            let end = at + random.usize(..=(bytes.len() - at).min(64));
            let piece = bytes[at..end].to_vec();
            let place = random.usize(..=bytes.len());
            bytes.splice(place..place, piece);
        }
        _ => {
            let end = at + random.usize(..=(bytes.len() - at).min(64));
            bytes.drain(at..end);
        }
    }
}
