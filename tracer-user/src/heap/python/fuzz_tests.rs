//! Garbage in a heap's place: whatever memory says, readers come to an end, and what they return
//! is within bounds. The heap here is made by hand, as CPython 3.11 has it.

use super::*;
use crate::fuzz::fuzz;
use crate::heap::{Image, Region, RegionKind};
use crate::runtime::python::Version;

/// Where the made heap begins, a multiple of a pool's bytes.
const START: u64 = 0x7f00_0000_0000;
const POOL: usize = 16 << 10;
/// Offsets in it: types, texts, and behind them a pool of blocks of 64 bytes, and large objects.
const TYPE_TYPE: usize = 0;
const TEXT: usize = 1024;
const LIST: usize = 2048;
const CLASS: usize = 3072;
const NAMES: usize = 8192;
const LARGE: usize = 12 << 10;
const LENGTH: usize = 3 * POOL;

const READY: u64 = 1 << 12;
const HAVE_GC: u64 = 1 << 14;
const HEAP_TYPE: u64 = 1 << 9;

struct Made(Vec<u8>);

impl Made {
    fn put(&mut self, at: usize, word: u64) {
        self.0[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    fn put_type(&mut self, at: usize, name_at: usize, name: &str, basic: u64, flags: u64) {
        self.put(at, 5);
        self.put(at + 8, START + TYPE_TYPE as u64);
        self.put(at + 24, START + name_at as u64);
        self.put(at + 32, basic);
        self.put(at + 168, flags | READY);
        self.0[name_at..name_at + name.len()].copy_from_slice(name.as_bytes());
    }

    /// A `list` of 3 in block `index` of the pool, with room for 4.
    fn put_list(&mut self, index: usize) {
        let at = POOL + 48 + 64 * index + 16;
        self.put(at, 1);
        self.put(at + 8, START + LIST as u64);
        self.put(at + 16, 3);
        self.put(at + 24, START + (POOL + 48 + 64 * 9) as u64);
        self.put(at + 32, 4);
    }

    fn put_pool(&mut self, in_use: u32, free_index: Option<usize>) {
        let free = free_index.map_or(0, |index| START + (POOL + 48 + 64 * index) as u64);
        self.put(POOL, u64::from(in_use));
        self.put(POOL + 8, free);
        // Size class, and offsets of the next block and of the last.
        self.put(POOL + 32, 3 << 32);
        self.put(POOL + 40, (48 + 64 * 10) | ((POOL as u64 - 64) << 32));
    }

    fn image(&self) -> Image {
        let bytes = self.0[..self.0.len() / 8 * 8].to_vec();
        Image::new(vec![Region { start_avma: START, kind: RegionKind::Anonymous, bytes }])
    }
}

/// Ten blocks were handed out: eight lists, a free block, and the items of the lists.
fn made() -> Made {
    let mut made = Made(vec![0; LENGTH]);
    made.put_type(TYPE_TYPE, NAMES, "type", 880, HAVE_GC | 1 << 31);
    made.put_type(TEXT, NAMES + 16, "str", 80, 1 << 28);
    made.put_type(LIST, NAMES + 32, "list", 40, HAVE_GC | 1 << 25);
    made.put_type(CLASS, NAMES + 48, "Class", 16, HAVE_GC | HEAP_TYPE);
    // Its name says that it has ten million characters.
    made.put(CLASS + 864, START + NAMES as u64 + 256);
    made.put(NAMES + 256, 3);
    made.put(NAMES + 264, START + TEXT as u64);
    made.put(NAMES + 272, 5);
    made.put(NAMES + 288, 0xe4);
    made.0[NAMES + 304..NAMES + 309].copy_from_slice(b"Class");
    made.put_pool(9, Some(8));
    for index in 0..8 {
        made.put_list(index);
    }
    // In a chunk of malloc's: a list behind its collector's header.
    made.put(LARGE - 24, 65);
    // What comes behind it.
    made.put(LARGE + 40, 33);
    made.put(LARGE, 1);
    made.put(LARGE + 8, START + LIST as u64);
    made
}

const INTERPRETER: Interpreter = Interpreter {
    version: Version { major: 3, minor: 11, micro: 2 },
    free_threaded: false,
    type_avma: START,
    runtime_avma: 0,
};

fn count_of(census: &crate::capture::Census, name: &str) -> u64 {
    census.types.iter().find(|kind| kind.name == name).map_or(0, |kind| kind.count)
}

#[test]
fn the_count_of_what_is_never_freed_may_be_an_address_too() {
    let mut made = made();
    made.put(LARGE, 1_000_000_000);
    let image = |start_avma: u64| {
        let heap = made.image().regions().first().cloned();
        let bytes = vec![0; 4096];
        let kind = RegionKind::Anonymous;
        Image::new(heap.into_iter().chain([Region { start_avma, kind, bytes }]).collect())
    };
    // The page of that address, and another.
    for start_avma in [1_000_000_000 / 4096 * 4096, 1 << 30] {
        let image = image(start_avma);
        let heap = PythonHeap::of(&image, INTERPRETER, &|_, _| None).unwrap();
        assert_eq!(count_of(&heap.census(), "list"), 9, "{start_avma:x}");
    }
    // It is one where counts are what they say.
    let image = image(1_000_000_000 / 4096 * 4096);
    let older = Version { minor: 10, ..INTERPRETER.version };
    let heap = PythonHeap::of(&image, Interpreter { version: older, ..INTERPRETER }, &|_, _| None);
    assert_eq!(count_of(&heap.unwrap().census(), "list"), 8);
}

#[test]
fn a_heap_made_by_hand_is_read() {
    let image = made().image();
    let heap = PythonHeap::of(&image, INTERPRETER, &|_, _| None).unwrap();
    let names: Vec<&str> = heap.types.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["type", "str", "list", "Class"]);
    let census = heap.census();
    assert_eq!(count_of(&census, "list"), 9);
    assert_eq!((census.pools, census.inconsistent_pools), (1, 0));
    // The block of items belongs to eight lists at once: it is more than attributed.
    assert_eq!(census.unattributed_bytes, 0);
    let first = heap.objects.find(START + POOL as u64 + 48 + 16).unwrap();
    assert_eq!(heap.length_of(first), Some(3));
    assert_eq!(heap.length_field(first), Some(START + POOL as u64 + 48 + 32));
    assert_eq!(heap.bytes_of(first), 64 + 64);
    assert_eq!(heap.block_at(START + POOL as u64 + 48 + 63), Some(first));
    let items = heap.block_at(START + POOL as u64 + 48 + 64 * 9 + 24).unwrap();
    assert_eq!(heap.kind_of(items).name, "list");
    assert_eq!(heap.block_at(START + 2 * POOL as u64), None);
}

#[test]
fn what_grew_is_told_with_its_container() {
    let mut heap = made();
    let at = POOL + 48 + 16;
    heap.put(at + 16, 20);
    let before = heap.image();
    let before = PythonHeap::of(&before, INTERPRETER, &|_, _| None).unwrap().moment();
    heap.put(at + 16, 400);
    heap.put_list(8);
    heap.put_pool(10, None);
    let after = heap.image();
    let after = PythonHeap::of(&after, INTERPRETER, &|_, _| None).unwrap();
    let growth = after.grown_since(&before);
    assert_eq!(growth.types.len(), 1);
    assert_eq!((growth.types[0].name.as_str(), growth.types[0].count_change), ("list", 1));
    let [container] = growth.containers[..] else { panic!("{:?}", growth.containers) };
    assert_eq!((container.avma, container.before, container.after), (START + at as u64, 20, 400));
    assert!(!container.is_new);
    assert_eq!(after.grown_since(&after.moment()), Growth::default());
    assert_eq!(count_of(&after.census_since(&before), "list"), 10);
}

#[test]
fn scribbled_pools_are_counted_or_are_none() {
    let mut heap = made();
    // The free list leads out of the pool, into a block's middle, and in a circle.
    for free in [START, START + (POOL + 48 + 65) as u64, START + (POOL + 48 + 64 * 10) as u64] {
        heap.put(POOL + 8, free);
        let image = heap.image();
        let read = PythonHeap::of(&image, INTERPRETER, &|_, _| None).unwrap();
        assert_eq!(read.census().inconsistent_pools, 1, "{free:x}");
        assert_eq!(count_of(&read.census(), "list"), 9);
    }
    heap.put_pool(9, Some(8));
    heap.put(POOL + 48 + 64 * 8, START + (POOL + 48 + 64 * 8) as u64);
    let image = heap.image();
    let read = PythonHeap::of(&image, INTERPRETER, &|_, _| None).unwrap();
    assert_eq!(read.census().inconsistent_pools, 1);
    heap.put(POOL + 32, u64::MAX);
    let image = heap.image();
    let read = PythonHeap::of(&image, INTERPRETER, &|_, _| None).unwrap();
    assert_eq!(read.census().pools, 0);
}

#[test]
fn long_names_and_circles_of_bases_come_to_an_end() {
    let mut heap = made();
    heap.put(LIST + 256, START + CLASS as u64);
    heap.put(CLASS + 256, START + LIST as u64);
    heap.put(NAMES + 272, 10 << 20);
    let image = heap.image();
    let long = |_: u64, length: usize| Some(vec![b'x'; length]);
    let read = PythonHeap::of(&image, INTERPRETER, &long).unwrap();
    assert!(read.types.iter().all(|kind| kind.name.len() <= 2 * 256 + 1));
    // A C name that never ends.
    heap.put(CLASS + 24, 0x1000);
    heap.put(CLASS + 864, 0);
    let image = heap.image();
    let read = PythonHeap::of(&image, INTERPRETER, &long).unwrap();
    let class = read.types.iter().find(|kind| kind.avma == START + CLASS as u64).unwrap();
    assert_eq!(class.name.len(), 256);
}

#[test]
fn other_versions_are_refused() {
    let image = made().image();
    for minor in [0, 7, 16, 99] {
        let version = Version { major: 3, minor, micro: 0 };
        let found = PythonHeap::of(&image, Interpreter { version, ..INTERPRETER }, &|_, _| None);
        assert_eq!(found.err(), Some(PythonHeapError::UnknownVersion(version)));
    }
    let nowhere = Interpreter { type_avma: START + 64, ..INTERPRETER };
    let found = PythonHeap::of(&image, nowhere, &|_, _| None);
    assert_eq!(found.err(), Some(PythonHeapError::NoTypes));
}

#[test]
fn a_process_that_ends_while_its_types_are_named_has_no_census() {
    let mut heap = made();
    // As in a program's file: a constant that the image does not hold.
    heap.put(TYPE_TYPE + 24, 0x1000);
    heap.put(LIST + 24, 0x1040);
    let image = heap.image();
    let name = |avma: u64, length: usize| {
        let mut bytes = if avma < 0x1040 { b"type".to_vec() } else { b"list".to_vec() };
        bytes.resize(length, 0);
        bytes
    };
    let alive = |avma: u64, length: usize| Some(name(avma, length));
    let read = PythonHeap::of(&image, INTERPRETER, &alive).unwrap();
    assert_eq!(count_of(&read.census(), "list"), 9);
    let ended = PythonHeap::of(&image, INTERPRETER, &|_, _| None);
    assert_eq!(ended.err(), Some(PythonHeapError::NoNames));
    // It ends when one of the two was read.
    let left = std::cell::Cell::new(1_u32);
    let ending = |avma: u64, length: usize| {
        left.replace(left.get().saturating_sub(1)).checked_sub(1).map(|_| name(avma, length))
    };
    let ended = PythonHeap::of(&image, INTERPRETER, &ending);
    assert_eq!(ended.err(), Some(PythonHeapError::NoNames));
}

#[test]
fn heaps_of_garbage_are_read_to_an_end() {
    let inputs = vec![made().0];
    let versions: Vec<u8> = (8..=15).collect();
    let mut round = 0_usize;
    fuzz("heaps", &inputs, |bytes| {
        round += 1;
        let mut bytes = bytes.to_vec();
        // What is wrong is more often in what is looked at closely.
        let at = (round * 8 * 37) % bytes.len().max(1);
        if let Some(word) = bytes.get_mut(at..at + 8) {
            let wild = [START + 1024, START, 0, u64::MAX, 1 << 40, START + POOL as u64 + 48];
            word.copy_from_slice(&wild[round % wild.len()].to_le_bytes());
        }
        let image = Made(bytes).image();
        let minor = if round.is_multiple_of(2) { 11 } else { versions[round % versions.len()] };
        let interpreter = Interpreter {
            version: Version { major: 3, minor, micro: 0 },
            free_threaded: minor >= 13 && round.is_multiple_of(3),
            ..INTERPRETER
        };
        let Ok(heap) = PythonHeap::of(&image, interpreter, &|_, _| None) else { return };
        let census = heap.census();
        assert!(heap.objects.all().len() <= image.length_bytes() as usize / 8);
        assert!(census.objects == heap.objects.all().len() as u64);
        let _ = heap.grown_since(&heap.moment());
        for index in (0..LENGTH as u64).step_by(1000) {
            if let Some(object) = heap.block_at(START + index) {
                let _ = (heap.bytes_of(object), heap.length_of(object), heap.length_field(object));
            }
        }
    });
}
