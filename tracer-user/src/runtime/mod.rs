//! Language runtimes inside the target: where they keep their frames, and what those mean.

pub mod glibc;
pub mod memory;
pub mod node;
pub mod pagemap;
pub mod python;
pub mod v8_mappings;

/// The language runtimes of one target.
#[derive(Clone, Debug, Default)]
pub struct Runtimes {
    /// CPython.
    pub python: Option<python::PythonRuntime>,
    /// Node.js.
    pub node: Option<node::NodeRuntime>,
}
