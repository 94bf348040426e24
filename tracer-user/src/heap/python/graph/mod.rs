//! Who holds what: the references between the objects of a CPython, and the chains that lead to
//! them from modules, classes, frames and the rest.

mod alike;
mod blocks;
mod edges;
mod label;
mod memory;
mod path;
mod roots;
mod search;
mod subtree;
mod text;
mod traits;
mod view;
mod wording;

pub use roots::{NameStatic, Roots};

use super::{ObjectIndex, PythonHeap, TypeIndex};
use crate::capture::{Chain, GrownContainer, Held, HeldSubject, TypeCount};
use crate::printable::printable;
use alike::{WayIndex, Ways};
use memory::Owned;
use path::Paths;
use roots::Root;
use search::{Reached, Search};
use std::collections::{BTreeMap, HashMap};
use view::View;
use wording::{Speaker, Words};

/// References that are followed from modules before those of frames that run. What a global name
/// reaches in a few steps is called by that; but an event loop reaches all that ever waited for it,
/// and there the variable of a function says more.
const MODULES_AHEAD: usize = 6;
/// Chains that are kept of one subject.
const MOST_CHAINS: usize = 24;
/// Objects of one subject whose chains are looked at; those of the rest are not told.
const MOST_SUBJECTS: usize = 4_000_000;
/// Types of what a container holds that are kept.
const MOST_CONTENTS: usize = 12;

/// The references of a heap: for every object one that first leads to it, and how many were found.
pub struct Graph<'a> {
    heap: &'a PythonHeap<'a>,
    roots: &'a Roots,
    view: View<'a>,
    reached: Reached,
    owned: Owned,
    hide_keys: bool,
}

impl<'a> Graph<'a> {
    /// Of a heap; `None` where its references are not known: a version that is not known, or a
    /// build without the GIL, which does not count references in one place.
    ///
    /// # Cost
    /// Linear in the heap, in time and memory: about nine bytes an object while it is made.
    pub fn new(heap: &'a PythonHeap<'a>, roots: &'a Roots) -> Option<Self> {
        if heap.layout.free_threaded {
            return None;
        }
        let view = View::new(heap.image, &heap.types, &heap.objects, &heap.layout);
        let is_owned = |avma: u64| heap.owns(avma);
        let (reached, owned) = search(&view, roots, &is_owned);
        Some(Self { heap, roots, view, reached, owned, hide_keys: false })
    }

    /// Whether keys of dictionaries are left out. Names of attributes and variables stay.
    pub fn hide_keys(&mut self, hide: bool) {
        self.hide_keys = hide;
    }

    /// What the chains may be wrong by; a sentence each. Asked when all of them have been told.
    pub fn notes(&self) -> Vec<String> {
        let cut = "The memory contradicts itself: more objects claim a table than it has room for, so some \
                   references were left out, and what they hold may be told as held by nothing.";
        self.view.is_cut().then(|| cut.to_owned()).into_iter().collect()
    }

    /// Who holds the objects of all types of a name: a class that is made anew for each request is a
    /// type for each of them.
    pub fn held_types(&self, name: &str) -> Held {
        let is_meant: Vec<bool> = self.heap.types.iter().map(|kind| kind.name == name).collect();
        let subjects: Vec<ObjectIndex> = (0..self.heap.objects.all().len() as u32)
            .map(ObjectIndex)
            .filter(|index| is_meant.get(self.view.object(*index).kind.0 as usize) == Some(&true))
            .collect();
        self.held(HeldSubject { type_name: Some(printable(name)), stack: None }, &subjects)
    }

    /// Who holds blocks of malloc's, by their addresses: that is who holds the objects whose block
    /// or table one is, or who lead to it.
    pub fn held_blocks(&self, stack: u64, avmas: &[u64]) -> Held {
        let mut subjects: Vec<ObjectIndex> =
            avmas.iter().filter_map(|avma| self.object_of_block(*avma)).collect();
        let strangers = (avmas.len() - subjects.len()) as u64;
        subjects.sort_unstable();
        subjects.dedup();
        let subject = HeldSubject { type_name: None, stack: Some(stack) };
        let mut held = self.held(subject, &subjects);
        held.objects += strangers;
        held.unknown += strangers;
        held
    }

