//! What heaps say of places, for those who judge by something else than time.

use super::containers::{grown_most, judge};
use super::{about, join::report_of};
use crate::capture::Recording;
use crate::growth::Limits;
use crate::report::model::{ContainerReport, Finding, HeapAnswers, Nature};
use crate::report::telling::{Detail, filled_by, reach_and_holders};
use crate::stack::StackId;

/// Containers that are told of memory that they fill.
const MAX_CONTAINERS: usize = 3;

/// Who holds the blocks of these stacks, and whether anybody does; a few lines that are safe to
/// print, none where no heap was looked at. With what kind of leak that is.
pub fn held_by(recording: &Recording, stacks: &[StackId]) -> (Vec<String>, Option<Nature>) {
    if recording.meta.heaps.is_empty() {
        return (Vec::new(), None);
    }
    let about = about::of_stacks(recording, stacks);
    let nature = about.nature();
    let heap = HeapAnswers { held_by: about.held_by, reach: about.reach, ..HeapAnswers::default() };
    (reach_and_holders(&heap, Detail::Folded), nature)
}

/// The same of a finding.
pub fn held_by_of(finding: &Finding) -> Vec<String> {
    let container = finding.heap.container.iter().map(filled_by);
    container.chain(reach_and_holders(&finding.heap, Detail::Folded)).collect()
}

/// The containers that grew, where what grows is memory that Python's small objects lie in: who
/// fills it, by name, the one with the most bytes behind its growth first; a few.
pub fn grown_containers(recording: &Recording) -> Vec<ContainerReport> {
    let containers = judge(recording, &Limits::default());
    let grown = grown_most(&containers).into_iter().take(MAX_CONTAINERS);
    grown.map(|of| report_of(&of.name, &of.container.chain.steps, Some(of))).collect()
}

/// Those in words, a line each, safe to print.
pub fn filled_by_these(containers: &[ContainerReport]) -> Vec<String> {
    containers.iter().map(filled_by).collect()
}
