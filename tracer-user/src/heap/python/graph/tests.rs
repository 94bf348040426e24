//! A heap made by hand, laid out as CPython 3.11 does.

use super::*;
use crate::heap::python::layout_table::table_of;
use crate::heap::python::{HeapLayout, Member, Object, Objects, Shape, TypeInfo};
use crate::heap::{Image, Region, RegionKind};
use crate::runtime::python::Version;

pub(super) const BASE: u64 = 0x10_0000;
const NAMES: [(&str, Shape, u64); 15] = [
    ("module", Shape::Module, 72),
    ("dict", Shape::Dict, 48),
    ("list", Shape::List, 40),
    ("str", Shape::Text, 48),
    ("app.Thing", Shape::Other, 24),
    ("tuple", Shape::Tuple, 24),
    ("app.Slotted", Shape::Other, 24),
    ("type", Shape::Type, 408),
    ("hamt", Shape::Other, 40),
    ("hamt_bitmap_node", Shape::Other, 32),
    ("hamt_collision_node", Shape::Other, 32),
    ("hamt_array_node", Shape::Other, 280),
    ("Context", Shape::Other, 48),
    ("ContextVar", Shape::Other, 64),
    ("collections.OrderedDict", Shape::Dict, 104),
];
const THING: TypeIndex = TypeIndex(4);

/// Memory, and what lies in it.
#[derive(Default)]
pub(super) struct Made {
    pub words: Vec<u64>,
    pub objects: Vec<Object>,
}

impl Made {
    /// An object of a type, with the words behind its header.
    fn object(&mut self, kind: u32, references: u64, words: &[u64]) -> u64 {
        let avma = BASE + self.words.len() as u64 * 8;
        let block_bytes = (16 + words.len() as u32 * 8).next_multiple_of(16);
        self.objects.push(Object { avma, kind: TypeIndex(kind), block_bytes });
        self.words.extend([references, 0x1000 + u64::from(kind)]);
        self.words.extend(words);
        self.pad();
        avma
    }

    /// Words that are no object.
    fn table(&mut self, words: &[u64]) -> u64 {
        let avma = BASE + self.words.len() as u64 * 8;
        self.words.extend(words);
        self.pad();
        avma
    }

    /// Whether a search through all of it ends before it has seen everything.
    fn ends_cut(self) -> bool {
        let types = types();
        let (image, objects) = (image(&self.words), Objects::new(self.objects));
        let layout = layout_of(11);
        let view = View::new(&image, &types, &objects, &layout);
        search(&view, &Roots::default(), &|avma| view.around(avma).is_some());
        view.is_cut()
    }

    fn pad(&mut self) {
        while !self.words.len().is_multiple_of(2) {
            self.words.push(0);
        }
    }

