//! One search through the heap, breadth first, which gives every object a holder, and counts the
//! references to it on the way.

use super::edges;
use super::label::{Edge, Label, Strength};
use super::roots::Root;
use super::traits::Traits;
use super::view::View;
use crate::heap::python::{Object, ObjectIndex, Shape};
use std::collections::VecDeque;

/// No holder is known.
const NOBODY: u32 = u32::MAX;
/// The holder is a root, not an object.
const IS_ROOT: u32 = 1 << 31;
/// Objects that are visited in one go.
const BATCH: usize = 32;
/// More roots than these are not told apart.
const MOST_ROOTS: usize = 1 << 22;

/// What an object is first reached through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Object(ObjectIndex),
    Root(Root),
}

/// What a search found; eight bytes an object.
#[derive(Debug)]
pub(super) struct Reached {
    nodes: Vec<Node>,
    roots: Vec<Root>,
}

/// Of one object; both are asked for together, for every reference.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    /// References found, and `LEAF`.
    found: u32,
}

/// It holds nothing, so that there is no need to look at it.
const LEAF: u32 = 1 << 31;

impl Node {
    #[inline]
    fn is_leaf(self) -> bool {
        self.found & LEAF != 0
    }

    #[inline]
    fn references(self) -> u32 {
        self.found & !LEAF
    }

    #[inline]
    fn count(&mut self) {
        self.found += u32::from(self.references() < LEAF - 1);
    }
}

impl Reached {
    /// Who holds an object; `None` if nobody was found.
    pub fn holder(&self, index: ObjectIndex) -> Option<Holder> {
        match self.nodes.get(index.0 as usize)?.parent {
            NOBODY => None,
            root if root & IS_ROOT != 0 => {
                self.roots.get((root & !IS_ROOT) as usize).copied().map(Holder::Root)
            }
            parent => Some(Holder::Object(ObjectIndex(parent))),
        }
    }

    /// References found to an object.
    pub fn found(&self, index: ObjectIndex) -> u64 {
        self.nodes.get(index.0 as usize).map_or(0, |node| u64::from(node.references()))
    }

    pub fn is_reached(&self, index: ObjectIndex) -> bool {
        self.nodes.get(index.0 as usize).is_some_and(|node| node.parent != NOBODY)
    }
}

/// A search under way.
pub(super) struct Search<'v, 'a> {
    view: &'v View<'a>,
    reached: Reached,
    /// By type.
    has_objects: Vec<bool>,
    /// Objects whose references were counted, a bit each.
    counted: Vec<u64>,
    queue: VecDeque<u32>,
    /// Objects that hold others by weaker references, to be looked at again.
    scanned: Vec<u32>,
    links: Vec<u32>,
    strays: Vec<u32>,
    /// Objects of C types that may own memory.
    owners: Vec<u32>,
    /// Those whose references are followed as links, after all others.
    passing: Vec<ObjectIndex>,
}

impl<'v, 'a> Search<'v, 'a> {
    pub fn new(view: &'v View<'a>) -> Self {
        let is_leaf: Vec<bool> = view.traits.iter().map(Traits::is_leaf).collect();
        let all = view.objects.all().iter().take(IS_ROOT as usize);
        let mut has_objects = vec![false; view.types.len()];
        let node = |object: &Object| {
            let kind = object.kind.0 as usize;
            if let Some(has_objects) = has_objects.get_mut(kind) {
                *has_objects = true;
            }
            let is_leaf = is_leaf.get(kind).is_some_and(|is_leaf| *is_leaf);
            Node { parent: NOBODY, found: if is_leaf { LEAF } else { 0 } }
        };
        let nodes: Vec<Node> = all.map(node).collect();
        Self {
            view,
            counted: vec![0; nodes.len().div_ceil(64)],
            reached: Reached { nodes, roots: Vec::new() },
            has_objects,
            queue: VecDeque::new(),
            scanned: Vec::new(),
            links: Vec::new(),
            strays: Vec::new(),
            owners: Vec::new(),
            passing: Vec::new(),
        }
    }

    /// What these objects hold is only told to be held by them where nothing else does.
    pub fn pass_over(&mut self, objects: Vec<ObjectIndex>) {
        self.passing = objects;
    }

