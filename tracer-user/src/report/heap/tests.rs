//! Heaps in reports: containers that grow, who holds what a finding is about, and what is lost.

use super::super::tests::{golden, recording};
use crate::capture::{
    BlocksOfStack, Census, Chain, GrownContainer, HeapMeta, HeapReading, Held, HeldSubject,
    PointedFrom, Recording, TypeCount,
};
use crate::growth::Limits;
use crate::report::{
    Detail, Nature, Report, Status, Subject, build, json, markdown, text, wanted_stacks,
};

const SECOND: u64 = 1_000_000_000;

fn steps(path: &str) -> Vec<String> {
    path.split(" -> ").map(str::to_owned).collect()
}

fn chain(path: &str, grown_step: Option<usize>) -> Chain {
    Chain {
        steps: steps(path),
        root: "module".into(),
        objects: 60,
        bytes: 60_000,
        references_found: 2,
        references_counted: 2,
        grown_step,
    }
}

/// That has `length(second)` entries of 2 KiB each.
fn container(path: &str, kind: &str, length: impl Fn(u64) -> u64) -> GrownContainer {
    GrownContainer {
        avma: 0x7000,
        type_name: kind.into(),
        chain: chain(path, None),
        lengths: (3..30).map(|second| (second * SECOND, length(second))).collect(),
        held_bytes: length(29) * 2048,
        contents: vec![TypeCount {
            name: "app.Message".into(),
            count: length(29),
            bytes: length(29) * 1800,
            ..TypeCount::default()
        }],
        is_lru_cache: false,
    }
}

fn heap(containers: Vec<GrownContainer>) -> HeapMeta {
    let reading = |second| HeapReading {
        at_ns: second * SECOND,
        took_ns: 40_000_000,
        copied_bytes: 10 << 20,
        tracer_bytes: 14 << 20,
        ..HeapReading::default()
    };
    let last = HeapReading { stopped_ns: Some(7_300_000), ..reading(29) };
    HeapMeta {
        pid: 4242,
        runtime: "CPython 3.11.2".into(),
        readings: vec![reading(0), reading(8), last],
        census: Some(Census {
            types: vec![TypeCount {
                name: "app.Message".into(),
                count: 3000,
                bytes: 6 << 20,
                count_change: 2700,
                bytes_change: 5 << 20,
            }],
            objects: 50_000,
            bytes: 9 << 20,
            unattributed_bytes: 1200,
            pools: 600,
            ..Census::default()
        }),
        containers,
        ..HeapMeta::default()
    }
}

fn with(leak: bool, heap: HeapMeta) -> Recording {
    let mut recording = recording(30, leak);
    recording.meta.heaps = vec![heap];
    recording
}

fn report(recording: &Recording) -> Report {
    build(recording, &Limits::default())
}

fn places(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.application_frame.function.as_str()).collect()
}

/// What the blocks of the leaking stacks (0xa1, 0xa2) are held by.
fn held(path: &str, grown_step: Option<usize>) -> Vec<Held> {
    let of = |stack| Held {
        subject: HeldSubject { stack: Some(stack), ..HeldSubject::default() },
        objects: 60,
        bytes: 60_000,
        explained: 60,
        chains: vec![chain(path, grown_step)],
        ..Held::default()
    };
    vec![of(0xa1), of(0xa2)]
}

#[test]
fn a_container_of_small_objects_that_grows_is_a_finding_though_no_stack_grows() {
    let sessions = container("gateway.SESSIONS", "dict", |second| second * 100);
    let recording = with(false, heap(vec![sessions]));
    let report = report(&recording);
    assert_eq!(report.verdict.status, Status::Growing);
    assert_eq!(places(&report), ["gateway.SESSIONS"]);
    let finding = &report.findings[0];
    assert_eq!(finding.heap.subject, Subject::Container);
    assert_eq!(finding.heap.nature, Some(Nature::Accumulation));
    let rate = finding.growth_bytes_per_s.estimate;
    assert!((rate / (100.0 * 2048.0) - 1.0).abs() < 0.02, "{rate}");
    let container = finding.heap.container.as_ref().expect("container");
    assert_eq!((container.first_length, container.last_length), (300, 2900));
    golden("heap-container.txt", &text(&report, false, Detail::Folded));
    golden("heap-container.json", &json(&report));
    assert!(markdown(&report, Detail::Folded).contains("gateway.SESSIONS"));
}

