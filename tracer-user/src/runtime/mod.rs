//! Language runtimes inside the target: where they keep their frames, and what those mean.

pub mod memory;
pub mod python;
pub mod v8_mappings;
