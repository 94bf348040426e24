//! Follows pointers from what is in use to live blocks, and from them to others.

use super::{
    LiveBlock,
    glibc::Heaps,
    index::Index,
    naming::Naming,
    words::{Places, visit_block, words},
};
use crate::{
    capture::PointedFrom,
    heap::{Image, Region, RegionKind, ThreadRegisters},
};
use std::{collections::HashMap, ops::Range};

/// What the ABI lets a function use below its stack pointer; bytes.
const RED_ZONE_BYTES: u64 = 128;

/// Where a pointer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// A variable, or what else names a piece of memory.
    Named(u32),
    Stack(u32),
    Register(u32),
    /// A block of this stack.
    Block(u64),
}

/// What was reached so far.
pub struct Reach<'a> {
    image: &'a Image,
    blocks: &'a [LiveBlock],
    index: &'a Index<'a>,
    heaps: Heaps,
    wanted: &'a HashMap<u64, usize>,
    naming: &'a Naming<'a>,
    /// Blocks that something in use points to.
    pub reached: Places,
    waiting: Vec<u32>,
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Blocks of wanted stacks by where they were first found from.
    counts: Vec<HashMap<Place, u64>>,
}

impl<'a> Reach<'a> {
    /// Nothing yet.
    pub fn new(
        image: &'a Image,
        blocks: &'a [LiveBlock],
        index: &'a Index<'a>,
        wanted: &'a HashMap<u64, usize>,
        naming: &'a Naming<'a>,
    ) -> Self {
        let answers = wanted.values().map(|place| place + 1).max().unwrap_or(0);
        Self {
            image,
            blocks,
            index,
            heaps: Heaps::of(image),
            wanted,
            naming,
            reached: Places::new(blocks.len()),
            waiting: Vec::new(),
            names: Vec::new(),
            numbers: HashMap::new(),
            counts: vec![HashMap::new(); answers],
        }
    }

    /// Follows everything: from what has a name first, since a block is told of the place that it
    /// is first found from.
    pub fn follow(mut self, threads: &[ThreadRegisters]) -> Self {
        let image = self.image;
        for region in image.regions() {
            if let RegionKind::Static { module } = &region.kind {
                self.read_outside_blocks(region, region.range(), &|reach, avma| {
                    let name = reach.naming.of_static(module, avma);
                    reach.named(name)
                });
            }
        }
        for region in image.regions() {
            if let RegionKind::Stack { tid, stack_pointer_avma } = region.kind {
                let used = stack_pointer_avma.saturating_sub(RED_ZONE_BYTES)..region.range().end;
                self.read_outside_blocks(region, used, &|_, _| Place::Stack(tid));
            }
        }
        for thread in threads {
            for word in &thread.registers {
                self.visit(*word, |_| Place::Register(thread.tid));
            }
        }
        self.follow_blocks();
        for region in image.regions() {
            if region.kind == RegionKind::Anonymous {
                self.read_outside_blocks(region, region.range(), &|reach, avma| {
                    let name = reach.naming.of_memory(avma);
                    reach.named(name)
                });
            }
        }
        self.follow_blocks();
        self
    }

    /// Reads what of a region is in use and not in a live block.
    fn read_outside_blocks(
        &mut self,
        region: &Region,
        range: Range<u64>,
        place: &dyn Fn(&mut Self, u64) -> Place,
    ) {
        let heaps = std::mem::take(&mut self.heaps);
        let mut next = self.blocks.partition_point(|block| block.end_avma() <= range.start);
        heaps.in_use(region, range, |used, is_chunk| {
            while self.blocks.get(next).is_some_and(|block| block.end_avma() <= used.start) {
                next += 1;
            }
            // What a chunk has behind its block is nobody's.
            if !is_chunk || self.blocks.get(next).is_none_or(|block| block.avma != used.start) {
                self.read_between_blocks(region, used, next, place);
            }
        });
        self.heaps = heaps;
    }

    fn read_between_blocks(
        &mut self,
        region: &Region,
        range: Range<u64>,
        mut next: usize,
        place: &dyn Fn(&mut Self, u64) -> Place,
    ) {
        let mut start = range.start;
        while start < range.end {
            let block = self.blocks.get(next).filter(|block| block.avma < range.end);
            let end = block.map_or(range.end, |block| block.avma);
            for (avma, word) in words(region, start..end) {
                self.visit(word, |reach| place(reach, avma));
            }
            let Some(block) = block else { break };
            start = start.max(block.end_avma());
            next += 1;
        }
    }

    fn follow_blocks(&mut self) {
        while let Some(waiting) = self.waiting.pop() {
            let block = self.blocks[waiting as usize];
            visit_block(self.image, block, |word| {
                self.visit(word, |_| Place::Block(block.stack));
            });
        }
    }

    #[inline]
    fn visit(&mut self, word: u64, place: impl FnOnce(&mut Self) -> Place) {
        if let Some(found) = self.index.find(word)
            && self.reached.put(found)
        {
            self.waiting.push(found);
            if let Some(answer) = self.wanted.get(&self.blocks[found as usize].stack) {
                let place = place(self);
                *self.counts[*answer].entry(place).or_default() += 1;
            }
        }
    }

    fn named(&mut self, name: String) -> Place {
        let next = self.names.len() as u32;
        let number = *self.numbers.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            next
        });
        Place::Named(number)
    }

    /// For each wanted stack, places that point to its blocks.
    pub fn from(&self) -> Vec<Vec<PointedFrom>> {
        let stacks: HashMap<usize, u64> =
            self.wanted.iter().map(|(stack, place)| (*place, *stack)).collect();
        let told = |(answer, counts): (usize, &HashMap<Place, u64>)| {
            let own = stacks.get(&answer).copied();
            counts.iter().map(|(place, blocks)| self.told(place, own, *blocks)).collect()
        };
        self.counts.iter().enumerate().map(told).collect()
    }

    fn told(&self, place: &Place, own: Option<u64>, blocks: u64) -> PointedFrom {
        let (what, stack) = match place {
            Place::Named(number) => {
                (self.names.get(*number as usize).cloned().unwrap_or_default(), None)
            }
            Place::Stack(tid) => (format!("the stack of thread {tid}"), None),
            Place::Register(tid) => (format!("a register of thread {tid}"), None),
            Place::Block(stack) if Some(*stack) == own => {
                ("a block of the same stack".into(), Some(*stack))
            }
            Place::Block(stack) => ("a block of another stack".into(), Some(*stack)),
        };
        PointedFrom { what, stack, blocks }
    }
}
