//! A snapshot as it is kept: a column for each field of a node or edge, since a heap of 500 MB has
//! some ten million of the one and forty of the other.

use super::names::Names;
use std::collections::HashMap;

/// Index of a node.
pub(super) type NodeIndex = u32;

/// What a node is, as V8 tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum NodeKind {
    /// V8's own, or one that this version of outlive does not know.
    Hidden,
    Array,
    String,
    /// A string made of others, without a content of its own.
    StringOfOthers,
    Object,
    Code,
    Closure,
    Regexp,
    Number,
    BigInt,
    Symbol,
    /// Memory outside V8's heap that is kept alive from there.
    Native,
    /// A group of roots.
    Synthetic,
    /// What V8 keeps of the form of objects.
    Shape,
}

impl NodeKind {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "array" => Self::Array,
            "string" => Self::String,
            "concatenated string" | "sliced string" => Self::StringOfOthers,
            "object" => Self::Object,
            "code" => Self::Code,
            "closure" => Self::Closure,
            "regexp" => Self::Regexp,
            "number" => Self::Number,
            "bigint" => Self::BigInt,
            "symbol" => Self::Symbol,
            "native" => Self::Native,
            "synthetic" => Self::Synthetic,
            "object shape" => Self::Shape,
            _ => Self::Hidden,
        }
    }
}

/// What an edge is, as V8 tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum EdgeKind {
    /// A variable of a function.
    Context,
    Element,
    Property,
    /// A field of V8's own, by its name.
    Internal,
    /// A field of V8's own, by its number.
    Hidden,
    /// A way to a global object.
    Shortcut,
    /// Keeps nothing alive.
    Weak,
}

impl EdgeKind {
    const ALL: [Self; 7] = [
        Self::Context,
        Self::Element,
        Self::Property,
        Self::Internal,
        Self::Hidden,
        Self::Shortcut,
        Self::Weak,
    ];

    /// `None` for one that this version of outlive does not know.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "context" => Self::Context,
            "element" => Self::Element,
            "property" => Self::Property,
            "internal" => Self::Internal,
            "hidden" => Self::Hidden,
            "shortcut" => Self::Shortcut,
            "weak" => Self::Weak,
            _ => return None,
        })
    }

    /// Whether its second field is the index of a string.
    pub(super) fn is_named(self) -> bool {
        !matches!(self, Self::Element | Self::Hidden)
    }
}

/// Bits of an edge's label that are its name or number.
const NAME_BITS: u32 = 29;
/// Largest name or number that a label can have.
pub(super) const MAX_NAME: u32 = (1 << NAME_BITS) - 1;

/// An edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) kind: EdgeKind,
    /// Index of a string, or a number.
    pub(super) name: u32,
    pub(super) to: NodeIndex,
}

/// A heap, as V8 described it.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) kinds: Vec<u8>,
    pub(super) names: Vec<u32>,
    pub(super) sizes: Vec<u32>,
    /// Sizes that do not fit the column; bytes.
    pub(super) large: HashMap<NodeIndex, u64>,
    /// Edges by node: those of node n are `first_edges[n]..first_edges[n + 1]`.
    pub(super) first_edges: Vec<u32>,
    pub(super) labels: Vec<u32>,
    pub(super) targets: Vec<NodeIndex>,
    pub(super) texts: Names,
}

impl Snapshot {
    /// Nodes, those that are no objects included.
    pub fn node_count(&self) -> usize {
        self.kinds.len()
    }

    /// References between them.
    pub fn edge_count(&self) -> usize {
        self.targets.len()
    }

    /// What the columns take; bytes.
    pub fn memory_bytes(&self) -> u64 {
        let columns = self.kinds.capacity()
            + 4 * (self.names.capacity()
                + self.sizes.capacity()
                + self.first_edges.capacity()
                + self.labels.capacity()
                + self.targets.capacity());
        columns as u64 + self.texts.memory_bytes()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        0..self.kinds.len() as u32
    }

    pub(super) fn kind(&self, node: NodeIndex) -> NodeKind {
        const ALL: [NodeKind; 14] = [
            NodeKind::Hidden,
            NodeKind::Array,
            NodeKind::String,
            NodeKind::StringOfOthers,
            NodeKind::Object,
            NodeKind::Code,
            NodeKind::Closure,
            NodeKind::Regexp,
            NodeKind::Number,
            NodeKind::BigInt,
            NodeKind::Symbol,
            NodeKind::Native,
            NodeKind::Synthetic,
            NodeKind::Shape,
        ];
        let kind = self.kinds.get(node as usize).copied().unwrap_or_default();
        ALL.get(usize::from(kind)).copied().unwrap_or(NodeKind::Hidden)
    }

    /// Index of its name.
    pub(super) fn name(&self, node: NodeIndex) -> u32 {
        self.names.get(node as usize).copied().unwrap_or_default()
    }

    /// Bytes of its own.
    pub(super) fn size_bytes(&self, node: NodeIndex) -> u64 {
        match self.sizes.get(node as usize) {
            Some(&u32::MAX) => self.large.get(&node).copied().unwrap_or(u64::from(u32::MAX)),
            Some(size) => u64::from(*size),
            None => 0,
        }
    }

    pub(super) fn edges(&self, node: NodeIndex) -> impl Iterator<Item = Edge> + Clone + '_ {
        let at = |node: usize| self.first_edges.get(node).map_or(0, |first| *first as usize);
        let range = at(node as usize)..at(node as usize + 1).min(self.targets.len());
        range.map(|edge| {
            let label = self.labels[edge];
            let kind = EdgeKind::ALL.get((label >> NAME_BITS) as usize);
            Edge {
                kind: kind.copied().unwrap_or(EdgeKind::Weak),
                name: label & MAX_NAME,
                to: self.targets[edge],
            }
        })
    }

    pub(super) fn push_node(&mut self, kind: NodeKind, name: u32, size_bytes: u64) {
        if let Some(size) = u32::try_from(size_bytes).ok().filter(|size| *size != u32::MAX) {
            self.sizes.push(size);
        } else {
            self.large.insert(self.kinds.len() as u32, size_bytes);
            self.sizes.push(u32::MAX);
        }
        self.kinds.push(kind as u8);
        self.names.push(name);
    }

    /// `name` no more than [`MAX_NAME`].
    pub(super) fn push_edge(&mut self, kind: EdgeKind, name: u32, to: NodeIndex) {
        self.labels.push((kind as u32) << NAME_BITS | name & MAX_NAME);
        self.targets.push(to);
    }
}

/// The string that names an edge, by its label; `None` for one that has a number.
pub(super) fn name_in(label: u32) -> Option<u32> {
    let kind = EdgeKind::ALL.get((label >> NAME_BITS) as usize)?;
    kind.is_named().then_some(label & MAX_NAME)
}