    /// The object that a block of malloc's is of, or is owned by.
    fn object_of_block(&self, avma: u64) -> Option<ObjectIndex> {
        self.heap.block_at(avma).or_else(|| self.owned.get(&avma).map(|index| ObjectIndex(*index)))
    }

    /// How a container is reached, and what is first reached through it.
    pub fn container(&self, index: ObjectIndex) -> GrownContainer {
        let object = self.view.object(index);
        self.view.refill();
        let paths = Paths::of(&self.view, &self.reached, &[index]);
        let mut ways = Ways::default();
        let way = ways.of(&self.view, &self.reached, &paths, index);
        let words = way.map(|way| self.speaker(&ways).words(way)).unwrap_or_default();
        let mut by_type: HashMap<TypeIndex, (u64, u64)> = HashMap::new();
        let mut held_bytes: u64 = 0;
        let owned = self.heap.owned();
        subtree::each(&self.view, &self.reached, index, &mut |inside| {
            let bytes = self.heap.bytes_by(&owned, inside);
            held_bytes = held_bytes.saturating_add(bytes);
            if inside != index {
                let sum = by_type.entry(self.view.object(inside).kind).or_default();
                sum.0 += 1;
                sum.1 = sum.1.saturating_add(bytes);
            }
        });
        let mut by_name: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (kind, (count, bytes)) in by_type {
            let sum = by_name.entry(self.type_name(kind)).or_default();
            *sum = (sum.0 + count, sum.1.saturating_add(bytes));
        }
        let mut contents: Vec<TypeCount> = by_name
            .into_iter()
            .map(|(name, (count, bytes))| TypeCount { name, count, bytes, ..TypeCount::default() })
            .collect();
        contents.sort_by_key(|of| std::cmp::Reverse(of.bytes));
        contents.truncate(MOST_CONTENTS);
        let mut chain = self.chain(words, index, 1, self.heap.bytes_of(index));
        chain.grown_step = chain.steps.len().checked_sub(1);
        GrownContainer {
            avma: object.avma,
            type_name: self.type_name(object.kind),
            chain,
            lengths: Vec::new(),
            held_bytes,
            contents,
            // What a path cannot say is said by whoever asks.
            is_lru_cache: false,
        }
    }

    fn held(&self, subject: HeldSubject, subjects: &[ObjectIndex]) -> Held {
        let mut held = Held { subject, ..Held::default() };
        let looked_at = &subjects[..subjects.len().min(MOST_SUBJECTS)];
        self.view.refill();
        let paths = Paths::of(&self.view, &self.reached, looked_at);
        let mut ways = Ways::default();
        // Objects, their bytes, and the first of them, by the way in which they are held.
        let mut sums: HashMap<WayIndex, (u64, u64, ObjectIndex)> = HashMap::new();
        let owned = self.heap.owned();
        for (at, index) in subjects.iter().enumerate() {
            let bytes = self.heap.bytes_by(&owned, *index);
            held.objects += 1;
            held.bytes = held.bytes.saturating_add(bytes);
            let found = self.reached.found(*index);
            held.explained += u64::from(self.view.references_counted(*index) == Some(found));
            if !self.reached.is_reached(*index) {
                held.unreachable += 1;
                continue;
            }
            let is_looked_at = at < looked_at.len();
            let way = is_looked_at.then(|| ways.of(&self.view, &self.reached, &paths, *index));
            let Some(way) = way.flatten() else {
                held.other_objects += 1;
                continue;
            };
            if ways.get(way).is_some_and(|way| way.root == Root::Unknown) {
                held.unknown += 1;
                continue;
            }
            let sum = sums.entry(way).or_insert((0, 0, *index));
            sum.0 += 1;
            sum.1 = sum.1.saturating_add(bytes);
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(way, (objects, ..))| (std::cmp::Reverse(*objects), *way));
        let speaker = self.speaker(&ways);
        for (way, (objects, bytes, sample)) in sums {
            let mut words = speaker.words(way);
            words.steps.push(self.short_name(sample));
            let chain = self.chain(words, sample, objects, bytes);
            let same = held.chains.iter_mut().find(|known| known.steps == chain.steps);
            if let Some(same) = same {
                same.objects += chain.objects;
                same.bytes = same.bytes.saturating_add(chain.bytes);
            } else if held.chains.len() < MOST_CHAINS {
                held.chains.push(chain);
            } else {
                held.other_objects += objects;
            }
        }
        held.chains.sort_by_key(|chain| std::cmp::Reverse(chain.objects));
        held
    }

