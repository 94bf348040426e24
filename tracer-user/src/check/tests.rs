//! Whole answers on recordings that were made up, and names that were chosen to do harm.

use super::*;
use crate::capture::{
    BlocksOfStack, Chain, GrownContainer, HeapMeta, HeapReading, Mark, Meta, RecordedWarning,
    Recording, TargetMeta,
};
use crate::report::Detail;
use crate::same::Same;
use crate::stack::{Domain, Frame, FrameKind, Stack, StackId};
use crate::tick::{SiteReading, Tick};

const WARM_UP: u32 = 2;
const CYCLES: u32 = 6;

/// What a stack leaves behind in each cycle: blocks and their size.
struct Leak {
    function: &'static str,
    blocks: u64,
    bytes: u64,
}

fn stack(id: u64, function: &str, line: u32) -> Stack {
    let frame = |kind, function: &str, file: Option<&str>, line| Frame {
        kind,
        function: function.into(),
        file: file.map(Into::into),
        line,
        module: (kind == FrameKind::Native).then(|| "/usr/bin/python3".into()),
        build_id: None,
        offset: Some(id),
        generated: None,
        line_is_of_function: false,
    };
    let frames = [
        frame(FrameKind::Native, "PyBytes_FromStringAndSize", None, None),
        frame(FrameKind::Python, function, Some("/srv/app/store.py"), Some(line)),
        frame(FrameKind::Python, "Gateway.post", Some("/srv/app/gateway.py"), Some(54)),
    ];
    Stack {
        id: StackId(id),
        domain: Domain::Malloc,
        frames: frames.map(Same::from).into(),
        truncated: None,
    }
}

/// A session with these leaks; the lines of its sources begin at `line`.
fn recording(leaks: &[Leak], line: u32) -> Recording {
    let target =
        TargetMeta { cmdline: "python3 gateway.py".into(), pid: 42, ..TargetMeta::default() };
    let mut recording = Recording::new(Meta { target, ..Meta::default() });
    for (index, leak) in leaks.iter().enumerate() {
        let id = 0xa0 + index as u64;
        recording.stacks.insert(StackId(id), stack(id, leak.function, line + index as u32));
    }
    for cycle in 0..=WARM_UP + CYCLES {
        let at_ns = u64::from(cycle + 1) * 1_000_000_000;
        let reading = |(index, leak): (usize, &Leak)| SiteReading {
            allocated_bytes: leak.blocks * leak.bytes,
            allocated_blocks: leak.blocks,
            ..SiteReading::new(StackId(0xa0 + index as u64), cycle)
        };
        let sites =
            if cycle == 0 { Vec::new() } else { leaks.iter().enumerate().map(reading).collect() };
        recording.aggregate.apply(&Tick { at_ns, sites, ..Tick::default() });
        let (kind, number) = match cycle {
            0 => (Mark::READY, 0),
            _ => (Mark::CYCLE, cycle - 1),
        };
        recording.meta.marks.push(Mark { at_ns, kind: kind.into(), cycle: number });
    }
    recording
}

fn rules() -> Rules {
    Rules { cycles: Some((WARM_UP, CYCLES)), ..Rules::default() }
}

fn flush() -> Leak {
    Leak { function: "Store.flush", blocks: 3, bytes: 4096 }
}

fn note() -> Leak {
    Leak { function: "Store.note", blocks: 1, bytes: 500 }
}

fn judged(recording: &Recording, rules: &Rules) -> Check {
    build(recording, rules, &Course::default())
}

const FLUSH: &str = "Store.flush (store.py) < Gateway.post (gateway.py)";

#[test]
fn the_pattern_of_a_leak_is_named_and_counts() {
    let check = judged(&recording(&[flush()], 70), &rules());
    assert_eq!((check.status, check.status.exit_code()), (Status::Growth, 1));
    assert!(
        check.sentence.starts_with(
            "GROWTH: 3 blocks, 12,288 bytes, every cycle held since Store.flush (store.py:70)"
        ),
        "{}",
        check.sentence
    );
    assert_eq!(check.findings[0].key, FLUSH);
    assert_eq!(check.findings[0].changes_bytes, [12_288; CYCLES as usize]);
    let clean = judged(&recording(&[], 70), &rules());
    assert_eq!((clean.status, clean.findings.len()), (Status::Clean, 0));
}

