//! References of dictionaries, lists, tuples, sets and deques.

use super::Visit;
use crate::heap::python::graph::label::{Edge, Label};
use crate::heap::python::graph::view::View;

/// Header of a table of keys; bytes.
const KEYS_HEADER_BYTES: u64 = 32;
/// The same up to 3.10.
const OLD_KEYS_HEADER_BYTES: u64 = 40;
/// Indexes of a table beyond two to the power of this are not believed.
const LARGEST_LOG2: u64 = 40;

/// Entries of a table of keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// The first entry.
    entries: u64,
    /// Entries that were made, deleted ones included.
    count: u64,
    /// Bytes of an entry.
    stride: u64,
    /// Where in an entry the key is; the value follows.
    key: u64,
}

impl Keys {
    /// Those at an address; `None` for what cannot be a table.
    pub fn at(view: &View, avma: u64) -> Option<Keys> {
        if avma == 0 {
            return None;
        }
        if view.minor() <= 10 {
            let size = view.word(avma.checked_add(8)?);
            if !size.is_power_of_two() || size > 1 << LARGEST_LOG2 {
                return None;
            }
            let index_bytes = match size {
                0..=0xff => 1,
                0x100..=0xffff => 2,
                0x1_0000..=0xffff_ffff => 4,
                _ => 8,
            };
            let count = view.word(avma.checked_add(32)?);
            let entries =
                avma.checked_add(OLD_KEYS_HEADER_BYTES)?.checked_add(size * index_bytes)?;
            return (count <= size).then_some(Keys { entries, count, stride: 24, key: 8 });
        }
        let sizes = view.word(avma.checked_add(8)?);
        let (log2, log2_bytes, kind) = (sizes & 0xff, sizes >> 8 & 0xff, sizes >> 16 & 0xff);
        if log2 > LARGEST_LOG2 || log2_bytes > LARGEST_LOG2 + 3 || kind > 2 {
            return None;
        }
        let count = view.word(avma.checked_add(24)?);
        let entries = avma.checked_add(KEYS_HEADER_BYTES)?.checked_add(1 << log2_bytes)?;
        let (stride, key) = if kind == 0 { (24, 8) } else { (16, 0) };
        (count <= 1 << log2).then_some(Keys { entries, count, stride, key })
    }

    /// Keys and values of the entries that are in use.
    fn pairs(self, view: &View) -> impl Iterator<Item = (u64, u64)> {
        let per_entry = self.stride / 8;
        let key = (self.key / 8) as usize;
        let words = view.words(self.entries, self.count.saturating_mul(per_entry));
        Entries { words, per_entry: per_entry as usize, key }
    }

    /// Keys, without values.
    pub fn names(self, view: &View) -> impl Iterator<Item = u64> {
        self.pairs(view).map(|(key, _)| key)
    }
}

struct Entries<I> {
    words: I,
    per_entry: usize,
    key: usize,
}

impl<I: Iterator<Item = u64>> Iterator for Entries<I> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let mut entry = [0; 3];
        for word in entry.iter_mut().take(self.per_entry) {
            *word = self.words.next()?;
        }
        Some((entry[self.key], entry[self.key + 1]))
    }
}

/// `dict`.
pub(super) fn dict(view: &View, avma: u64, visit: &mut impl Visit) {
    let Some(keys) = Keys::at(view, view.word(avma.saturating_add(view.layout.dict.keys))) else {
        return;
    };
    let values = view.word(avma.saturating_add(view.layout.dict.values));
    if values == 0 {
        for (key, value) in keys.pairs(view) {
            // Deleted entries have no value.
            if value != 0 {
                visit(Edge::plain(key, Label::Key));
                visit(Edge::plain(value, Label::Value(key)));
            }
        }
        return;
    }
    if view.minor() >= 13 && view.word(values) >> 16 & 0xff != 0 {
        // Those of the instance that it is the dictionary of, which owns them.
        return;
    }
    split(view, keys, values, visit, Label::Value);
}

/// Values that stand apart from their keys.
pub(super) fn split(
    view: &View,
    keys: Keys,
    values: u64,
    visit: &mut impl Visit,
    label: impl Fn(u64) -> Label,
) {
    let first = view.layout.dict.first_value;
    let items = view.words(values.saturating_add(first), keys.count);
    for (key, value) in keys.names(view).zip(items) {
        if value != 0 {
            visit(Edge::plain(value, label(key)));
        }
    }
}

/// `list`.
pub(super) fn list(view: &View, avma: u64, visit: &mut impl Visit) {
    let at = |offset: u64| view.word(avma.saturating_add(offset));
    let (count, items) = (at(view.layout.header_bytes), at(view.layout.list_items));
    let allocated = at(view.layout.list_allocated);
    if count <= allocated {
        numbered(view, items, count, visit);
    }
}

/// `tuple`.
pub(super) fn tuple(view: &View, avma: u64, visit: &mut impl Visit) {
    let count = view.word(avma.saturating_add(16));
    numbered(view, avma.saturating_add(view.layout.tuple_items), count, visit);
}

fn numbered(view: &View, items: u64, count: u64, visit: &mut impl Visit) {
    for (at, item) in view.words(items, count).enumerate() {
        if item != 0 {
            visit(Edge::plain(item, Label::Item(at as u64)));
        }
    }
}

/// `set` and `frozenset`.
pub(super) fn set(view: &View, avma: u64, visit: &mut impl Visit) {
    let places = &view.layout.set;
    let at = |offset: u64| view.word(avma.saturating_add(offset));
    let (mask, table) = (at(places.mask), at(places.table));
    if !mask.wrapping_add(1).is_power_of_two() || mask > 1 << LARGEST_LOG2 {
        return;
    }
    for key in view.words(table, (mask + 1).saturating_mul(2)).step_by(2) {
        if key != 0 {
            visit(Edge::plain(key, Label::Key));
        }
    }
}

/// `collections.deque`.
pub(super) fn deque(view: &View, avma: u64, visit: &mut impl Visit) {
    let places = &view.layout.deque;
    let mut left = view.word(avma.saturating_add(view.layout.header_bytes));
    let mut block = view.word(avma.saturating_add(places.left_block));
    let mut index = view.word(avma.saturating_add(places.left_index));
    let mut at = 0;
    while left > 0 && index < places.block_length {
        let here = left.min(places.block_length - index);
        let mut found = 0;
        for item in view.words(block.saturating_add(places.block_items + index * 8), here) {
            visit(Edge::plain(item, Label::Item(at)));
            (at, found) = (at + 1, found + 1);
        }
        if found < here {
            // The memory ends: what is left is none of it.
            return;
        }
        left -= here;
        // A ring of blocks ends with the length, which is bounded by what a memory can hold.
        if at > view.image.length_bytes() / 8 {
            return;
        }
        block = view.word(block.saturating_add(places.block_right));
        index = 0;
    }
}
