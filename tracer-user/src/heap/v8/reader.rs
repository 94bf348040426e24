//! Reads the text of a snapshot as it comes. Knows the form that V8 gives it, and no other JSON:
//! the counts and the meaning of fields first, then nodes, edges, and strings last.
//!
//! # Sources
//! What Node 18 to 26 write; the form is V8's own and documented nowhere.

use super::{
    columns::{EdgeKind, MAX_NAME, NodeIndex, NodeKind, Snapshot},
    header::{Field, MAX_FIELDS},
    numbers::Numbers,
    strings::Escape,
};

/// Bytes of the name of a part.
const MAX_KEY_BYTES: usize = 64;
/// Nesting of parts that are skipped.
const MAX_DEPTH: u32 = 1000;
/// Why a snapshot could not be taken in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// It is not a snapshot as V8 writes it.
    #[error("the snapshot makes no sense ({0})")]
    Nonsense(&'static str),
    /// It ended before it was whole.
    #[error("the snapshot ended in the middle")]
    Truncated,
    /// It would take more memory than it may.
    #[error(
        "evaluating {nodes} objects and {edges} references would take {needed_bytes} bytes of memory, and {allowed_bytes} are allowed"
    )]
    TooLarge {
        /// Nodes that are said to come.
        nodes: u64,
        /// And edges.
        edges: u64,
        /// Memory for them; bytes.
        needed_bytes: u64,
        /// What may be taken; bytes.
        allowed_bytes: u64,
    },
}

/// What comes next.
#[derive(Debug)]
pub(super) enum At {
    /// The description.
    Header,
    /// The name of a part, or the end.
    Key(Vec<u8>, bool),
    Nodes,
    Edges,
    /// Whether inside a string, and the escape that has begun.
    Strings(bool, Escape),
    /// A part that nobody needs: how deep, whether in a string, whether behind a backslash.
    Other(u32, bool, bool),
    End,
}

/// A snapshot that is being taken in.
#[derive(Debug)]
pub struct Reader {
    pub(super) at: At,
    pub(super) max_bytes: u64,
    pub(super) header: Vec<u8>,
    pub(super) counts: (u64, u64),
    pub(super) node_fields: Vec<Field>,
    pub(super) node_kinds: Vec<NodeKind>,
    pub(super) edge_fields: Vec<Field>,
    pub(super) edge_kinds: Vec<Option<EdgeKind>>,
    numbers: Numbers,
    /// Field of the node or edge that comes next, and those that came.
    field: usize,
    row: [u64; MAX_FIELDS],
    /// The first half of a character that comes as two escapes.
    pub(super) high: Option<u32>,
    edges_promised: u64,
    pub(super) snapshot: Snapshot,
}

