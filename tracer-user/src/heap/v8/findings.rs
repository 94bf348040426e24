//! What a heap holds, by constructor, and who holds that.

use super::{
    chain::{ChainIndex, GLOBAL},
    columns::{NodeIndex, NodeKind, Snapshot},
    duplicates::{COMPARED_CHARS, duplicates},
    graph::Graph,
    label::Sort,
    sampled::{Sampled, held_by_stack},
};
use crate::{
    capture::{BlocksOfStack, Chain, GrownContainer, Held, HeldSubject, TypeCount},
    units,
};
use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

/// Constructors that are listed: those with the most bytes, and those with the most objects.
const MOST_BYTES: usize = 40;
const MOST_OBJECTS: usize = 20;
/// Constructors whose holders are told, beside those of the entries of large containers.
const TOLD: usize = 8;
const TOLD_AT_MOST: usize = 16;
/// Ways that are told of each.
const MAX_WAYS: usize = 8;
/// Containers that are told, and the least share of the heap that each holds: a hundredth.
const MAX_CONTAINERS: usize = 10;
const CONTAINER_SHARE: u64 = 100;
/// Entries that make an object a container.
const FEWEST_ENTRIES: u64 = 16;
/// Types of what a container holds that are told.
const MAX_CONTENTS: usize = 6;
/// Objects with the fields of which anything is done as candidates for containers.
const MAX_CANDIDATES: usize = 1 << 20;
/// The least of all bytes that copies of strings are worth a word: a hundredth.
const COPIES_SHARE: u64 = 100;

/// What was found in a heap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Objects by constructor, the most bytes first; a bounded number. Names in parentheses are of
    /// what has none: strings, compiled code.
    pub constructors: Vec<TypeCount>,
    /// Who holds the objects of those with the most bytes, and what the sampler says is alive of
    /// each stack.
    pub held: Vec<Held>,
    /// Copies of strings in the containers through which that is held, by stack.
    pub blocks: Vec<BlocksOfStack>,
    /// Objects through which much is held that none of their entries holds for the most part.
    /// Nothing is known of their growth.
    pub containers: Vec<GrownContainer>,
    /// Objects, and their bytes: all that V8 says.
    pub objects: u64,
    /// See the field above.
    pub bytes: u64,
    /// What else there is to say, a sentence each.
    pub notes: Vec<String>,
}

/// A constructor: the index of its name, or one of those below.
pub(super) type Class = u32;
const FUNCTION: Class = u32::MAX;
const STRING: Class = u32::MAX - 1;
const NUMBER: Class = u32::MAX - 2;
const BIGINT: Class = u32::MAX - 3;
const SYMBOL: Class = u32::MAX - 4;
const REGEXP: Class = u32::MAX - 5;
const CODE: Class = u32::MAX - 6;
const SYSTEM: Class = u32::MAX - 7;

/// What is wanted of a snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// What a sampler says is alive, which was still at work when the snapshot was made.
    pub sampled: Option<&'a Sampled>,
    /// Constructors whose holders are told, whatever their objects take.
    pub holders: &'a [String],
    /// Names of properties that may be data are left out.
    pub hide_keys: bool,
}

