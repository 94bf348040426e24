//! What each piece of an address space is for. The kernel merges neighbouring mappings, so a region
//! may hold several kinds: what is known of its parts cuts it, and the rest is told by what the
//! region looks like as a whole.

use super::{Class, Region};
use crate::runtime::v8_mappings;
use crate::target::mapping::Mapping;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Longest guard below a thread's stack.
const MAX_GUARD_BYTES: u64 = 64 << 10;
/// Major number of files that the kernel keeps to itself: its own tmpfs, on which shared anonymous
/// memory, memfd and System V segments are, has such a device.
const UNNAMED_MAJOR: u32 = 0;

/// What is known beside the mappings. Ranges are sorted and do not overlap within a list.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Heaps of glibc's arenas.
    pub malloc_heaps: Vec<Range<u64>>,
    /// Blocks that glibc has mapped one by one.
    pub malloc_mapped: Vec<Range<u64>>,
    /// CPython's arenas.
    pub python_arenas: Vec<Range<u64>>,
    /// What the program has mapped itself.
    pub direct: Vec<Range<u64>>,
    /// Stack pointers of threads, sorted.
    pub stack_pointers: Vec<u64>,
    /// Whether there is a V8 in it.
    pub has_v8: bool,
    /// Devices (major, minor) that are file systems in memory.
    pub memory_devices: BTreeSet<(u32, u32)>,
}

/// Bytes of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// In memory or swapped out.
    pub held_bytes: u64,
    /// Of address space.
    pub mapped_bytes: u64,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.held_bytes = self.held_bytes.saturating_add(other.held_bytes);
        self.mapped_bytes = self.mapped_bytes.saturating_add(other.mapped_bytes);
    }
}

/// Sums by class. `held_in` says how much of a range is in memory or swapped out (from pagemap),
/// and is asked only where one region holds several kinds; where it does not know, a part gets its
/// share by length.
pub fn classify(
    regions: &[Region],
    known: &Known,
    mut held_in: impl FnMut(Range<u64>) -> Option<u64>,
) -> BTreeMap<Class, Sums> {
    let mut sums: BTreeMap<Class, Sums> = BTreeMap::new();
    for (index, region) in regions.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| &regions[before]);
        let base = base_class(region, before, known);
        if base == Class::Files {
            let own = region.anonymous_bytes.saturating_add(region.swapped_bytes);
            let data = own.min(region.held_bytes());
            let of_data = Sums { held_bytes: data, mapped_bytes: 0 };
            sums.entry(Class::FileData).or_default().add(of_data);
            sums.entry(Class::Files).or_default().add(Sums {
                held_bytes: region.held_bytes() - data,
                mapped_bytes: region.mapping.length_bytes(),
            });
            continue;
        }
        for (class, part) in parts(region, base, known, &mut held_in) {
            sums.entry(class).or_default().add(part);
        }
    }
    sums
}

/// What a region is where nothing is known of its parts.
fn base_class(region: &Region, before: Option<&Region>, known: &Known) -> Class {
    let mapping = &region.mapping;
    let name = mapping.path.as_os_str().as_encoded_bytes();
    if let Some(file) = mapping.file {
        let is_shared_memory = known.memory_devices.contains(&(file.major, file.minor))
            || file.major == UNNAMED_MAJOR
                && [&b"/memfd:"[..], b"/SYSV", b"/dev/zero", b"/dev/shm/"]
                    .iter()
                    .any(|start| name.starts_with(start));
        return if is_shared_memory { Class::Shared } else { Class::Files };
    }
    if name == b"[heap]" {
        return Class::MallocHeap;
    }
    if name.starts_with(b"[stack") {
        return Class::MainStack;
    }
    if name.starts_with(b"[anon_shmem") {
        return Class::Shared;
    }
    if mapping.is_special() && !mapping.is_anonymous() {
        return Class::Special;
    }
    if known.has_v8 && v8_mappings::is_heap(mapping) {
        return Class::V8Heap;
    }
    if is_stack(mapping, before, known) {
        return Class::ThreadStacks;
    }
    // Variables that begin as zero lie behind those that are in the file.
    let continues = |before: &Region| {
        before.mapping.end_avma == mapping.start_avma
            && before.mapping.file.is_some()
            && before.mapping.writable
    };
    if before.is_some_and(continues) { Class::FileData } else { Class::Anonymous }
}

