//! Reports of a made-up Node gateway: JavaScript's heap beside native memory, and collections.

use super::tests::golden;
use super::*;
use crate::capture::{HeapSpace, JsHeapMeta, NodeMeta, ProcessMeta, Recording};
use crate::growth::Limits;
use crate::same::Same;
use crate::stack::{Domain, Frame, FrameKind, Generated, RawStack, Stack, StackId, WalkEnd};
use crate::tick::{MemorySplit, SiteReading, Tick, V8Reading};

const SECOND: u64 = 1_000_000_000;
const NODE: &str = "/usr/bin/node";

fn native(function: &str) -> Frame {
    Frame {
        kind: FrameKind::Native,
        function: function.into(),
        file: None,
        line: None,
        module: Some(NODE.into()),
        build_id: Some("c0ffee".into()),
        offset: Some(0x40),
        generated: None,
        line_is_of_function: false,
    }
}

fn js(function: &str, file: &str, line: u32) -> Frame {
    Frame {
        kind: FrameKind::Js,
        function: function.into(),
        file: Some(file.into()),
        line: Some(line),
        module: None,
        build_id: None,
        offset: None,
        generated: None,
        line_is_of_function: false,
    }
}

/// The sites of the gateway: identity, kind of memory, frames.
fn stacks() -> Vec<(u64, Domain, Vec<Frame>)> {
    let serve = || js("Server.emit", "node:events", 518);
    let mut start = js("SessionManager.start", "/srv/app/src/session.ts", 31);
    start.generated = Some(Generated { file: "/srv/app/dist/session.js".into(), line: 402 });
    vec![
        (
            0xb1,
            Domain::Malloc,
            vec![
                native("node::NodeArrayBufferAllocator::AllocateUninitialized(unsigned long)"),
                native(
                    "v8::internal::BackingStore::Allocate(v8::internal::Isolate*, unsigned long)",
                ),
                js("allocUnsafeSlow", "node:buffer", 420),
                js("Gateway.flush", "/srv/app/src/gateway.ts", 77),
                serve(),
                native("main"),
            ],
        ),
        (0xe1, Domain::V8, vec![start, js("Gateway.open", "/srv/app/src/gateway.ts", 40), serve()]),
        (0xe2, Domain::V8, vec![js("parse", "/srv/app/node_modules/x/parse.js", 9), serve()]),
        (
            0xf1,
            Domain::Mmap,
            vec![
                native("v8::base::OS::Allocate(void*, unsigned long)"),
                native("v8::internal::MemoryAllocator::AllocatePage(v8::internal::Space*)"),
                js("SessionManager.start", "/srv/app/src/session.ts", 31),
                native("main"),
            ],
        ),
        (0xf2, Domain::Mmap, vec![native("uv_thread_create"), native("main")]),
        (0xc1, Domain::Malloc, vec![native("addon::Cache::put(int)"), native("uv__work")]),
    ]
}

/// What happens in a made-up session of a minute.
#[derive(Clone, Copy)]
struct Gateway {
    /// Buffers that are kept each second, and those that wait for a collection.
    kept: u64,
    dropped: u64,
    /// Collections at these seconds.
    collections: &'static [u64],
    /// Whether V8's heap was looked into.
    js_heap: bool,
    /// Objects that are held more each second, of 400 bytes.
    objects: u64,
    /// Blocks that an add-on keeps in a thread of its own each second.
    addon: u64,
}

const QUIET: Gateway =
    Gateway { kept: 0, dropped: 0, collections: &[], js_heap: false, objects: 0, addon: 0 };

fn site(stack: u64, epoch: u32, size: u64, allocated: u64, freed: u64) -> SiteReading {
    SiteReading {
        stack: StackId(stack),
        epoch,
        allocated_bytes: allocated * size,
        allocated_blocks: allocated,
        freed_bytes: freed * size,
        freed_blocks: freed,
        allocated_variance: 0,
        freed_variance: 0,
    }
}

fn tick(gateway: Gateway, second: u64) -> Tick {
    let Gateway { kept, dropped, collections, js_heap, objects, addon } = gateway;
    let collected = collections.iter().copied().filter(|at| *at <= second).max().unwrap_or(0);
    // An epoch a second.
    let mut sites: Vec<SiteReading> = (0..=second)
        .filter(|_| kept + dropped > 0)
        .map(|born| {
            let freed = if born < collected { dropped } else { 0 };
            site(0xb1, born as u32 + 1, 16 << 10, kept + dropped, freed)
        })
        .collect();
    if js_heap {
        sites.push(site(0xe1, 1, 400, second * objects, 0));
        sites.push(site(0xe2, 1, 1000, 3000, 0));
    }
    sites.push(site(0xf1, 1, 256 << 10, second * objects * 400 / (256 << 10), 0));
    sites.push(site(0xf2, 1, 8 << 20, 1, 0));
    sites.push(site(0xc1, 1, 512, 40 + second * (20 + addon), second * 20));
    let count = collections.iter().filter(|at| **at <= second).count() as u64;
    Tick {
        at_ns: second * SECOND,
        sites,
        memory: Some(MemorySplit {
            resident_bytes: (120 << 20) + second * (kept * (16 << 10) + objects * 400),
            ..MemorySplit::default()
        }),
        v8: vec![V8Reading {
            process: 0,
            heap_bytes: Some((60 << 20) + second * objects * 400),
            full_collections: Some(count),
        }],
        ..Tick::default()
    }
}