    fn text(&mut self, text: &str) -> u64 {
        let mut data = text.as_bytes().to_vec();
        data.resize(data.len().next_multiple_of(8), 0);
        let mut words = vec![text.len() as u64, 0, 1 << 2 | 1 << 5 | 1 << 6, 0];
        words.extend(data.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        self.object(3, 1, &words)
    }

    fn dict(&mut self, references: u64, entries: &[(u64, u64)]) -> u64 {
        let mut keys = vec![1, 3 | 3 << 8 | 1 << 16, 0, entries.len() as u64, 0];
        keys.extend(entries.iter().flat_map(|(key, value)| [*key, *value]));
        let keys = self.table(&keys);
        self.object(1, references, &[entries.len() as u64, 0, keys, 0])
    }

    fn list(&mut self, references: u64, items: &[u64]) -> u64 {
        let table = self.table(items);
        let count = items.len() as u64;
        self.object(2, references, &[count, table, count])
    }

    fn set(&mut self, avma: u64, word: u64) {
        self.words[((avma - BASE) / 8) as usize] = word;
    }
}

/// What is known of a version with the GIL.
pub(super) fn layout_of(minor: u8) -> HeapLayout {
    table_of(Version { major: 3, minor, micro: 0 }, false).expect("a known version")
}

pub(super) fn types() -> Vec<TypeInfo> {
    let types = NAMES.iter().enumerate().map(|(index, (name, shape, size))| TypeInfo {
        avma: 0x1000 + index as u64,
        name: (*name).to_owned(),
        basic_size: *size,
        dict_offset: if *name == "app.Thing" { 16 } else { 0 },
        members: match *name {
            "app.Slotted" => vec![Member { name: "held".to_owned(), offset: 16 }],
            _ => Vec::new(),
        },
        shape: *shape,
        ..TypeInfo::default()
    });
    types.collect()
}

/// `app.CACHE = {'k0': [Thing, ...], ...}` of six things, each with an attribute; a seventh in a
/// slot; two that only hold each other; one that a static variable holds.
pub(super) fn made() -> Made {
    let mut made = Made::default();
    // A static variable, to begin with.
    made.table(&[0, 0]);
    let name = made.text("number");
    let mut entries = Vec::new();
    for key in ["k0", "k1"] {
        let things: Vec<u64> = (0..3)
            .map(|_| {
                let value = made.text("a value");
                let dict = made.dict(1, &[(name, value)]);
                made.object(4, 1, &[dict])
            })
            .collect();
        let key = made.text(key);
        let list = made.list(1, &things);
        entries.push((key, list));
    }
    let cache = made.dict(1, &entries);
    let slotted_thing = made.object(4, 1, &[0]);
    let slotted = made.object(6, 1, &[slotted_thing]);
    let (cache_name, slot_name) = (made.text("CACHE"), made.text("SLOT"));
    let globals = made.dict(1, &[(cache_name, cache), (slot_name, slotted)]);
    let module_name = made.text("app");
    made.object(0, 1, &[globals, 0, 0, 0, module_name, 0, 0]);
    // Each holds the other by its dictionary.
    let (one, other) = (made.object(4, 1, &[0]), made.object(4, 1, &[0]));
    let (to_other, to_one) = (made.dict(1, &[(name, other)]), made.dict(1, &[(name, one)]));
    made.set(one + 16, to_other);
    made.set(other + 16, to_one);
    let lonely = made.object(4, 1, &[0]);
    made.set(BASE, lonely);
    made
}

pub(super) fn image(words: &[u64]) -> Image {
    let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (statics, heap) = words.split_at(2.min(words.len()));
    let kind = RegionKind::Static { module: "/lib/app.so".to_owned() };
    Image::new(vec![
        Region { start_avma: BASE, kind, bytes: bytes(statics) },
        Region { start_avma: BASE + 16, kind: RegionKind::Anonymous, bytes: bytes(heap) },
    ])
}

/// Chains to all objects of a type, with their number; and how many were not reached.
fn chains(view: &View, kind: TypeIndex, hide_keys: bool) -> (Vec<(String, u64)>, u64) {
    let (reached, _) = search(view, &Roots::default(), &|avma| view.around(avma).is_some());
    let subjects: Vec<ObjectIndex> = (0..view.objects.all().len() as u32)
        .map(ObjectIndex)
        .filter(|index| view.object(*index).kind == kind)
        .collect();
    let paths = Paths::of(view, &reached, &subjects);
    let mut ways = Ways::default();
    let mut counts: HashMap<WayIndex, u64> = HashMap::new();
    let mut unreached = 0;
    for subject in subjects {
        match ways.of(view, &reached, &paths, subject) {
            Some(way) => *counts.entry(way).or_default() += 1,
            None => unreached += 1,
        }
    }
    let speaker = Speaker { view, ways: &ways, hide_keys, name_static: None };
    let mut chains: Vec<(String, u64)> = counts
        .into_iter()
        .map(|(way, count)| (speaker.words(way).steps.join(" -> "), count))
        .collect();
    chains.sort();
    (chains, unreached)
}

#[test]
fn objects_held_alike_are_one_line_and_garbage_is_nobodys() {
    let (made, types) = (made(), types());
    let (image, objects) = (image(&made.words), Objects::new(made.objects));
    let layout = layout_of(11);
    let view = View::new(&image, &types, &objects, &layout);
    let (found, unreached) = chains(&view, THING, false);
    let expected = [("C static", 1), ("app.CACHE[*][*]", 6), ("app.SLOT -> Slotted.held", 1)];
    assert_eq!(found, expected.map(|(text, count)| (text.to_owned(), count)));
    assert_eq!(unreached, 2);
    assert!(!view.is_cut());
}

#[test]
fn keys_are_shown_where_they_are_one_and_hidden_on_demand() {
    let (made, types) = (made(), types());
    let (image, objects) = (image(&made.words), Objects::new(made.objects));
    let layout = layout_of(11);
    let view = View::new(&image, &types, &objects, &layout);
    let (lists, _) = chains(&view, TypeIndex(2), false);
    assert_eq!(lists, [("app.CACHE[*]".to_owned(), 2)]);
    let first = objects.all().iter().position(|object| object.kind == TypeIndex(2)).unwrap();
    let (reached, _) = search(&view, &Roots::default(), &|avma| view.around(avma).is_some());
    let paths = Paths::of(&view, &reached, &[ObjectIndex(first as u32)]);
    for (hide_keys, expected) in [(false, "app.CACHE['k0']"), (true, "app.CACHE[*]")] {
        let mut ways = Ways::default();
        let way = ways.of(&view, &reached, &paths, ObjectIndex(first as u32)).unwrap();
        let speaker = Speaker { view: &view, ways: &ways, hide_keys, name_static: None };
        assert_eq!(speaker.words(way).steps, [expected]);
    }
    let mut inside = Vec::new();
    subtree::each(&view, &reached, ObjectIndex(first as u32), &mut |index| inside.push(index));
    // The list, three things, a dictionary and a value for each, and the name of the attribute.
    assert_eq!(inside.len(), 1 + 3 * 3 + 1);
}

#[test]
fn a_table_that_all_objects_claim_is_not_read_for_each() {
    let mut made = Made::default();
    made.table(&[0, 0]);
    let table = made.table(&vec![0; 1 << 16]);
    for _ in 0..20_000 {
        made.object(2, 1, &[1 << 16, table, 1 << 16]);
    }
    assert!(made.ends_cut());
}

#[test]
fn a_ring_of_nodes_that_many_ordered_dicts_claim_is_not_walked_for_each() {
    let mut made = Made::default();
    made.table(&[0, 0]);
    // Its third word leads to the next node, which is itself.
    let node = made.table(&[0, 0, 0, 0]);
    made.set(node + 16, node);
    for _ in 0..2000 {
        made.object(14, 1, &[1 << 40, 0, 0, 0, node, 0]);
    }
    assert!(made.ends_cut());
}

#[test]
fn a_list_of_many_linked_objects_is_one_way() {
    let mut made = Made::default();
    made.table(&[0, 0]);
    let mut next = 0;
    for _ in 0..50_000 {
        next = made.object(6, 1, &[next]);
    }
    let name = made.text("FIRST");
    let globals = made.dict(1, &[(name, next)]);
    let module_name = made.text("app");
    made.object(0, 1, &[globals, 0, 0, 0, module_name, 0, 0]);
    let types = types();
    let (image, objects) = (image(&made.words), Objects::new(made.objects));
    let layout = layout_of(11);
    let view = View::new(&image, &types, &objects, &layout);
    let (found, unreached) = chains(&view, TypeIndex(6), false);
    assert_eq!(unreached, 0);
    assert_eq!(found.iter().map(|(_, count)| count).sum::<u64>(), 50_000);
    assert!(found.len() < 64, "{}", found.len());
}

#[test]
fn a_context_names_its_variables_and_what_lies_behind_a_node_is_not_its_own() {
    let mut made = Made::default();
    made.table(&[0, 0]);
    let thing = made.object(4, 1, &[0]);
    let name = made.text("VARIABLE");
    let variable = made.object(13, 1, &[name, 0, 0, 0, 0, 0]);
    let collision = made.object(10, 1, &[2, 0, variable, thing]);
    let bitmap = made.object(9, 1, &[2, 0, 0, collision]);
    // Nodes, their number, and a word of whatever was in this block before.
    let mut words = [0; 34];
    words[5] = bitmap;
    words[32] = 1;
    words[33] = thing;
    let array = made.object(11, 1, &words);
    let tree = made.object(8, 1, &[array, 0, 1]);
    let context = made.object(12, 1, &[0, tree, 0, 0]);
    let global = made.text("CONTEXT");
    let globals = made.dict(1, &[(global, context)]);
    let module_name = made.text("app");
    made.object(0, 1, &[globals, 0, 0, 0, module_name, 0, 0]);
    let types = types();
    let (image, objects) = (image(&made.words), Objects::new(made.objects));
    let layout = layout_of(11);
    let view = View::new(&image, &types, &objects, &layout);
    let (found, _) = chains(&view, THING, false);
    assert_eq!(found, [("app.CONTEXT -> Context['VARIABLE']".to_owned(), 1)]);
    let (reached, _) = search(&view, &Roots::default(), &|avma| view.around(avma).is_some());
    assert_eq!(reached.found(view.find(thing).unwrap()), 1);
}
