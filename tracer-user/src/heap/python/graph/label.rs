//! What a reference is called: in which field, under which key.

use crate::heap::python::TypeIndex;

/// A reference's place in its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Label {
    /// The dictionary, or the values, that make up the attributes of an object.
    Namespace,
    /// An attribute; the name is the text at this address.
    Attribute(u64),
    /// A value of a dictionary; the key is the object at this address.
    Value(u64),
    /// A key of a dictionary, an element of a set.
    Key,
    /// An item, by its index.
    Item(u64),
    /// A field that the type names: which of its members.
    Member(TypeIndex, u32),
    /// A field that is known.
    Field(&'static str),
    /// A field at this offset of which nothing is known.
    Offset(u32),
    /// A variable of a frame: the code at this address, and which variable.
    Local(u64, u32),
    /// The stack of a frame, a temporary value.
    Temporary,
    /// The cells of a function, whose code is at this address.
    Closure(u64),
    /// A variable that a function took from around it: its code, and which.
    FreeVariable(u64, u32),
    /// The dictionaries of a `threading.local`, one for each thread.
    ThreadDicts,
    /// What is inside and needs no name: the content of a cell, a node of a tree.
    Inside,
    /// The memory of a C type.
    Memory,
    /// Its type.
    Type,
}

impl Label {
    /// Without what may differ between objects that are held alike.
    pub fn signature(self) -> Label {
        match self {
            Label::Value(_) => Label::Value(0),
            Label::Item(_) => Label::Item(0),
            other => other,
        }
    }
}

/// How much a reference is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    /// Counted, and a holder.
    Plain,
    /// Counted; from a C type whose fields are unknown: a holder if nothing better is found.
    Scanned,
    /// Counted; technical (a frame's globals, a type's bases): a holder if nothing else is found.
    Link,
    /// May be stale: believed only for an object that misses a reference.
    Stray,
}

/// A reference from one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    /// Where it leads; there need be no object.
    pub target: u64,
    pub label: Label,
    pub strength: Strength,
}

impl Edge {
    pub fn plain(target: u64, label: Label) -> Self {
        Self { target, label, strength: Strength::Plain }
    }

    pub fn link(target: u64, label: Label) -> Self {
        Self { target, label, strength: Strength::Link }
    }

    pub fn stray(target: u64, label: Label) -> Self {
        Self { target, label, strength: Strength::Stray }
    }
}
