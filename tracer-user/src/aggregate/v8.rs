//! What is seen of a V8 from outside, over time: the size of its heap and its full collections.

use crate::tick::V8Reading;

/// Sizes of the heap that are kept; when there are more, every second one goes.
const MAX_SIZES: usize = 1024;

/// The V8 of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V8History {
    sizes: Vec<(u64, u64)>,
    latest_ns: u64,
    full_collections: Option<u64>,
    last_collection: Option<Between>,
}

/// A time that is known to lie between two ticks; nanoseconds since the session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    /// The tick at which it was still to come.
    pub after_ns: u64,
    /// The tick at which it had been.
    pub by_ns: u64,
}

impl V8History {
    /// Takes in what was read at a tick. One that is not later than the latest changes nothing.
    pub(super) fn apply(&mut self, at_ns: u64, reading: &V8Reading) {
        if self.latest_ns > 0 && at_ns <= self.latest_ns {
            return;
        }
        if let Some(count) = reading.full_collections {
            if count > self.full_collections.unwrap_or(0) {
                self.last_collection = Some(Between { after_ns: self.latest_ns, by_ns: at_ns });
            }
            self.full_collections = Some(count.max(self.full_collections.unwrap_or(0)));
        }
        if let Some(bytes) = reading.heap_bytes {
            if self.sizes.len() >= MAX_SIZES {
                let mut index = 0;
                self.sizes.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
            }
            self.sizes.push((at_ns, bytes));
        }
        self.latest_ns = at_ns;
    }

    /// Resident bytes of its heap and when, nanoseconds since the session began; in order.
    pub fn sizes(&self) -> &[(u64, u64)] {
        &self.sizes
    }

    /// Full collections since its probes were in place; `None` where they cannot be seen.
    pub fn full_collections(&self) -> Option<u64> {
        self.full_collections
    }

    /// When the last one was seen.
    pub fn last_collection(&self) -> Option<Between> {
        self.last_collection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_collection_lies_between_two_ticks() {
        let mut history = V8History::default();
        for (at_ns, count) in [(10, 0), (20, 2), (30, 2), (25, 9), (30, 9), (40, 2)] {
            let reading = V8Reading { full_collections: Some(count), ..V8Reading::default() };
            history.apply(at_ns, &reading);
        }
        assert_eq!(history.full_collections(), Some(2));
        assert_eq!(history.last_collection(), Some(Between { after_ns: 10, by_ns: 20 }));
        history.apply(50, &V8Reading::default());
        history.apply(60, &V8Reading { full_collections: Some(3), ..V8Reading::default() });
        assert_eq!(history.last_collection(), Some(Between { after_ns: 50, by_ns: 60 }));
    }

    #[test]
    fn a_long_session_keeps_a_bounded_number_of_sizes_over_its_whole_span() {
        let mut history = V8History::default();
        for at_ns in 1..=5000 {
            let reading = V8Reading { heap_bytes: Some(at_ns), ..V8Reading::default() };
            history.apply(at_ns, &reading);
        }
        let sizes = history.sizes();
        assert!(sizes.len() <= MAX_SIZES && sizes.len() > MAX_SIZES / 4, "{}", sizes.len());
        assert_eq!(sizes[0], (1, 1));
        assert_eq!(sizes[sizes.len() - 1], (5000, 5000));
        assert!(sizes.is_sorted());
    }
}
