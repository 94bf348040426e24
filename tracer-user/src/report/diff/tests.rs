//! Comparisons of a made-up gateway with itself, against golden files (blessed by
//! `OUTLIVE_BLESS=1`). `tests/diff.rs` compares real captures.

use super::matching::{Holding, pairs};
use super::*;
use crate::capture::{ProcessMeta, Recording};
use crate::report::FrameReport;
use crate::report::tests::{golden, recording, stack};
use crate::stack::{Domain, FrameKind, StackId};
use crate::tick::{SiteReading, Tick};
use std::time::Duration;

/// A frame from `function`, `function:line`, with `@build` behind it where its build is known.
fn frame(text: &str) -> FrameReport {
    let (text, build) = match text.split_once('@') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (function, line) = match text.rsplit_once(':') {
        Some((function, line)) => (function, line.parse().ok()),
        None => (text, None),
    };
    FrameReport {
        kind: FrameKind::Native,
        function: function.into(),
        file: line.map(|_| format!("/build/{}/gateway.c", build.unwrap_or("1"))),
        line,
        module: Some("/srv/gateway".into()),
        build_id: build.map(Into::into),
        offset: None,
        generated: None,
        line_is_of_function: false,
    }
}

fn holding(frames: &str, live_bytes: u64) -> Holding {
    Holding {
        domain: Domain::Malloc,
        frames: frames.split_whitespace().map(|text| frame(text).into()).collect(),
        truncated: None,
        exe: "/srv/gateway".into(),
        live_bytes,
        live_blocks: 1,
        live_variance: 0,
    }
}

/// Each holding has its bytes as a name; 0 stands for the side that is not there.
fn check(claim: &str, before: &[(&str, u64)], after: &[(&str, u64)], expected: &[(u64, u64)]) {
    let all = |side: &[(&str, u64)]| side.iter().map(|(f, bytes)| holding(f, *bytes)).collect();
    let found = pairs(all(before), all(after));
    let bytes = |holding: &Option<Holding>| holding.as_ref().map_or(0, |one| one.live_bytes);
    let mut found: Vec<(u64, u64)> =
        found.iter().map(|pair| (bytes(&pair.before), bytes(&pair.after))).collect();
    found.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected, "{claim}");
}

#[test]
fn places_are_matched_by_what_people_read() {
    check("the same", &[("take:5 main", 1)], &[("take:5 main", 2)], &[(1, 2)]);
    check("nothing in common", &[("take main", 1)], &[("give main", 2)], &[(1, 0), (0, 2)]);
    check("another caller", &[("take a", 1)], &[("take b", 2)], &[(1, 0), (0, 2)]);
    check("a shifted line", &[("take:5 main:9", 1)], &[("take:7 main:11", 2)], &[(1, 2)]);
    check(
        "two lines of one function, both shifted, one onto the other",
        &[("take:5", 1), ("take:8", 2)],
        &[("take:11", 4), ("take:8", 3)],
        &[(1, 3), (2, 4)],
    );
    check(
        "a line more, the others where they were",
        &[("take:5", 1)],
        &[("take:8", 3), ("take:5", 2)],
        &[(1, 2), (0, 3)],
    );
    check(
        "a line less, the others where they were",
        &[("take:8", 3), ("take:5", 2)],
        &[("take:5", 1)],
        &[(2, 1), (3, 0)],
    );
    check(
        "a line more, and shifted: no telling",
        &[("take:5", 10)],
        &[("take:8", 20), ("take:7", 30)],
        &[(10, 50)],
    );
    check(
        "the same build: lines are what they say",
        &[("take:5@b", 1), ("take:8@b", 2)],
        &[("take:8@b", 3), ("take:11@b", 4)],
        &[(1, 0), (2, 3), (0, 4)],
    );
    check(
        "another build, in another folder",
        &[("take:5@a main:9@a", 1)],
        &[("take:6@b main:10@b", 2)],
        &[(1, 2)],
    );
    check(
        "variants that the compiler made",
        &[("take.isra.0 main", 1)],
        &[("take.part.1.cold main", 2)],
        &[(1, 2)],
    );
    check("addresses of another start", &[("0x7f12 main", 1)], &[("0x5512 main", 2)], &[(1, 2)]);
    check(
        "addresses that leave a doubt",
        &[("0x7f12 main", 1), ("0x7f13 main", 2)],
        &[("0x5512 main", 3)],
        &[(1, 0), (2, 0), (0, 3)],
    );
    check(
        "addresses that are the same are no doubt",
        &[("lib.so+0x12 main", 1), ("lib.so+0x13 main", 2)],
        &[("lib.so+0x12 main", 3), ("lib.so+0x99 main", 4)],
        &[(1, 3), (2, 4)],
    );
    check(
        "addresses in the same build are different places",
        &[("lib.so+0x12@b main@b", 1)],
        &[("lib.so+0x99@b main@b", 2)],
        &[(1, 0), (0, 2)],
    );
    check(
        "addresses in another build may be the same place",
        &[("lib.so+0x12@a main@a", 1)],
        &[("lib.so+0x99@b main@b", 2)],
        &[(1, 2)],
    );
    check("nothing at all", &[], &[], &[]);
    check("no frames", &[("", 1)], &[("", 2)], &[(1, 2)]);
}

