//! What nodes and edges mean: which nodes people know of and which are V8's own tables, and by
//! which edges something is held rather than merely described.

use super::columns::{Edge, EdgeKind, NodeIndex, NodeKind, Snapshot};

/// Names of fields that nearly every object has, and that say nothing of who holds it: what it is
/// an instance of, what its code is. Looked at last.
const DESCRIBING: [&str; 16] = [
    "__proto__",
    "constructor",
    "prototype",
    "map",
    "shared",
    "feedback_cell",
    "code",
    "initial_map",
    "native_context",
    "scope_info",
    "script",
    "function_data",
    "name_or_scope_info",
    "outer_scope_info",
    "constructor_or_back_pointer",
    "dependent_code",
];

/// What stands before the names of V8's own objects.
const SYSTEM: &str = "system / ";
/// What V8 calls the variables of a function.
const CONTEXT: &str = "system / Context";

/// What is known of a string that is a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing = 0,
    Describing = 1,
    System = 2,
    Context = 3,
}

/// What a node is to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// An object, function, string or the like.
    Visible,
    /// A table of such a one, or a scope of variables: belongs to it.
    Table,
    /// Code and forms of objects: nobody's in particular.
    System,
    /// A group of roots.
    Root,
}

/// How an edge holds what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// As programs do.
    Plain,
    /// As a description, see [`DESCRIBING`].
    Describing,
    /// Not at all.
    No,
}

/// Tells sorts and holds apart.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    snapshot: &'a Snapshot,
    /// By the index of a string.
    known: Vec<u8>,
}

impl<'a> Labels<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let known = (0..snapshot.texts.len() as u32).map(|index| {
            let text = snapshot.texts.get(index);
            let known = match text {
                CONTEXT => Known::Context,
                _ if text.starts_with(SYSTEM) => Known::System,
                _ if DESCRIBING.contains(&text) => Known::Describing,
                _ => Known::Nothing,
            };
            known as u8
        });
        Self { snapshot, known: known.collect() }
    }

    fn is(&self, name: u32, known: Known) -> bool {
        self.known.get(name as usize).is_some_and(|found| *found == known as u8)
    }

    pub(super) fn sort(&self, node: NodeIndex) -> Sort {
        match self.snapshot.kind(node) {
            NodeKind::Synthetic => Sort::Root,
            NodeKind::Code | NodeKind::Shape => Sort::System,
            NodeKind::Array | NodeKind::Hidden => Sort::Table,
            NodeKind::Object => {
                let name = self.snapshot.name(node);
                let is_own = self.is(name, Known::System) || self.is(name, Known::Context);
                if is_own { Sort::Table } else { Sort::Visible }
            }
            _ => Sort::Visible,
        }
    }

    /// How an edge of a node of this sort holds.
    pub(super) fn hold(&self, sort: Sort, edge: Edge) -> Hold {
        let is_ephemeron = || self.snapshot.texts.is_ephemeron(edge.name);
        match edge.kind {
            EdgeKind::Weak | EdgeKind::Shortcut => Hold::No,
            // The table of a WeakMap holds no value by itself, its key does.
            EdgeKind::Internal if sort != Sort::Visible && is_ephemeron() => Hold::No,
            _ if sort == Sort::System => Hold::Describing,
            EdgeKind::Internal | EdgeKind::Property if self.is(edge.name, Known::Describing) => {
                Hold::Describing
            }
            _ => Hold::Plain,
        }
    }
}
