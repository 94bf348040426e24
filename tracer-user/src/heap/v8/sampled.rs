//! Which objects of a snapshot the sampler has taken, and who holds them. V8 holds each sampled
//! object by a weak handle, which a snapshot shows; it does not say whose handle that is. What the
//! sampler says is how many bytes each sample stands for, which follows from the object's size: so
//! an object is one of those samples that stand for as much as one of its size would.

use super::{
    chain::{ChainIndex, GLOBAL, shortened},
    columns::{EdgeKind, NodeIndex, NodeKind},
    duplicates::duplicates_of,
    findings::{Class, class, class_name},
    graph::Graph,
};
use crate::capture::{BlocksOfStack, Chain, Held, HeldSubject};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

/// What V8 calls the group of roots with its weak handles.
const HANDLES: &str = "(Global handles)";
/// Objects of one size belong to a function that has three quarters of the samples of that size.
const OF_FUNCTION: u64 = 3;
const OF_ALL: u64 = 4;
/// Part of a stack's bytes that has to be found for anything to be said of it: a quarter.
const LEAST_FOUND: f64 = 0.25;
/// Stacks that are told of, those with the most bytes; ways of each; stacks of samples of one size.
const MAX_STACKS: usize = 128;
const MAX_WAYS: usize = 8;
const MAX_STACKS_OF_SIZE: usize = 64;
/// Weak handles that are looked at; more than the samples of any profile of use.
const MAX_HANDLES: usize = 1 << 20;
/// Holders that are climbed from an object.
const MAX_CLIMB: usize = 256;
/// Entries that are seen in samples, of a container that grows.
const FEWEST_SEEN: usize = 4;

/// What a sampler says is alive.
#[derive(Clone, Debug)]
pub struct Sampled {
    distance_bytes: u64,
    /// Samples by the bytes that each stands for, and by stack.
    by_weight: HashMap<u64, BTreeMap<u64, u64>>,
    /// By stack: which function allocates, and bytes.
    stacks: HashMap<u64, (u64, u64)>,
}

impl Sampled {
    /// By a sampler that takes a sample each so many bytes.
    pub fn new(distance_bytes: u64) -> Self {
        Self { distance_bytes, by_weight: HashMap::new(), stacks: HashMap::new() }
    }

    /// A sample that stands for so many bytes, of a stack and of the function at its top, by numbers
    /// of the caller's.
    pub fn add(&mut self, weight_bytes: u64, stack: u64, function: u64) {
        *self.by_weight.entry(weight_bytes).or_default().entry(stack).or_default() += 1;
        let (_, bytes) = self.stacks.entry(stack).or_insert((function, 0));
        *bytes = bytes.saturating_add(weight_bytes);
    }

    fn function(&self, stack: u64) -> u64 {
        self.stacks.get(&stack).map_or(0, |(function, _)| *function)
    }

    /// `None` where they are not one function's.
    fn of_size(&self, weight_bytes: u64) -> Option<OfSize> {
        let samples = self.by_weight.get(&weight_bytes)?;
        let mut functions: BTreeMap<u64, u64> = BTreeMap::new();
        for (stack, count) in samples {
            *functions.entry(self.function(*stack)).or_default() += count;
        }
        let all: u64 = functions.values().sum();
        let (function, most) = functions.into_iter().max_by_key(|(_, count)| *count)?;
        if most * OF_ALL < all * OF_FUNCTION {
            return None;
        }
        let own = samples.iter().filter(|(stack, _)| self.function(**stack) == function);
        let mut stacks: Vec<(u64, u64)> = own.map(|(stack, count)| (*stack, *count)).collect();
        stacks.sort_by_key(|(stack, count)| (Reverse(*count), *stack));
        stacks.truncate(MAX_STACKS_OF_SIZE);
        Some(OfSize { function, stacks, all })
    }
}

/// Samples of objects of one size.
struct OfSize {
    /// That they are of.
    function: u64,
    /// Its stacks, and the samples of each.
    stacks: Vec<(u64, u64)>,
    /// Those of other functions too.
    all: u64,
}

/// Objects that one sampled object of this size stands for: one over the chance that a size is
/// sampled when samples are a Poisson process over allocated bytes, rounded as V8 does.
pub fn objects_of_sample(size_bytes: u64, distance_bytes: u64) -> u64 {
    let chance = -(-(size_bytes as f64) / distance_bytes as f64).exp_m1();
    (1.0 / chance + 0.5) as u64
}

/// What the snapshot says of sampled objects.
#[derive(Debug, Default)]
pub(super) struct BySampler {
    /// Who holds them, by stack.
    pub(super) held: Vec<Held>,
    /// Copies of strings in the container through which they are held, by stack.
    pub(super) blocks: Vec<BlocksOfStack>,
    /// Those containers.
    pub(super) containers: Vec<NodeIndex>,
}

