//! What is told of heaps, and that names from the target stay text.

use super::*;
use crate::capture::{
    Census, Chain, GrownContainer, HeapMeta, HeapReading, Held, HeldSubject, TypeCount,
};

fn typed(name: &str, count: u64, bytes: u64, count_change: i64, bytes_change: i64) -> TypeCount {
    TypeCount { name: name.into(), count, bytes, count_change, bytes_change }
}

#[test]
fn a_stop_that_was_not_enough_is_told_with_its_length() {
    let mut heap = looked();
    heap.readings[0].was_read_after_stop = true;
    let shown = text(&build(&heap, None));
    assert!(shown.contains("while it ran, after a stop of 21 ms that was not enough"), "{shown}");
    assert!(!heap.readings[0].is_of_one_moment());
}

fn looked() -> HeapMeta {
    let chain = Chain {
        steps: vec!["gateway.SESSIONS".into(), "Session.messages".into(), "Message".into()],
        root: "module".into(),
        objects: 3990,
        bytes: 1 << 20,
        references_found: 2,
        references_counted: 2,
        grown_step: None,
    };
    HeapMeta {
        pid: 42,
        runtime: "CPython 3.11.2".into(),
        readings: vec![HeapReading {
            copied_bytes: 64 << 20,
            stopped_ns: Some(21_000_000),
            took_ns: 400_000_000,
            tracer_bytes: 90 << 20,
            ..HeapReading::default()
        }],
        census: Some(Census {
            types: vec![
                typed("gateway.Message", 4000, 2 << 20, 2000, 1 << 20),
                typed("dict", 9, 900, 0, 0),
            ],
            other_types: typed("", 70, 7000, 0, 0),
            objects: 4079,
            bytes: (2 << 20) + 7900,
            pools: 130,
            ..Census::default()
        }),
        containers: vec![GrownContainer {
            type_name: "list".into(),
            chain: Chain { steps: chain.steps[..2].to_vec(), ..chain.clone() },
            lengths: vec![(0, 2000), (60, 4000)],
            held_bytes: 2 << 20,
            contents: vec![typed("gateway.Message", 4000, 2 << 20, 0, 0)],
            ..GrownContainer::default()
        }],
        held: vec![Held {
            subject: HeldSubject { type_name: Some("gateway.Message".into()), stack: None },
            objects: 4000,
            bytes: 2 << 20,
            explained: 3999,
            chains: vec![chain],
            unreachable: 10,
            ..Held::default()
        }],
        notes: vec!["<b>a note</b>\u{1b}[31m".into()],
        ..HeapMeta::default()
    }
}

#[test]
fn growth_comes_first_and_proof_stands_beside_each_chain() {
    let text = text(&build(&looked(), Some(60_000_000_000)));
    let expected = [
        "Heap of process 42: CPython 3.11.2\n\nContainers that grew in 1 min 00 s\n",
        "      +2000  gateway.SESSIONS -> Session.messages\n",
        "list of 4,000 entries now, holds 2.0 MiB: 4,000 gateway.Message (2.0 MiB)\n",
        "+1.0 MiB       +2000  gateway.Message (4,000 now)\n",
        "gateway.Message: 4,000 objects, 2.0 MiB; every reference is explained of 3,999 (100.0 %)\n",
        "3,990  gateway.SESSIONS -> Session.messages -> Message  (2 of 2 references explained)\n",
        "10  only by each other: garbage that waits for the collector\n",
        "7.0 KiB           70  all other types\n".trim_start_matches("7.0 KiB"),
        "64.0 MiB in one stop of 21 ms; evaluated after 400 ms in all",
        "<b>a note</b>?[31m\n",
    ];
    let mut rest = text.as_str();
    for part in expected {
        let (_, behind) = rest.split_once(part).unwrap_or_else(|| panic!("{part:?} in\n{text}"));
        rest = behind;
    }
}

#[test]
fn one_moment_tells_no_growth_and_nothing_empty() {
    let mut heap = looked();
    heap.containers.clear();
    heap.held.clear();
    heap.notes.clear();
    for of in &mut heap.census.as_mut().unwrap().types {
        (of.count_change, of.bytes_change) = (0, 0);
    }
    let text = text(&build(&heap, None));
    assert!(
        !text.contains("grew") && !text.contains("Who holds") && !text.contains("Notes"),
        "{text}"
    );
    let nothing = super::text(&build(&HeapMeta::default(), None));
    assert_eq!(nothing, "Heap of process 0: \n");
}

#[test]
fn markdown_and_json_hold_the_same() {
    let report = build(&looked(), None);
    let page = markdown(&report);
    assert!(page.starts_with("# Heap of process 42"), "{page}");
    assert_eq!(page.matches("```").count(), 2 * page.matches("\n## ").count());
    let document: serde_json::Value = serde_json::from_str(&json(&report)).unwrap();
    assert_eq!(document["schema_version"], SCHEMA_VERSION);
    assert_eq!(document["window_ns"], serde_json::Value::Null);
    assert_eq!(document["readings"][0]["stopped_ns"], 21_000_000);
    assert_eq!(document["held"][0]["chains"][0]["references_found"], 2);
}