#[test]
fn domains_modules_and_kinds_tell_places_apart() {
    let plain = || holding("take", 1);
    let found = |other: Holding| pairs(vec![plain()], vec![other]).len();
    assert_eq!(found(plain()), 1);
    assert_eq!(found(Holding { domain: Domain::Mmap, ..plain() }), 2);
    let changed = |change: fn(&mut FrameReport)| {
        let mut holding = plain();
        change(&mut holding.frames[0]);
        found(holding)
    };
    assert_eq!(changed(|frame| frame.kind = FrameKind::Js), 2);
    assert_eq!(changed(|frame| frame.module = Some("/usr/lib/libssl.so.3".into())), 2);
    assert_eq!(changed(|frame| frame.file = Some("other.c".into())), 2);
    // The program under another name.
    let mut renamed = Holding { exe: "/srv/gateway-2".into(), ..plain() };
    renamed.frames[0].module = Some("/srv/gateway-2".into());
    assert_eq!(found(renamed), 1);
}

#[test]
fn what_cannot_be_told_apart_shows_no_line_that_differs() {
    let merged = pairs(
        vec![holding("take:5 main:9", 1)],
        vec![holding("take:7 main:11", 2), holding("take:8 main:11", 3)],
    );
    let after = merged[0].after.as_ref().expect("after");
    let lines: Vec<Option<u32>> = after.frames.iter().map(|frame| frame.line).collect();
    assert_eq!(lines, [None, Some(11)]);
}

#[test]
fn frames_of_a_script_make_up_for_a_stripped_interpreter() {
    let scripted = |leaf: &str, bytes| {
        let mut holding = holding(&format!("{leaf} flush"), bytes);
        holding.frames[1] = FrameReport {
            kind: FrameKind::Python,
            build_id: None,
            module: None,
            ..frame("flush:7")
        }
        .into();
        holding
    };
    let before = vec![scripted("python3+0x12@a", 1), scripted("python3+0x13@a", 2)];
    let other_build = vec![scripted("python3+0x22@b", 10)];
    let found = pairs(before.clone(), other_build);
    assert_eq!(found.len(), 1, "{found:#?}");
    let merged = found[0].before.as_ref().expect("before");
    assert_eq!((merged.live_bytes, merged.frames[0].function.as_str()), (3, "python3+0x?"));
    let same_build = vec![scripted("python3+0x22@a", 10)];
    assert_eq!(pairs(before.clone(), same_build).len(), 3);
    // Other frames altogether: in the same build another place, unless the walk was cut short.
    let inlined = scripted("PyBytes_New@b", 5);
    assert_eq!(pairs(vec![before[0].clone()], vec![inlined]).len(), 1);
    let other = scripted("PyBytes_New@a", 5);
    assert_eq!(pairs(vec![before[0].clone()], vec![other.clone()]).len(), 2);
    let cut = Holding { truncated: Some("no_unwind_info"), ..other };
    assert_eq!(pairs(vec![before[0].clone()], vec![cut]).len(), 1);
    let mut shifted = scripted("PyBytes_New@b", 5);
    assert_eq!(matching::lines_before(&before[0], &shifted), None);
    shifted.frames[1].line = Some(9);
    assert_eq!(matching::lines_before(&before[0], &shifted), Some(vec![None, Some(7)]));
    shifted.frames.insert(0, frame("inlined:3@b").into());
    assert_eq!(matching::lines_before(&before[0], &shifted), Some(vec![None, None, Some(7)]));
    let mut other_script = scripted("PyBytes_New@b", 5);
    other_script.frames[1].function = "drop".into();
    assert_eq!(pairs(vec![before[0].clone()], vec![other_script]).len(), 2);
}

