//! Small snapshots that are made up for tests, in the form that V8 writes.

use serde_json::{Value, json};

/// Node kinds, in V8's order.
const NODE_KINDS: [&str; 15] = [
    "hidden",
    "array",
    "string",
    "object",
    "code",
    "closure",
    "regexp",
    "number",
    "native",
    "synthetic",
    "concatenated string",
    "sliced string",
    "symbol",
    "bigint",
    "object shape",
];
const EDGE_KINDS: [&str; 7] =
    ["context", "element", "property", "internal", "hidden", "shortcut", "weak"];

/// A heap, as it is made up.
#[derive(Default)]
pub struct MadeUp {
    nodes: Vec<(usize, usize, u64)>,
    edges: Vec<Vec<(usize, usize, usize)>>,
    strings: Vec<String>,
}

impl MadeUp {
    /// With the root, a global object (node 1), and what native code holds (node 2).
    pub fn new() -> Self {
        let mut made = Self::default();
        made.node("synthetic", "", 0);
        let global = made.node("object", "global", 16);
        made.edge(0, "shortcut", "1", global);
        let handles = made.node("synthetic", "(Global handles)", 0);
        made.edge(0, "element", "1", handles);
        made
    }

    fn string(&mut self, text: &str) -> usize {
        if let Some(at) = self.strings.iter().position(|known| known == text) {
            return at;
        }
        self.strings.push(text.to_owned());
        self.strings.len() - 1
    }

    pub fn node(&mut self, kind: &str, name: &str, size: u64) -> usize {
        let kind = NODE_KINDS.iter().position(|known| *known == kind).expect("a kind");
        let name = self.string(name);
        self.nodes.push((kind, name, size));
        self.edges.push(Vec::new());
        self.nodes.len() - 1
    }

    pub fn edge(&mut self, from: usize, kind: &str, name: &str, to: usize) {
        let numbered = matches!(kind, "element" | "hidden");
        let name = if numbered { name.parse().expect("a number") } else { self.string(name) };
        let kind = EDGE_KINDS.iter().position(|known| *known == kind).expect("a kind");
        self.edges[from].push((kind, name, to));
    }

    /// An object with a property that leads to it.
    pub fn object(&mut self, from: usize, property: &str, constructor: &str, size: u64) -> usize {
        let node = self.node("object", constructor, size);
        self.edge(from, "property", property, node);
        node
    }

    pub fn text(&self) -> String {
        let nodes = self.nodes.iter().zip(&self.edges).enumerate();
        let nodes = nodes.flat_map(|(at, ((kind, name, size), edges))| {
            [*kind as u64, *name as u64, at as u64 * 2 + 1, *size, edges.len() as u64, 0]
        });
        let nodes: Vec<u64> = nodes.collect();
        let edges: Vec<usize> = self
            .edges
            .iter()
            .flatten()
            .flat_map(|(kind, name, to)| [*kind, *name, to * 6])
            .collect();
        let fields = |names: &[&str]| Value::from(names.to_vec());
        let meta = json!({
            "node_fields": fields(&["type", "name", "id", "self_size", "edge_count", "detachedness"]),
            "node_types": [NODE_KINDS, "string", "number"],
            "edge_fields": fields(&["type", "name_or_index", "to_node"]),
            "edge_types": [EDGE_KINDS, "string_or_number", "node"],
        });
        // V8's order, which a map would not keep.
        format!(
            "{{\"snapshot\":{{\"meta\":{meta},\"node_count\":{},\"edge_count\":{}}},\n\"nodes\":{},\n\"edges\":{},\n\"trace_tree\":[1,[\"]\"]],\n\"strings\":{}}}\n",
            self.nodes.len(),
            edges.len() / 3,
            json!(nodes),
            json!(edges),
            json!(self.strings),
        )
    }
}