fn recording(gateway: Gateway) -> Recording {
    let mut recording = Recording::default();
    let meta = &mut recording.meta;
    meta.outlive_version = "0.0.0".into();
    meta.target.pid = 4242;
    meta.target.exe = NODE.into();
    meta.target.runtime = "node".into();
    meta.target.runtime_version = Some("24.11.1".into());
    meta.window.duration_ns = 60 * SECOND;
    meta.window.interval_ns = SECOND;
    meta.processes =
        vec![ProcessMeta { pid: 4242, images: vec![1], exe: NODE.into(), ..Default::default() }];
    meta.node = gateway.js_heap.then(|| NodeMeta {
        v8_version: "13.6.233.10".into(),
        js_heap: Some(JsHeapMeta {
            way: "listening".into(),
            sampling_interval_bytes: 32 << 10,
            profiles: 12,
            longest_pause_ns: 61_000_000,
            closed: None,
        }),
        isolates: Some(2),
        spaces: vec![
            HeapSpace { name: "old_space".into(), used_bytes: 50 << 20, size_bytes: 54 << 20 },
            HeapSpace { name: "new_space".into(), used_bytes: 1 << 20, size_bytes: 16 << 20 },
            HeapSpace { name: "shared_space".into(), used_bytes: 0, size_bytes: 0 },
        ],
        external_bytes: Some(21 << 20),
        ..NodeMeta::default()
    });
    (0..60).for_each(|second| recording.aggregate.apply(&tick(gateway, second)));
    for (id, domain, frames) in stacks() {
        let id = StackId(id);
        let raw = RawStack {
            id,
            image: 1,
            domain,
            native: vec![1],
            native_end: WalkEnd::Bottom,
            js: Vec::new(),
            python: Vec::new(),
            python_end: WalkEnd::Absent,
        };
        if gateway.js_heap || domain != Domain::V8 {
            recording.raw_stacks.insert(id, raw);
            let frames = frames.into_iter().map(Same::from).collect();
            recording.stacks.insert(id, Stack { id, domain, frames, truncated: None });
        }
    }
    recording
}

fn report(gateway: Gateway) -> Report {
    build(&recording(gateway), &Limits::default())
}

/// A leak of Buffers and one of objects, seen from both sides.
fn leaking() -> Report {
    report(Gateway {
        kept: 2,
        dropped: 1,
        collections: &[11, 25, 57],
        js_heap: true,
        objects: 500,
        addon: 0,
    })
}

#[test]
fn a_leaking_node_gateway_reads_as_blessed() {
    let report = leaking();
    golden("node.json", &json(&report));
    golden("node.txt", &text(&report, false, Detail::Folded));
    golden("node.folded", &folded(&report, View::Live));
    let svg = svg(&report, View::Live).expect("svg");
    golden("node-live.svg", &String::from_utf8(svg).expect("text"));
}

#[test]
fn both_heaps_are_in_one_list_the_fastest_first() {
    let report = leaking();
    let growing: Vec<_> =
        report.sites.iter().filter(|site| site.verdict == "growing").map(|s| s.domain).collect();
    // 200 kB/s in V8's heap, 33 kB/s in Buffers.
    assert_eq!(growing, ["v8", "malloc"]);
    assert_eq!(report.findings[0].application_frame.function, "SessionManager.start");
    let rate = report.findings[0].growth_bytes_per_s;
    assert!(rate.low < 200_000.0 && 200_000.0 < rate.high, "{rate:?}");
    // 12 MB in samples of 32 KiB: 360 of them.
    let error = report.findings[0].live_bytes_error.expect("sampled") as f64;
    assert!((0.09..0.12).contains(&(error / report.findings[0].live_bytes as f64)), "{error}");
    assert_eq!(report.findings[1].live_bytes_error, None);
}

