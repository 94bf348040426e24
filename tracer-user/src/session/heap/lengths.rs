//! Containers that grew between two looks at a heap, with all that is needed to follow them.

use crate::heap::python::{Moment, PythonHeap};

/// A container that grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Its address.
    pub avma: u64,
    /// Where its type is.
    pub type_avma: u64,
    /// The word that holds its length; 0 where that cannot be followed.
    pub length_avma: u64,
    /// Entries before, and now.
    pub before: u64,
    /// See the field above.
    pub now: u64,
}

/// The containers of a heap that are longer than at a moment before: those that gained the most
/// first, at most so many.
pub fn grown_since(heap: &PythonHeap<'_>, before: &Moment, at_most: usize) -> Vec<Grown> {
    let grown = heap.grown_since(before).containers.into_iter().take(at_most);
    grown
        .map(|one| Grown {
            avma: one.avma,
            type_avma: heap.kind_of(one.object).avma,
            length_avma: heap.length_field(one.object).unwrap_or(0),
            before: one.before,
            now: one.after,
        })
        .collect()
}
