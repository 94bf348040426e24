//! Verbs of the workspace.
fn main() {}
