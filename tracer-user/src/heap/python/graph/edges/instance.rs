//! Attributes of an instance: its dictionary, or the values that stand in for one.

use super::Visit;
use super::table::{Keys, split};
use crate::heap::python::ObjectIndex;
use crate::heap::python::graph::label::{Edge, Label};
use crate::heap::python::graph::traits::{DictPlace, Traits};
use crate::heap::python::graph::view::View;

/// `dict` object, or values of an instance.
pub(super) fn attributes(view: &View, index: ObjectIndex, traits: &Traits, visit: &mut impl Visit) {
    let object = view.object(index);
    let before = |bytes: u64| object.avma.checked_sub(bytes).map_or(0, |at| view.word(at));
    let Some(kind) = view.type_at(object.kind) else { return };
    let keys = || {
        let cached = kind.avma.saturating_add(view.layout.kind.cached_keys);
        Keys::at(view, view.word(cached))
    };
    match traits.dict {
        DictPlace::Nowhere => {}
        DictPlace::Offset(offset) if offset >= 0 => {
            let at = object.avma.saturating_add(offset.cast_unsigned());
            namespace(view.word(at), visit);
        }
        DictPlace::Offset(offset) => {
            // Behind the items: their number is the length, whose sign is that of a number.
            let length = view.word(object.avma.saturating_add(16)).cast_signed().unsigned_abs();
            let items = length.saturating_mul(kind.item_size);
            let size = kind.basic_size.saturating_add(items).saturating_add(7) & !7;
            let at = object.avma.saturating_add(size).saturating_add_signed(offset);
            namespace(view.word(at), visit);
        }
        DictPlace::BeforeObject => {
            namespace(before(24), visit);
            let values = before(32);
            if values != 0
                && let Some(keys) = keys()
            {
                split(view, keys, values, visit, Label::Attribute);
            }
        }
        DictPlace::Tagged => {
            let word = before(24);
            if word & 1 == 0 {
                namespace(word, visit);
            } else if let Some(keys) = keys() {
                split(view, keys, word.saturating_add(1), visit, Label::Attribute);
            }
        }
        DictPlace::Inline { values } => {
            namespace(before(24), visit);
            let at = object.avma.saturating_add(kind.basic_size);
            let is_valid = values && view.word(at) >> 24 & 0xff == 1;
            if is_valid && let Some(keys) = keys() {
                split(view, keys, at, visit, Label::Attribute);
            }
        }
    }
}

fn namespace(target: u64, visit: &mut impl Visit) {
    if target != 0 {
        visit(Edge::plain(target, Label::Namespace));
    }
}