#[test]
fn budgets_bound_the_sum_and_the_place() {
    let recording = recording(&[flush(), note()], 70);
    let status = |budget_bytes, site_budget_bytes| {
        judged(&recording, &Rules { budget_bytes, site_budget_bytes, ..rules() }).status
    };
    assert_eq!(status(12_787, None), Status::Growth);
    assert_eq!(status(12_788, None), Status::Clean);
    assert_eq!(status(0, Some(12_288)), Status::Clean);
    assert_eq!(status(0, Some(12_287)), Status::Growth);
    assert_eq!(status(12_288, Some(500)), Status::Clean);
}

#[test]
fn a_baseline_accepts_what_is_known_and_catches_the_rest() {
    let first = judged(&recording(&[flush()], 70), &rules());
    let text = accepted(&first, &Baseline::default()).text();
    assert!(text.ends_with(&format!("\n12288 bytes/cycle  {FLUSH}\n")), "{text}");
    let with = |leaks: &[Leak]| {
        let baseline = Some(Baseline::parse(&text).expect("a baseline"));
        // Lines have moved.
        judged(&recording(leaks, 99), &Rules { baseline, ..rules() })
    };
    assert_eq!(with(&[flush()]).status, Status::Clean);
    let second = with(&[flush(), note()]);
    assert_eq!(second.status, Status::Growth);
    assert_eq!(second.findings[0].disposition, Disposition::New);
    assert_eq!(second.counted_bytes, 500.0);
    let grew = with(&[Leak { blocks: 4, ..flush() }]);
    assert_eq!((grew.status, grew.findings[0].disposition), (Status::Growth, Disposition::Grew));
    let gone = with(&[]);
    assert_eq!(
        (gone.status, gone.unseen_baseline.as_slice()),
        (Status::Clean, &[FLUSH.to_owned()][..])
    );
}

#[test]
fn suppressed_leaks_are_shown_and_do_not_count() {
    let suppressions = suppressions("leak:Store.fl*sh\nleak:nobody\n").expect("suppressions");
    let check = judged(&recording(&[flush()], 70), &Rules { suppressions, ..rules() });
    assert_eq!(check.status, Status::Clean);
    assert_eq!(check.findings[0].disposition, Disposition::Suppressed);
    assert_eq!(check.unused_suppressions, ["nobody"]);
    let text = text(&check, false, Detail::Folded);
    assert!(text.contains("12.0 KiB/cycle") && text.contains("leak:Store.fl*sh"), "{text}");
    assert!(text.contains("suppressed nothing: leak:nobody"), "{text}");
}

#[test]
fn nothing_that_was_cut_short_is_clean() {
    let setback = Some((Status::Inconclusive, "The program ended.".to_owned()));
    let check = build(&recording(&[], 1), &rules(), &Course { setback, ..Course::default() });
    assert_eq!(check.status.exit_code(), 3);
    let mut lossy = recording(&[flush()], 1);
    lossy.aggregate.note_loss("unknown_records", 1);
    assert_eq!(judged(&lossy, &rules()).status, Status::Inconclusive);
    let few = judged(&recording(&[], 1), &Rules { cycles: Some((WARM_UP + 3, 3)), ..rules() });
    assert_eq!(few.status, Status::Inconclusive);
    assert_eq!(judged(&Recording::default(), &rules()).status, Status::Inconclusive);
    let not_run = not_run("no such command");
    assert_eq!((not_run.status.exit_code(), not_run.problems.len()), (2, 1));
}

#[test]
fn the_hour_is_judged_where_there_are_no_cycles() {
    let check = judged(&Recording::default(), &Rules::default());
    assert_eq!((check.status, check.unit), (Status::Inconclusive, Unit::Hour));
    assert!(check.cycles.is_none());
    let check = judged(&recording(&[flush()], 1), &Rules::default());
    assert!(check.findings.iter().all(|finding| finding.key == "Store.flush (store.py)"));
}