    /// What it found.
    pub fn end(self) -> Reached {
        self.reached
    }

    pub fn is_reached(&self, index: ObjectIndex) -> bool {
        self.reached.is_reached(index)
    }

    /// Whether an object counts more references than were found, or does not count.
    pub fn misses(&self, index: ObjectIndex) -> bool {
        let counted = self.view.references_counted(index);
        counted.is_none_or(|counted| self.reached.found(index) < counted)
    }

    /// Objects that may own memory, of those reached so far.
    pub fn take_owners(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.owners)
    }

    /// A reference from a root; only for objects that were not reached yet it is a holder.
    pub fn hold(&mut self, index: ObjectIndex, root: Root, is_counted: bool) {
        let Reached { nodes, roots } = &mut self.reached;
        let Some(node) = nodes.get_mut(index.0 as usize) else { return };
        if is_counted {
            node.count();
        }
        if node.parent == NOBODY && roots.len() < MOST_ROOTS {
            node.parent = IS_ROOT | roots.len() as u32;
            roots.push(root);
            self.queue.push_back(index.0);
        }
    }

    /// A reference from memory that an object owns, which may be stale.
    pub fn hold_through(&mut self, index: ObjectIndex, owner: u32) {
        if !self.misses(index) {
            return;
        }
        let Some(node) = self.reached.nodes.get_mut(index.0 as usize) else { return };
        node.count();
        if node.parent == NOBODY && owner != index.0 {
            node.parent = owner;
            self.queue.push_back(index.0);
        }
    }

    /// Follows all references but weak ones, and these when nothing else is left.
    pub fn follow(&mut self) {
        loop {
            self.drain();
            if !self.scanned.is_empty() {
                let again = std::mem::take(&mut self.scanned);
                self.follow_again(again, Strength::Scanned);
            } else if !self.links.is_empty() {
                let again = std::mem::take(&mut self.links);
                self.follow_again(again, Strength::Link);
            } else if !self.follow_types() {
                return;
            }
        }
    }

    /// Follows plain references only.
    fn drain(&mut self) {
        while !self.queue.is_empty() {
            self.drain_first(BATCH);
        }
    }

    /// The same from what was reached, so many references far.
    pub fn drain_levels(&mut self, levels: usize) {
        for _ in 0..levels {
            let mut left = self.queue.len();
            while left > 0 {
                self.drain_first(left.min(BATCH));
                left = left.saturating_sub(BATCH);
            }
        }
    }

    /// Visits those that wait longest, at most [`BATCH`].
    fn drain_first(&mut self, most: usize) {
        let mut batch = [0; BATCH];
        let length = self.queue.len().min(most).min(BATCH);
        let batch = &mut batch[..length];
        for (place, index) in batch.iter_mut().zip(self.queue.drain(..length)) {
            *place = index;
        }
        self.approach(batch);
        for index in batch {
            self.visit(ObjectIndex(*index), true);
        }
    }

    /// Has the processor fetch what will be read of these objects, all at once: one after the other
    /// each would be waited for, since they lie anywhere, and that is where the time of a search
    /// goes.
    fn approach(&self, batch: &[u32]) {
        let view = self.view;
        let avmas = batch.iter().map(|index| view.object(ObjectIndex(*index)).avma);
        std::hint::black_box(avmas.fold(0, |all, avma| all ^ avma));
        let mut tables = [0; BATCH];
        for (table, index) in tables.iter_mut().zip(batch) {
            *table = edges::table_of(view, ObjectIndex(*index));
        }
        std::hint::black_box(tables.iter().fold(0, |all, table| all ^ view.word(*table)));
    }

    fn visit(&mut self, index: ObjectIndex, is_reached: bool) {
        let Self { view, reached, counted, queue, scanned, links, strays, owners, passing, .. } =
            self;
        let is_passing = passing.contains(&index);
        let nodes = &mut reached.nodes;
        let Some(word) = counted.get_mut(index.0 as usize / 64) else { return };
        let bit = 1 << (index.0 % 64);
        let counts = *word & bit == 0;
        *word |= bit;
        let mut weaker = [false; 3];
        edges::each(view, index, &mut |edge: Edge| {
            let Some(target) = view.find(edge.target) else { return };
            let Some(node) = nodes.get_mut(target.0 as usize) else { return };
            if counts && edge.strength != Strength::Stray {
                node.count();
            }
            if !is_reached {
                return;
            }
            match edge.strength {
                Strength::Plain if is_passing => weaker[1] |= node.parent == NOBODY,
                Strength::Plain if node.parent == NOBODY => {
                    node.parent = index.0;
                    if !node.is_leaf() {
                        queue.push_back(target.0);
                    }
                }
                Strength::Scanned if node.parent == NOBODY => weaker[0] = true,
                // Types are looked at by all objects in one go.
                Strength::Link if node.parent == NOBODY && edge.label != Label::Type => {
                    weaker[1] = true;
                }
                Strength::Stray => weaker[2] = true,
                _ => {}
            }
        });
        if is_reached {
            for (list, is_there) in [scanned, links, strays].into_iter().zip(weaker) {
                if is_there {
                    list.push(index.0);
                }
            }
            let traits = view.traits.get(view.object(index).kind.0 as usize);
            if traits.is_some_and(|it| it.owns_memory || it.shape == Shape::Module) {
                owners.push(index.0);
            }
        }
    }

    fn follow_again(&mut self, sources: Vec<u32>, strength: Strength) {
        let Self { view, reached: Reached { nodes, .. }, queue, passing, .. } = self;
        for source in sources {
            let is_passing = strength == Strength::Link && passing.contains(&ObjectIndex(source));
            edges::each(view, ObjectIndex(source), &mut |edge: Edge| {
                if (edge.strength == strength || is_passing && edge.strength == Strength::Plain)
                    && let Some(target) = view.find(edge.target)
                    && let Some(node) = nodes.get_mut(target.0 as usize)
                    && node.parent == NOBODY
                {
                    node.parent = source;
                    queue.push_back(target.0);
                }
            });
        }
    }

    /// Types that only their objects hold; whether there was one.
    fn follow_types(&mut self) -> bool {
        let mut pending = vec![None; self.view.types.len()];
        let mut left = 0;
        for ((kind, place), has_objects) in
            self.view.types.iter().zip(&mut pending).zip(&self.has_objects)
        {
            let class = self.view.find(kind.avma).filter(|_| *has_objects);
            *place = class.filter(|index| !self.is_reached(*index));
            left += u32::from(place.is_some());
        }
        let mut is_any = false;
        for at in 0..self.reached.nodes.len() {
            if left == 0 {
                break;
            }
            if self.reached.nodes[at].parent == NOBODY {
                continue;
            }
            let kind = self.view.object(ObjectIndex(at as u32)).kind.0 as usize;
            let Some(class) = pending.get_mut(kind).and_then(Option::take) else { continue };
            left -= 1;
            if let Some(class_node) = self.reached.nodes.get_mut(class.0 as usize)
                && class_node.parent == NOBODY
            {
                class_node.parent = at as u32;
                self.queue.push_back(class.0);
                is_any = true;
            }
        }
        is_any
    }

    /// Counts the references of objects that nobody holds so far.
    pub fn count_unreached(&mut self) {
        for index in 0..self.reached.nodes.len() {
            let is_counted = self.counted[index / 64] >> (index % 64) & 1 != 0;
            if !is_counted && !self.reached.nodes[index].is_leaf() {
                self.visit(ObjectIndex(index as u32), false);
            }
        }
    }

    /// References that may be stale, for objects that miss one.
    pub fn follow_strays(&mut self) {
        for source in std::mem::take(&mut self.strays) {
            let mut targets = Vec::new();
            edges::each(self.view, ObjectIndex(source), &mut |edge: Edge| {
                if edge.strength == Strength::Stray {
                    targets.extend(self.view.find(edge.target));
                }
            });
            for target in targets {
                self.hold_through(target, source);
            }
        }
    }

    /// Objects that nobody holds, and whose references were not all found.
    pub fn unreached_and_missing(&self) -> impl Iterator<Item = ObjectIndex> + '_ {
        (0..self.reached.nodes.len() as u32)
            .map(ObjectIndex)
            .filter(|index| !self.is_reached(*index) && self.misses(*index))
    }
}