/// The gateway after a change of its source and a restart: lines have shifted, one place is gone,
/// one is new.
fn restarted() -> Recording {
    let mut recording = recording(30, true);
    recording.meta.target.pid = 5151;
    let put = recording.stacks.remove(&StackId(0xb1)).expect("stack");
    recording.stacks.insert(
        StackId(0xb1),
        crate::stack::Stack { frames: stack(0xb1, "Cache.put_all", 12, 3).frames, ..put },
    );
    for stack in recording.stacks.values_mut() {
        stack.frames.iter_mut().filter(|frame| frame.kind == FrameKind::Python).for_each(|frame| {
            frame.line = frame.line.map(|line| line + 8);
            frame.file = frame.file.as_ref().map(|file| file.replace("/srv/app", "/srv/app-2"));
        });
    }
    recording
}

pub(super) fn compared(before: &Recording, then: Moment, after: &Recording, now: Moment) -> Diff {
    let before = Side { capture: "old.outlive", recording: before, moment: then };
    let after = Side { capture: "new.outlive", recording: after, moment: now };
    let mut diff = compare(before, after).expect("moments in the windows");
    diff.outlive_version = "0.0.0";
    diff
}

pub(super) fn after_s(seconds: u64) -> Moment {
    Moment::After(Duration::from_secs(seconds))
}

#[test]
fn a_restarted_gateway_reads_as_blessed() {
    let (before, after) = (recording(20, true), restarted());
    let diff = compared(&before, Moment::End, &after, Moment::End);
    golden("diff/restarted.txt", &text(&diff, false, None));
    golden("diff/restarted.json", &json(&diff, None));
    golden("diff/restarted.folded", &folded(&diff));
    golden("diff/restarted.svg", &String::from_utf8(svg(&diff).expect("svg")).expect("text"));
}

#[test]
fn changes_add_up() {
    let (before, after) = (recording(20, true), restarted());
    let diff = compared(&before, Moment::End, &after, Moment::End);
    let changes: Vec<_> = diff.sites.iter().map(|site| (site.change, site.change_bytes)).collect();
    let leak = |seconds: i64| seconds * 2 * 600 + seconds * 4096;
    let cache = 50 * 2048;
    assert_eq!(
        changes,
        [(Change::New, cache), (Change::Gone, -cache), (Change::Grown, leak(29) - leak(19))]
    );
    assert_eq!(diff.totals.change_bytes, leak(29) - leak(19));
    let parts = [diff.totals.grown, diff.totals.new, diff.totals.shrunk, diff.totals.gone];
    assert_eq!(parts.map(|part| part.sites), [1, 1, 0, 1]);
    assert_eq!(parts.iter().map(|part| part.change_bytes).sum::<i64>(), diff.totals.change_bytes);
    assert_eq!(diff.sites[2].lines_before.as_ref().expect("shifted")[2], Some(212));
    assert_eq!(diff.sites[2].frames[2].line, Some(220));
}

