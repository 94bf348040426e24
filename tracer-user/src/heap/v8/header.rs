//! The description that a snapshot begins with: how many nodes and edges come, and what their
//! fields mean.

use super::{
    columns::{EdgeKind, NodeKind},
    reader::{At, Reader, SnapshotError},
};
use serde::Deserialize;

/// Bytes of the description of a snapshot.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Fields of a node or edge.
pub(super) const MAX_FIELDS: usize = 16;
/// Memory for a node: its columns, what the graph adds for each, and what comes for its strings.
const NODE_BYTES: u64 = 13 + 24 + 8;
/// The same of an edge.
const EDGE_BYTES: u64 = 8;

/// A field that is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Kind,
    Name,
    Size,
    Edges,
    To,
    Other,
}

#[derive(Deserialize)]
struct Header {
    meta: Meta,
    node_count: u64,
    edge_count: u64,
}

#[derive(Deserialize)]
struct Meta {
    node_fields: Vec<String>,
    node_types: Vec<serde_json::Value>,
    edge_fields: Vec<String>,
    edge_types: Vec<serde_json::Value>,
}

impl Reader {
    /// The description is kept until it is whole: `{"snapshot":{...}`.
    pub(super) fn read_header(&mut self, text: &[u8]) -> Result<usize, SnapshotError> {
        const BEGINS: &[u8] = b"{\"snapshot\":";
        let before = self.header.len();
        let taken = text.len().min(MAX_HEADER_BYTES - before);
        self.header.extend_from_slice(&text[..taken]);
        let known = self.header.len().min(BEGINS.len());
        if self.header[..known] != BEGINS[..known] {
            return Err(SnapshotError::Nonsense("its beginning"));
        }
        let Some(length) = object_length(&self.header[known..]) else {
            return if self.header.len() >= MAX_HEADER_BYTES {
                Err(SnapshotError::Nonsense("its description"))
            } else {
                Ok(taken)
            };
        };
        let end = known + length;
        let header: Header = serde_json::from_slice(&self.header[known..end])
            .map_err(|_| SnapshotError::Nonsense("its description"))?;
        self.header = Vec::new();
        self.begin(&header)?;
        self.at = At::Key(Vec::new(), false);
        Ok(end - before)
    }

    fn begin(&mut self, header: &Header) -> Result<(), SnapshotError> {
        let (nodes, edges) = (header.node_count, header.edge_count);
        let needed_bytes =
            nodes.saturating_mul(NODE_BYTES).saturating_add(edges.saturating_mul(EDGE_BYTES));
        let fits = u32::try_from(nodes).is_ok() && u32::try_from(edges).is_ok();
        if needed_bytes > self.max_bytes || !fits {
            let allowed_bytes = self.max_bytes;
            return Err(SnapshotError::TooLarge { nodes, edges, needed_bytes, allowed_bytes });
        }
        let meta = &header.meta;
        self.node_fields = fields(&meta.node_fields, "edge_count")?;
        self.edge_fields = fields(&meta.edge_fields, "to_node")?;
        let kinds = names_of_kinds(&meta.node_types)?;
        self.node_kinds = kinds.iter().map(|kind| NodeKind::of(kind)).collect();
        let kinds = names_of_kinds(&meta.edge_types)?;
        self.edge_kinds = kinds.iter().map(|kind| EdgeKind::of(kind)).collect();
        self.counts = (nodes, edges);
        let (nodes, edges) = (nodes as usize, edges as usize);
        let columns = &mut self.snapshot;
        columns.kinds.reserve_exact(nodes);
        columns.names.reserve_exact(nodes);
        columns.sizes.reserve_exact(nodes);
        columns.first_edges.reserve_exact(nodes + 1);
        columns.labels.reserve_exact(edges);
        columns.targets.reserve_exact(edges);
        columns.first_edges.push(0);
        Ok(())
    }
}

/// Length of the object that a text begins with; `None` when its end has not come.
fn object_length(text: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// What the fields of a node or edge are; `last` is needed too.
fn fields(names: &[String], last: &str) -> Result<Vec<Field>, SnapshotError> {
    let fields = names.iter().map(|name| match name.as_str() {
        "type" => Field::Kind,
        "name" | "name_or_index" => Field::Name,
        "self_size" => Field::Size,
        "edge_count" => Field::Edges,
        "to_node" => Field::To,
        _ => Field::Other,
    });
    let fields: Vec<Field> = fields.collect();
    let has = |field: Field| fields.contains(&field);
    let is_known = has(Field::Kind) && has(Field::Name) && names.iter().any(|name| name == last);
    if !is_known || fields.len() > MAX_FIELDS {
        return Err(SnapshotError::Nonsense("its fields"));
    }
    Ok(fields)
}

/// The first of the types, which is a list of names.
fn names_of_kinds(types: &[serde_json::Value]) -> Result<Vec<&str>, SnapshotError> {
    let names = types.first().and_then(|names| names.as_array());
    let names = names.ok_or(SnapshotError::Nonsense("its kinds"))?;
    Ok(names.iter().map(|name| name.as_str().unwrap_or_default()).collect())
}