#[test]
fn containers_that_fill_or_rise_once_are_no_findings() {
    let full = container("gateway.CACHE", "dict", |second| second.min(6) * 1000);
    let same = container("gateway.ROOMS", "list", |_| 5000);
    let waves = container("gateway.QUEUE", "collections.deque", |second| (second % 6) * 100);
    let recording = with(false, heap(vec![full, same, waves]));
    let report = report(&recording);
    assert_eq!(report.verdict.status, Status::Steady, "{}", report.verdict.sentence);
    assert!(report.findings.is_empty());
}

#[test]
fn a_container_that_a_faster_finding_is_held_through_is_told_there() {
    // Most blocks are in C's memory behind the few objects of Python that the container holds.
    let found = |entries_a_second: u64| {
        let clients = container("gateway.CLIENTS", "dict", move |second| second * entries_a_second);
        let mut heap = heap(vec![clients]);
        heap.held = held("gateway.CLIENTS[*] -> Client._context", None);
        for held in &mut heap.held {
            held.unknown = 55;
            held.chains[0].objects = 5;
        }
        report(&with(true, heap))
    };
    let one = found(1);
    assert_eq!(one.findings.len(), 1, "{:?}", places(&one));
    assert_eq!(one.findings[0].heap.subject, Subject::Stack);
    assert!(text(&one, false, Detail::Folded).contains("held by: gateway.CLIENTS[*]"));
    let faster = found(100);
    assert_eq!(places(&faster)[0], "gateway.CLIENTS");
    assert_eq!(faster.findings.len(), 2);
}

#[test]
fn a_stack_whose_blocks_a_growing_container_holds_is_evidence_for_that() {
    // A lru_cache of a method, keyed by requests: a parser allocates what it keeps.
    let cache = container("app.Api.load -> _lru_cache_wrapper.cache", "dict", |n| n * 5);
    let mut heap = heap(vec![cache]);
    heap.held = held("app.Api.load -> _lru_cache_wrapper.cache[*] -> bytes", Some(1));
    let report = report(&with(true, heap));
    assert_eq!(places(&report), ["lru_cache of app.Api.load"]);
    let finding = &report.findings[0];
    let container = finding.heap.container.as_ref().expect("container");
    assert_eq!(container.cached_function.as_deref(), Some("app.Api.load"));
    assert_eq!(finding.heap.allocated_at[0].function, "_flush_messages");
    assert!(!finding.sites.is_empty());
    assert!(report.verdict.sentence.contains("held by lru_cache of app.Api.load"));
    assert!((finding.share_of_growth - 1.0).abs() < 1e-9);
    golden("heap-merged.txt", &text(&report, false, Detail::Folded));
}

#[test]
fn a_chain_through_what_is_judged_to_grow_need_not_say_so() {
    let cache = container("app.Api.load.cache", "dict", |n| n * 5);
    let mut heap = heap(vec![cache]);
    heap.held = held("app.Api.load.cache{*}[1] -> Query.document[*] -> bytes", None);
    let report = report(&with(true, heap));
    assert_eq!(places(&report), ["app.Api.load.cache"]);
    assert_eq!(report.findings[0].heap.allocated_at[0].function, "_flush_messages");
}

#[test]
fn a_chain_names_the_container_though_its_growth_was_not_followed() {
    let mut heap = heap(Vec::new());
    heap.held = held("gateway.GW -> Gateway.rooms[*] -> bytes", Some(1));
    let report = report(&with(true, heap));
    assert_eq!(places(&report), ["Gateway.rooms"]);
    // Its numbers are those of the stacks.
    let without = build(&recording(30, true), &Limits::default());
    assert_eq!(
        report.findings[0].growth_bytes_per_s.estimate,
        without.findings[0].growth_bytes_per_s.estimate
    );
}

#[test]
fn a_chain_through_nothing_that_grows_leaves_the_stack_its_place() {
    let mut heap = heap(Vec::new());
    heap.held = held("gateway.GW -> Gateway.last -> bytes", None);
    let report = report(&with(true, heap));
    assert_eq!(places(&report), ["_flush_messages"]);
    let finding = &report.findings[0];
    assert_eq!(finding.heap.nature, Some(Nature::Accumulation));
    assert_eq!(finding.heap.what[0].name, "bytes");
    assert!(text(&report, false, Detail::Folded).contains("held by: gateway.GW -> Gateway.last"));
}

#[test]
fn what_is_reached_through_a_container_that_grows_no_slower_is_part_of_it() {
    let sessions = container("app.SESSIONS", "dict", |second| second * 100);
    let messages = container("app.SESSIONS['k'] -> Session.messages", "list", |n| n * 50);
    let report = report(&with(false, heap(vec![sessions.clone(), messages.clone()])));
    assert_eq!(places(&report), ["app.SESSIONS"]);
    // But where it is the inner one that grows, that is the place.
    let few = container("app.SESSIONS", "dict", |second| 1 + second / 10);
    let report = self::report(&with(false, heap(vec![few, messages])));
    assert_eq!(places(&report), ["Session.messages"]);
}