/// Whether it is a thread's stack: it holds a stack pointer, or lies on a guard that no allocator
/// has left behind (glibc's heaps end in address space that is only reserved).
fn is_stack(mapping: &Mapping, before: Option<&Region>, known: &Known) -> bool {
    if !(mapping.readable && mapping.writable) {
        return false;
    }
    let first = known.stack_pointers.partition_point(|sp| *sp < mapping.start_avma);
    if known.stack_pointers.get(first).is_some_and(|sp| mapping.contains(*sp)) {
        return true;
    }
    before.is_some_and(|before| {
        let guard = &before.mapping;
        guard.end_avma == mapping.start_avma
            && guard.is_anonymous()
            && !(guard.readable || guard.writable || guard.executable)
            && guard.length_bytes() <= MAX_GUARD_BYTES
            && !ends_a_heap(guard.start_avma, &known.malloc_heaps)
    })
}

fn ends_a_heap(avma: u64, heaps: &[Range<u64>]) -> bool {
    let behind = heaps.partition_point(|heap| heap.end < avma);
    heaps.get(behind).is_some_and(|heap| heap.end == avma)
}

/// The parts of a region, each with its class.
fn parts(
    region: &Region,
    base: Class,
    known: &Known,
    held_in: &mut impl FnMut(Range<u64>) -> Option<u64>,
) -> Vec<(Class, Sums)> {
    let mapping = &region.mapping;
    let whole = Sums { held_bytes: region.held_bytes(), mapped_bytes: mapping.length_bytes() };
    if !mapping.is_anonymous() || matches!(base, Class::V8Heap) {
        return vec![(base, whole)];
    }
    let mut claims: Vec<(Class, Vec<Range<u64>>)> = Vec::new();
    let mut free: Vec<Range<u64>> = std::iter::once(mapping.start_avma..mapping.end_avma).collect();
    let mut claim = |class: Class, ranges: &[Range<u64>]| {
        let (taken, left) = cut(&free, ranges);
        if !taken.is_empty() {
            claims.push((class, taken));
        }
        free = left;
    };
    claim(Class::MallocArenas, &known.malloc_heaps);
    claim(Class::PythonArenas, &known.python_arenas);
    claim(Class::MallocMapped, &known.malloc_mapped);
    if base != Class::ThreadStacks {
        claim(Class::Direct, &known.direct);
    }
    if !free.is_empty() {
        claims.push((base, free));
    }
    if let [(class, _)] = claims.as_slice() {
        return vec![(*class, whole)];
    }
    shared_out(claims, whole, held_in)
}

/// Divides what a region holds among the claims on it: the longest gets what the others leave.
fn shared_out(
    mut claims: Vec<(Class, Vec<Range<u64>>)>,
    whole: Sums,
    held_in: &mut impl FnMut(Range<u64>) -> Option<u64>,
) -> Vec<(Class, Sums)> {
    let length = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum();
    claims.sort_by_key(|(_, ranges)| length(ranges));
    let mut left = whole;
    let mut shares = Vec::with_capacity(claims.len());
    let last = claims.len().saturating_sub(1);
    for (index, (class, ranges)) in claims.into_iter().enumerate() {
        let mapped_bytes: u64 = length(&ranges);
        let held_bytes = if index == last {
            left.held_bytes
        } else {
            let exact: Option<u64> = ranges.into_iter().map(&mut *held_in).sum();
            let by_length = u128::from(whole.held_bytes) * u128::from(mapped_bytes)
                / u128::from(whole.mapped_bytes.max(1));
            exact.unwrap_or(by_length as u64).min(left.held_bytes)
        };
        left.held_bytes -= held_bytes;
        shares.push((class, Sums { held_bytes, mapped_bytes }));
    }
    shares
}

