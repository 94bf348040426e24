//! The target's code ranges, with V8's own code told from the rest of its file.

use crate::runtime::node::NodeRuntime;
use crate::target::mapping::Mapping;
use crate::target::{self, PlannedRange, Target};
use crate::warning::Warning;
use std::ops::Range;
use tracer_common::slot::walk;

/// As [`target::code_ranges`], and no more than the kernel side takes; `node` is the Node.js in the
/// target.
pub fn code_ranges(
    target: &Target,
    node: Option<&NodeRuntime>,
) -> (Vec<PlannedRange>, Vec<Warning>) {
    let mut ranges = target::code_ranges(target);
    if let Some(node) = node.filter(|node| node.is_walked()) {
        ranges = with_reserved(ranges, &reserved(&target.mappings));
        ranges = cut_out(&ranges, &node.builtin_spans(target));
    }
    let (ranges, warning) = target::fitting(ranges);
    (ranges, warning.into_iter().collect())
}

/// Where V8 has code that it compiled, and will have more: it reserves addresses once and makes
/// them executable page by page, and runs the new code before anybody can have looked. Each is the
/// stretch from the first to the last executable piece of neighbouring memory that belongs to no
/// file, with what is reserved on both sides.
fn reserved(mappings: &[Mapping]) -> Vec<Range<u64>> {
    let is_reserved =
        |mapping: &&&Mapping| !mapping.readable && !mapping.writable && !mapping.executable;
    let anonymous: Vec<&Mapping> =
        mappings.iter().filter(|mapping| mapping.is_anonymous()).collect();
    let mut found = Vec::new();
    for run in anonymous.chunk_by(|a, b| a.end_avma == b.start_avma) {
        let first = run.iter().position(|mapping| mapping.executable);
        let last = run.iter().rposition(|mapping| mapping.executable);
        let Some((first, last)) = first.zip(last) else { continue };
        let before = run[..first].iter().rev().take_while(is_reserved).count();
        let behind = run[last + 1..].iter().take_while(is_reserved).count();
        found.push(run[first - before].start_avma..run[last + behind].end_avma);
    }
    found
}

/// The ranges, with all that lies in `stretches` as code of a JIT. Both are sorted, and do not
/// overlap.
fn with_reserved(ranges: Vec<PlannedRange>, stretches: &[Range<u64>]) -> Vec<PlannedRange> {
    let covers = |stretch: &Range<u64>, range: &PlannedRange| {
        stretch.start <= range.start_avma && range.end_avma <= stretch.end
    };
    let is_elsewhere = |range: &PlannedRange| !stretches.iter().any(|s| covers(s, range));
    let mut all: Vec<PlannedRange> = ranges.into_iter().filter(is_elsewhere).collect();
    all.extend(stretches.iter().map(|stretch| PlannedRange {
        start_avma: stretch.start,
        end_avma: stretch.end,
        walk: walk::FRAME_POINTER,
        table: None,
        bias: 0,
    }));
    all.sort_by_key(|range| range.start_avma);
    all
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
    use std::path::PathBuf;
    use tracer_common::limits::MAX_CODE_RANGES;

    #[test]
    fn reserved_addresses_belong_to_the_code_beside_them() {
        let mapping = |(start_avma, end_avma, rights): &(u64, u64, &str)| Mapping {
            start_avma: *start_avma,
            end_avma: *end_avma,
            file_offset: 0,
            readable: rights.contains('r'),
            writable: rights.contains('w'),
            executable: rights.contains('x'),
            shared: false,
            deleted: false,
            file: None,
            path: if rights.contains('n') { "[anon:v8]".into() } else { PathBuf::new() },
        };
        let check = |claim: &str, mappings: &[(u64, u64, &str)], expected: &[(u64, u64)]| {
            let mappings: Vec<Mapping> = mappings.iter().map(mapping).collect();
            let found: Vec<_> =
                reserved(&mappings).iter().map(|range| (range.start, range.end)).collect();
            assert_eq!(found, expected, "{claim}");
        };
        check("data", &[(10, 20, "rw"), (20, 90, "")], &[]);
        check("more to come", &[(10, 20, "rw"), (20, 30, "rx"), (30, 90, "")], &[(20, 90)]);
        check(
            "pages with heads and guards",
            &[(0, 4, ""), (5, 6, "rw"), (6, 7, ""), (7, 8, "rx"), (8, 9, "rw"), (9, 10, "rwx")],
            &[(6, 10)],
        );
        check("names of its owner's choice", &[(1, 2, "n"), (2, 3, "xn"), (3, 4, "")], &[(1, 4)]);
        check("two", &[(1, 2, "x"), (3, 4, "x"), (4, 5, "r")], &[(1, 2), (3, 4)]);
    }

    #[test]
    fn code_of_files_is_kept_when_there_is_too_much() {
        let of = |index: u64, walk: u32| PlannedRange {
            start_avma: 10 * index,
            end_avma: 10 * index + 10,
            walk,
            table: None,
            bias: index,
        };
        let (jit, table) = (walk::FRAME_POINTER, walk::TABLE);
        let mut ranges: Vec<PlannedRange> =
            (1..MAX_CODE_RANGES as u64).map(|index| of(index, jit)).collect();
        ranges.insert(0, of(0, table));
        assert_eq!(target::fitting(ranges.clone()), (ranges.clone(), None));
        // What is cut out of the first makes them too many; the last is a file's.
        ranges.push(of(MAX_CODE_RANGES as u64, table));
        let (kept, warning) = target::fitting(cut_out(&ranges, std::slice::from_ref(&(2..4))));
        assert_eq!(warning.map(|warning| warning.code), Some("too-many-code-ranges"));
        assert_eq!(kept.len(), MAX_CODE_RANGES);
        assert!(kept.is_sorted_by_key(|range| range.start_avma));
        assert_eq!(kept.last(), ranges.last());
        assert_eq!(kept.iter().filter(|range| range.walk != jit).count(), 4);
    }

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