#[test]
fn annotations_are_in_the_words_of_the_system() {
    let check = judged(&recording(&[flush()], 70), &rules());
    let github = annotations(&check, CiSystem::GitHub, "/srv/app/");
    assert_eq!(
        github,
        "::error file=store.py,line=70,title=outlive check::3 blocks, 12,288 bytes, every cycle held since Store.flush (store.py:70)\n"
    );
    let outside = annotations(&check, CiSystem::GitHub, "/home/me");
    assert!(outside.starts_with("::error title=outlive check::3 blocks"), "{outside}");
    let azure = annotations(&check, CiSystem::Azure, "/srv");
    assert!(azure.starts_with(
        "##vso[task.logissue type=error;sourcepath=app/store.py;linenumber=70;]3 blocks"
    ));
    let teamcity = annotations(&check, CiSystem::TeamCity, "/srv");
    assert!(teamcity.starts_with("##teamcity[message text='3 blocks"), "{teamcity}");
    assert!(teamcity.contains("##teamcity[buildProblem description='GROWTH"), "{teamcity}");
    assert_eq!(annotations(&judged(&recording(&[], 1), &rules()), CiSystem::Azure, "/"), "");
    let of = |name: &'static str, value: &'static str| {
        CiSystem::of(|asked| (asked == name).then(|| value.to_owned()))
    };
    assert_eq!(of("GITHUB_ACTIONS", "true"), Some(CiSystem::GitHub));
    assert_eq!(of("TF_BUILD", "True"), Some(CiSystem::Azure));
    assert_eq!(of("TEAMCITY_VERSION", "2026.1"), Some(CiSystem::TeamCity));
    assert_eq!(of("TEAMCITY_VERSION", ""), None);
    assert_eq!(of("CI", "true"), None);
}

#[test]
fn names_that_were_chosen_to_do_harm_do_none() {
    let hostile = "\u{1b}]0;x\u{7}\r\n::error::y\n##vso[task.setvariable variable=a]b|'] ]]> </failure><script>`|*_[a](b)\u{202e}\u{0}%0A";
    let mut recording = recording(&[flush()], 70);
    for stack in recording.stacks.values_mut() {
        for frame in &mut stack.frames {
            frame.function = hostile.into();
            frame.file = frame.file.as_ref().map(|_| format!("/srv/app/{hostile}.py"));
        }
    }
    let warning =
        RecordedWarning { code: hostile.into(), message: hostile.into(), advice: hostile.into() };
    recording.warnings.push(warning);
    recording.meta.target.cmdline = hostile.into();
    let check = judged(&recording, &rules());
    assert_eq!(check.status, Status::Growth);
    let is_plain =
        |text: &str| !text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    let shown = text(&check, false, Detail::Folded);
    assert!(
        is_plain(&shown) && !shown.contains("\n::error") && !shown.contains("\n##vso"),
        "{shown}"
    );
    for system in [CiSystem::GitHub, CiSystem::Azure, CiSystem::TeamCity] {
        let lines = annotations(&check, system, "/srv/app");
        let expected = if system == CiSystem::TeamCity { 2 } else { 1 };
        assert_eq!(lines.lines().count(), expected, "{lines}");
        assert!(is_plain(&lines), "{lines}");
        // Nothing but the command itself ends a bracket of its own.
        if system == CiSystem::Azure {
            assert_eq!(lines.matches(']').count(), 1, "{lines}");
        }
    }
    let xml = junit(&check).expect("XML");
    assert!(
        is_plain(&xml) && !xml.contains("<script>") && !xml.contains("]]> </failure>"),
        "{xml}"
    );
    let summary = markdown(&check);
    assert!(is_plain(&summary) && !summary.contains("<script>"), "{summary}");
    assert!(
        summary
            .lines()
            .filter(|line| line.starts_with('|'))
            .all(|line| { line.replace("\\|", "").matches('|').count() == 4 })
    );
    let log: serde_json::Value = serde_json::from_str(&sarif(&check, "/srv/app")).expect("JSON");
    let uri = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
        ["uri"];
    assert!(uri.as_str().expect("a URI").is_ascii(), "{uri}");
    // A name like this in the baseline is one line yet.
    let baseline = accepted(&check, &Baseline::default());
    let again = Baseline::parse(&baseline.text()).expect("a baseline");
    assert_eq!(again.text(), baseline.text());
}

