//! How all that a report may tell looks, as text and as Markdown: a made-up report that has it all,
//! against golden files (blessed by `OUTLIVE_BLESS=1`).

use super::tests::{golden, recording};
use super::*;
use crate::growth::{Limits, Verdict};

/// The leaking gateway, with what judge and ledger say where they have more to go by.
fn everything() -> Report {
    let mut report = build(&recording(30, true), &Limits::default());
    let finding = &mut report.findings[0];
    finding.confidence = Some(0.99987);
    finding.survival = Some(0.982);
    finding.source_line = Some("self._kept.append(json.dumps(message).encode())".into());
    report.limit = Some(LimitReport {
        kind: "cgroup".into(),
        name: "/system.slice/gateway.service".into(),
        limit_bytes: 2 << 30,
        used_bytes: 1 << 30,
        growth_bytes_per_s: Rate { estimate: 436e3, low: 344e3, high: 511e3 },
        seconds: 2460.0,
        earliest_seconds: 2100.0,
        latest_seconds: Some(3120.0),
    });
    report.ledger = Some(LedgerReport {
        pid: 4242,
        from_ns: 0,
        to_ns: 29_000_000_000,
        first_bytes: 100 << 20,
        last_bytes: 112 << 20,
        rows: vec![
            LedgerRow {
                kind: "live-malloc",
                title: "live blocks of malloc",
                change_bytes: 9 << 20,
                last_bytes: None,
                note: None,
            },
            LedgerRow {
                kind: "files",
                title: "pages of files",
                change_bytes: -(1 << 20),
                last_bytes: Some(12 << 20),
                note: Some("two libraries were unloaded".into()),
            },
        ],
        explained_share: Some(0.93),
        advice: vec![LedgerAdvice {
            code: "retention",
            sentence: "4.0 MiB are free and kept by glibc in 12 arenas.".into(),
            advice: "MALLOC_ARENA_MAX=2 would give most of it back.".into(),
            bytes: 4 << 20,
        }],
    });
    let other = |verdict: Verdict, line: u32, live_bytes: u64| {
        let mut site = report.sites[1].clone();
        site.verdict = verdict.name();
        site.live_bytes = live_bytes;
        site.frames[2].function = format!("Images.of_line_{line}");
        site.frames[2].line = Some(line);
        site.bound_bytes = (verdict == Verdict::Filling).then_some(12 << 20);
        site.period_ns = (verdict == Verdict::Sawtooth).then_some(12_000_000_000);
        site
    };
    let mut others = vec![
        other(Verdict::Filling, 70, 7 << 20),
        other(Verdict::Filling, 70, 1 << 20),
        other(Verdict::Sawtooth, 71, 2 << 20),
        other(Verdict::OneOff, 72, 30 << 20),
    ];
    others.extend((80..84).map(|line| other(Verdict::OneOff, line, 4096)));
    report.sites.extend(others);
    report.losses.insert("slot_table_full".into(), 3);
    let message = "Process 4242 has had 3 children that outlive did not follow; what they hold is not in these numbers.";
    report.warnings.push(WarningReport {
        code: "children-not-followed".into(),
        message: message.into(),
        advice: "Give --follow to trace them too.".into(),
    });
    report.verdict = summary::summary(&report, false);
    report
}

/// The same with nothing that grows.
fn quiet() -> Report {
    let mut report = everything();
    report.findings.clear();
    report.limit = None;
    report.verdict = summary::summary(&report, false);
    report
}

#[test]
fn a_report_that_has_it_all_reads_as_blessed() {
    let report = everything();
    golden("everything.txt", &text(&report, false, Detail::Folded));
    golden("everything-full.txt", &text(&report, false, Detail::Full));
    golden("everything.md", &markdown(&report, Detail::Folded));
    golden("quiet.txt", &text(&quiet(), false, Detail::Folded));
}

#[test]
fn the_sentence_says_when_memory_runs_out_and_how_sure_growth_is() {
    let sentence = everything().verdict.sentence;
    for part in [
        "GROWING: +19.1 MB/h",
        "held since _flush_messages (gateway.py:212)",
        ", > 99.9 % sure",
        "the 2.0 GiB limit of control group /system.slice/gateway.service in about 41 min (35 .. 52).",
    ] {
        assert!(sentence.contains(part), "{part} is not in: {sentence}");
    }
}