#[test]
fn each_byte_of_v8s_heap_is_counted_once() {
    let is_page = |site: &Site| site.frames[0].function == super::v8::PAGE_FRAME;
    let inside = leaking();
    assert!(!inside.sites.iter().any(is_page));
    let sum: u64 = inside.sites.iter().map(|site| site.live_bytes).sum();
    assert_eq!(inside.totals.live_bytes, sum);
    // Without a look inside the pages are what there is.
    let outside = report(Gateway { objects: 50_000, collections: &[11, 57], ..QUIET });
    let page = outside.sites.iter().find(|site| is_page(site)).expect("pages");
    assert_eq!(page.application_frame, Some(0), "charged to nobody's line");
    assert_eq!(
        outside.totals.live_bytes,
        outside.sites.iter().map(|site| site.live_bytes).sum::<u64>()
    );
}

#[test]
fn buffers_without_a_collection_are_pending_and_nothing_grows() {
    let report = report(Gateway { dropped: 4, ..QUIET });
    assert!(report.findings.is_empty());
    assert_eq!(report.pending[0].application_frame.function, "Gateway.flush");
    assert_eq!(report.sites[0].verdict, "pending-gc");
    assert_eq!(report.processes[0].verdict, "pending-gc");
    assert_eq!(report.verdict.status, Status::Inconclusive);
    assert_eq!(outcome(&report, true), 3);
    golden("node-pending.txt", &text(&report, false, Detail::Folded));
}

#[test]
fn buffers_that_collections_free_are_steady() {
    for collections in [&[10, 20, 30, 40, 50, 58][..], &[15, 30, 45, 59]] {
        let report = report(Gateway { dropped: 4, collections, ..QUIET });
        assert_eq!(report.verdict.status, Status::Steady, "{}", report.verdict.sentence);
    }
}

#[test]
fn native_memory_that_no_collection_frees_needs_none_to_grow() {
    let report = report(Gateway { addon: 5, ..QUIET });
    assert_eq!(report.findings[0].application_frame.function, "addon::Cache::put(int)");
}

#[test]
fn a_heap_that_grows_through_collections_and_was_not_seen_inside_is_told() {
    let gateway = Gateway { objects: 500, collections: &[11, 25, 57], ..QUIET };
    let mut recording = recording(gateway);
    // A build without names shows no pages.
    for stack in recording.stacks.values_mut().filter(|stack| stack.domain == Domain::Mmap) {
        stack.frames = vec![native("node+0x1234").into()];
    }
    recording.stacks.remove(&StackId(0xf1));
    recording.raw_stacks.remove(&StackId(0xf1));
    let report = build(&recording, &Limits::default());
    let heap = &report.v8_heaps[0];
    assert_eq!((heap.verdict, heap.full_collections), ("growing", Some(3)));
    let rate = heap.growth_bytes_per_s.expect("rate").estimate;
    assert!((190_000.0..210_000.0).contains(&rate), "{rate}");
    assert!(text(&report, false, Detail::Folded).contains("--js-heap shows which functions"));
}

#[test]
fn a_function_that_v8_compiles_meanwhile_is_one_site() {
    let mut recording = recording(QUIET);
    let code = |name: &str| Frame { module: None, ..native(name) };
    let leaf = || native("node::Buffer::New(int)");
    for (id, frames) in [
        (0xd1, vec![leaf(), native("Builtins_CallApiCallbackGeneric"), code("[anonymous code]")]),
        (0xd2, vec![leaf(), native("Builtins_CallApiCallbackOptimized")]),
    ] {
        let (id, domain) = (StackId(id), Domain::Malloc);
        let frames = frames.into_iter().map(Same::from).collect();
        recording.stacks.insert(id, Stack { id, domain, frames, truncated: None });
        let raw = RawStack { id, ..recording.raw_stacks[&StackId(0xb1)].clone() };
        recording.raw_stacks.insert(id, raw);
    }
    let sites = vec![site(0xd1, 1, 64, 5, 2), site(0xd2, 1, 64, 7, 0)];
    recording.aggregate.apply(&Tick { at_ns: 60 * SECOND, sites, ..Tick::default() });
    let report = build(&recording, &Limits::default());
    let found: Vec<_> =
        report.sites.iter().filter(|site| site.frames[0].function == leaf().function).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].live_blocks, 10);
    assert_eq!(found[0].frames.len(), 3, "shown as the first of them was");
}

#[test]
fn few_samples_are_no_growth() {
    let gateway = Gateway { objects: 10, js_heap: true, collections: &[11, 57], ..QUIET };
    let report = report(gateway);
    let site = report.sites.iter().find(|site| site.id.ends_with("e1")).expect("site");
    assert_eq!(site.verdict, "not-enough-data", "{:?}", site.reasons);
    assert!(site.reasons[0].contains("more are needed"), "{:?}", site.reasons);
    assert!(report.findings.is_empty());
}