#[test]
fn moments_are_answered_by_the_last_tick_before_them() {
    let recording = recording(30, true);
    let live = |moment| {
        let diff = compared(&recording, Moment::Start, &recording, moment);
        assert_eq!(diff.totals.before, Held::default());
        assert!(diff.warnings.is_empty(), "{:?}", diff.warnings);
        (diff.after.at_ns / 1_000_000_000, diff.totals.after.live_bytes)
    };
    let expected = |second: u64| (second, second * (2 * 600 + 4096) + 50 * 2048);
    assert_eq!(live(Moment::End), expected(29));
    assert_eq!(live(after_s(30)), expected(29));
    assert_eq!(live(after_s(10)), expected(10));
    assert_eq!(live(Moment::After(Duration::from_millis(10_800))), expected(10));
    // A tick that came late by less than a tenth of the interval.
    assert_eq!(live(Moment::After(Duration::from_millis(9_950))), expected(10));
    assert_eq!(live(after_s(0)), expected(0));
    assert_eq!(live(Moment::End).1, recording.aggregate.totals().live_bytes());
    let backwards = compared(&recording, Moment::End, &recording, after_s(9));
    assert_eq!(backwards.totals.change_bytes, -20 * (2 * 600 + 4096));
    assert_eq!(backwards.totals.shrunk.sites, 1);
    assert_eq!(backwards.totals.unchanged.sites, 1);
}

#[test]
fn a_moment_behind_the_end_is_refused() {
    let recording = recording(30, true);
    for (asked, is_before) in [(after_s(31), true), (Moment::After(Duration::MAX), false)] {
        let (then, now) = if is_before { (asked, Moment::End) } else { (Moment::Start, asked) };
        let side = |moment| Side { capture: "x.outlive", recording: &recording, moment };
        let error = compare(side(then), side(now)).expect_err("refused").to_string();
        assert!(error.contains("x.outlive was watched for 30.0 s"), "{error}");
    }
}

#[test]
fn what_went_with_its_process_is_gone() {
    let mut recording = recording(30, true);
    let process = |images, ended_ns| ProcessMeta { images, ended_ns, ..ProcessMeta::default() };
    recording.meta.processes = vec![process(vec![1], None), process(vec![2], Some(20_000_000_000))];
    recording.raw_stacks.get_mut(&StackId(0xb1)).expect("raw stack").image = 2;
    let diff = compared(&recording, after_s(19), &recording, Moment::End);
    let gone = diff.sites.iter().find(|site| site.change == Change::Gone).expect("gone");
    assert_eq!((gone.before.live_bytes, gone.after.live_bytes), (50 * 2048, 0));
}

#[test]
fn nothing_changed_is_said() {
    let recording = recording(30, false);
    let diff = compared(&recording, after_s(10), &recording, Moment::End);
    assert!(diff.sites.is_empty());
    assert!(text(&diff, false, None).starts_with("+0 B live: 100.0 KiB in 50 blocks before"));
    assert_eq!(folded(&diff), "");
    let picture = String::from_utf8(svg(&diff).expect("svg")).expect("text");
    assert!(picture.contains("No place holds more or less than before."));
    let empty = compared(&Recording::default(), Moment::Start, &Recording::default(), Moment::End);
    assert_eq!(empty.totals, DiffTotals::default());
}

#[test]
fn what_makes_a_comparison_doubtful_is_warned_of() {
    let codes = |before: &Recording, after: &Recording| -> Vec<String> {
        let diff = compared(before, Moment::End, after, Moment::End);
        assert_eq!(text(&diff, false, None).contains("Beware"), !diff.warnings.is_empty());
        diff.warnings.into_iter().map(|warning| warning.code).collect()
    };
    let plain = recording(30, true);
    assert_eq!(codes(&plain, &plain.clone()), [""; 0]);
    assert_eq!(codes(&plain, &recording(40, true)), ["diff-windows"]);
    let mut other = plain.clone();
    other.meta.settings.min_size_bytes = 4096;
    assert_eq!(codes(&plain, &other), ["diff-settings"]);
    let mut other = plain.clone();
    other.meta.target.exe = "/usr/bin/python3.12".into();
    other.stacks.values_mut().for_each(|stack| stack.frames.truncate(1));
    assert_eq!(codes(&plain, &other), ["diff-programs", "diff-nothing-matched"]);
    let mut other = plain.clone();
    other.aggregate.note_loss("unknown_records", 1);
    assert_eq!(codes(&plain, &other), ["diff-incomplete"]);
    assert_eq!(codes(&other, &plain), ["diff-incomplete"]);
}

