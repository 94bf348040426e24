//! References of frames, running and suspended, and of generators and coroutines.

use super::{Visit, field, link};
use crate::heap::python::graph::label::{Edge, Label};
use crate::heap::python::graph::traits::Special;
use crate::heap::python::graph::view::View;
use crate::heap::python::layout::StackTop;
use crate::runtime::memory::u32_in;

/// More locals or stack entries than this a frame does not have.
const MOST_ENTRIES: u64 = 1 << 16;
/// `owner` of a frame that its frame object keeps.
const OWNED_BY_OBJECT: u8 = 2;

fn half(view: &View, avma: u64) -> u32 {
    view.image.bytes(avma, 4).and_then(|bytes| u32_in(bytes, 0)).unwrap_or(0)
}

fn byte(view: &View, avma: u64) -> u8 {
    view.image.bytes(avma, 1).map_or(0, |bytes| bytes[0])
}

/// The code object that a word of a frame leads to.
fn code_at(word: u64) -> u64 {
    word & !3
}

/// A frame of the interpreter (3.11 and later): its own references, locals, stack.
///
/// Where it does not say how high its stack is, as while it runs, what is above the locals may be
/// stale.
pub(in super::super) fn of_interpreter(view: &View, frame: u64, visit: &mut impl Visit) {
    let places = &view.layout.frame;
    let at = |offset: u64| frame.saturating_add(offset);
    let (StackTop::Count(top_at) | StackTop::Pointer(top_at)) = places.stack_top else { return };
    let is_tagged = matches!(places.stack_top, StackTop::Pointer(_));
    // Globals and builtins are the function's.
    let own = [Some(places.code), places.function, Some(places.locals_dict), places.frame_object];
    for offset in own.into_iter().flatten() {
        let word = view.word(at(offset));
        // With the lowest bit set it is borrowed.
        if word & 1 == 0 && word & !3 != 0 {
            visit(Edge::link(word, Label::Offset(offset as u32)));
        }
    }
    let code = code_at(view.word(at(places.code)));
    let names = &view.layout.code;
    let slots = names.slot_count.map_or(0, |count| half(view, code.saturating_add(count)));
    let locals = u64::from(slots);
    let stack = u64::from(half(view, code.saturating_add(names.stack_size)));
    if locals > MOST_ENTRIES || stack > MOST_ENTRIES {
        return;
    }
    let first = at(places.slots);
    for (index, word) in view.words(first, locals).enumerate() {
        if let Some(target) = counted(word, is_tagged) {
            visit(Edge::plain(target, Label::Local(code, index as u32)));
        }
    }
    let bottom = first.saturating_add(locals * 8);
    let top = view.word(at(top_at));
    let depth = if is_tagged {
        top.checked_sub(bottom).map(|bytes| bytes / 8)
    } else {
        u64::try_from((top as u32).cast_signed()).ok().and_then(|top| top.checked_sub(locals))
    };
    let known = depth.filter(|depth| *depth <= stack);
    for word in view.words(bottom, known.unwrap_or(stack)) {
        let Some(target) = counted(word, is_tagged) else { continue };
        let label = Label::Temporary;
        visit(if known.is_some() {
            Edge::plain(target, label)
        } else {
            Edge::stray(target, label)
        });
    }
}

/// Whom an entry of a frame counts as a reference to.
fn counted(word: u64, is_tagged: bool) -> Option<u64> {
    let is_borrowed = is_tagged && word & 3 != 0;
    (word != 0 && !is_borrowed).then_some(word)
}

