//! What is first reached through an object: all that would have no such holder without it.

use super::edges;
use super::label::Edge;
use super::search::{Holder, Reached};
use super::view::View;
use crate::heap::python::ObjectIndex;

/// Calls `visit` with an object and all that is first reached through it, each once.
///
/// # Cost
/// Linear in what these objects hold.
pub(super) fn each(
    view: &View,
    reached: &Reached,
    index: ObjectIndex,
    visit: &mut impl FnMut(ObjectIndex),
) {
    let mut pending = vec![index];
    while let Some(index) = pending.pop() {
        visit(index);
        let first = pending.len();
        edges::each(view, index, &mut |edge: Edge| {
            if let Some(target) = view.find(edge.target)
                && reached.holder(target) == Some(Holder::Object(index))
            {
                pending.push(target);
            }
        });
        // An object may hold another more than once.
        let mut new = pending.split_off(first);
        new.sort_unstable();
        new.dedup();
        pending.append(&mut new);
    }
}