/// Objects and bytes that samples stand for; parts of a sample where it may be of several stacks.
type Amount = (f64, f64);

/// What is held in one way: by which constructor, and how.
type Way = (Class, Option<ChainIndex>);

/// Finds sampled objects and who holds them. `reached`: by node, bytes that are first reached
/// through it.
pub(super) fn held_by_stack(
    graph: &Graph<'_>,
    sampled: &Sampled,
    reached: &[u64],
    hide_keys: bool,
) -> BySampler {
    let mut by_size: BTreeMap<u64, Vec<NodeIndex>> = BTreeMap::new();
    for node in handled(graph) {
        by_size.entry(graph.snapshot.size_bytes(node)).or_default().push(node);
    }
    let mut of_stacks: BTreeMap<u64, HashMap<Way, Amount>> = BTreeMap::new();
    let mut climbs: BTreeMap<u64, Climb> = BTreeMap::new();
    for (size_bytes, nodes) in by_size {
        let count = objects_of_sample(size_bytes, sampled.distance_bytes);
        let weight_bytes = size_bytes.saturating_mul(count);
        let Some(OfSize { function, stacks, all }) = sampled.of_size(weight_bytes) else {
            continue;
        };
        // Where most handles of a size are somebody else's, none is believed.
        if nodes.len() as u64 > all.saturating_mul(2) {
            continue;
        }
        let all = (nodes.len() as u64).max(all) as f64;
        for node in nodes {
            let owner = graph.owner(node);
            let way = (class(graph, owner), graph.way(owner));
            for (stack, samples) in &stacks {
                let part = *samples as f64 / all;
                let amount = of_stacks.entry(*stack).or_default().entry(way).or_default();
                amount.0 += part * count as f64;
                amount.1 += part * weight_bytes as f64;
            }
            let own: u64 = stacks.iter().map(|(_, samples)| samples).sum();
            climbs.entry(function).or_default().climb(
                graph,
                owner,
                own as f64 / all * weight_bytes as f64,
            );
        }
    }
    let mut found = BySampler::default();
    let containers: BTreeMap<u64, NodeIndex> = climbs
        .iter()
        .filter_map(|(function, climb)| Some((*function, climb.container(graph)?)))
        .collect();
    found.containers.extend(containers.values());
    found.containers.sort_unstable();
    found.containers.dedup();
    let mut told: Vec<u64> = of_stacks.keys().copied().collect();
    told.sort_by_key(|stack| (Reverse(sampled.stacks.get(stack).map_or(0, |of| of.1)), *stack));
    told.truncate(MAX_STACKS);
    let mut copies = copies(graph, &found.containers, reached);
    for stack in told {
        let ways = of_stacks.remove(&stack).unwrap_or_default();
        let Some((function, bytes)) = sampled.stacks.get(&stack).copied() else { continue };
        let found_bytes: f64 = ways.values().map(|amount| amount.1).sum();
        if found_bytes < LEAST_FOUND * bytes as f64 {
            continue;
        }
        let container = containers.get(&function).copied();
        found.held.push(held(graph, stack, ways, container, hide_keys));
        // The first of a function's stacks tells it: what several tell is added up.
        if let Some(of) = container.and_then(|node| copies.remove(&node)) {
            found.blocks.push(BlocksOfStack { stack, ..of });
        }
    }
    found
}

/// Objects that weak handles lead to: those of the sampler, and what native code has besides.
fn handled(graph: &Graph<'_>) -> Vec<NodeIndex> {
    let snapshot = graph.snapshot;
    let is_group = |node: &NodeIndex| {
        snapshot.kind(*node) == NodeKind::Synthetic
            && snapshot.texts.get(snapshot.name(*node)) == HANDLES
    };
    let weak = |node| {
        let edges = snapshot.edges(node).filter(|edge| edge.kind == EdgeKind::Weak);
        edges.map(|edge| edge.to)
    };
    snapshot.nodes().filter(is_group).flat_map(weak).take(MAX_HANDLES).collect()
}

/// What is held through each object, of the bytes that samples of one function stand for.
#[derive(Debug, Default)]
struct Climb {
    bytes: f64,
    through: HashMap<NodeIndex, f64>,
}

impl Climb {
    fn climb(&mut self, graph: &Graph<'_>, from: NodeIndex, bytes: f64) {
        self.bytes += bytes;
        let mut at = from;
        for _ in 0..MAX_CLIMB {
            *self.through.entry(at).or_default() += bytes;
            match graph.holder(at) {
                Some(holder) => at = holder,
                None => return,
            }
        }
    }

