//! The objects of a CPython in an [`Image`](super::Image) of its memory.

mod census;
mod chunk;
pub mod graph;
mod heap;
mod kind;
mod kind_table;
pub mod layout;
mod layout_table;
mod measure;
mod moment;
mod object;
mod outside_pools;
mod pools;
mod prefix;
pub mod reader;
mod scan;
mod size;
mod state_layout;
mod table_map;
mod tables;
mod type_name;
mod type_scan;
mod used_blocks;

pub use heap::{Interpreter, PythonHeap, PythonHeapError};
pub use kind::{Member, Shape, TypeIndex, TypeInfo};
pub use layout::HeapLayout;
pub use moment::{GrownLength, Growth, Moment};
pub use object::{Object, ObjectIndex, Objects};

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod live_tests;