#[test]
fn lost_blocks_and_held_ones_are_told_apart() {
    let blocks = |lost: u64| BlocksOfStack {
        stack: 0xa1,
        blocks: 60,
        bytes: 60_000,
        lost_blocks: lost,
        lost_bytes: lost * 1000,
        from: vec![PointedFrom {
            what: "static sessions in a.so".into(),
            stack: None,
            blocks: 60 - lost,
        }],
        duplicate_blocks: 30,
        duplicate_bytes: 30_000,
        duplicated_contents: 1,
        compared_blocks: 60,
        compared_bytes: 60_000,
        ..BlocksOfStack::default()
    };
    let mut native = HeapMeta { blocks: vec![blocks(60)], ..heap(Vec::new()) };
    (native.census, native.runtime) = (None, "native".into());
    let lost = report(&with(true, native.clone()));
    assert_eq!(lost.findings[0].heap.nature, Some(Nature::Lost));
    assert!(lost.verdict.sentence.contains("lost since _flush_messages"));
    let shown = text(&lost, false, Detail::Folded);
    assert!(shown.contains("lost: nothing points to 60 of 60 blocks any more"), "{shown}");
    assert!(shown.contains("same content: 50 % of it"), "{shown}");
    // While it ran, or where not all could be read, none is called lost.
    let mut unsure = native.clone();
    unsure.readings[2].unread_bytes = 2 << 20;
    let unread = report(&with(true, unsure.clone()));
    assert_eq!(unread.findings[0].heap.nature, Some(Nature::Unseen));
    let shown = text(&unread, false, Detail::Folded);
    assert!(shown.contains("no pointer to 60 of 60 blocks was seen"), "{shown}");
    assert!(shown.contains("2.0 MiB could not be read") && !shown.contains("lost: "), "{shown}");
    assert!(!unread.verdict.sentence.contains("lost"), "{}", unread.verdict.sentence);
    (unsure.readings[2].unread_bytes, unsure.readings[2].stopped_ns) = (0, None);
    let ran = text(&report(&with(true, unsure)), false, Detail::Folded);
    assert!(ran.contains("it was read while it ran"), "{ran}");
    native.blocks = vec![blocks(3)];
    let held = report(&with(true, native));
    assert_eq!(held.findings[0].heap.nature, Some(Nature::Accumulation));
    let reach = held.findings[0].heap.reach.clone().expect("reach");
    assert_eq!((reach.lost_blocks, reach.reachable_blocks, reach.reachable_bytes), (3, 57, 57_000));
}

#[test]
fn no_capture_makes_it_overflow() {
    let most = u64::MAX;
    let mut heap = heap(vec![GrownContainer {
        lengths: vec![(most, most), (0, 0), (most, 1), (5, most)],
        held_bytes: most,
        chain: Chain { grown_step: Some(usize::MAX), ..chain("a.B", None) },
        ..GrownContainer::default()
    }]);
    heap.readings =
        vec![HeapReading { took_ns: most, stopped_ns: Some(most), ..HeapReading::default() }; 2];
    heap.census = Some(Census {
        types: vec![TypeCount {
            bytes_change: i64::MAX,
            count_change: i64::MIN,
            ..TypeCount::default()
        }],
        ..Census::default()
    });
    let largest = Chain { objects: most, bytes: most, ..chain("a.B -> c", Some(usize::MAX)) };
    heap.held = held("x", None);
    heap.held.iter_mut().for_each(|held| {
        (held.objects, held.bytes, held.unknown) = (most, most, most);
        held.chains = vec![largest.clone(); 40];
    });
    heap.blocks = vec![
        BlocksOfStack {
            stack: 0xa1,
            blocks: most,
            bytes: most,
            lost_blocks: most,
            lost_bytes: most,
            lost_indirectly_blocks: most,
            duplicate_bytes: most,
            compared_bytes: 1,
            ..BlocksOfStack::default()
        };
        3
    ];
    let report = report(&with(true, heap));
    for detail in [Detail::Folded, Detail::Full] {
        assert!(!text(&report, false, detail).is_empty());
        assert!(!markdown(&report, detail).is_empty());
    }
    assert!(!json(&report).is_empty());
}

