//! The references of an object, by its shape: exact fields for what CPython itself lays out, the
//! words of everything else. Weak references, lists of subclasses and the collector's header are
//! no references.

mod frame;
mod instance;
mod program;
mod special;
mod table;

pub(super) use frame::of_interpreter as interpreter_frame;

use super::label::{Edge, Label, Strength};
use super::traits::{DictPlace, Special};
use super::view::View;
use crate::heap::python::{ObjectIndex, Shape};

/// Receives references.
pub(super) trait Visit: FnMut(Edge) {}
impl<F: FnMut(Edge)> Visit for F {}

/// Calls `visit` with every reference of an object; each as often as the object holds it.
///
/// # Cost
/// Linear in what the object's block and tables take.
pub(super) fn each(view: &View, index: ObjectIndex, visit: &mut impl Visit) {
    let object = view.object(index);
    let Some(traits) = view.traits.get(object.kind.0 as usize) else { return };
    let (avma, small) = (object.avma, &view.layout.small);
    let at = |offset: u64| avma.saturating_add(offset);
    match traits.shape {
        Shape::Dict if traits.special == Special::OrderedDict => {
            table::dict(view, avma, visit);
            special::ordered(view, avma, visit);
        }
        Shape::Dict => table::dict(view, avma, visit),
        Shape::List => table::list(view, avma, visit),
        Shape::Tuple => table::tuple(view, avma, visit),
        Shape::Set => table::set(view, avma, visit),
        Shape::Deque => table::deque(view, avma, visit),
        Shape::Type => program::class(view, avma, visit),
        Shape::Module => field(view, at(small.module_dict), Label::Namespace, visit),
        Shape::Function => program::function(view, avma, visit),
        Shape::Method => {
            field(view, at(small.method_function), Label::Field("__func__"), visit);
            field(view, at(small.method_self), Label::Field("__self__"), visit);
        }
        Shape::Code => program::code(view, avma, visit),
        Shape::Cell => field(view, at(small.cell), Label::Inside, visit),
        Shape::WeakRef => {
            field(view, at(small.weakref_callback), Label::Field("__callback__"), visit);
        }
        Shape::Traceback => program::traceback(view, avma, visit),
        Shape::Exception => program::exception(view, avma, visit),
        Shape::Frame => frame::object(view, avma, visit),
        Shape::Generator => frame::generator(view, avma, traits.special, visit),
        Shape::NdArray => special::array(view, avma, visit),
        Shape::LruCache if view.minor() <= 9 => special::lru_links(view, avma, visit),
        Shape::Other if traits.special == Special::Context => special::context(view, avma, visit),
        Shape::Other if traits.special == Special::HamtPairs => {
            special::hamt_pairs(view, avma, view.bytes_from(index), visit);
        }
        Shape::Other if traits.special == Special::HamtRoot => {
            field(view, avma.saturating_add(16), Label::Inside, visit);
        }
        Shape::Other if traits.special == Special::HamtArray => {
            special::hamt_array(view, avma, visit);
        }
        Shape::Other if traits.special == Special::Tee => special::tee(view, avma, visit),
        _ => {}
    }
    let is_exact = matches!(
        traits.special,
        Special::Context
            | Special::HamtPairs
            | Special::HamtRoot
            | Special::HamtArray
            | Special::Tee
    );
    if !is_exact {
        for known in &traits.fields {
            let target = view.word(avma.saturating_add(known.offset));
            if target != 0 {
                visit(Edge { target, label: known.label, strength: known.strength });
            }
        }
        if traits.scans_items {
            items_behind(view, index, visit);
        }
    }
    instance::attributes(view, index, traits, visit);
    if traits.is_counted
        && let Some(kind) = view.type_at(object.kind)
    {
        visit(Edge::link(kind.avma, Label::Type));
    }
}

/// Where the references of an object lie that are not in its own block, if there are such; 0 if
/// not. Nothing is checked.
pub(super) fn table_of(view: &View, index: ObjectIndex) -> u64 {
    let object = view.object(index);
    let Some(traits) = view.traits.get(object.kind.0 as usize) else { return 0 };
    let at = |offset: u64| view.word(object.avma.saturating_add(offset));
    match (traits.shape, traits.dict) {
        (Shape::List, _) => at(24),
        (Shape::Dict, _) => at(32),
        (Shape::Set, _) => at(40),
        (_, DictPlace::BeforeObject) => view.word(object.avma.saturating_sub(32)),
        (_, DictPlace::Tagged) => view.word(object.avma.saturating_sub(24)).saturating_add(1),
        (_, DictPlace::Offset(offset @ 0..)) => at(offset.cast_unsigned()),
        _ => at(16),
    }
}

/// One field.
#[inline]
fn field(view: &View, at: u64, label: Label, visit: &mut impl Visit) {
    let target = view.word(at);
    if target != 0 {
        visit(Edge::plain(target, label));
    }
}

#[inline]
fn link(view: &View, at: u64, label: Label, visit: &mut impl Visit) {
    let target = view.word(at);
    if target != 0 {
        visit(Edge::link(target, label));
    }
}

/// Words behind the fixed part of an object of an unknown C type.
fn items_behind(view: &View, index: ObjectIndex, visit: &mut impl Visit) {
    let object = view.object(index);
    let Some(kind) = view.type_at(object.kind) else { return };
    let start = kind.basic_size & !7;
    let count = view.bytes_from(index).saturating_sub(start) / 8;
    for (at, target) in view.words(object.avma.saturating_add(start), count).enumerate() {
        if target != 0 {
            let label = Label::Item(at as u64);
            visit(Edge { target, label, strength: Strength::Scanned });
        }
    }
}
