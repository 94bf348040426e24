//! Whether anything points to live blocks, against a program that knows what does.
#![allow(missing_docs)]

mod support;

use outlive::{
    capture::{BlocksOfStack, PointedFrom},
    heap::{self, duplicates, native},
    plan,
    probe::{Event, Probes, Settings},
    target::{self, TableKey, elf::Table},
    unwind,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use support::{Target, c_target, may_trace};

const LONGEST_STOP: Duration = Duration::from_secs(20);

/// A program whose allocations are seen from its first on.
struct Traced {
    target: Target,
    found: target::Target,
    probes: Probes,
    /// Stacks by the function that called the allocator.
    stacks: BTreeMap<String, Vec<u64>>,
}

impl Traced {
    fn new(name: &str, args: &[&str]) -> Option<Self> {
        if !may_trace() {
            return None;
        }
        let target = Target::spawn(c_target(name), args);
        let deadline = Instant::now() + support::PATIENCE;
        let (found, plan) = loop {
            // Its loader may not have mapped libc yet.
            let (found, _) = target::discover(target.pid()).expect("discover");
            match plan::make(&found, false) {
                Ok((plan, _)) => break (found, plan),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let mut keys: Vec<TableKey> = plan.code_ranges.iter().filter_map(|r| r.table).collect();
        keys.sort_unstable();
        keys.dedup();
        let (tables, _) = unwind::tables_of(&found, &keys);
        let settings = Settings {
            target_tgid: target.pid(),
            pid_namespace: target::pid_namespace::own().expect("a PID namespace"),
            ..Settings::default()
        };
        let (mut probes, _) = Probes::load(settings, &plan, &tables).expect("load");
        probes.attach(&plan).expect("attach");
        Some(Self { target, found, probes, stacks: BTreeMap::new() })
    }

    /// Lets it work; what it says of itself.
    fn work(&mut self) -> serde_json::Value {
        self.target.go();
        let truth = self.target.json();
        let exe = self.found.files.values().find(|file| file.display_path == self.found.exe);
        let exe = exe.expect("its program").clone();
        let bias = self.found.bias_of(&exe).expect("where its program is");
        for event in self.probes.drain() {
            let Event::NewStack(stack) = event else { continue };
            let svma = stack.native.first().expect("a frame").wrapping_sub(bias + 1);
            exe.elf.visit_symbols(Table::Full, |name, symbol| {
                if svma.checked_sub(symbol.svma).is_some_and(|at| at < symbol.length_bytes) {
                    self.stacks.entry(name.to_owned()).or_default().push(stack.id.0);
                }
            });
        }
        truth
    }

    /// What becomes of the blocks by function, with what is the same.
    fn look(&self) -> BTreeMap<String, BlocksOfStack> {
        let list = || self.probes.live_blocks(self.target.pid(), usize::MAX).expect("live blocks");
        let before = list();
        assert_eq!(before.left_out, 0);
        let plan = heap::plan(self.target.pid()).expect("plan");
        let copied = plan.stopped(LONGEST_STOP).expect("copy");
        let blocks = native::in_both(before.blocks, &list().blocks);
        let naming = native::Naming::of(&self.found);
        let stacks: Vec<u64> = self.stacks.values().flatten().copied().collect();
        let mut answers = native::look(&copied.image, &copied.threads, &blocks, &stacks, &naming);
        duplicates::compare_blocks(&copied.image, &blocks, &mut answers);
        let mut found: BTreeMap<String, BlocksOfStack> = BTreeMap::new();
        for (function, stacks) in &self.stacks {
            let sum = found.entry(function.clone()).or_default();
            for answer in answers.iter().filter(|answer| stacks.contains(&answer.stack)) {
                add(sum, answer);
            }
        }
        found
    }
}

fn add(sum: &mut BlocksOfStack, answer: &BlocksOfStack) {
    sum.blocks += answer.blocks;
    sum.bytes += answer.bytes;
    sum.lost_blocks += answer.lost_blocks;
    sum.lost_bytes += answer.lost_bytes;
    sum.lost_indirectly_blocks += answer.lost_indirectly_blocks;
    sum.lost_indirectly_bytes += answer.lost_indirectly_bytes;
    sum.duplicate_blocks += answer.duplicate_blocks;
    sum.duplicated_contents += answer.duplicated_contents;
    sum.compared_blocks += answer.compared_blocks;
    sum.from.extend(answer.from.iter().cloned());
}

/// Blocks, lost ones, and those lost indirectly.
fn counts(answer: &BlocksOfStack) -> [u64; 3] {
    [answer.blocks, answer.lost_blocks, answer.lost_indirectly_blocks]
}

fn from(answer: &BlocksOfStack) -> Vec<(&str, u64)> {
    answer.from.iter().map(|PointedFrom { what, blocks, .. }| (&**what, *blocks)).collect()
}

#[test]
fn lost_and_reachable_blocks_are_told_apart_exactly() {
    let Some(mut traced) = Traced::new("who_points", &[]) else { return };
    let truth = traced.work();
    let found = traced.look();
    for site in truth["sites"].as_array().expect("sites") {
        let function = site["function"].as_str().expect("a name");
        let live = ["live_blocks", "live_bytes"].map(|field| site[field].as_u64().expect("live"));
        let answer = &found[function];
        assert_eq!([answer.blocks, answer.bytes], live, "{function}");
        let expected = match function {
            "lost" | "lost_odd" | "lost_by_freed" | "lost_holder" | "lost_ring" => {
                [live[0], live[0], 0]
            }
            "lost_by_lost" | "lost_on_ring" => [live[0], 0, live[0]],
            _ => [live[0], 0, 0],
        };
        assert_eq!(counts(answer), expected, "{function}: {answer:?}");
    }
    for (function, what) in [
        ("by_static", "static held_by_static in who_points"),
        ("by_interior", "static held_inside in who_points"),
        ("by_block", "a block of another stack"),
        ("by_mapping", "memory of no known block"),
        ("same_content", "static copies in who_points"),
    ] {
        assert_eq!(from(&found[function]), [(what, 10_000)], "{function}");
    }
    assert_eq!(found["by_block"].from[0].stack, Some(traced.stacks["holder"][0]));
    let list = [("a block of the same stack", 9_999), ("static list in who_points", 1)];
    assert_eq!(from(&found["by_list"]), list);
    assert_eq!(from(&found["holder"]), [("static table in who_points", 1)]);
    let stack = from(&found["by_stack"]);
    assert!(matches!(stack[..], [(what, 100)] if what.starts_with("the stack of thread ")));
    let register = from(&found["by_register"]);
    assert!(
        matches!(register[..], [(what, 1)] if what.starts_with("a register of thread ")),
        "{register:?}"
    );
    let same = &found["same_content"];
    let copies = [same.compared_blocks, same.duplicate_blocks, same.duplicated_contents];
    assert_eq!(copies, [10_000, 9_000 - 9, 9]);
}

#[test]
fn every_live_block_is_listed_once() {
    let Some(mut traced) = Traced::new("hold", &["300000", "64"]) else { return };
    traced.work();
    let pid = traced.target.pid();
    let listed = traced.probes.live_blocks(pid, usize::MAX).expect("live blocks");
    let stack = traced.stacks["hold_block"][0];
    assert_eq!((listed.blocks.len(), listed.left_out), (300_000, 0));
    assert!(listed.blocks.iter().all(|block| block.size_bytes == 64 && block.stack == stack));
    assert!(listed.blocks.windows(2).all(|pair| pair[0].avma < pair[1].avma));
    // Probes that are gone change nothing, and of others nothing is told.
    traced.probes.detach();
    assert_eq!(traced.probes.live_blocks(pid, usize::MAX).expect("live blocks"), listed);
    let some = traced.probes.live_blocks(pid, 1000).expect("live blocks");
    assert_eq!((some.blocks.len(), some.left_out), (1000, 299_000));
    assert!(traced.probes.live_blocks(1, usize::MAX).expect("nothing").blocks.is_empty());
}
