//! Where V8's full garbage collections can be seen.

use super::{Function, ProbePlan, ProbePoint, allocator::point_at};
use crate::runtime::node::NodeRuntime;
use crate::target::Target;
use crate::warning::Warning;

/// `v8::internal::MarkCompactCollector::CollectGarbage()`: every full collection of an isolate ends
/// in it, in the pause, whether it was marked little by little before or not. Minor ones have
/// functions of their own. Measured: V8 10.2 to 14.6 (Node 18 to 26) have it; to 12.4 it is
/// exported, from 13.6 on only the full symbol table knows it.
const FULL_COLLECTION: &str = "_ZN2v88internal20MarkCompactCollector14CollectGarbageEv";

/// The probe on the full collections of the target's V8; a warning where it does not show them.
pub fn point_of(
    target: &Target,
    node: &NodeRuntime,
    warnings: &mut Vec<Warning>,
) -> Option<ProbePoint> {
    let file = target.files.values().find(|file| file.display_path == node.module)?;
    let point = file.elf.find_symbols(&[FULL_COLLECTION])[0].and_then(|symbol| {
        point_at(file, symbol.svma, Function::FullCollection, FULL_COLLECTION.into())
    });
    if point.is_none() {
        warnings.push(Warning::new(
            "collections-unseen",
            format!(
                "{} has no symbol for V8's full garbage collections, so they cannot be seen: growth of what only a collection frees (Buffers) may be garbage that waits for one.",
                file.display_path.display()
            ),
            "Use a build of Node that is not stripped (the official ones), or watch for longer.",
        ));
    }
    point
}

impl ProbePlan {
    /// Whether V8's full collections are seen.
    pub fn sees_full_collections(&self) -> bool {
        self.points.iter().any(|point| point.function == Function::FullCollection)
    }
}
