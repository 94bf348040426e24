//! Follows the lengths of containers that grew: at each tick a few words of the target are read,
//! in one system call where all of them are still there.

use super::lengths::Grown;
use crate::runtime::memory::{read_exact, u64_in};

/// Containers that are followed.
pub const MAX_FOLLOWED: usize = 200;
/// Readings of each that are kept: when there are more, every second one is dropped.
const MAX_READINGS: usize = 1024;

/// A container that is followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// What it was when it was found to grow.
    pub grown: Grown,
    /// Nanoseconds since the session began, and its entries then.
    pub lengths: Vec<(u64, u64)>,
    /// Nothing else lies in its place yet, as far as can be told.
    is_there: bool,
}

/// The containers that are followed.
#[derive(Debug, Default)]
pub struct Poll {
    tgid: u32,
    /// Where an object says what type it is.
    type_offset: u64,
    /// All that were found.
    pub containers: Vec<Followed>,
}

impl Poll {
    /// Of containers that were `before` at one moment and `now` at another.
    pub fn new(
        tgid: u32,
        free_threaded: bool,
        grown: Vec<Grown>,
        [before_ns, now_ns]: [u64; 2],
    ) -> Self {
        let follow = |grown: Grown| Followed {
            lengths: vec![(before_ns, grown.before), (now_ns, grown.now)],
            is_there: grown.length_avma != 0,
            grown,
        };
        let containers = grown.into_iter().take(MAX_FOLLOWED).map(follow).collect();
        Self { tgid, type_offset: if free_threaded { 24 } else { 8 }, containers }
    }

    /// Reads the lengths as they are.
    pub fn look(&mut self, at_ns: u64) {
        let (tgid, type_offset) = (self.tgid, self.type_offset);
        let there: Vec<usize> =
            (0..self.containers.len()).filter(|at| self.containers[*at].is_there).collect();
        let places: Vec<u64> = there
            .iter()
            .flat_map(|at| {
                let grown = &self.containers[*at].grown;
                [grown.avma.saturating_add(type_offset), grown.length_avma]
            })
            .collect();
        let words = words(tgid, &places);
        for (at, pair) in there.into_iter().zip(words.chunks_exact(2)) {
            let container = &mut self.containers[at];
            match (pair[0], pair[1]) {
                (Some(type_avma), Some(entries)) if type_avma == container.grown.type_avma => {
                    container.lengths.push((at_ns, entries));
                }
                // What lies there now is another's, and stays so.
                _ => container.is_there = false,
            }
            if container.lengths.len() > MAX_READINGS {
                let mut index = 0;
                container.lengths.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
            }
        }
    }
}

/// Words at these addresses of a process; `None` for those that cannot be read.
fn words(tgid: u32, places: &[u64]) -> Vec<Option<u64>> {
    // At most 1024 at once (UIO_MAXIOV), and all or nothing: one by one where that fails.
    let mut found = Vec::with_capacity(places.len());
    for places in places.chunks(512) {
        match batch(tgid, places) {
            Some(words) => found.extend(words.into_iter().map(Some)),
            None => found.extend(places.iter().map(|avma| {
                let mut bytes = [0; 8];
                read_exact(tgid, *avma, &mut bytes)?;
                Some(u64::from_le_bytes(bytes))
            })),
        }
    }
    found
}

/// All of them by one system call.
fn batch(tgid: u32, places: &[u64]) -> Option<Vec<u64>> {
    let mut bytes = vec![0_u8; places.len() * 8];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote: Vec<libc::iovec> = places
        .iter()
        .map(|avma| libc::iovec { iov_base: *avma as *mut libc::c_void, iov_len: 8 })
        .collect();
    // SAFETY: `local` describes `bytes`, which is borrowed exclusively for the call and is what the
    // kernel writes to; `remote` has as many entries as it says, and their addresses are checked by
    // the kernel.
    let count = unsafe {
        libc::process_vm_readv(
            libc::pid_t::try_from(tgid).ok()?,
            &raw const local,
            1,
            remote.as_ptr(),
            remote.len() as libc::c_ulong,
            0,
        )
    };
    if count != bytes.len() as isize {
        return None;
    }
    (0..places.len()).map(|at| u64_in(&bytes, at * 8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_followed_while_the_type_is_the_same() {
        // Two objects: a count, a type, a length.
        let mut heap = vec![1_u64, 0x77, 10, 1, 0x77, 20];
        let at = |heap: &Vec<u64>, index: usize| &raw const heap[index] as u64;
        let grown = |heap: &Vec<u64>, index: usize| Grown {
            avma: at(heap, index),
            type_avma: 0x77,
            length_avma: at(heap, index + 2),
            before: 1,
            now: 5,
        };
        let all =
            vec![grown(&heap, 0), grown(&heap, 3), Grown { length_avma: 8, ..grown(&heap, 3) }];
        let mut poll = Poll::new(std::process::id(), false, all, [0, 7]);
        poll.look(8);
        (heap[2], heap[4]) = (11, 0x78);
        std::hint::black_box(&mut heap);
        poll.look(9);
        let lengths: Vec<_> = poll.containers.iter().map(|one| one.lengths.clone()).collect();
        assert_eq!(lengths[0], [(0, 1), (7, 5), (8, 10), (9, 11)]);
        assert_eq!(lengths[1], [(0, 1), (7, 5), (8, 20)], "another object lies there now");
        assert_eq!(lengths[2], [(0, 1), (7, 5)], "it cannot be read");
    }

    #[test]
    fn a_bounded_number_of_readings_is_kept() {
        let heap = [1_u64, 0x77, 10];
        let avma = heap.as_ptr() as u64;
        let grown = Grown { avma, type_avma: 0x77, length_avma: avma + 16, before: 0, now: 9 };
        let mut poll = Poll::new(std::process::id(), false, vec![grown], [0, 1]);
        (2..5000).for_each(|at_ns| poll.look(at_ns));
        let lengths = &poll.containers[0].lengths;
        assert!((MAX_READINGS / 4..=MAX_READINGS).contains(&lengths.len()), "{}", lengths.len());
        assert_eq!(lengths[0], (0, 0));
        assert!(lengths.is_sorted());
    }
}
