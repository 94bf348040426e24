//! The last look at a heap: a copy made in a bounded stop while the probes still act, and what it
//! says, which is worked out when they are gone.

use super::{
    Heap, PATIENCE, Settings,
    lengths::{Grown, grown_since},
    poll::MAX_FOLLOWED,
    reading::Looking,
};
use crate::{
    capture::{GrownContainer, HeapMeta, HeapReading, TypeCount},
    heap::{
        Copied, CopyError,
        duplicates::compare_blocks,
        native::{LiveBlock, Naming, in_both, look},
        plan_of,
        python::{
            PythonHeap, Shape,
            graph::{Graph, Roots},
        },
    },
    probe::Probes,
    report::WantedStack,
    runtime::python::PythonRuntime,
    target::Target,
};
use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

/// Live blocks of a process that are listed.
const MAX_BLOCKS: usize = 4_000_000;
/// Blocks of one stack whose holders are looked for.
const MAX_BLOCKS_OF_STACK: usize = 50_000;
/// Containers that are kept.
const MAX_CONTAINERS: usize = 100;
/// Types whose holders are looked for, and the growth from which on they are; bytes.
const MAX_TYPES: usize = 8;
const LEAST_GROWTH_BYTES: i64 = 64 << 10;

/// The memory of a process as it was at the end, with what is needed to understand it.
pub struct LastCopy {
    target: Target,
    python: Option<PythonRuntime>,
    copied: Copied,
    /// Those that were alive before and after the copy was made.
    blocks: Vec<LiveBlock>,
    wanted: Vec<u64>,
    at_ns: u64,
    from: Instant,
    notes: Vec<String>,
}

