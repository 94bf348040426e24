//! A V8 that comes later than outlive, or that maps its own code once more while it starts, as
//! Node.js does from version 22 on.

use crate::{
    probe::Probes,
    runtime::node,
    symbol::Resolver,
    target::{Target, mapping::Mapping},
    warning::Warning,
};
use tracer_common::v8::{Span, V8Layout};

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

    /// Looks again, if the code of files has changed, and has both sides use what was found.
    pub fn look(
        &mut self,
        tgid: u32,
        probes: &mut Probes,
        resolver: &mut Resolver,
    ) -> Vec<Warning> {
        let code = code_of_files(resolver.target());
        if code == self.seen {
            return Vec::new();
        }
        self.seen = code;
        if let Some(known) = resolver.node().filter(|known| known.is_walked()) {
            let builtins = known.builtin_spans(resolver.target());
            // A look that comes when the process ends finds nothing.
            if builtins != known.layout.builtins && builtins[0] != Span::default() {
                let layout = V8Layout { builtins, ..known.layout };
                probes.set_v8(tgid, layout);
                resolver.set_v8_layout(layout);
            }
            return Vec::new();
        }
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
