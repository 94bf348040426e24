//! Births and deaths of sampled objects: one that is in a profile for the first time was born since
//! the one before, one that is not in it any more has died. What they stand for adds up by stack and
//! epoch of birth, as blocks of the allocator do in the kernel.

use super::{
    naming::{self, Originals},
    weight::Weights,
};
use crate::{
    runtime::node::inspector::{HeapProfile, JsPlace},
    same::Same,
    stack::{Domain, RawStack, Stack, StackId, WalkEnd},
    tick::SiteReading,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tracer_common::slot::UNATTRIBUTED_STACK;

/// Most objects that are remembered; later ones are counted as lost.
const MAX_LIVE: usize = 8 << 20;
/// Frames that V8 records; a stack of as many may have had more.
const DEEPEST: usize = 128;

/// An object that is alive.
#[derive(Clone, Copy, Debug)]
struct Object {
    site: (StackId, u32),
    bytes: u64,
    blocks: u64,
    /// The profile that it was last in.
    seen: u32,
}

/// What is new in a profile.
#[derive(Debug, Default)]
pub struct News {
    /// Stacks that were never seen before, as the recording keeps them and as people read them.
    pub stacks: Vec<(RawStack, Stack)>,
}

/// All sampled objects of one image.
#[derive(Debug)]
pub struct Ledger {
    image: u32,
    weights: Weights,
    max_stacks: usize,
    live: HashMap<(u32, u64), Object>,
    sites: BTreeMap<(StackId, u32), SiteReading>,
    changed: BTreeSet<(StackId, u32)>,
    known: HashSet<StackId>,
    originals: Originals,
    profiles: u32,
    /// Objects that were not remembered, and objects without a stack of their own.
    lost: u64,
}

impl Ledger {
    /// For an image of the process, sampled at a mean distance of so many bytes.
    pub fn new(image: u32, distance_bytes: u64, max_stacks: u32) -> Self {
        Self {
            image,
            weights: Weights::new(distance_bytes),
            max_stacks: max_stacks as usize,
            live: HashMap::new(),
            sites: BTreeMap::new(),
            changed: BTreeSet::new(),
            known: HashSet::new(),
            originals: Originals::new(),
            profiles: 0,
            lost: 0,
        }
    }

    /// Image of the process that the objects are in.
    pub fn image(&self) -> u32 {
        self.image
    }

    /// Samples that could not be kept.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Learns where places come from, before the profiles that they are in.
    pub fn learn(&mut self, originals: Originals) {
        self.originals.extend(originals);
    }

    /// Takes in a profile of one isolate; what is born in it belongs to `epoch`.
    pub fn take(&mut self, taken: &HeapProfile, epoch: u32) -> News {
        self.profiles += 1;
        let (now, isolate) = (self.profiles, taken.isolate);
        let mut news = News::default();
        let mut by_node: HashMap<usize, StackId> = HashMap::new();
        for sample in &taken.profile.samples {
            if let Some(known) = self.live.get_mut(&(isolate, sample.ordinal)) {
                known.seen = now;
                continue;
            }
            if self.live.len() >= MAX_LIVE {
                self.lost += 1;
                continue;
            }
            let node = taken.profile.node_of(sample);
            let stack = match by_node.get(&node) {
                Some(stack) => *stack,
                None => {
                    let stack = self.stack(&taken.profile.stack(node), &mut news);
                    by_node.insert(node, stack);
                    stack
                }
            };
            let object = Object {
                site: (stack, epoch),
                bytes: sample.weight_bytes,
                blocks: self.weights.objects(sample.weight_bytes),
                seen: now,
            };
            self.live.insert((isolate, sample.ordinal), object);
            let site = self.site(object.site);
            site.allocated_bytes = site.allocated_bytes.saturating_add(object.bytes);
            site.allocated_blocks = site.allocated_blocks.saturating_add(object.blocks);
        }
        self.bury(|(of, _), object| of == isolate && object.seen != now);
        news
    }

    /// The stack of a node of a profile of the main thread, which need not have been taken in.
    pub fn stack_of(&self, taken: &HeapProfile, node: usize) -> StackId {
        identity(self.image, &taken.profile.stack(node))
    }

    /// A heap is gone, with all that was in it.
    pub fn end_isolate(&mut self, isolate: u32) {
        self.bury(|(of, _), _| of == isolate);
    }

    /// All heaps are gone.
    pub fn end(&mut self) {
        self.bury(|_, _| true);
    }

    /// Counters that changed since the last call.
    pub fn readings(&mut self) -> Vec<SiteReading> {
        std::mem::take(&mut self.changed)
            .iter()
            .filter_map(|site| self.sites.get(site).copied())
            .collect()
    }

    fn bury(&mut self, is_dead: impl Fn((u32, u64), &Object) -> bool) {
        let mut dead = Vec::new();
        self.live.retain(|key, object| {
            let dies = is_dead(*key, object);
            if dies {
                dead.push(*object);
            }
            !dies
        });
        for object in dead {
            let site = self.site(object.site);
            site.freed_bytes = site.freed_bytes.saturating_add(object.bytes);
            site.freed_blocks = site.freed_blocks.saturating_add(object.blocks);
        }
    }

    fn site(&mut self, (stack, epoch): (StackId, u32)) -> &mut SiteReading {
        self.changed.insert((stack, epoch));
        self.sites.entry((stack, epoch)).or_insert(SiteReading::new(stack, epoch))
    }

    /// Identity of a stack; that of what has none when there are too many.
    fn stack(&mut self, places: &[&JsPlace], news: &mut News) -> StackId {
        let id = identity(self.image, places);
        if self.known.contains(&id) {
            return id;
        }
        if self.known.len() >= self.max_stacks {
            self.lost += 1;
            return StackId(UNATTRIBUTED_STACK);
        }
        self.known.insert(id);
        let raw = RawStack {
            id,
            image: self.image,
            domain: Domain::V8,
            native: Vec::new(),
            native_end: WalkEnd::Absent,
            js: Vec::new(),
            python: Vec::new(),
            python_end: WalkEnd::Absent,
        };
        let truncated = (places.len() >= DEEPEST).then_some(WalkEnd::TooDeep);
        let frames = naming::frames(places, &self.originals).into_iter().map(Same::from).collect();
        news.stacks.push((raw, Stack { id, domain: Domain::V8, frames, truncated }));
        id
    }
}

/// FNV-1a (64 bits) over the image and the places, of a domain of its own.
fn identity(image: u32, places: &[&JsPlace]) -> StackId {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(b"v8");
    add(&image.to_le_bytes());
    for place in places {
        add(place.function_name.as_bytes());
        // No byte of UTF-8.
        add(&[0xff]);
        add(place.url.as_bytes());
        add(&[0xff]);
        add(&place.line_number.to_le_bytes());
        add(&place.column_number.to_le_bytes());
    }
    // Those below name what has no stack.
    StackId(hash.max(UNATTRIBUTED_STACK + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::node::inspector::Profile;
    use std::time::Duration;

    fn profile(isolate: u32, samples: &[(u64, u64)]) -> HeapProfile {
        let samples: Vec<String> = samples
            .iter()
            .map(|(ordinal, size)| format!(r#"{{"size":{size},"nodeId":2,"ordinal":{ordinal}}}"#))
            .collect();
        let leaf = r#"{"callFrame":{"functionName":"keep","url":"file:///a.js","lineNumber":1,"columnNumber":0},"id":2,"children":[]}"#;
        let text = format!(
            r#"{{"profile":{{"head":{{"callFrame":{{"functionName":"(root)"}},"id":1,"children":[{leaf}]}},"samples":[{}]}}}}"#,
            samples.join(",")
        );
        let profile = Profile::parse(&text).expect("a profile");
        HeapProfile { isolate, profile, pause: Duration::ZERO }
    }

    fn sums(ledger: &mut Ledger) -> Vec<(u32, u64, u64)> {
        let readings = ledger.readings();
        readings.iter().map(|r| (r.epoch, r.allocated_bytes, r.freed_bytes)).collect()
    }

    #[test]
    fn births_and_deaths_are_booked_in_the_epoch_of_birth() {
        let mut ledger = Ledger::new(1, 32 << 10, 100);
        let news = ledger.take(&profile(0, &[(1, 100_000), (2, 200_000)]), 1);
        assert_eq!(news.stacks.len(), 1);
        assert_eq!(sums(&mut ledger), [(1, 300_000, 0)]);
        assert!(ledger.take(&profile(0, &[(2, 200_000), (3, 400_000)]), 2).stacks.is_empty());
        assert_eq!(sums(&mut ledger), [(1, 300_000, 100_000), (2, 400_000, 0)]);
        ledger.take(&profile(0, &[(2, 200_000), (3, 400_000)]), 3);
        assert_eq!(sums(&mut ledger), []);
        ledger.take(&profile(0, &[]), 4);
        assert_eq!(sums(&mut ledger), [(1, 300_000, 300_000), (2, 400_000, 400_000)]);
    }

    #[test]
    fn isolates_number_their_objects_apart() {
        let mut ledger = Ledger::new(1, 32 << 10, 100);
        ledger.take(&profile(0, &[(1, 100_000)]), 1);
        ledger.take(&profile(1, &[(1, 200_000)]), 1);
        ledger.take(&profile(0, &[(1, 100_000)]), 2);
        assert_eq!(sums(&mut ledger), [(1, 300_000, 0)]);
        ledger.end_isolate(1);
        assert_eq!(sums(&mut ledger), [(1, 300_000, 200_000)]);
        ledger.end();
        assert_eq!(sums(&mut ledger), [(1, 300_000, 300_000)]);
    }

    #[test]
    fn stacks_beyond_the_bound_are_counted() {
        let mut ledger = Ledger::new(1, 32 << 10, 0);
        assert!(ledger.take(&profile(0, &[(1, 100_000)]), 1).stacks.is_empty());
        assert_eq!(ledger.lost(), 1);
        assert_eq!(ledger.readings()[0].stack, StackId(UNATTRIBUTED_STACK));
    }
}
