//! References of C types of the standard library, and of numpy, that words alone do not tell.

use super::{Visit, field};
use crate::heap::python::graph::blocks::LONGEST_BLOCK_BYTES;
use crate::heap::python::graph::label::{Edge, Label};
use crate::heap::python::graph::view::View;
use crate::runtime::memory::u32_in;

/// `type_num` of numpy: `object`, and structures, which may have objects in them.
const NUMPY_OBJECT: u32 = 17;
const NUMPY_VOID: u32 = 20;
/// Dimensions that numpy allows.
const MOST_DIMENSIONS: u64 = 64;
/// Nodes that an array node of a context's tree has room for.
const HAMT_ARRAY_NODES: u64 = 32;
/// Items of one part of an `itertools.tee`.
const TEE_ITEMS: u64 = 57;

/// The nodes of an `OrderedDict`, each of which holds its key once more.
pub(super) fn ordered(view: &View, avma: u64, visit: &mut impl Visit) {
    let mut left = view.word(avma.saturating_add(16));
    let mut node = view.word(avma.saturating_add(48));
    while left > 0 && node != 0 {
        // Words of the budget of all objects: many may claim the nodes of one.
        let mut words = view.words(node, 3);
        let (key, next) = (words.next(), words.nth(1));
        if let Some(key) = key.filter(|key| *key != 0) {
            visit(Edge::plain(key, Label::Key));
        }
        let Some(next) = next else { return };
        node = next;
        left -= 1;
    }
}

/// The links of a bounded `lru_cache` up to 3.9, whose type is never made ready, so that they are
/// not found as objects.
pub(super) fn lru_links(view: &View, avma: u64, visit: &mut impl Visit) {
    let mut link = view.word(avma.saturating_add(24));
    for _ in 0..view.image.length_bytes() / 56 {
        if link == 0 || link == avma || view.find(link).is_some() {
            return;
        }
        let mut words = view.words(link, 7).skip(3);
        let (next, key, result) = (words.next(), words.nth(1), words.next());
        for (target, label) in [(key, "cache{*}"), (result, "cache[*]")] {
            if let Some(target) = target.filter(|target| *target != 0) {
                visit(Edge::plain(target, Label::Field(label)));
            }
        }
        let Some(next) = next else { return };
        link = next;
    }
}

/// A context: the tree of its variables, and the context that it is entered from.
pub(super) fn context(view: &View, avma: u64, visit: &mut impl Visit) {
    field(view, avma.saturating_add(16), Label::Field("previous"), visit);
    field(view, avma.saturating_add(24), Label::Inside, visit);
}

/// A node of a context's tree whose entries are pairs of a variable and a value, or a node in the
/// place of the value; that of variables whose hashes are the same has pairs only.
pub(super) fn hamt_pairs(view: &View, avma: u64, bytes: u64, visit: &mut impl Visit) {
    // `ob_size`, which counts both keys and values.
    let words = view.word(avma.saturating_add(16)).min(bytes.saturating_sub(32) / 8);
    let mut words = view.words(avma.saturating_add(32), words);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key != 0 {
            visit(Edge::plain(key, Label::Key));
        }
        if value != 0 {
            let label = if key == 0 { Label::Inside } else { Label::Value(key) };
            visit(Edge::plain(value, label));
        }
    }
}

/// A node that holds a node for each value of five bits of the hash. What is behind them in its
/// block is not its own.
pub(super) fn hamt_array(view: &View, avma: u64, visit: &mut impl Visit) {
    for target in view.words(avma.saturating_add(16), HAMT_ARRAY_NODES) {
        if target != 0 {
            visit(Edge::plain(target, Label::Inside));
        }
    }
}

/// Items that an `itertools.tee` keeps; those that it has not come to yet are stale.
pub(super) fn tee(view: &View, avma: u64, visit: &mut impl Visit) {
    let at = |offset: u64| avma.saturating_add(offset);
    field(view, at(16), Label::Field("it"), visit);
    let read = view.word(at(24)) & 0xffff_ffff;
    field(view, at(32), Label::Inside, visit);
    for (index, item) in view.words(at(40), read.min(TEE_ITEMS)).enumerate() {
        if item != 0 {
            visit(Edge::plain(item, Label::Item(index as u64)));
        }
    }
}

/// `numpy.ndarray`: its base, its type of items, and the items if they are objects.
pub(super) fn array(view: &View, avma: u64, visit: &mut impl Visit) {
    let at = |offset: u64| avma.saturating_add(offset);
    field(view, at(48), Label::Field("base"), visit);
    let descriptor = view.word(at(56));
    field(view, at(56), Label::Field("dtype"), visit);
    let number = |offset: u64| {
        let bytes = view.image.bytes(descriptor.saturating_add(offset), 4)?;
        u32_in(bytes, 0)
    };
    let (data, dimensions) = (view.word(at(16)), view.word(at(24)) & 0xffff_ffff);
    let is_own = view.word(at(48)) == 0;
    let kind = number(28).unwrap_or(0);
    if !is_own || dimensions > MOST_DIMENSIONS || (kind != NUMPY_OBJECT && kind != NUMPY_VOID) {
        return;
    }
    let mut items: u64 = 1;
    for length in view.words(view.word(at(32)), dimensions) {
        items = items.saturating_mul(length);
    }
    let words = items.min(LONGEST_BLOCK_BYTES * 16 / 8);
    for (index, item) in view.words(data, words).enumerate() {
        if item == 0 {
            continue;
        }
        let label = Label::Item(index as u64);
        let is_object = kind == NUMPY_OBJECT;
        visit(if is_object { Edge::plain(item, label) } else { Edge::stray(item, label) });
    }
}