/// A frame object.
pub(super) fn object(view: &View, avma: u64, visit: &mut impl Visit) {
    let places = &view.layout.frame;
    link(view, avma.saturating_add(places.object_back), Label::Field("f_back"), visit);
    let (Some(frame_at), Some(owner)) = (places.object_frame, places.owner) else {
        old_frame(view, avma, visit);
        return;
    };
    let frame = view.word(avma.saturating_add(frame_at));
    field(view, avma.saturating_add(places.object_trace), Label::Field("f_trace"), visit);
    if view.minor() >= 13 {
        field(view, avma.saturating_add(48), Label::Field("f_extra_locals"), visit);
    }
    // Elsewhere it is a thread's or a generator's, and counted there.
    let is_inside = frame.checked_sub(avma).is_some_and(|inside| (40..=128).contains(&inside));
    if is_inside && byte(view, frame.saturating_add(owner)) == OWNED_BY_OBJECT {
        of_interpreter(view, frame, visit);
    }
}

/// A frame object of 3.10 or earlier, which is the frame.
fn old_frame(view: &View, avma: u64, visit: &mut impl Visit) {
    let places = &view.layout.frame;
    let at = |offset: u64| avma.saturating_add(offset);
    let (StackTop::Pointers(bottom_at, top_at) | StackTop::Depth(bottom_at, top_at)) =
        places.stack_top
    else {
        return;
    };
    let own =
        [places.code, places.builtins, places.globals, places.locals_dict, places.object_trace];
    for offset in own {
        link(view, at(offset), Label::Offset(offset as u32), visit);
    }
    let code = view.word(at(places.code));
    let names = &view.layout.code;
    let stack_bottom = view.word(at(bottom_at));
    let first = at(places.slots);
    let locals = stack_bottom.saturating_sub(first) / 8;
    let stack = u64::from(half(view, code.saturating_add(names.stack_size)));
    if locals > MOST_ENTRIES || stack > MOST_ENTRIES {
        return;
    }
    for (index, target) in view.words(first, locals).enumerate() {
        if target != 0 {
            visit(Edge::plain(target, Label::Local(code, index as u32)));
        }
    }
    let depth = if matches!(places.stack_top, StackTop::Pointers(..)) {
        let top = view.word(at(top_at));
        (top != 0).then(|| top.saturating_sub(stack_bottom) / 8)
    } else {
        let depth = half(view, at(top_at)).cast_signed();
        u64::try_from(depth).ok()
    };
    let known = depth.filter(|depth| *depth <= stack);
    for target in view.words(stack_bottom, known.unwrap_or(stack)) {
        if target != 0 {
            let label = Label::Temporary;
            visit(match known {
                Some(_) => Edge::plain(target, label),
                None => Edge::stray(target, label),
            });
        }
    }
}

/// A generator, coroutine or asynchronous generator.
pub(super) fn generator(view: &View, avma: u64, special: Special, visit: &mut impl Visit) {
    let places = &view.layout.frame;
    let at = |offset: u64| avma.saturating_add(offset);
    let own = [
        places.generator_code,
        Some(places.generator_name),
        Some(places.generator_qualname),
        Some(places.generator_exception),
    ];
    for offset in own.into_iter().flatten() {
        field(view, at(offset), Label::Inside, visit);
    }
    let origin = places.generator_origin;
    let Some(state) = places.generator_state else {
        // The frame is an object; of the exception there are three parts.
        field(view, at(places.generator_frame), Label::Namespace, visit);
        field(view, at(places.generator_exception + 8), Label::Inside, visit);
        field(view, at(places.generator_exception + 16), Label::Inside, visit);
        if matches!(special, Special::Coroutine | Special::AsyncGenerator) {
            field(view, at(origin), Label::Field("cr_origin"), visit);
        }
        return;
    };
    if special == Special::Coroutine {
        field(view, at(origin), Label::Field("cr_origin"), visit);
    }
    // Set once it has begun; stale before, and in generators always.
    if special == Special::AsyncGenerator && view.word(at(origin + 8)) & 0xff == 1 {
        field(view, at(origin), Label::Field("ag_finalizer"), visit);
    }
    if byte(view, at(state)).cast_signed() <= places.generator_executing {
        of_interpreter(view, at(places.generator_frame), visit);
    }
}
