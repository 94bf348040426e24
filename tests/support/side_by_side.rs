//! Several targets watched at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many targets a test watches at a time.
const SIDE_BY_SIDE: usize = 3;

/// Does this with each of them, some at a time: most of what tests do is wait. Fails where one does.
pub fn side_by_side<T: Sync>(all: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let work_on = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(one);
        }
    };
    std::thread::scope(|scope| {
        (0..SIDE_BY_SIDE).for_each(|_| drop(scope.spawn(work_on)));
    });
}
