//! How many JavaScript frames have names, and how much of what was allocated that concerns.

use super::model::Walks;
use crate::{
    capture::Recording,
    same::Same,
    stack::{Domain, Frame, FrameKind},
    symbol::is_unnamed_js,
    units,
};
use std::collections::BTreeMap;

/// Distinct JavaScript frames by result; empty where the target runs none that were recorded.
pub(super) fn frames(recording: &Recording) -> BTreeMap<String, u64> {
    recording.meta.node.as_ref().map(|node| node.js_frames.clone()).unwrap_or_default()
}

/// Of what was allocated by stacks with JavaScript frames, the share of those whose frames all
/// have names, 0 to 1; `None` where there was none.
pub(super) fn whole_share(recording: &Recording) -> Option<f64> {
    let is_js = |frame: &&Same<Frame>| frame.kind == FrameKind::Js;
    let (mut all, mut whole) = (0_u64, 0_u64);
    for (id, totals) in recording.aggregate.stacks() {
        let Some(stack) = recording.stacks.get(&id) else { continue };
        // Those of V8's own profiler were named by V8.
        if stack.domain == Domain::V8 {
            continue;
        }
        let mut frames = stack.frames.iter().filter(is_js).peekable();
        if frames.peek().is_none() {
            continue;
        }
        // A capture may hold any numbers.
        all = all.saturating_add(totals.allocated_blocks);
        if !frames.any(|frame| is_unnamed_js(frame.kind, &frame.function)) {
            whole = whole.saturating_add(totals.allocated_blocks);
        }
    }
    (all > 0).then(|| whole as f64 / all as f64)
}

/// The same in words; `None` where the target runs no JavaScript.
pub(super) fn in_words(walks: &Walks) -> Option<String> {
    let whole = walks.js_whole_share?;
    let results = walks.js_frames.iter().filter(|(_, count)| **count > 0);
    let results: Vec<String> =
        results.map(|(name, count)| format!("{name} {}", units::count(*count))).collect();
    let results =
        if results.is_empty() { String::new() } else { format!(" ({})", results.join(", ")) };
    Some(format!(
        "all frames have names in {} of their allocations{results}",
        super::telling::share(whole)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::{Meta, NodeMeta},
        stack::{Stack, StackId},
        tick::{SiteReading, Tick},
    };

    fn recording(stacks: &[(&[&str], u64)]) -> Recording {
        let mut recording = Recording::new(Meta::default());
        let mut tick = Tick::default();
        for (id, (names, blocks)) in (7..).zip(stacks) {
            let id = StackId(id);
            let of = |name: &&str| match name.strip_prefix("js:") {
                Some(name) => Frame::bare(FrameKind::Js, name).into(),
                None => Frame::bare(FrameKind::Native, *name).into(),
            };
            let frames = names.iter().map(of).collect();
            let stack = Stack { id, domain: Domain::Malloc, frames, truncated: None };
            recording.stacks.insert(id, stack);
            tick.sites.push(SiteReading {
                stack: id,
                epoch: 1,
                allocated_bytes: *blocks,
                allocated_blocks: *blocks,
                freed_bytes: 0,
                freed_blocks: 0,
                allocated_variance: 0,
                freed_variance: 0,
            });
        }
        recording.aggregate.apply(&tick);
        recording
    }

    #[test]
    fn one_nameless_frame_makes_a_stack_not_whole() {
        let check = |claim: &str, stacks: &[(&[&str], u64)], expected: Option<f64>| {
            assert_eq!(whole_share(&recording(stacks)), expected, "{claim}");
        };
        check("no JavaScript", &[(&["malloc", "main"], 10)], None);
        check("all named", &[(&["malloc", "js:load", "main"], 10)], Some(1.0));
        check(
            "by allocations, not by stacks",
            &[
                (&["malloc", "js:load", "js:[js 0x7f00]", "main"], 10),
                (&["malloc", "js:load", "main"], 30),
                (&["malloc", "main"], 1000),
            ],
            Some(0.75),
        );
        check("nothing named", &[(&["js:[js 0x10]"], u64::MAX), (&["js:[js 0x20]"], 1)], Some(0.0));
    }

    #[test]
    fn results_come_from_the_recording() {
        let mut recording = recording(&[(&["js:load"], 4)]);
        assert_eq!(frames(&recording), BTreeMap::new());
        let js_frames = BTreeMap::from([("moved".to_owned(), 0), ("named".to_owned(), 1234)]);
        recording.meta.node =
            Some(NodeMeta { js_frames: js_frames.clone(), ..NodeMeta::default() });
        assert_eq!(frames(&recording), js_frames);
        let share = whole_share(&recording);
        let walks = Walks { js_frames, js_whole_share: share, ..Walks::default() };
        let words = in_words(&walks);
        assert_eq!(
            words.as_deref(),
            Some("all frames have names in 100 % of their allocations (named 1,234)")
        );
        assert_eq!(in_words(&Walks::default()), None);
    }
}
