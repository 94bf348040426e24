//! Objects that are held alike: a tree of ways to be held, in which data keys and indexes do not
//! tell ways apart.

use super::label::Label;
use super::path::Paths;
use super::roots::Root;
use super::search::{Holder, Reached};
use super::view::View;
use crate::heap::python::{ObjectIndex, Shape, TypeIndex};
use std::collections::HashMap;

/// Distinct ways that are kept.
const MOST_WAYS: usize = 1 << 16;
/// From here on a way that repeats itself (a list of linked objects) is folded.
const DEEPEST: u32 = 48;
/// Steps after which it may repeat itself.
const LONGEST_PERIOD: usize = 4;

/// Place of a way in [`Ways`].
pub(super) type WayIndex = usize;

/// One way to be held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// The holder's.
    pub from: From,
    /// How the holder refers to what is held.
    pub label: Label,
    /// That differs among the objects held so.
    pub differs: bool,
    /// One of the objects that are held so.
    pub sample: ObjectIndex,
    /// Where it begins.
    pub root: Root,
    depth: u32,
    key: Key,
}

/// What tells a way from others of the same holder: label, name of the type, and what has a name of
/// its own.
type Key = (Label, TypeIndex, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum From {
    Way(WayIndex),
    Root(Root),
}

/// All ways.
#[derive(Default)]
pub(super) struct Ways {
    all: Vec<Way>,
    known: HashMap<(From, Key), WayIndex>,
    /// The one that was found last: neighbours are often held alike.
    last: Option<((From, Key), WayIndex)>,
    /// Of holders, by their place on the paths: a way, or one of the two below.
    of_holder: Vec<u32>,
    /// The same of those that are held by a root, which have no place.
    of_first: HashMap<ObjectIndex, u32>,
}

/// Not asked for yet; not known.
const UNASKED: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;

impl Ways {
    fn remembered(&self, paths: &Paths, index: ObjectIndex) -> Option<Option<WayIndex>> {
        let way = match paths.place(index) {
            Some(place) => self.of_holder.get(place),
            None => self.of_first.get(&index),
        };
        match *way? {
            UNASKED => None,
            UNKNOWN => Some(None),
            way => Some(Some(way as WayIndex)),
        }
    }

    fn remember(&mut self, paths: &Paths, index: ObjectIndex, way: Option<WayIndex>) {
        let way = way.map_or(UNKNOWN, |way| way as u32);
        match paths.place(index) {
            Some(place) => {
                if let Some(known) = self.of_holder.get_mut(place) {
                    *known = way;
                }
            }
            None => {
                self.of_first.insert(index, way);
            }
        }
    }

    pub fn get(&self, index: WayIndex) -> Option<&Way> {
        self.all.get(index)
    }

    /// How an object is held; `None` where that is not known, or there are too many ways.
    pub fn of(
        &mut self,
        view: &View,
        reached: &Reached,
        paths: &Paths,
        subject: ObjectIndex,
    ) -> Option<WayIndex> {
        // All of one go have the same paths.
        self.of_holder.resize(paths.len(), UNASKED);
        let mut above = vec![subject];
        let (mut from, mut way) = loop {
            let index = *above.last()?;
            let remembered = self.remembered(paths, index).filter(|_| above.len() > 1);
            if let Some(way) = remembered {
                above.pop();
                break (From::Way(way?), way?);
            }
            match reached.holder(index)? {
                Holder::Object(parent) => above.push(parent),
                Holder::Root(root) => break (From::Root(root), usize::MAX),
            }
        };
        while let Some(index) = above.pop() {
            let label = match from {
                From::Root(_) => Label::Inside,
                From::Way(way) => self.in_context(way, paths.label(index)),
            };
            let Some(entered) = self.enter(view, from, label, index) else {
                for index in above.into_iter().chain([index]) {
                    self.remember(paths, index, None);
                }
                return None;
            };
            way = entered;
            from = From::Way(way);
            if !above.is_empty() {
                self.remember(paths, index, Some(way));
            }
        }
        Some(way)
    }

    fn enter(
        &mut self,
        view: &View,
        from: From,
        label: Label,
        index: ObjectIndex,
    ) -> Option<WayIndex> {
        let object = view.object(index);
        // What has a name of its own is told apart by it.
        let identity = match view.kind(index).map(|kind| kind.shape) {
            Some(Shape::Module | Shape::Type | Shape::LruCache) => object.avma,
            Some(Shape::Function) => {
                view.word(object.avma.saturating_add(view.layout.function.code))
            }
            Some(Shape::Generator | Shape::Frame) => view.code_of(index).unwrap_or(0),
            _ => 0,
        };
        let key = (label.signature(), view.namesake(object.kind), identity);
        if let Some(way) = self.repeated(from, key) {
            return Some(way);
        }
        let last = self.last.filter(|(known, _)| *known == (from, key)).map(|(_, way)| way);
        if let Some(way) = last.or_else(|| self.known.get(&(from, key)).copied()) {
            self.last = Some(((from, key), way));
            let known = &mut self.all[way];
            known.differs |= known.label != label;
            return Some(way);
        }
        if self.all.len() >= MOST_WAYS {
            return None;
        }
        let (root, depth) = match from {
            From::Root(root) => (root, 0),
            From::Way(way) => (self.all[way].root, self.all[way].depth + 1),
        };
        self.all.push(Way { from, label, differs: false, sample: index, root, depth, key });
        self.known.insert((from, key), self.all.len() - 1);
        Some(self.all.len() - 1)
    }

    /// The way further up that goes on as this one would, if that is far enough from the root.
    fn repeated(&self, from: From, key: Key) -> Option<WayIndex> {
        let mut from = from;
        for _ in 0..LONGEST_PERIOD {
            let From::Way(index) = from else { return None };
            let way = &self.all[index];
            if way.depth < DEEPEST {
                return None;
            }
            if way.key == key {
                return Some(index);
            }
            from = way.from;
        }
        None
    }

    /// What a reference is called in the place where its holder is: a value in the dictionary of an
    /// instance is an attribute.
    fn in_context(&self, holder: WayIndex, label: Label) -> Label {
        match (self.all[holder].label, label) {
            (Label::Namespace, Label::Value(key)) => Label::Attribute(key),
            (Label::Closure(code), Label::Item(index)) => Label::FreeVariable(code, index as u32),
            (Label::Value(_), Label::Value(key)) if self.is_of_thread(holder) => {
                Label::Attribute(key)
            }
            (_, label) => label,
        }
    }

    /// Whether this is the dictionary that a `threading.local` keeps for one thread.
    fn is_of_thread(&self, way: WayIndex) -> bool {
        let From::Way(above) = self.all[way].from else { return false };
        self.all[above].label == Label::ThreadDicts
    }
}