    /// The nearest object through which more than half of it is held, where that is by many entries.
    fn container(&self, graph: &Graph<'_>) -> Option<NodeIndex> {
        let half = self.bytes / 2.0;
        let has_half = |node: &NodeIndex| self.through.get(node).is_some_and(|of| *of > half);
        // One that holds no other such one: there is but one way down to it.
        let halves: HashSet<NodeIndex> =
            self.through.keys().copied().filter(|node| has_half(node)).collect();
        let upper: HashSet<NodeIndex> =
            halves.iter().filter_map(|node| graph.holder(*node)).collect();
        let node = halves.iter().copied().find(|node| !upper.contains(node))?;
        let is_entry = |entry: &NodeIndex| graph.holder(*entry) == Some(node);
        let seen = self.through.keys().copied().filter(is_entry).count();
        (seen >= FEWEST_SEEN && graph.way(node) != Some(GLOBAL)).then_some(node)
    }
}

/// Copies among the strings that are first reached through each container.
fn copies(
    graph: &Graph<'_>,
    containers: &[NodeIndex],
    reached: &[u64],
) -> HashMap<NodeIndex, BlocksOfStack> {
    let snapshot = graph.snapshot;
    // By node: the container that it is reached through, counted from 1.
    let mut within = vec![0_u8; snapshot.node_count()];
    let containers = &containers[..containers.len().min(usize::from(u8::MAX))];
    // Whatever is held stands behind what holds it.
    for node in &graph.order {
        let own = containers.iter().position(|container| container == node);
        let up = graph.holder(*node).map_or(0, |holder| within[holder as usize]);
        within[*node as usize] = own.map_or(up, |index| index as u8 + 1);
    }
    let of = |(index, node): (usize, &NodeIndex)| {
        let is_within = |node: &NodeIndex| usize::from(within[*node as usize]) == index + 1;
        let found = duplicates_of(snapshot, snapshot.nodes().filter(is_within));
        let copies = BlocksOfStack {
            duplicate_blocks: found.copies,
            duplicate_bytes: found.copied_bytes,
            duplicated_contents: found.contents,
            compared_blocks: found.compared,
            // A share of all that it holds, not of its strings alone.
            compared_bytes: reached[*node as usize],
            ..BlocksOfStack::default()
        };
        (*node, copies)
    };
    containers.iter().enumerate().map(of).filter(|(_, of)| of.duplicate_bytes > 0).collect()
}

/// Who holds what a stack has allocated.
fn held(
    graph: &Graph<'_>,
    stack: u64,
    ways: HashMap<Way, Amount>,
    container: Option<NodeIndex>,
    hide_keys: bool,
) -> Held {
    let snapshot = graph.snapshot;
    let mut ways: Vec<(Way, Amount)> = ways.into_iter().collect();
    ways.sort_by(|(a, of_a), (b, of_b)| of_b.1.total_cmp(&of_a.1).then(a.cmp(b)));
    let grown = container.and_then(|node| Some((node, graph.way(node)?)));
    let grown = grown.map(|(node, way)| {
        let (mut steps, _) = graph.chains.write_whole(snapshot, way, hide_keys);
        steps.push(class_name(snapshot, class(graph, node)));
        steps
    });
    let mut held =
        Held { subject: HeldSubject { stack: Some(stack), type_name: None }, ..Held::default() };
    for ((class, way), (objects, bytes)) in ways {
        let (objects, bytes) = (objects.round() as u64, bytes.round() as u64);
        held.objects = held.objects.saturating_add(objects);
        held.bytes = held.bytes.saturating_add(bytes);
        let Some(way) = way else {
            held.unknown = held.unknown.saturating_add(objects);
            continue;
        };
        let (mut steps, root) = graph.chains.write_whole(snapshot, way, hide_keys);
        steps.push(class_name(snapshot, class));
        let grown_step = grown.as_ref().and_then(|grown| step_of(&steps, grown));
        let (steps, grown_step) = match grown_step {
            // As the container's own way is shortened, so that the two are seen to be one.
            Some(at) => {
                let behind = shortened(steps.split_off(at + 1));
                let entry = steps.pop();
                let mut way = shortened(steps);
                way.extend(entry);
                let at = way.len() - 1;
                way.extend(behind);
                (way, Some(at))
            }
            None => (shortened(steps), None),
        };
        if let Some(chain) = held.chains.iter_mut().find(|chain| chain.steps == steps) {
            chain.objects = chain.objects.saturating_add(objects);
            chain.bytes = chain.bytes.saturating_add(bytes);
        } else if held.chains.len() >= MAX_WAYS {
            held.other_objects = held.other_objects.saturating_add(objects);
        } else {
            let root = root.to_owned();
            held.chains.push(Chain { steps, root, objects, bytes, grown_step, ..Chain::default() });
        }
    }
    held
}

/// The step of a way in which it passes through a container, whose own way this is.
fn step_of(steps: &[String], container: &[String]) -> Option<usize> {
    let last = container.len().checked_sub(1)?;
    let is_way = steps.len() > container.len() && steps[..last] == container[..last];
    let entry = steps.get(last)?.strip_prefix(container[last].as_str())?;
    (is_way && entry.starts_with(['[', '.', ' '])).then_some(last)
}