    fn chain(&self, words: Words, sample: ObjectIndex, objects: u64, bytes: u64) -> Chain {
        Chain {
            steps: words.steps,
            root: words.root.to_owned(),
            objects,
            bytes,
            references_found: self.reached.found(sample),
            references_counted: self.view.references_counted(sample).unwrap_or(0),
            grown_step: None,
        }
    }

    fn speaker<'s>(&'s self, ways: &'s Ways) -> Speaker<'s, 'a> {
        Speaker {
            view: &self.view,
            ways,
            hide_keys: self.hide_keys,
            name_static: self.roots.name_static.as_deref(),
        }
    }

    fn type_name(&self, kind: TypeIndex) -> String {
        self.view.type_at(kind).map(|info| printable(&info.name)).unwrap_or_default()
    }

    fn short_name(&self, index: ObjectIndex) -> String {
        let name = self.type_name(self.view.object(index).kind);
        traits::last_name(&name).to_owned()
    }
}

/// The whole search, in waves: what has a name comes first.
fn search(view: &View, roots: &Roots, is_owned: &memory::IsOwned) -> (Reached, Owned) {
    let mut search = Search::new(view);
    let modules = roots::modules(view);
    search.pass_over(roots::running_tasks(view, &modules));
    for module in modules {
        search.hold(module, Root::Object(module), false);
    }
    search.drain_levels(MODULES_AHEAD);
    let threads = roots::threads(view, roots.runtime_avma);
    let mut strays = Vec::new();
    let mut of_frames = Vec::new();
    for thread in &threads {
        let (first, mut depths) = (of_frames.len(), 0);
        roots::frames(view, *thread, &mut |depth, root, edge| {
            depths = depth;
            let Some(target) = view.find(edge.target) else { return };
            match (root, edge.strength) {
                (Root::Object(_), _) => of_frames.push((depth, target, root, false)),
                (_, label::Strength::Stray) => strays.push((target, root)),
                _ => of_frames.push((depth, target, root, true)),
            }
        });
        of_frames[first..].iter_mut().for_each(|(depth, ..)| *depth = depths - *depth);
    }
    // From the outermost, each a reference ahead of the next: that one will be there tomorrow.
    of_frames.sort_by_key(|(depth, ..)| *depth);
    for frame in of_frames.chunk_by(|(a, ..), (b, ..)| a == b) {
        for (_, target, root, is_counted) in frame {
            search.hold(*target, *root, *is_counted);
        }
        search.drain_levels(1);
    }
    search.follow();
    search.count_unreached();
    let mut owned = Owned::new();
    memory::of_objects(view, &mut search, is_owned, &mut owned);
    search.follow_strays();
    for (target, root) in strays {
        if search.misses(target) {
            search.hold(target, root, true);
        }
    }
    for thread in &threads {
        for word in roots::thread_words(view, *thread) {
            if let Some(target) = view.find(word).filter(|target| search.misses(*target)) {
                search.hold(target, Root::Thread, true);
            }
        }
    }
    search.follow();
    memory::of_objects(view, &mut search, is_owned, &mut owned);
    memory::statics(view, &mut search);
    search.follow();
    memory::stacks(view, &mut search, &roots.registers);
    search.follow();
    memory::of_objects(view, &mut search, is_owned, &mut owned);
    memory::heap(view, &mut search, is_owned);
    search.follow();
    let unknown: Vec<ObjectIndex> = search.unreached_and_missing().collect();
    for index in unknown {
        search.hold(index, Root::Unknown, false);
    }
    search.follow();
    (search.end(), owned)
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;