impl Reader {
    /// For a snapshot whose evaluation may take so many bytes of memory.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            at: At::Header,
            max_bytes,
            header: Vec::new(),
            counts: (0, 0),
            node_fields: Vec::new(),
            node_kinds: Vec::new(),
            edge_fields: Vec::new(),
            edge_kinds: Vec::new(),
            numbers: Numbers::default(),
            field: 0,
            row: [0; MAX_FIELDS],
            high: None,
            edges_promised: 0,
            snapshot: Snapshot::default(),
        }
    }

    /// Takes in the next piece.
    ///
    /// # Errors
    /// When it cannot be the next piece of a snapshot, or the whole would take too much memory.
    pub fn feed(&mut self, piece: &str) -> Result<(), SnapshotError> {
        let mut rest = piece.as_bytes();
        while !rest.is_empty() {
            let read = match self.at {
                At::Header => self.read_header(rest)?,
                At::Key(..) => self.read_key(rest)?,
                At::Nodes => self.read_nodes(rest)?,
                At::Edges => self.read_edges(rest)?,
                At::Strings(..) => self.read_strings(rest)?,
                At::Other(..) => self.skip(rest)?,
                At::End if rest.iter().all(u8::is_ascii_whitespace) => rest.len(),
                At::End => return Err(SnapshotError::Nonsense("something behind its end")),
            };
            rest = rest.get(read..).unwrap_or_default();
        }
        Ok(())
    }

    /// The snapshot, when all of it has come.
    ///
    /// # Errors
    /// When something is missing.
    pub fn finish(self) -> Result<Snapshot, SnapshotError> {
        let (nodes, edges) = self.counts;
        let came = (self.snapshot.kinds.len() as u64, self.snapshot.targets.len() as u64);
        let is_whole = matches!(self.at, At::End) && came == (nodes, edges) && came.0 > 0;
        if is_whole { Ok(self.snapshot) } else { Err(SnapshotError::Truncated) }
    }

    fn read_key(&mut self, text: &[u8]) -> Result<usize, SnapshotError> {
        let At::Key(key, in_key) = &mut self.at else { return Ok(0) };
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b'"' => *in_key = !*in_key,
                _ if *in_key && key.len() < MAX_KEY_BYTES => key.push(*byte),
                b'[' if !*in_key => {
                    self.at = match key.as_slice() {
                        b"nodes" => At::Nodes,
                        b"edges" => At::Edges,
                        b"strings" => {
                            self.want_names();
                            At::Strings(false, Escape::No)
                        }
                        _ => At::Other(1, false, false),
                    };
                    return Ok(at + 1);
                }
                b'}' if !*in_key => {
                    self.at = At::End;
                    return Ok(at + 1);
                }
                b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if !*in_key => {}
                _ => return Err(SnapshotError::Nonsense("the name of a part")),
            }
        }
        Ok(text.len())
    }

    fn read_nodes(&mut self, text: &[u8]) -> Result<usize, SnapshotError> {
        let Self { numbers, field, row, node_fields, node_kinds, snapshot, counts, .. } = self;
        let promised = &mut self.edges_promised;
        let (read, is_end) = numbers.read(text, |value| {
            row[*field] = value;
            *field += 1;
            if *field < node_fields.len() {
                return Ok(());
            }
            *field = 0;
            let (mut kind, mut name, mut size) = (NodeKind::Hidden, 0, 0);
            for (field, value) in node_fields.iter().zip(row.iter()) {
                match field {
                    Field::Kind => {
                        let known = usize::try_from(*value).ok().and_then(|v| node_kinds.get(v));
                        kind = *known.ok_or(SnapshotError::Nonsense("the kind of a node"))?;
                    }
                    Field::Name => name = string_index(*value)?,
                    Field::Size => size = *value,
                    Field::Edges => *promised = promised.saturating_add(*value),
                    _ => {}
                }
            }
            if snapshot.kinds.len() as u64 >= counts.0 || *promised > counts.1 {
                return Err(SnapshotError::Nonsense("more than it says"));
            }
            snapshot.push_node(kind, name, size);
            snapshot.first_edges.push(*promised as u32);
            Ok(())
        })?;
        self.end_part(is_end)?;
        Ok(read)
    }

    fn read_edges(&mut self, text: &[u8]) -> Result<usize, SnapshotError> {
        let Self { numbers, field, row, edge_fields, edge_kinds, snapshot, counts, .. } = self;
        let node_width = self.node_fields.len() as u64;
        let (read, is_end) = numbers.read(text, |value| {
            row[*field] = value;
            *field += 1;
            if *field < edge_fields.len() {
                return Ok(());
            }
            *field = 0;
            let (mut kind, mut name, mut to) = (None, 0, 0);
            for (field, value) in edge_fields.iter().zip(row.iter()) {
                match field {
                    Field::Kind => {
                        let known = usize::try_from(*value).ok().and_then(|v| edge_kinds.get(v));
                        kind = *known.ok_or(SnapshotError::Nonsense("the kind of an edge"))?;
                    }
                    Field::Name => name = *value,
                    Field::To => to = *value / node_width,
                    _ => {}
                }
            }
            if to >= snapshot.kinds.len() as u64 || snapshot.targets.len() as u64 >= counts.1 {
                return Err(SnapshotError::Nonsense("an edge to nowhere"));
            }
            // One of a kind that is not known holds nothing as far as can be told.
            let kind = kind.unwrap_or(EdgeKind::Weak);
            let name = if kind.is_named() {
                string_index(name)?
            } else {
                name.min(u64::from(MAX_NAME)) as u32
            };
            snapshot.push_edge(kind, name, to as NodeIndex);
            Ok(())
        })?;
        self.end_part(is_end)?;
        Ok(read)
    }

    fn end_part(&mut self, is_end: bool) -> Result<(), SnapshotError> {
        if is_end {
            if self.field != 0 {
                return Err(SnapshotError::Nonsense("half a node or edge"));
            }
            self.at = At::Key(Vec::new(), false);
        }
        Ok(())
    }

    fn skip(&mut self, text: &[u8]) -> Result<usize, SnapshotError> {
        let At::Other(depth, in_string, escaped) = &mut self.at else { return Ok(0) };
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if *escaped => *escaped = false,
                b'\\' if *in_string => *escaped = true,
                b'"' => *in_string = !*in_string,
                _ if *in_string => {}
                b'[' | b'{' if *depth >= MAX_DEPTH => {
                    return Err(SnapshotError::Nonsense("nested too deeply"));
                }
                b'[' | b'{' => *depth += 1,
                b']' | b'}' => {
                    *depth -= 1;
                    if *depth == 0 {
                        self.at = At::Key(Vec::new(), false);
                        return Ok(at + 1);
                    }
                }
                _ => {}
            }
        }
        Ok(text.len())
    }
}

fn string_index(value: u64) -> Result<u32, SnapshotError> {
    u32::try_from(value)
        .ok()
        .filter(|index| *index <= MAX_NAME)
        .ok_or(SnapshotError::Nonsense("the number of a string"))
}