impl LastCopy {
    /// Copies it, in a stop where the settings allow one.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn take(
        target: &Target,
        python: Option<&PythonRuntime>,
        probes: &Probes,
        wanted: &[WantedStack],
        settings: &Settings,
        began: Instant,
    ) -> Result<Self, String> {
        let from = Instant::now();
        let plan = plan_of(target.clone()).map_err(|error| error.to_string())?;
        let mut notes = Vec::new();
        let blocks = |notes: &mut Vec<String>| match wanted.is_empty() {
            true => Vec::new(),
            false => match probes.live_blocks(target.tgid, MAX_BLOCKS) {
                Ok(live) => {
                    if live.left_out > 0 {
                        notes.push(format!("{} live blocks were not looked at", live.left_out));
                    }
                    live.blocks
                }
                Err(error) => {
                    notes.push(format!("live blocks were not looked at: {error}"));
                    Vec::new()
                }
            },
        };
        let before = blocks(&mut notes);
        let copied = match settings.max_stop {
            Some(max_stop) => {
                let (copied, refusal) = plan.best(max_stop).map_err(|error| error.to_string())?;
                notes.extend(refusal.map(|refusal: CopyError| {
                    format!("it was read while it ran, so holders may be missing: {refusal}")
                }));
                copied
            }
            None => plan.live().map_err(|error| error.to_string())?,
        };
        let after = blocks(&mut Vec::new());
        notes.extend(copied.notes.iter().cloned());
        Ok(Self {
            target: target.clone(),
            python: python.cloned(),
            copied,
            blocks: in_both(before, &after),
            wanted: wanted.iter().map(|stack| stack.id.0).collect(),
            at_ns: (from - began).as_nanos() as u64,
            from,
            notes,
        })
    }

    /// How long the process was stopped for it; `None` where it was not.
    pub fn stopped_ns(&self) -> Option<u64> {
        self.copied.reading.stopped_ns
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.target.tgid
    }

    /// What it says; `heap` is what was seen of the same process before.
    pub fn evaluate(self, heap: Option<Heap>, hide_keys: bool) -> HeapMeta {
        let mut meta = HeapMeta {
            pid: self.target.tgid,
            runtime: "native".into(),
            ..heap.as_ref().map(Heap::so_far).unwrap_or_default()
        };
        if let Some(python) = &self.python {
            meta.runtime = format!("CPython {}", python.version);
            match PythonHeap::read(&self.copied.image, &self.target, python) {
                Ok(objects) => self.of_python(&objects, python, heap, hide_keys, &mut meta),
                Err(error) => meta.notes.push(error.to_string()),
            }
        } else {
            self.of_blocks(&Naming::of(&self.target), &mut meta);
        }
        meta.notes.extend(self.notes.iter().cloned());
        let took_ns = self.from.elapsed().as_nanos() as u64;
        meta.readings.push(HeapReading {
            at_ns: self.at_ns,
            took_ns,
            ..self.copied.reading.clone()
        });
        meta
    }

    /// Whether anything points to the blocks of findings, and how much of them is the same.
    fn of_blocks(&self, naming: &Naming<'_>, meta: &mut HeapMeta) {
        if self.wanted.is_empty() || self.blocks.is_empty() {
            return;
        }
        let Copied { image, threads, .. } = &self.copied;
        let mut answers = look(image, threads, &self.blocks, &self.wanted, naming);
        compare_blocks(image, &self.blocks, &mut answers);
        answers.retain(|answer| answer.blocks > 0);
        meta.blocks = answers;
    }

    fn of_python(
        &self,
        objects: &PythonHeap<'_>,
        python: &PythonRuntime,
        heap: Option<Heap>,
        hide_keys: bool,
        meta: &mut HeapMeta,
    ) {
        let name = |avma: u64| {
            let kind = objects.kind_of(objects.block_at(avma)?);
            Some(format!("a Python {}", kind.name))
        };
        self.of_blocks(&Naming::of(&self.target).with_memory(&name), meta);
        meta.notes.extend(objects.notes());
        let first = heap.as_ref().and_then(|heap| heap.first.as_ref());
        meta.census = Some(match first {
            Some(first) => objects.census_since(&first.moment),
            None => objects.census(),
        });
        let grown_types =
            first.map(|first| objects.grown_since(&first.moment).types).unwrap_or_default();
        let registers = self.copied.threads.iter().flat_map(|thread| thread.registers.clone());
        let roots = Roots { registers: registers.collect(), ..Roots::of(&self.target, python) };
        let mut graph = Graph::new(objects, &roots);
        match &mut graph {
            Some(graph) => graph.hide_keys(hide_keys),
            None => meta.notes.push("who holds what is not known of this build of Python".into()),
        }
        let lengths = lengths_of(objects, heap.as_ref(), self.at_ns);
        meta.containers = containers(objects, graph.as_ref(), lengths);
        let Some(graph) = graph else { return };
        meta.held = worth_a_look(&grown_types).map(|name| graph.held_types(name)).collect();
        let mut of_stack: HashMap<u64, Vec<u64>> =
            self.wanted.iter().map(|stack| (*stack, Vec::new())).collect();
        for block in &self.blocks {
            if let Some(avmas) = of_stack.get_mut(&block.stack)
                && avmas.len() < MAX_BLOCKS_OF_STACK
            {
                avmas.push(block.avma);
            }
        }
        let wanted = self.wanted.iter().filter_map(|stack| Some((*stack, of_stack.get(stack)?)));
        let held = wanted.filter(|(_, avmas)| !avmas.is_empty());
        meta.held.extend(held.map(|(stack, avmas)| graph.held_blocks(stack, avmas)));
        meta.notes.extend(graph.notes());
    }
}

/// The names of the types whose holders are worth knowing: those that grew most, the program's own
/// first.
fn worth_a_look(grown: &[TypeCount]) -> impl Iterator<Item = &str> {
    let large = grown.iter().filter(|of| of.bytes_change >= LEAST_GROWTH_BYTES);
    let (own, others): (Vec<&TypeCount>, Vec<&TypeCount>) =
        large.partition(|of| of.name.contains('.'));
    let wanted = own.into_iter().take(MAX_TYPES).chain(others.into_iter().take(MAX_TYPES / 4));
    wanted.map(|of| of.name.as_str())
}

