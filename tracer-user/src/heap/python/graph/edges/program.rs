//! References of classes, functions, code, tracebacks and exceptions.

use super::{Visit, field, link};
use crate::heap::python::graph::label::Label;
use crate::heap::python::graph::view::View;

/// `tp_flags`: made while the program ran.
const HEAP_TYPE: u64 = 1 << 9;

/// A class.
pub(super) fn class(view: &View, avma: u64, visit: &mut impl Visit) {
    let places = &view.layout.kind;
    let at = |offset: u64| avma.saturating_add(offset);
    // The dictionary, which static types of 3.12 and later keep elsewhere.
    field(view, at(places.dict), Label::Namespace, visit);
    for (offset, name) in [
        (places.base, "__base__"),
        (places.bases, "__bases__"),
        (places.mro, "__mro__"),
        (places.cache, "cache"),
    ] {
        link(view, at(offset), Label::Field(name), visit);
    }
    if view.word(at(places.flags)) & HEAP_TYPE != 0 {
        field(view, at(places.heap_name), Label::Field("__name__"), visit);
        field(view, at(places.slots), Label::Field("__slots__"), visit);
        field(view, at(places.qualname), Label::Field("__qualname__"), visit);
        if let Some(module) = places.module {
            link(view, at(module), Label::Field("__module__"), visit);
        }
    }
}

/// A function.
pub(super) fn function(view: &View, avma: u64, visit: &mut impl Visit) {
    let places = &view.layout.function;
    let at = |offset: u64| avma.saturating_add(offset);
    for offset in (view.layout.header_bytes..places.references_end).step_by(8) {
        let label = match offset {
            _ if offset == places.weak_list => continue,
            _ if offset == places.globals || Some(offset) == places.builtins => {
                link(view, at(offset), Label::Field("__globals__"), visit);
                continue;
            }
            _ if offset == places.code => Label::Field("__code__"),
            _ if offset == places.defaults => Label::Field("__defaults__"),
            _ if offset == places.keyword_defaults => Label::Field("__kwdefaults__"),
            _ if offset == places.closure => Label::Closure(view.word(at(places.code))),
            _ if offset == places.dict => Label::Namespace,
            _ if offset == places.module => Label::Field("__module__"),
            _ if offset == places.qualname => Label::Field("__qualname__"),
            _ => Label::Offset(offset as u32),
        };
        field(view, at(offset), label, visit);
    }
}

/// A code object.
pub(super) fn code(view: &View, avma: u64, visit: &mut impl Visit) {
    for offset in view.layout.code.references {
        field(view, avma.saturating_add(*offset), Label::Offset(*offset as u32), visit);
    }
}

/// A traceback: the frames that an exception passed hold what they held.
pub(super) fn traceback(view: &View, avma: u64, visit: &mut impl Visit) {
    let places = &view.layout.small;
    field(view, avma.saturating_add(places.traceback_next), Label::Inside, visit);
    link(view, avma.saturating_add(places.traceback_frame), Label::Inside, visit);
}

/// What every exception has.
pub(super) fn exception(view: &View, avma: u64, visit: &mut impl Visit) {
    let places = &view.layout.exception;
    for (offset, name) in [
        (Some(places.args), "args"),
        (places.notes, "__notes__"),
        (Some(places.traceback), "__traceback__"),
        (Some(places.context), "__context__"),
        (Some(places.cause), "__cause__"),
    ] {
        if let Some(offset) = offset {
            field(view, avma.saturating_add(offset), Label::Field(name), visit);
        }
    }
}