/// Evaluates a snapshot.
///
/// # Cost
/// 30 bytes of memory for each node, and about a microsecond.
pub fn find(snapshot: &Snapshot, asked: &Asked<'_>) -> Findings {
    let Asked { sampled, holders, hide_keys } = *asked;
    let mut graph = Graph::new(snapshot);
    if hide_keys {
        graph.chains.learn_names(snapshot);
    }
    let mut sizes: HashMap<Class, (u64, u64)> = HashMap::new();
    let mut findings = Findings::default();
    for node in snapshot.nodes() {
        let size_bytes = snapshot.size_bytes(node);
        findings.bytes = findings.bytes.saturating_add(size_bytes);
        let sort = graph.labels.sort(node);
        if sort == Sort::Root {
            continue;
        }
        findings.objects += 1;
        let owner = graph.owner(node);
        let entry = sizes.entry(class(&graph, owner)).or_default();
        entry.0 += u64::from(owner == node);
        entry.1 = entry.1.saturating_add(size_bytes);
    }
    let is_own = |class: Class| matches!(class, CODE | SYSTEM);
    let mut by_bytes: Vec<Class> = sizes.keys().copied().collect();
    by_bytes.sort_unstable_by_key(|class| (Reverse(sizes[class].1), *class));
    let mut by_count = by_bytes.clone();
    by_count.sort_by_key(|class| Reverse(sizes[class].0));
    let listed: HashSet<Class> = by_bytes
        .iter()
        .take(MOST_BYTES)
        .chain(by_count.iter().take(MOST_OBJECTS))
        .copied()
        .collect();
    let count = |class: Class, (count, bytes): (u64, u64)| TypeCount {
        name: class_name(snapshot, class),
        count,
        bytes,
        ..TypeCount::default()
    };
    let in_list = by_bytes.iter().filter(|class| listed.contains(*class));
    findings.constructors = in_list.map(|class| count(*class, sizes[class])).collect();

    let reached = reached_bytes(&graph);
    let by_sampler = sampled.map(|sampled| held_by_stack(&graph, sampled, &reached, hide_keys));
    let by_sampler = by_sampler.unwrap_or_default();
    findings.blocks = by_sampler.blocks;
    let containers = containers(&graph, &reached, findings.bytes, &by_sampler.containers);
    let mut told: Vec<Class> = Vec::new();
    for container in &containers {
        // A global object itself is nobody's container.
        let Some(way) = graph.way(container.node).filter(|way| *way != GLOBAL) else { continue };
        let (steps, root) = graph.chains.write(snapshot, way, hide_keys);
        let type_name = class_name(snapshot, class(&graph, container.node));
        let mut contents = container.contents.clone();
        contents.truncate(MAX_CONTENTS);
        told.extend(contents.iter().take(2).map(|(class, _)| *class));
        findings.containers.push(GrownContainer {
            chain: Chain {
                steps: steps.into_iter().chain([type_name.clone()]).collect(),
                root: root.to_owned(),
                objects: 1,
                bytes: container.reached_bytes,
                ..Chain::default()
            },
            type_name,
            // One reading, at a time that the caller knows.
            lengths: vec![(0, container.entries)],
            held_bytes: container.reached_bytes,
            contents: contents.into_iter().map(|(class, sums)| count(class, sums)).collect(),
            ..GrownContainer::default()
        });
    }
    told.extend(by_bytes.iter().filter(|class| !is_own(**class)).take(TOLD));
    let mut seen = HashSet::new();
    told.retain(|class| !is_own(*class) && seen.insert(*class));
    told.truncate(TOLD_AT_MOST);
    let is_wanted = |class: &Class| holders.contains(&class_name(snapshot, *class));
    let wanted = by_bytes.iter().copied().filter(|class| !is_own(*class) && !told.contains(class));
    let wanted: Vec<Class> = match holders.is_empty() {
        true => Vec::new(),
        false => wanted.filter(is_wanted).collect(),
    };
    told.extend(wanted);
    told.sort_by_key(|class| Reverse(sizes.get(class).map_or(0, |sums| sums.1)));
    findings.held = held(&graph, &told, hide_keys);
    findings.held.extend(by_sampler.held);
    drop(graph);
    findings.notes.extend(copies(snapshot, findings.bytes));
    if snapshot.texts.left_out > 0 {
        findings.notes.push(format!(
            "There are more names of constructors and properties than outlive keeps; {} were left out.",
            units::count(snapshot.texts.left_out)
        ));
    }
    findings
}

pub(super) fn class(graph: &Graph<'_>, node: NodeIndex) -> Class {
    let snapshot = graph.snapshot;
    match snapshot.kind(node) {
        NodeKind::Closure => FUNCTION,
        NodeKind::String | NodeKind::StringOfOthers => STRING,
        NodeKind::Number => NUMBER,
        NodeKind::BigInt => BIGINT,
        NodeKind::Symbol => SYMBOL,
        NodeKind::Regexp => REGEXP,
        NodeKind::Code => CODE,
        NodeKind::Object | NodeKind::Native if graph.labels.sort(node) == Sort::Visible => {
            snapshot.name(node)
        }
        _ => SYSTEM,
    }
}