#[test]
fn the_shell_is_told() {
    let (before, mut after) = (recording(20, true), recording(30, true));
    let grew = 10 * (2 * 600 + 4096);
    let code = |before: &Recording, after: &Recording, bound| {
        outcome(&compared(before, Moment::End, after, Moment::End), bound)
    };
    assert_eq!(code(&before, &after, None), 0);
    assert_eq!(code(&before, &after, Some(grew - 1)), 1);
    assert_eq!(code(&before, &after, Some(grew)), 0);
    assert_eq!(code(&after, &before, Some(0)), 0);
    after.aggregate.note_loss("unknown_records", 1);
    assert_eq!(code(&before, &after, None), 0);
    assert_eq!(code(&before, &after, Some(u64::MAX)), 3);
    assert_eq!(code(&after, &before, Some(0)), 3);
}

#[test]
fn a_limit_leaves_out_the_smallest_changes() {
    let diff = compared(&recording(20, true), Moment::End, &restarted(), Moment::End);
    let shown: serde_json::Value = serde_json::from_str(&json(&diff, Some(1))).expect("JSON");
    assert_eq!(shown["sites"].as_array().expect("sites").len(), 1);
    assert_eq!(shown["sites_left_out"], 2);
    assert_eq!(shown["totals"]["grown"]["sites"], 1);
    let shown = text(&diff, false, Some(1));
    assert!(shown.contains("2 places more changed"), "{shown}");
    assert!(!text(&diff, false, None).contains("--limit"));
    assert!(text(&diff, true, None).contains("\x1b[1;31m"));
}

#[test]
fn what_captures_may_hold_is_compared() {
    let mut hostile = recording(30, true);
    let names = ["", "\u{1b}]0;title\u{7} 12", "a;b <&> 3 4"];
    for (stack, name) in hostile.stacks.values_mut().zip(names) {
        stack.frames[0].function = name.into();
    }
    let mut huge = Tick { at_ns: 40_000_000_000, ..Tick::default() };
    huge.sites = [0xa1, 0xa2, 0xb1]
        .map(|stack| SiteReading {
            stack: StackId(stack),
            epoch: 2,
            allocated_bytes: u64::MAX,
            allocated_blocks: u64::MAX,
            freed_bytes: 0,
            freed_blocks: 0,
            allocated_variance: 0,
            freed_variance: 0,
        })
        .to_vec();
    hostile.aggregate.apply(&huge);
    let plain = recording(30, true);
    for (before, after) in
        [(&plain, &hostile), (&hostile, &plain), (&hostile, &Recording::default())]
    {
        let diff = compared(before, Moment::End, after, Moment::End);
        let shown = text(&diff, false, None);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown}");
        serde_json::from_str::<serde_json::Value>(&json(&diff, None)).expect("JSON");
        let picture = String::from_utf8(svg(&diff).expect("svg")).expect("text");
        assert!(!picture.contains('\u{1b}'));
        for line in folded(&diff).lines() {
            let mut columns = line.rsplitn(3, ' ');
            assert!(columns.by_ref().take(2).all(|column| column.parse::<u64>().is_ok()), "{line}");
            assert!(columns.next().is_some_and(|stack| !stack.is_empty()), "{line}");
        }
    }
    assert_eq!(
        compared(&plain, Moment::End, &hostile, Moment::End).totals.after.live_bytes,
        u64::MAX
    );
}