#[test]
fn sarif_names_files_relative_to_the_repository() {
    let log: serde_json::Value =
        serde_json::from_str(&sarif(&judged(&recording(&[flush()], 70), &rules()), "/srv"))
            .expect("JSON");
    let result = &log["runs"][0]["results"][0];
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "app/store.py");
    assert_eq!(place["region"]["startLine"], 70);
    assert_eq!(result["level"], "error");
    let again = sarif(&judged(&recording(&[flush()], 99), &rules()), "/srv");
    let again: serde_json::Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!(
        result["partialFingerprints"],
        again["runs"][0]["results"][0]["partialFingerprints"]
    );
}

#[test]
fn memory_for_small_objects_is_told_by_the_container_that_fills_it() {
    let mut recording = recording(&[Leak { function: "x", blocks: 1, bytes: 1 << 20 }], 70);
    let stack = recording.stacks.get_mut(&StackId(0xa0)).expect("the stack");
    stack.domain = Domain::Mmap;
    stack.frames = vec![Frame::bare(FrameKind::Native, crate::symbol::ARENA_FRAME).into()];
    let container = |path: &str, last| GrownContainer {
        type_name: "dict".into(),
        chain: Chain { steps: path.split(" -> ").map(str::to_owned).collect(), ..Chain::default() },
        lengths: vec![(1_000_000_000, 100), (9_000_000_000, last)],
        held_bytes: last * 500,
        ..GrownContainer::default()
    };
    recording.meta.heaps = vec![HeapMeta {
        containers: vec![
            container("app.LEVEL", 100),
            container("app.STORE -> Store._sessions", 18_100),
            container("app.STORE -> Store._sessions['k'] -> Session.rows", 900),
        ],
        ..HeapMeta::default()
    }];
    let check = judged(&recording, &rules());
    let (sentence, finding) = (&check.sentence, &check.findings[0]);
    assert!(sentence.contains("[pymalloc arena], filled by Store._sessions"), "{sentence}");
    let names: Vec<_> = finding.containers.iter().map(|of| of.name.as_str()).collect();
    assert_eq!(names, ["Store._sessions"]);
    assert_eq!(finding.key, "[pymalloc arena]", "a baseline's key stays what it was");
    let line = "filled by Store._sessions: dict of 18,100 entries, 18,000 of them new in this window, held by app.STORE -> Store._sessions";
    assert_eq!(finding.held_by, [line]);
    assert!(text(&check, false, Detail::Folded).contains(line));
    assert!(markdown(&check).contains("filled by Store.\\_sessions: dict of 18,100"));
    assert!(json(&check).contains("\"name\": \"Store._sessions\""));
    recording.meta.heaps.clear();
    assert!(judged(&recording, &rules()).findings[0].containers.is_empty());
}

#[test]
fn what_is_lost_is_told_from_what_is_held() {
    let mut recording = recording(&[flush()], 70);
    let heap = |unread_bytes| HeapMeta {
        readings: vec![HeapReading {
            stopped_ns: Some(1_000_000),
            unread_bytes,
            ..HeapReading::default()
        }],
        blocks: vec![BlocksOfStack {
            stack: 0xa0,
            blocks: 24,
            bytes: 98_304,
            lost_blocks: 24,
            lost_bytes: 98_304,
            ..BlocksOfStack::default()
        }],
        ..HeapMeta::default()
    };
    recording.meta.heaps = vec![heap(0)];
    let lost = judged(&recording, &rules());
    assert!(lost.sentence.contains("every cycle lost since Store.flush"), "{}", lost.sentence);
    assert!(json(&lost).contains("\"nature\": \"lost\""));
    recording.meta.heaps = vec![heap(4096)];
    let unsure = judged(&recording, &rules());
    assert!(unsure.sentence.contains("left (no pointer to it was seen) since"));
    assert!(unsure.findings[0].held_by[0].contains("4.0 KiB could not be read"));
}