/// The containers that grew, each with its lengths so far: those that were followed, and those that
/// are longer than at first.
fn lengths_of(
    objects: &PythonHeap<'_>,
    heap: Option<&Heap>,
    at_ns: u64,
) -> Vec<(Grown, Vec<(u64, u64)>)> {
    let Some(heap) = heap else { return Vec::new() };
    let followed = heap.poll.iter().flat_map(|poll| &poll.containers);
    let mut found: Vec<(Grown, Vec<(u64, u64)>)> =
        followed.map(|one| (one.grown, one.lengths.clone())).collect();
    if let Some(first) = &heap.first {
        for grown in grown_since(objects, &first.moment, MAX_FOLLOWED) {
            if !found.iter().any(|(known, _)| known.avma == grown.avma) {
                found.push((grown, vec![(first.reading.at_ns, grown.before)]));
            }
        }
    }
    for (grown, lengths) in &mut found {
        let index = objects.objects.find(grown.avma);
        if let Some(now) = index.and_then(|index| objects.length_of(index)) {
            lengths.push((at_ns, now));
        }
    }
    found
}

/// How they are reached and what they hold, the one with the most bytes behind its growth first.
fn containers(
    objects: &PythonHeap<'_>,
    graph: Option<&Graph<'_>>,
    lengths: Vec<(Grown, Vec<(u64, u64)>)>,
) -> Vec<GrownContainer> {
    let caches = lru_caches(objects);
    let mut found = Vec::new();
    for (grown, lengths) in lengths {
        let Some(index) = objects.objects.find(grown.avma) else { continue };
        let kind = objects.kind_of(index);
        if kind.avma != grown.type_avma {
            continue;
        }
        let container = match graph {
            Some(graph) => graph.container(index),
            None => GrownContainer {
                avma: grown.avma,
                type_name: kind.name.clone(),
                held_bytes: objects.bytes_of(index),
                ..GrownContainer::default()
            },
        };
        let is_lru_cache = caches.contains(&grown.avma);
        found.push(GrownContainer { lengths, is_lru_cache, ..container });
    }
    found.sort_by(|a, b| growth_bytes(b).total_cmp(&growth_bytes(a)));
    found.truncate(MAX_CONTAINERS);
    found
}

/// Where the dicts are that `functools.lru_cache` keeps results in: nothing in the path to one says
/// that it is no global of that name.
fn lru_caches(objects: &PythonHeap<'_>) -> HashSet<u64> {
    let reader = objects.reader();
    let wrappers = objects.objects.all().iter().filter(|of| {
        objects.types.get(of.kind.0 as usize).is_some_and(|kind| kind.shape == Shape::LruCache)
    });
    wrappers.filter_map(|of| reader.field(of.avma, objects.layout.small.lru_cache)).collect()
}

fn growth_bytes(container: &GrownContainer) -> f64 {
    let ends = [container.lengths.first(), container.lengths.last()];
    let [before, now] = ends.map(|end| end.map_or(0, |(_, length)| *length));
    now.saturating_sub(before) as f64 * container.held_bytes as f64 / now.max(1) as f64
}

impl Heap {
    /// Takes what a look under way has to say yet.
    pub fn settle(&mut self) {
        if let Some(answer) =
            self.looking.as_ref().and_then(|looking: &Looking| looking.answer_within(PATIENCE))
        {
            self.take(answer);
        }
    }

    /// Where there was no last look: what was seen before, with the reason.
    pub fn without_last(mut self, reason: String) -> Option<HeapMeta> {
        let known = match self.reached.is_empty() {
            true => "who holds what is not known",
            false => "who holds what is told as it was at an earlier look, while the process ran",
        };
        self.note(format!("{reason}; {known}"));
        (!self.meta.readings.is_empty()).then(|| self.so_far())
    }
}