#[test]
fn where_nothing_grows_the_sentence_says_what_it_is_instead() {
    let mut report = quiet();
    assert!(
        report.verdict.sentence.ends_with("; 4.0 MiB are free and kept by glibc in 12 arenas.")
    );
    report.ledger = None;
    let mut check = |kept: &dyn Fn(&Site) -> bool, expected: &str| {
        report.sites.retain(|site| kept(site));
        let sentence = summary::summary(&report, false).sentence;
        assert!(sentence.starts_with("STEADY: nothing kept growing in 30.0 s"), "{sentence}");
        assert!(sentence.ends_with(expected), "{expected} is not at the end of: {sentence}");
    };
    check(&|_| true, "; Images.of_line_72 (gateway.py:72) rose once, and holds 30.0 MiB.");
    check(
        &|site| site.verdict != Verdict::OneOff.name(),
        "; Images.of_line_70 (gateway.py:70) fills up to 24.0 MiB, and holds 8.0 MiB now.",
    );
    check(
        &|site| site.verdict != Verdict::Filling.name(),
        "; Images.of_line_71 (gateway.py:71) rises and is freed again every 12.0 s.",
    );
    check(&|site| site.verdict != Verdict::Sawtooth.name(), "in 30.0 s.");
}

#[test]
fn text_fits_its_width_and_is_coloured_for_terminals_only() {
    for report in [everything(), quiet()] {
        for detail in [Detail::Folded, Detail::Full] {
            let plain = text(&report, false, detail);
            let longest = plain.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(100), "{longest:?}");
            assert!(!plain.contains('\u{1b}'));
            assert!(text(&report, true, detail).contains("\u{1b}[1"));
        }
    }
}

#[test]
fn all_is_told_in_full() {
    let mut report = everything();
    let more = report.findings[0].clone();
    report.findings.extend(std::iter::repeat_n(more, 7));
    for (number, finding) in report.findings.iter_mut().enumerate() {
        finding.application_frame.function = format!("leak_{number}");
        finding.reasons = (0..7).map(|reason| format!("reason {reason} of {number}")).collect();
    }
    for render in [|report: &Report, detail| text(report, false, detail), markdown] {
        let said = |detail| render(&report, detail).replace("\\_", "_");
        let (folded, full) = (said(Detail::Folded), said(Detail::Full));
        assert!(folded.contains("leak_4 (") && !folded.contains("leak_5 ("), "{folded}");
        assert!(folded.contains("3 more growing places are shown by"), "{folded}");
        assert!(folded.contains("reason 4 of 0") && !folded.contains("reason 5 of 0"), "{folded}");
        assert!(folded.contains("1 more frame") && folded.contains("17 more counters"), "{folded}");
        assert!(full.contains("leak_7 ("), "{full}");
        assert!(full.contains("reason 6 of 7") && !full.contains("more frame"), "{full}");
        for name in report.losses.keys() {
            assert!(full.contains(name.as_str()), "{name}: {full}");
        }
    }
}

#[test]
fn hostile_names_break_neither_text_nor_page() {
    let mut report = everything();
    let hostile = "a|b`c```\n| x | y |\n</code><script>alert(1)</script>\u{1b}[31m @you #1";
    let finding = &mut report.findings[0];
    finding.application_frame.function = hostile.into();
    finding.application_frame.file = Some(hostile.into());
    finding.source_line = Some(hostile.into());
    finding.reasons = vec![hostile.into()];
    for site in &mut report.sites {
        for frame in &mut site.frames {
            frame.function = hostile.into();
        }
    }
    report.target.exe = hostile.into();
    report.warnings[0].message = hostile.into();
    report.limit.as_mut().expect("a limit").name = hostile.into();
    report.losses.insert(hostile.into(), 1);
    report.outlive_version = hostile.into();
    report.verdict = summary::summary(&report, false);
    let shown = text(&report, false, Detail::Full);
    assert!(!shown.contains('\u{1b}') && !shown.contains("\n| x"), "{shown}");

    let page = markdown(&report, Detail::Full);
    assert!(!page.contains('\u{1b}') && !page.contains("\n| x"), "{page}");
    let mut fence: Option<String> = None;
    let mut columns = None;
    for line in page.lines() {
        if let Some(open) = &fence {
            if line == open {
                fence = None;
            }
            continue;
        }
        if line.starts_with("```") {
            fence = Some(line.trim_end_matches(|c| c != '`').to_owned());
            continue;
        }
        let plain = line.replace("<code>", "").replace("</code>", "").replace("<!-- -->", "");
        let plain = plain.replace("<sub>", "").replace("</sub>", "");
        assert!(!plain.contains('<'), "HTML in {line}");
        let cells = line.replace("\\\\", "").replace("\\|", "").matches('|').count();
        match line.starts_with('|') {
            true => assert_eq!(*columns.get_or_insert(cells), cells, "{line}"),
            false => columns = None,
        }
    }
    assert_eq!(fence, None, "a fence stays open:\n{page}");
}