/// What of `pieces` lies in `ranges`, and what does not. Both sorted, without overlaps.
fn cut(pieces: &[Range<u64>], ranges: &[Range<u64>]) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut at = piece.start;
        let first = ranges.partition_point(|range| range.end <= piece.start);
        for range in ranges[first..].iter().take_while(|range| range.start < piece.end) {
            let (start, end) = (range.start.max(at), range.end.min(piece.end));
            if start >= end {
                continue;
            }
            if at < start {
                left.push(at..start);
            }
            taken.push(start..end);
            at = end;
        }
        if at < piece.end {
            left.push(at..piece.end);
        }
    }
    (taken, left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::mapping;

    /// Regions of a text of maps; `held` are their resident KiB.
    fn regions(maps: &str, held: &[u64]) -> Vec<Region> {
        let mappings = mapping::parse(maps.as_bytes());
        assert_eq!(mappings.len(), held.len());
        let region = |(mapping, kib): (Mapping, &u64)| Region {
            mapping,
            resident_bytes: kib * 1024,
            swapped_bytes: 0,
            anonymous_bytes: 0,
        };
        mappings.into_iter().zip(held).map(region).collect()
    }

    fn only(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    fn kib(sums: &BTreeMap<Class, Sums>, class: Class) -> u64 {
        sums.get(&class).map_or(0, |sums| sums.held_bytes / 1024)
    }

    const MAPS: &str = "\
55d0c0a00000-55d0c0b00000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
7f0000100000-7f0004000000 ---p 00000000 00:00 0
7f0010000000-7f0010001000 ---p 00000000 00:00 0
7f0010001000-7f0010801000 rw-p 00000000 00:00 0
7f0020000000-7f0020010000 rw-p 00000000 00:00 0
7f0030000000-7f0030010000 r--p 00000000 fe:00 17                         /usr/lib/libx.so
7f0030010000-7f0030020000 rw-p 00010000 fe:00 17                         /usr/lib/libx.so
7f0030020000-7f0030030000 rw-p 00000000 00:00 0
7f0040000000-7f0040010000 rw-s 00000000 00:01 9                          /memfd:a (deleted)
7f0041000000-7f0041010000 rw-s 00000000 00:19 9                          /run/b
7f0042000000-7f0042010000 rw-p 00000000 00:00 0                          [anon:mine]
7ffd00000000-7ffd00020000 rw-p 00000000 00:00 0                          [stack]
7ffd10000000-7ffd10002000 r-xp 00000000 00:00 0                          [vdso]
";
    const HELD: [u64; 14] = [64, 1000, 0, 0, 12, 24, 40, 32, 16, 20, 28, 36, 8, 4];

    #[test]
    fn every_kind_is_told() {
        let mut all = regions(MAPS, &HELD);
        all[7].anonymous_bytes = 20 * 1024;
        let known = Known {
            malloc_heaps: only(0x7f00_0000_0000..0x7f00_0010_0000),
            memory_devices: BTreeSet::from([(0, 0x19)]),
            ..Known::default()
        };
        let sums = classify(&all, &known, |_| panic!("nothing is cut"));
        let found: Vec<u64> = Class::ALL.iter().map(|class| kib(&sums, *class)).collect();
        assert_eq!(found, [64, 1000, 0, 0, 0, 12, 8, 52, 36, 48, 0, 60, 4]);
        assert_eq!(found.iter().sum::<u64>(), HELD.iter().sum::<u64>());
    }

    #[test]
    fn what_the_kernel_merged_is_divided_again() {
        let start = 0x7f00_2000_0000_u64;
        let all = regions("7f0020000000-7f0020010000 rw-p 00000000 00:00 0\n", &[24]);
        let known = Known {
            malloc_mapped: only(start..start + 0x2000),
            python_arenas: only(start + 0x1000..start + 0x3000),
            direct: only(start + 0x8000..start + 0x2_0000),
            ..Known::default()
        };
        let mut asked = Vec::new();
        let sums = classify(&all, &known, |range| {
            asked.push(range.start - start..range.end - start);
            Some(range.end - range.start)
        });
        // Arenas come first, since the interpreter's own list says so; the longest is not asked for.
        assert_eq!(asked, [0..0x1000, 0x1000..0x3000, 0x3000..0x8000]);
        assert_eq!(kib(&sums, Class::MallocMapped), 4);
        assert_eq!(kib(&sums, Class::PythonArenas), 8);
        assert_eq!(kib(&sums, Class::Anonymous), 12);
        assert_eq!(kib(&sums, Class::Direct), 0);
        let unknown = classify(&all, &known, |_| None);
        assert_eq!(unknown.values().map(|sums| sums.held_bytes).sum::<u64>(), 24 * 1024);
        assert_eq!(kib(&unknown, Class::Direct), 12);
    }

    #[test]
    fn a_stack_is_told_by_its_pointer_and_a_heaps_rest_is_no_guard() {
        let maps = "\
7f0003fff000-7f0004000000 ---p 00000000 00:00 0
7f0004000000-7f0004100000 rw-p 00000000 00:00 0
7f0020000000-7f0020010000 rw-p 00000000 00:00 0
";
        let all = regions(maps, &[0, 4, 8]);
        let known = Known {
            malloc_heaps: only(0x7f00_0000_0000..0x7f00_03ff_f000),
            stack_pointers: vec![0x10, 0x7f00_2000_8000, u64::MAX],
            ..Known::default()
        };
        let sums = classify(&all, &known, |_| None);
        assert_eq!((kib(&sums, Class::ThreadStacks), kib(&sums, Class::Anonymous)), (8, 4));
    }

    #[test]
    fn no_regions_are_nothing() {
        assert!(classify(&[], &Known::default(), |_| None).is_empty());
    }
}