pub(super) fn class_name(snapshot: &Snapshot, class: Class) -> String {
    match class {
        FUNCTION => "Function",
        STRING => "(string)",
        NUMBER => "(number)",
        BIGINT => "(bigint)",
        SYMBOL => "(symbol)",
        REGEXP => "RegExp",
        CODE => "(compiled code)",
        SYSTEM => "(V8's own)",
        name => match snapshot.texts.get(name) {
            "" => "(no name)",
            name => name,
        },
    }
    .to_owned()
}

/// Bytes that are first reached through each object, its own included.
fn reached_bytes(graph: &Graph<'_>) -> Vec<u64> {
    let snapshot = graph.snapshot;
    let mut reached: Vec<u64> = snapshot.nodes().map(|node| snapshot.size_bytes(node)).collect();
    // Whatever is held stands behind what holds it.
    for node in graph.order.iter().rev() {
        if let Some(holder) = graph.holder(*node) {
            reached[holder as usize] =
                reached[holder as usize].saturating_add(reached[*node as usize]);
        }
    }
    reached
}

/// An object through which much is held.
struct Container {
    node: NodeIndex,
    reached_bytes: u64,
    /// What is reached through it and no other entry, by type of entry: how many, and bytes.
    contents: Vec<(Class, (u64, u64))>,
    entries: u64,
    /// The most that one entry holds; bytes.
    largest_bytes: u64,
}

/// Objects with many entries that hold much together, and none of which holds most of it; first
/// those that are `known` to grow.
fn containers(
    graph: &Graph<'_>,
    reached: &[u64],
    all_bytes: u64,
    known: &[NodeIndex],
) -> Vec<Container> {
    let least = (all_bytes / CONTAINER_SHARE).max(1);
    // Entries, and the most that one of them holds.
    let mut candidates: HashMap<NodeIndex, (u64, u64)> = HashMap::new();
    let entries = || {
        let found = graph.order.iter().copied();
        let objects = found.filter(|node| graph.labels.sort(*node) == Sort::Visible);
        objects.filter_map(|node| Some((node, graph.holder(node)?)))
    };
    for (node, holder) in entries() {
        if reached[holder as usize] < least && !known.contains(&holder) {
            continue;
        }
        if candidates.len() < MAX_CANDIDATES || candidates.contains_key(&holder) {
            let entry = candidates.entry(holder).or_default();
            entry.0 += 1;
            entry.1 = entry.1.max(reached[node as usize]);
        }
    }
    let own = |node: NodeIndex, largest: u64| reached[node as usize].saturating_sub(largest);
    let mut best: Vec<(NodeIndex, u64)> = candidates
        .iter()
        .filter(|(node, (entries, largest))| {
            let is_object = graph.snapshot.kind(**node) == NodeKind::Object;
            let is_large = *entries >= FEWEST_ENTRIES && own(**node, *largest) >= least;
            is_object && is_large || known.contains(node)
        })
        .map(|(node, (_, largest))| (*node, *largest))
        .collect();
    best.sort_by_key(|(node, largest)| {
        (!known.contains(node), Reverse(own(*node, *largest)), *node)
    });
    best.truncate(MAX_CONTAINERS);
    let mut contents: HashMap<NodeIndex, HashMap<Class, (u64, u64)>> =
        best.iter().map(|(node, _)| (*node, HashMap::new())).collect();
    for (node, holder) in entries() {
        if let Some(contents) = contents.get_mut(&holder) {
            let entry = contents.entry(class(graph, node)).or_default();
            entry.0 += 1;
            entry.1 = entry.1.saturating_add(reached[node as usize]);
        }
    }
    let container = |(node, largest_bytes)| {
        let contents = contents.remove(&node).unwrap_or_default();
        let mut contents: Vec<_> = contents.into_iter().collect();
        contents.sort_by_key(|(class, (_, bytes))| (Reverse(*bytes), *class));
        let entries = candidates.get(&node).map_or(0, |(entries, _)| *entries);
        Container { node, reached_bytes: reached[node as usize], contents, entries, largest_bytes }
    };
    best.into_iter().map(container).filter(|c| c.largest_bytes < c.reached_bytes).collect()
}

