//! Whether a block is drawn: Poisson by bytes. The bytes up to the next point are counted down by
//! each thread for itself; a block is drawn when a point falls into it, which has the chance
//! 1 - exp(-size / mean). How far the next point lies does not depend on what has passed, so that
//! counting may begin anew at any moment.

use crate::logarithm::ln;
use crate::shared::{LaneThread, unpack_order};
use crate::thread::{CONTROL, own};

/// Decides for a block of `size` bytes of the present thread; the order by which it is drawn.
#[inline(never)]
pub(crate) fn draws(size: u64) -> Option<u64> {
    let (thread, offset) = own();
    // SAFETY: the present thread's own memory, which nobody else touches; a signal handler that
    // allocates may come between, and would at worst draw from the same numbers.
    let thread = unsafe { &mut *thread };
    let order = CONTROL.order();
    if thread.random == 0 {
        CONTROL.set_thread_offset(offset);
        thread.random = seed(core::ptr::from_ref(thread) as u64);
    }
    draws_by(thread, order, size).then_some(order)
}

/// The rule itself.
fn draws_by(thread: &mut LaneThread, order: u64, size: u64) -> bool {
    if order == 0 {
        thread.order = 0;
        thread.remaining_bytes = u64::MAX;
        return false;
    }
    let (_, mean_bytes) = unpack_order(order);
    if thread.order != order {
        thread.order = order;
        thread.remaining_bytes = distance(&mut thread.random, mean_bytes);
    }
    if size <= thread.remaining_bytes {
        thread.remaining_bytes -= size;
        return false;
    }
    thread.remaining_bytes = distance(&mut thread.random, mean_bytes);
    true
}

/// Whole bytes to the next point, `mean_bytes` apart on average.
fn distance(random: &mut u64, mean_bytes: u64) -> u64 {
    // In (0, 1], in steps of 2^-53.
    let chance = ((next(random) >> 11) + 1) as f64 * (1.0 / (1_u64 << 53) as f64);
    // A conversion from floating point stays within the integer's bounds.
    (-ln(chance) * mean_bytes as f64) as u64
}

/// # Sources
/// xorshift64*, S. Vigna, "An experimental exploration of Marsaglia's xorshift generators,
/// scrambled" (2016).
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// A state that is not 0, from where the thread's memory lies and the time stamp counter, mixed as
/// splitmix64 does.
fn seed(place: u64) -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    let time = unsafe { core::arch::x86_64::_rdtsc() };
    let mut mixed = place.rotate_left(32) ^ time;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::pack_order;

    fn thread() -> LaneThread {
        LaneThread { random: 0x1234_5678_9abc_def1, ..LaneThread::default() }
    }

    #[test]
    fn the_chance_of_a_block_is_that_of_a_point_in_it() {
        const MEAN: u64 = 65_536;
        const BLOCKS: u32 = 400_000;
        for size in [16, 1_000, 30_000, 65_536, 200_000, 2_000_000] {
            let mut thread = thread();
            let order = pack_order(1, MEAN);
            let drawn = (0..BLOCKS).filter(|_| draws_by(&mut thread, order, size)).count() as f64;
            let chance = 1.0 - (-(size as f64) / MEAN as f64).exp();
            let expected = f64::from(BLOCKS) * chance;
            let deviation = (expected * (1.0 - chance)).sqrt().max(1.0);
            assert!((drawn - expected).abs() < 5.0 * deviation, "{size}: {drawn} {expected}");
        }
    }

    #[test]
    fn sizes_that_follow_one_another_do_not_change_each_others_chance() {
        const MEAN: u64 = 4_096;
        let mut thread = thread();
        let order = pack_order(1, MEAN);
        let (mut small, mut large) = (0.0, 0.0);
        const ROUNDS: u32 = 400_000;
        for _ in 0..ROUNDS {
            small += f64::from(u8::from(draws_by(&mut thread, order, 64)));
            large += f64::from(u8::from(draws_by(&mut thread, order, 6_000)));
        }
        for (drawn, size) in [(small, 64.0), (large, 6_000.0)] {
            let chance = 1.0 - f64::exp(-size / MEAN as f64);
            let expected = f64::from(ROUNDS) * chance;
            let deviation = (expected * (1.0 - chance)).sqrt();
            assert!((drawn - expected).abs() < 5.0 * deviation, "{size}: {drawn} {expected}");
        }
    }

    #[test]
    fn a_change_of_order_takes_effect_with_the_next_block() {
        let mut thread = thread();
        assert!(!draws_by(&mut thread, 0, 1 << 40), "nothing is drawn without an order");
        let sparse = pack_order(1, 1 << 40);
        let rare = (0..10_000).filter(|_| draws_by(&mut thread, sparse, 64)).count();
        let dense = pack_order(2, 64);
        let often = (0..10_000).filter(|_| draws_by(&mut thread, dense, 64)).count();
        assert!(rare < 3, "{rare}");
        assert!((5_900..6_800).contains(&often), "{often}");
        let all = pack_order(3, 0);
        assert!((0..100).all(|_| draws_by(&mut thread, all, 1)));
        assert!(!draws_by(&mut thread, 0, 64));
        assert_eq!(thread.remaining_bytes, u64::MAX);
    }

    #[test]
    fn an_own_thread_is_found_and_seeded() {
        assert_eq!(draws(64), None, "no order in a test");
        let (place, _) = own();
        // SAFETY: this thread's own memory.
        assert_ne!(unsafe { (*place).random }, 0);
    }
}
