//! A V8 that comes later than outlive, in a library that is loaded late.

use crate::{
    probe::Probes,
    runtime::node::{self, NodeRuntime},
    symbol::Resolver,
    target::{Target, mapping::Mapping},
    warning::Warning,
};

/// Remembers the code of files that was mapped when V8 was looked for last: it comes from there,
/// and nothing else has to be looked at again for it.
#[derive(Debug)]
pub struct LateNode {
    seen: Vec<Mapping>,
}

impl LateNode {
    /// After a look at `target`.
    pub fn new(target: &Target) -> Self {
        Self { seen: code_of_files(target) }
    }

    /// Looks again, if no V8 is known yet and the code of files has changed, and has both sides use what was found.
    pub fn look(
        &mut self,
        tgid: u32,
        probes: &mut Probes,
        resolver: &mut Resolver,
    ) -> Vec<Warning> {
        if resolver.node().is_some_and(NodeRuntime::is_walked) {
            return Vec::new();
        }
        let code = code_of_files(resolver.target());
        if code == self.seen {
            return Vec::new();
        }
        self.seen = code;
        let (found, warnings) = node::detect(resolver.target());
        if let Some(found) = found
            && resolver.node() != Some(&found)
        {
            probes.set_v8(tgid, found.layout);
            resolver.set_node(tgid, Some(found));
        }
        warnings
    }
}

fn code_of_files(target: &Target) -> Vec<Mapping> {
    let of_file = |mapping: &&Mapping| mapping.executable && mapping.file.is_some();
    target.mappings.iter().filter(of_file).cloned().collect()
}
