//! Who holds what: each object's shortest way from a root, by breadth-first search over what holds,
//! first from what programs know of, last through descriptions (prototypes, code) and V8's own
//! roots.

use super::{
    chain::{self, ChainIndex, Chains, GLOBAL, Holder},
    columns::{EdgeKind, NodeIndex, NodeKind, Snapshot},
    label::{Hold, Labels, Sort},
};

/// No node.
pub(super) const NOBODY: NodeIndex = NodeIndex::MAX;
/// No way to a node was found.
const NOT_FOUND: ChainIndex = ChainIndex::MAX;
/// Properties from which on those of a plain object are keys rather than fields.
const LARGE: usize = 32;

/// A heap with the ways to its objects.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) labels: Labels<'a>,
    pub(super) chains: Chains,
    /// Nodes in the order in which they were found: each behind what holds it.
    pub(super) order: Vec<NodeIndex>,
    /// By node: the object that holds it or, of a table, that it belongs to; the nearest one on its
    /// way.
    up: Vec<NodeIndex>,
    /// By node: the way to it.
    ways: Vec<ChainIndex>,
}

/// Which edges are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wave {
    Plain,
    Describing,
}

impl<'a> Graph<'a> {
    /// # Cost
    /// Twelve bytes of memory for each node.
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let nodes = snapshot.node_count();
        let mut graph = Self {
            snapshot,
            labels: Labels::new(snapshot),
            chains: Chains::new(),
            order: Vec::with_capacity(nodes),
            up: vec![NOBODY; nodes],
            ways: vec![NOT_FOUND; nodes],
        };
        if nodes == 0 {
            return graph;
        }
        graph.ways[0] = GLOBAL;
        for edge in snapshot.edges(0).filter(|edge| edge.kind == EdgeKind::Shortcut) {
            graph.found(edge.to, NOBODY, GLOBAL);
        }
        let mut plain = graph.spread(0);
        for of_programs in [true, false] {
            graph.enter_roots(of_programs);
            plain = graph.spread(plain);
            let mut described = 0;
            while described < graph.order.len() {
                let end = graph.order.len();
                for at in described..end {
                    graph.visit(graph.order[at], Wave::Describing);
                }
                described = end;
                plain = graph.spread(plain);
            }
        }
        graph
    }

    /// Follows what holds plainly from the nodes in `order` on; where that ended.
    fn spread(&mut self, mut at: usize) -> usize {
        while let Some(node) = self.order.get(at) {
            self.visit(*node, Wave::Plain);
            at += 1;
        }
        at
    }

    /// What groups of roots hold, those of programs or the others.
    fn enter_roots(&mut self, of_programs: bool) {
        let snapshot = self.snapshot;
        let mut groups: Vec<NodeIndex> = Vec::new();
        let mut at = 0;
        let is_group = |node: NodeIndex| snapshot.kind(node) == NodeKind::Synthetic;
        let below = |node: NodeIndex| {
            snapshot.edges(node).filter(|edge| edge.kind != EdgeKind::Weak).map(|edge| edge.to)
        };
        groups.extend(below(0).filter(|node| *node != 0 && is_group(*node)));
        // Groups of groups: two levels, whatever a snapshot says.
        for _ in 0..2 {
            let end = groups.len();
            for index in at..end {
                let deeper: Vec<NodeIndex> =
                    below(groups[index]).filter(|n| is_group(*n)).collect();
                groups.extend(deeper);
            }
            at = end;
            groups.truncate(1 << 16);
        }
        for group in groups {
            let name = snapshot.name(group);
            if chain::is_of_programs(snapshot.texts.get(name)) != of_programs {
                continue;
            }
            let way = self.chains.root(name);
            for node in below(group).filter(|node| !is_group(*node)) {
                self.found(node, NOBODY, way);
            }
        }
    }

    fn found(&mut self, node: NodeIndex, up: NodeIndex, way: ChainIndex) {
        if let Some(known) = self.ways.get_mut(node as usize)
            && *known == NOT_FOUND
        {
            *known = way;
            self.up[node as usize] = up;
            self.order.push(node);
        }
    }

    fn visit(&mut self, node: NodeIndex, wave: Wave) {
        let snapshot = self.snapshot;
        let sort = self.labels.sort(node);
        let way = self.ways[node as usize];
        let edges = snapshot.edges(node);
        let is_large = edges.clone().filter(|edge| edge.kind == EdgeKind::Property).nth(LARGE);
        let is_large = is_large.is_some() && snapshot.texts.get(snapshot.name(node)) == "Object";
        let up = if sort == Sort::Visible { node } else { self.up[node as usize] };
        for edge in edges {
            let wanted = match wave {
                Wave::Plain => Hold::Plain,
                Wave::Describing => Hold::Describing,
            };
            let is_new = self.ways.get(edge.to as usize) == Some(&NOT_FOUND);
            if !is_new || self.labels.hold(sort, edge) != wanted {
                continue;
            }
            let by = chain::by_edge(edge.kind, edge.name, is_large, snapshot);
            let on = match (sort, edge.kind) {
                (Sort::Visible, _) => {
                    let name = snapshot.name(node);
                    let holder = match snapshot.kind(node) {
                        NodeKind::Closure => Holder::Function(name),
                        _ => Holder::Object(name),
                    };
                    self.chains.on(way, holder, by)
                }
                (_, EdgeKind::Context | EdgeKind::Property) => self.chains.on(way, Holder::Its, by),
                _ => way,
            };
            self.found(edge.to, up, on);
        }
    }

    /// The way to a node; `None` where nothing holds it (weak references at most).
    pub(super) fn way(&self, node: NodeIndex) -> Option<ChainIndex> {
        self.ways.get(node as usize).copied().filter(|way| *way != NOT_FOUND)
    }

    /// The object that a node belongs to: itself, or of a table the one that has it.
    pub(super) fn owner(&self, node: NodeIndex) -> NodeIndex {
        match self.labels.sort(node) {
            Sort::Table => match self.up.get(node as usize) {
                Some(&NOBODY) | None => node,
                Some(owner) => *owner,
            },
            _ => node,
        }
    }

    /// The object that holds an object, the nearest on its way.
    pub(super) fn holder(&self, node: NodeIndex) -> Option<NodeIndex> {
        self.up.get(node as usize).copied().filter(|up| *up != NOBODY)
    }
}
