//! Which blocks were drawn: a set of addresses that says no in a nanosecond and is never wrong.
//!
//! In front stands a filter of counters by address; where the counter is 0 no drawn block hashes
//! there, and that is the answer for nearly every block that is freed. Behind it is the set itself:
//! a table in which an address lies within a window of its home, so that a look-up is bounded and
//! nothing need be left behind when one is taken out. Nobody waits: whoever holds a block is the
//! only one who may take its address out, and a place is taken by one exchange. A fork in the middle
//! of any of it leaves at most a counter that is too high, which costs a look-up.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Counters of the filter. 256 KiB, of which only pages that are written to take memory; neighbours
/// in memory are neighbours here.
pub(crate) const COUNTERS: usize = 1 << 18;
/// Places of the table: three quarters of a million blocks find one. 8 MiB at most, by pages.
const PLACES: usize = 1 << 20;
/// Places from its home on in which an address may lie: eight lines of the cache.
const WINDOW: usize = 64;
/// Lowest bit of an address whose block is inside a realloc. Blocks are aligned to 16.
const HELD: u64 = 1;

/// The set. Laid out as written, since `interpose` finds the counters at its beginning.
#[repr(C)]
pub(crate) struct Drawn {
    counters: [AtomicU8; COUNTERS],
    places: [AtomicU64; PLACES],
}

const _: () = assert!(core::mem::offset_of!(Drawn, counters) == 0);

/// The process's own.
pub(crate) static DRAWN: Drawn = Drawn::new();

/// The filter's counter of an address. `interpose` computes the same in assembly.
pub(crate) const fn counter_of(address: u64) -> usize {
    ((address >> 4) ^ (address >> 22)) as usize & (COUNTERS - 1)
}

/// The first place of an address's window.
const fn home_of(address: u64) -> usize {
    ((address >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as usize & (PLACES - 1)
}

impl Drawn {
    const fn new() -> Self {
        Self {
            counters: [const { AtomicU8::new(0) }; COUNTERS],
            places: [const { AtomicU64::new(0) }; PLACES],
        }
    }

    fn window(&self, address: u64) -> impl Iterator<Item = &AtomicU64> {
        let home = home_of(address);
        (0..WINDOW).filter_map(move |step| self.places.get((home + step) & (PLACES - 1)))
    }

    /// Puts one value in another's place in the window of `address`.
    fn exchange(&self, address: u64, old: u64, new: u64) -> bool {
        self.window(address).any(|place| {
            place.load(Ordering::Relaxed) == old
                && place.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Enters the address of a block that is not the program's yet; false where there is no room.
    pub(crate) fn insert(&self, address: u64) -> bool {
        self.raise(address);
        let entered = self.exchange(address, 0, address);
        if !entered {
            self.lower(address);
        }
        entered
    }

    /// Takes the address of a block out; whether it was there.
    pub(crate) fn remove(&self, address: u64) -> bool {
        let found = self.exchange(address, address, 0);
        if found {
            self.lower(address);
        }
        found
    }

    /// Marks a block that is about to be reallocated, so that the same address may be drawn anew
    /// by whoever is handed it meanwhile; whether it was there.
    pub(crate) fn hold(&self, address: u64) -> bool {
        self.exchange(address, address, address | HELD)
    }

    /// Takes a held block out.
    pub(crate) fn let_go(&self, address: u64) {
        if self.exchange(address, address | HELD, 0) {
            self.lower(address);
        }
    }

    /// The realloc was refused, the block is as before.
    pub(crate) fn keep(&self, address: u64) {
        self.exchange(address, address | HELD, address);
    }

    fn counter(&self, address: u64) -> Option<&AtomicU8> {
        self.counters.get(counter_of(address))
    }

    /// One that has come to its end stays there: it no longer says how many there are.
    fn raise(&self, address: u64) {
        self.change(address, |count| count.checked_add(1));
    }

    fn lower(&self, address: u64) {
        self.change(address, |count| (count != u8::MAX).then(|| count.saturating_sub(1)));
    }

    fn change(&self, address: u64, change: impl Fn(u8) -> Option<u8>) {
        if let Some(counter) = self.counter(address) {
            let _ = counter.fetch_update(Ordering::AcqRel, Ordering::Relaxed, change);
        }
    }

    /// Whether a block of that address may be in the set.
    #[cfg(test)]
    fn may_hold(&self, address: u64) -> bool {
        self.counters[counter_of(address)].load(Ordering::Relaxed) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Too large for a stack.
    fn set() -> Box<Drawn> {
        // SAFETY: all zeros is the empty set.
        unsafe { Box::<Drawn>::new_zeroed().assume_init() }
    }

    #[test]
    fn it_agrees_with_an_ordinary_set() {
        let (set, mut known) = (set(), HashSet::new());
        let mut state = 1_u64;
        for _ in 0..400_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let address = 0x5555_0000_0000 + ((state >> 33) % 50_000) * 16;
            if known.remove(&address) {
                assert!(set.may_hold(address));
                assert!(set.remove(address));
            } else {
                assert!(!set.remove(address));
                assert!(set.insert(address));
                known.insert(address);
            }
        }
        for address in known {
            assert!(set.may_hold(address));
            assert!(set.remove(address));
        }
        let left = set.counters.iter().any(|counter| counter.load(Ordering::Relaxed) != 0);
        assert!(!left, "a counter that never saturated goes back to 0");
    }

    #[test]
    fn a_full_set_refuses_and_stays_right() {
        let set = set();
        let mut addresses = (1..=PLACES as u64 + 1).map(|number| number * 32);
        let taken: Vec<u64> =
            addresses.by_ref().take_while(|address| set.insert(*address)).collect();
        assert!(taken.len() > PLACES / 4 * 3 && taken.len() <= PLACES, "{}", taken.len());
        assert!(taken.iter().all(|address| set.remove(*address)));
        assert!(set.places.iter().all(|place| place.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn an_address_that_is_held_may_be_drawn_again() {
        let set = set();
        assert!(set.insert(0x1000) && set.hold(0x1000));
        assert!(!set.hold(0x1000) && !set.remove(0x1000));
        assert!(set.insert(0x1000), "another thread was handed it");
        set.let_go(0x1000);
        assert!(set.remove(0x1000), "the other thread's");
        assert!(set.insert(0x2000) && set.hold(0x2000));
        set.keep(0x2000);
        assert!(set.remove(0x2000) && !set.remove(0x2000));
    }

    #[test]
    fn threads_do_not_disturb_one_another() {
        let set = set();
        let set: &Drawn = &set;
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                scope.spawn(move || {
                    for round in 0..20 {
                        let own = (0..5_000).map(|i| (i * 4 + thread + 1 + round) * 16);
                        let own: Vec<u64> = own.map(|address| address | (thread << 40)).collect();
                        assert!(own.iter().all(|address| set.insert(*address)));
                        assert!(own.iter().all(|address| set.remove(*address)));
                    }
                });
            }
        });
        assert!(set.places.iter().all(|place| place.load(Ordering::Relaxed) == 0));
    }
}
