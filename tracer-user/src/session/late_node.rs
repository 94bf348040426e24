//! A V8 that comes later than outlive, in a library that is loaded late.

use crate::{
    plan::{self, ProbePlan, ProbePoint},
    probe::Probes,
    runtime::node::{self, NodeRuntime},
    symbol::Resolver,
    target::{Target, mapping::Mapping},
    warning::Warning,
};

/// Remembers the code of files that was mapped when V8 was looked for last: it comes from there.
/// Which of these files have none the plan remembers, so that each is looked at once.
#[derive(Debug)]
pub struct LateNode {
    seen: Vec<Mapping>,
}

impl LateNode {
    /// After a look at `target`.
    pub fn new(target: &Target) -> Self {
        Self { seen: code_of_files(target) }
    }

    /// Looks again, if no V8 is known yet and the code of files has changed, and has both sides
    /// and `plan` use what was found. Its full collections are probed from then on.
    pub fn look(
        &mut self,
        plan: &mut ProbePlan,
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
        let (found, mut warnings) = node::detect(resolver.target(), &mut plan.files_without_node);
        if let Some(found) = found
            && resolver.node() != Some(&found)
        {
            let tgid = resolver.target().tgid;
            let was_known = resolver.node().is_some_and(|known| known.module == found.module);
            probes.set_v8(tgid, found.layout);
            resolver.set_node(tgid, Some(found.clone()));
            if !was_known {
                let target = resolver.target();
                let point = plan::collection_point(target, &found, &mut warnings);
                warnings.extend(point.and_then(|point| place(plan, point, tgid, probes)));
            }
        }
        warnings
    }
}

/// Places the probe on the full collections of a V8, and notes it in the plan.
fn place(
    plan: &mut ProbePlan,
    point: ProbePoint,
    tgid: u32,
    probes: &mut Probes,
) -> Option<Warning> {
    // By itself: the rest of the plan is there, or was another program's.
    let alone = ProbePlan { points: vec![point], ..ProbePlan::default() };
    let placed = probes.place(tgid, &alone);
    plan.points.extend(alone.points);
    placed.err().map(|error| {
        Warning::new(
            "collections-unseen",
            format!("V8's full garbage collections in process {tgid} cannot be seen: {error}."),
            "",
        )
    })
}

fn code_of_files(target: &Target) -> Vec<Mapping> {
    let of_file = |mapping: &&Mapping| mapping.executable && mapping.file.is_some();
    target.mappings.iter().filter(of_file).cloned().collect()
}