#[test]
fn a_census_takes_the_place_of_what_cannot_be_attributed() {
    let mut recording = with(false, heap(Vec::new()));
    recording.meta.python_objects = Some(crate::capture::PythonObjects {
        way: crate::capture::PythonObjects::ARENAS.into(),
        covers: "objects of more than 512 bytes".into(),
        unattributed_bytes: Some(5 << 20),
    });
    let shown = text(&report(&recording), false, Detail::Folded);
    assert!(!shown.contains("cannot attribute"), "{shown}");
    assert!(shown.contains("50,000 objects"), "{shown}");
    recording.meta.heaps.clear();
    assert!(text(&report(&recording), false, Detail::Folded).contains("cannot attribute"));
}

#[test]
fn the_stacks_that_grow_are_wanted_first() {
    let wanted = wanted_stacks(&recording(30, true));
    let found: Vec<(u64, bool)> = wanted.iter().map(|stack| (stack.id.0, stack.grows)).collect();
    assert_eq!(found[0], (0xa2, true));
    assert!(found.contains(&(0xa1, true)));
    assert!(wanted.iter().all(|stack| stack.image == 1));
}

/// Arenas that grow as the leaking stacks do: their growth is nobody's.
fn arenas(heap: HeapMeta) -> Recording {
    let mut recording = with(true, heap);
    for id in [0xa1, 0xa2] {
        let stack = recording.stacks.get_mut(&crate::stack::StackId(id)).expect("a leaking stack");
        stack.domain = crate::stack::Domain::Mmap;
        let arena =
            crate::stack::Frame::bare(crate::stack::FrameKind::Native, crate::symbol::ARENA_FRAME);
        stack.frames = vec![arena.into()];
    }
    recording
}

#[test]
fn arenas_are_told_by_the_containers_that_fill_them_where_those_grow_as_fast() {
    let before = report(&arenas(HeapMeta::default()));
    assert_eq!(places(&before), [crate::symbol::ARENA_FRAME]);
    let rate = before.findings[0].growth_bytes_per_s.estimate;
    // In entries of 2 KiB: with more than half of the growth it tells of the arenas, else not.
    let grows_by = |share: f64| {
        let entries = (rate * share / 2048.0).ceil() as u64;
        let of = |second: u64| second * entries.max(1);
        places_of(&arenas(HeapMeta { census: None, ..heap(vec![container("a.B", "dict", of)]) }))
    };
    assert_eq!(grows_by(0.9), ["a.B"]);
    let slow = container("a.B", "dict", |second| second);
    let census = None;
    let mut both = places_of(&arenas(HeapMeta { census, ..heap(vec![slow]) }));
    both.retain(|place| place != "a.B");
    assert!(both.len() <= 1, "{both:?}");
    if rate > 2.0 * 2048.0 {
        assert_eq!(both, [crate::symbol::ARENA_FRAME]);
    }
    // Of another process it says nothing.
    let other = container("a.B", "dict", |second| second);
    let other = HeapMeta { pid: 7, census: None, ..heap(vec![other]) };
    assert!(!places_of(&arenas(other)).is_empty());
}

fn places_of(recording: &Recording) -> Vec<String> {
    places(&report(recording)).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_type_that_no_container_explains_is_a_finding_with_its_holders() {
    let grew = |name: &str, count: i64, bytes: i64| TypeCount {
        name: name.into(),
        count: 90_000,
        bytes: 9 << 20,
        count_change: count,
        bytes_change: bytes,
    };
    let mut chained = heap(Vec::new());
    let census = chained.census.as_mut().expect("a census");
    census.types = vec![grew("str", 90_000, 6 << 20), grew("app.Node", 90_000, 5 << 20)];
    chained.held = vec![Held {
        subject: HeldSubject { type_name: Some("app.Node".into()), ..HeldSubject::default() },
        objects: 90_000,
        chains: vec![chain("app.HEAD -> Node.next", None)],
        ..Held::default()
    }];
    let found = report(&arenas(chained.clone()));
    assert_eq!(places(&found), ["app.Node"]);
    let answers = &found.findings[0].heap;
    assert_eq!((answers.subject, answers.nature), (Subject::Type, Some(Nature::Accumulation)));
    let shown = text(&found, false, Detail::Folded);
    assert!(shown.contains("in objects of type app.Node"), "{shown}");
    assert!(shown.contains("held by: app.HEAD -> Node.next"), "{shown}");
    assert!(shown.contains("+90,000 app.Node (+5.0 MiB), +90,000 str (+6.0 MiB)"), "{shown}");
    // What a container holds that grows is told of the container alone.
    let mut held = container("app.ROWS", "list", |second| second);
    held.contents = vec![grew("app.Node", 0, 0), grew("str", 0, 0)];
    chained.containers = vec![held];
    let both = report(&arenas(chained));
    assert!(!places(&both).contains(&"app.Node"), "{:?}", places(&both));
}