fn held(graph: &Graph<'_>, told: &[Class], hide_keys: bool) -> Vec<Held> {
    let snapshot = graph.snapshot;
    let mut ways: HashMap<(Class, Option<ChainIndex>), (u64, u64)> = HashMap::new();
    for node in snapshot.nodes() {
        if graph.labels.sort(node) == Sort::Root {
            continue;
        }
        let owner = graph.owner(node);
        let class = class(graph, owner);
        if told.contains(&class) {
            let entry = ways.entry((class, graph.way(owner))).or_default();
            entry.0 += u64::from(owner == node);
            entry.1 = entry.1.saturating_add(snapshot.size_bytes(node));
        }
    }
    let mut by_class: HashMap<Class, Vec<Way>> = HashMap::new();
    for ((class, way), sums) in ways {
        by_class.entry(class).or_default().push((way, sums));
    }
    let held = told.iter().map(|class| {
        let mut ways = by_class.remove(class).unwrap_or_default();
        ways.sort_by_key(|(way, (objects, bytes))| (Reverse(*bytes), Reverse(*objects), *way));
        held_class(graph, *class, &ways, hide_keys)
    });
    held.collect()
}

/// A way to be held, and how many objects and bytes are.
type Way = (Option<ChainIndex>, (u64, u64));

/// `ways`: those with the most bytes first.
fn held_class(graph: &Graph<'_>, class: Class, ways: &[Way], hide_keys: bool) -> Held {
    let name = class_name(graph.snapshot, class);
    let mut held = Held {
        subject: HeldSubject { type_name: Some(name.clone()), stack: None },
        ..Held::default()
    };
    // Different ways may read alike: those whose names were cut.
    let mut by_text: HashMap<Vec<String>, usize> = HashMap::new();
    for (way, (objects, bytes)) in ways {
        held.objects += objects;
        held.bytes = held.bytes.saturating_add(*bytes);
        let Some(way) = way else {
            held.unknown += objects;
            continue;
        };
        if held.chains.len() >= MAX_WAYS {
            held.other_objects += objects;
            continue;
        }
        let (mut steps, root) = graph.chains.write(graph.snapshot, *way, hide_keys);
        steps.push(name.clone());
        if let Some(chain) = by_text.get(&steps).map(|at| &mut held.chains[*at]) {
            chain.objects += objects;
            chain.bytes = chain.bytes.saturating_add(*bytes);
            continue;
        }
        by_text.insert(steps.clone(), held.chains.len());
        held.chains.push(Chain {
            steps,
            root: root.to_owned(),
            objects: *objects,
            bytes: *bytes,
            ..Chain::default()
        });
    }
    held.chains.sort_by_key(|chain| Reverse(chain.objects));
    held
}

/// What is to be said of strings of the same content.
fn copies(snapshot: &Snapshot, all_bytes: u64) -> Option<String> {
    let found = duplicates(snapshot);
    if found.copied_bytes == 0 || found.copied_bytes < all_bytes / COPIES_SHARE {
        return None;
    }
    let mut note = format!(
        "{} of {} in strings of 64 bytes and more are copies: {} of {} strings have the content of another one ({} contents). The largest share is one content of {}, {} times.",
        units::bytes(found.copied_bytes),
        units::bytes(found.compared_bytes),
        units::count(found.copies),
        units::count(found.compared),
        units::count(found.contents),
        units::bytes(found.most_bytes / found.most.saturating_sub(1).max(1)),
        units::count(found.most),
    );
    if found.cut_bytes > 0 {
        note.push_str(&format!(
            " V8 tells the first {} characters of a string: of longer ones ({} of the copies) these and the size were compared.",
            units::count(COMPARED_CHARS),
            units::bytes(found.cut_bytes),
        ));
    }
    Some(note)
}
