//! The target's code ranges, with V8's own code told from the rest of its file.

use crate::runtime::node::NodeRuntime;
use crate::target::{self, PlannedRange, Target};
use crate::warning::Warning;
use std::ops::Range;
use tracer_common::slot::walk;

/// As [`target::code_ranges`]; `node` is the Node.js in the target.
pub fn code_ranges(
    target: &Target,
    node: Option<&NodeRuntime>,
) -> (Vec<PlannedRange>, Vec<Warning>) {
    let (ranges, warnings) = target::code_ranges(target);
    match node.filter(|node| node.is_walked()) {
        Some(node) => (cut_out(&ranges, &node.builtin_spans(target)), warnings),
        None => (ranges, warnings),
    }
}

/// The ranges, with those parts of them that lie in `spans` as ranges of their own. Both are
/// sorted, and do not overlap.
fn cut_out(ranges: &[PlannedRange], spans: &[Range<u64>]) -> Vec<PlannedRange> {
    let mut cut = Vec::with_capacity(ranges.len() + 2 * spans.len());
    for range in ranges {
        let mut start_avma = range.start_avma;
        for span in spans {
            let (from, to) = (span.start.max(start_avma), span.end.min(range.end_avma));
            if from >= to {
                continue;
            }
            if start_avma < from {
                cut.push(PlannedRange { start_avma, end_avma: from, ..*range });
            }
            cut.push(PlannedRange {
                start_avma: from,
                end_avma: to,
                walk: walk::V8,
                table: None,
                bias: 0,
            });
            start_avma = to;
        }
        if start_avma < range.end_avma {
            cut.push(PlannedRange { start_avma, ..*range });
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_v8_is_cut_out_of_the_ranges() {
        let of = |(start_avma, end_avma, walk): &(u64, u64, u32)| PlannedRange {
            start_avma: *start_avma,
            end_avma: *end_avma,
            walk: *walk,
            table: None,
            bias: if *walk == walk::V8 { 0 } else { 7 },
        };
        let check = |claim: &str, spans: &[(u64, u64)], expected: &[(u64, u64, u32)]| {
            let ranges = [(100, 200, walk::TABLE), (300, 400, walk::TABLE)];
            let ranges: Vec<PlannedRange> = ranges.iter().map(of).collect();
            let expected: Vec<PlannedRange> = expected.iter().map(of).collect();
            let spans: Vec<Range<u64>> = spans.iter().map(|(from, to)| *from..*to).collect();
            assert_eq!(cut_out(&ranges, &spans), expected, "{claim}");
        };
        let (table, v8) = (walk::TABLE, walk::V8);
        let whole = (300, 400, table);
        check("none", &[], &[(100, 200, table), whole]);
        check("elsewhere", &[(10, 90), (200, 300), (500, 600)], &[(100, 200, table), whole]);
        check(
            "in the middle",
            &[(120, 150)],
            &[(100, 120, table), (120, 150, v8), (150, 200, table), whole],
        );
        check("the first part", &[(100, 130)], &[(100, 130, v8), (130, 200, table), whole]);
        check("the last part", &[(130, 200)], &[(100, 130, table), (130, 200, v8), whole]);
        check("all of it", &[(100, 200)], &[(100, 200, v8), whole]);
        check(
            "both, and over the borders",
            &[(90, 110), (190, 310)],
            &[(100, 110, v8), (110, 190, table), (190, 200, v8), (300, 310, v8), (310, 400, table)],
        );
        check(
            "two in one",
            &[(110, 120), (130, 140)],
            &[
                (100, 110, table),
                (110, 120, v8),
                (120, 130, table),
                (130, 140, v8),
                (140, 200, table),
                whole,
            ],
        );
    }
}
