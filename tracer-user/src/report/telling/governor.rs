//! What the governor did, in words.

use crate::capture::{GovernorMeta, GovernorStep};
use crate::report::focus::printable;
use crate::report::model::Report;
use crate::units::{bytes, count, duration, percent};

/// Steps that are told one by one; the others are counted.
const MAX_STEPS: usize = 12;

/// The budget and every step, a sentence each.
pub(in crate::report) fn steps(report: &Report) -> Vec<String> {
    let Some(governor) = &report.governor else { return Vec::new() };
    let budget = percent(governor.budget_share);
    if governor.steps.is_empty() {
        return vec![format!(
            "within {budget} of the target's CPU time (--max-overhead) as it was"
        )];
    }
    let mut told = vec![format!(
        "held within {budget} of the target's CPU time (--max-overhead), by {} {}:",
        count(governor.steps.len() as u64),
        if governor.steps.len() == 1 { "step" } else { "steps" },
    )];
    told.extend(governor.steps.iter().take(MAX_STEPS).map(step));
    let more = governor.steps.len().saturating_sub(MAX_STEPS);
    if more > 0 {
        told.push(format!("and {more} more steps"));
    }
    told
}

fn step(step: &GovernorStep) -> String {
    format!(
        "after {}, at {}: {}",
        duration(step.at_ns),
        percent(step.cost_share),
        printable(&step.words()),
    )
}

/// What pauses mean for the numbers.
pub(in crate::report) fn pauses(report: &Report) -> Option<String> {
    let governor = report.governor.as_ref().filter(|governor| governor.pauses > 0)?;
    Some(format!(
        "the allocator's probes were out {} {}, for {} in all: what was allocated or freed then is not in these numbers, and of {} in {} blocks that were live before a pause it is not known whether they live; they count as freed, and no growth is told across a pause",
        count(governor.pauses),
        if governor.pauses == 1 { "time" } else { "times" },
        duration(governor.paused_ns),
        bytes(governor.forgotten_bytes),
        count(governor.forgotten_blocks),
    ))
}

/// Whether most of the window passed unseen.
pub(in crate::report) fn mostly_paused(report: &Report) -> Option<&GovernorMeta> {
    report.governor.as_ref().filter(|governor| governor.paused_ns > report.window.duration_ns / 2)
}
