//! Reads, now and then, what the target's resident memory is for. That takes time in proportion to
//! it, so it is done at the first tick, at the last, and at a bounded share of the time between.

use super::{measure, processes::Processes};
use crate::{
    capture::{FreeChunks, MemoryLimit, Meta, Residency},
    ledger::{self, Class, Known, Region, Sums},
    plan::ProbePlan,
    probe::Probes,
    runtime::{glibc, pagemap, python::arenas},
    target::{Target, mapping, memory_limits, status::read_bounded},
    tick::Tick,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufReader},
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tracer_common::counter::Counter;

/// The shortest time between two readings.
const SHORTEST: Duration = Duration::from_secs(5);
/// Readings take at most one part in this many of the time.
const TIME_SHARE: u32 = 100;
/// Readings that are kept: when there are more, every second one between the first and the last is
/// dropped.
const MAX_READINGS: usize = 64;
/// Pages that a reading looks at one by one: 16 GiB of those mappings that hold several things.
const MAX_PAGES: u64 = 4 << 20;
/// Of a target with more resident memory than this, pages are counted by pagemap: for smaps the
/// kernel holds the lock of the address space while it walks a whole mapping, some 6 ms for a
/// gigabyte, and whoever maps memory meanwhile waits.
const MAX_SMAPS_BYTES: u64 = 512 << 20;
/// Address space whose pages are counted: what is reserved besides would take longer.
const MAX_ADDRESS_SPACE_BYTES: u64 = 64 << 30;
const MAX_MAPS_BYTES: u64 = 64 << 20;
/// Threads whose stack pointers are read.
const MAX_THREADS: usize = 4096;
/// Arenas whose sizes are kept.
const MAX_ARENAS: usize = 64;
/// glibc's heaps are walked up to this length, and from this on: for less nobody trims.
const MAX_WALKED_BYTES: u64 = 1 << 30;
const MIN_WALKED_BYTES: u64 = 4 << 20;
/// Bytes of small files of /proc that are read.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// File systems in memory.
const MEMORY_FILE_SYSTEMS: [&str; 4] = ["tmpfs", "devtmpfs", "ramfs", "hugetlbfs"];

/// The readings of a session.
#[derive(Debug, Default)]
pub struct Residencies {
    readings: Vec<Residency>,
    /// What was spent is paid for by then.
    due: Option<Instant>,
    /// As they were when the target could be asked last.
    limits: Vec<MemoryLimit>,
    other_allocators: Vec<String>,
}

impl Residencies {
    /// Reads, if it is time to; `is_last`: whatever that takes. `tick` is what the probes have just
    /// said. Of a target that has ended nothing is read, and what was read last stands.
    pub fn look(
        &mut self,
        processes: &Processes,
        probes: &Probes,
        tgid: u32,
        tick: &Tick,
        is_last: bool,
    ) {
        let began = Instant::now();
        if !is_last && self.due.is_some_and(|due| began < due) {
            return;
        }
        let Some(target) = processes.target_of(tgid) else { return };
        let Some(followed) = processes.followed.get(&tgid) else { return };
        let direct = probes.mapped_ranges(tgid);
        if let Ok(reading) = read(target, &followed.plan, direct, is_last) {
            let unknown = |counter| tick.counters.get(counter);
            self.keep(Residency {
                at_ns: tick.at_ns,
                freed_unknown_blocks: unknown(Counter::FreedUnknownBlocks),
                freed_unknown_bytes: unknown(Counter::FreedUnknownBytes),
                freed_unknown_unsized: unknown(Counter::FreedUnknownUnsized),
                ..reading
            });
            self.limits = memory_limits::read(tgid).into_iter().map(captured).collect();
            self.other_allocators = other_allocators(&followed.plan);
        }
        self.due = Some(Instant::now() + SHORTEST.max(began.elapsed() * TIME_SHARE));
    }

    fn keep(&mut self, reading: Residency) {
        self.readings.push(reading);
        if self.readings.len() > MAX_READINGS {
            let last = self.readings.len() - 1;
            let mut index = 0;
            self.readings.retain(|_| {
                index += 1;
                (index - 1) % 2 == 0 || index - 1 == last
            });
        }
    }

    /// Writes what was read into the recording.
    pub fn describe(&mut self, meta: &mut Meta) {
        meta.residency = std::mem::take(&mut self.readings);
        meta.memory_limits = std::mem::take(&mut self.limits);
        meta.other_allocators = std::mem::take(&mut self.other_allocators);
    }
}

/// As the recording keeps it.
fn captured(limit: memory_limits::MemoryLimit) -> MemoryLimit {
    let kind = if limit.group.is_some() { "cgroup" } else { "machine" };
    MemoryLimit {
        kind: kind.into(),
        name: limit.group.unwrap_or_default(),
        limit_bytes: limit.limit_bytes,
        used_bytes: limit.used_bytes,
    }
}

/// Names of the allocators that are probed beside glibc's.
fn other_allocators(plan: &ProbePlan) -> Vec<String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for point in plan.points.iter().filter(|point| point.function == crate::plan::Function::Malloc)
    {
        let file = point.display_path.file_name().unwrap_or_default().to_string_lossy();
        let symbol = point.symbols.first().map_or("", String::as_str);
        let known =
            ["jemalloc", "mimalloc", "tcmalloc"].into_iter().find(|name| file.contains(name));
        let by_symbol = match symbol {
            _ if symbol.starts_with("je_") || symbol.starts_with("_rjem_") => Some("jemalloc"),
            _ if symbol.starts_with("mi_") => Some("mimalloc"),
            _ if symbol.starts_with("tc_") => Some("tcmalloc"),
            _ => None,
        };
        if let Some(name) = known.or(by_symbol) {
            names.insert(name.to_owned());
        } else if !point.is_glibc {
            names.insert(format!("malloc of {file}"));
        }
    }
    names.into_iter().collect()
}

fn read(
    target: &Target,
    plan: &ProbePlan,
    direct: Vec<Range<u64>>,
    is_last: bool,
) -> io::Result<Residency> {
    let folder = Path::new("/proc").join(target.tgid.to_string());
    let is_large =
        measure::target_memory(target.tgid).is_some_and(|m| m.resident_bytes > MAX_SMAPS_BYTES);
    let regions = match is_large.then(|| regions_by_pages(&folder)).flatten() {
        Some(regions) => regions,
        None => ledger::read(BufReader::new(File::open(folder.join("smaps"))?))?,
    };
    if regions.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let pages = Pages { pagemap: File::open(folder.join("pagemap")).ok(), left: MAX_PAGES };
    let mut reader = Reader { tgid: target.tgid, folder, regions, pages };
    Ok(reader.residency(target, plan, direct, is_last))
}

/// As smaps says it, from the pages; `None` where there are too many, or they cannot be read. What
/// cannot be accessed is only reserved.
fn regions_by_pages(folder: &Path) -> Option<Vec<Region>> {
    let pagemap = File::open(folder.join("pagemap")).ok()?;
    let maps = read_bounded(folder.join("maps").to_str()?, MAX_MAPS_BYTES).ok()?;
    let mut left = MAX_ADDRESS_SPACE_BYTES / pagemap::page_bytes();
    let mut regions = Vec::new();
    for mapping in mapping::parse(&maps) {
        let is_accessible = mapping.readable || mapping.writable || mapping.executable;
        let is_read =
            is_accessible && (mapping.is_anonymous() || !mapping.is_special()) || mapping.writable;
        if is_read && mapping.length_bytes() / pagemap::page_bytes() > left {
            return None;
        }
        let range = mapping.start_avma..mapping.end_avma;
        let pages = match is_read {
            true => pagemap::pages(&pagemap, range, &mut left).ok()?,
            false => pagemap::Pages::default(),
        };
        regions.push(Region {
            mapping,
            resident_bytes: pages.resident_bytes,
            swapped_bytes: pages.swapped_bytes,
            anonymous_bytes: pages.anonymous_bytes,
        });
    }
    Some(regions)
}

/// Pages of the target, one by one, as many as a reading may look at.
struct Pages {
    pagemap: Option<File>,
    left: u64,
}

impl Pages {
    /// In memory or swapped out, of a range; `None` where that cannot be told.
    fn held_in(&mut self, range: Range<u64>) -> Option<u64> {
        let pages = (range.end - range.start) / pagemap::page_bytes();
        if pages > self.left {
            return None;
        }
        pagemap::held_bytes(self.pagemap.as_ref()?, range, &mut self.left).ok()
    }

    fn is_held(&mut self, avma: u64) -> bool {
        let page = avma / pagemap::page_bytes() * pagemap::page_bytes();
        self.held_in(page..page + pagemap::page_bytes()).is_some_and(|held| held > 0)
    }
}

/// One reading under way.
struct Reader {
    tgid: u32,
    folder: PathBuf,
    regions: Vec<Region>,
    pages: Pages,
}

impl Reader {
    fn residency(
        &mut self,
        target: &Target,
        plan: &ProbePlan,
        direct: Vec<Range<u64>>,
        is_last: bool,
    ) -> Residency {
        let pages = &mut self.pages;
        let anonymous: Vec<Range<u64>> = self
            .regions
            .iter()
            .map(|region| &region.mapping)
            .filter(|mapping| mapping.is_anonymous() && mapping.readable && mapping.writable)
            .map(|mapping| mapping.start_avma..mapping.end_avma)
            .collect();
        let heaps = glibc::heaps(self.tgid, &anonymous, |avma| pages.is_held(avma));
        let malloc_heaps: Vec<Range<u64>> = heaps.iter().map(|heap| heap.range.clone()).collect();
        let python_arenas = self.python_arenas(target, plan);
        let mut others: Vec<Range<u64>> =
            [&malloc_heaps, &python_arenas, &direct].into_iter().flatten().cloned().collect();
        others.sort_unstable_by_key(|range| (range.start, range.end));
        let pages = &mut self.pages;
        let malloc_mapped =
            glibc::mapped_blocks(self.tgid, &anonymous, &others, |avma| pages.is_held(avma));
        let known = Known {
            malloc_heaps,
            malloc_mapped,
            python_arenas,
            direct,
            stack_pointers: self.stack_pointers(),
            has_v8: plan.node.is_some(),
            memory_devices: self.memory_devices(),
        };
        let sums = ledger::classify(&self.regions, &known, |range| self.pages.held_in(range));
        let by_name = |amount: fn(&Sums) -> u64| -> BTreeMap<String, u64> {
            sums.iter().map(|(class, sums)| (class.name().to_owned(), amount(sums))).collect()
        };
        let swapped_bytes = self.regions.iter().map(|region| region.swapped_bytes).sum();
        let mut arenas: BTreeMap<u64, u64> = BTreeMap::new();
        for heap in &heaps {
            let held = self.pages.held_in(heap.range.clone()).unwrap_or(0);
            *arenas.entry(heap.arena).or_default() += held;
        }
        let arena_count = arenas.len() as u32;
        let mut arenas: Vec<u64> = arenas.into_values().collect();
        arenas.sort_unstable_by_key(|held| std::cmp::Reverse(*held));
        arenas.truncate(MAX_ARENAS);
        let in_heaps = [Class::MallocHeap, Class::MallocArenas]
            .iter()
            .map(|class| sums.get(class).map_or(0, |sums| sums.held_bytes))
            .sum::<u64>();
        // What is swapped out would be brought back by looking at it.
        let is_walked = is_last && in_heaps >= MIN_WALKED_BYTES && swapped_bytes == 0;
        Residency {
            classes: by_name(|sums| sums.held_bytes),
            mapped: by_name(|sums| sums.mapped_bytes),
            swapped_bytes,
            arenas,
            arena_count,
            free_chunks: is_walked.then(|| self.free_chunks(&known.malloc_heaps)),
            ..Residency::default()
        }
    }

    /// CPython's arenas; none where their list cannot be found.
    fn python_arenas(&self, target: &Target, plan: &ProbePlan) -> Vec<Range<u64>> {
        let Some(runtime) = &plan.python else { return Vec::new() };
        let mappings = self.regions.iter().map(|region| region.mapping.clone()).collect();
        let target = Target { mappings, ..target.clone() };
        arenas::ranges(&target, runtime).unwrap_or_default()
    }

    /// Where the stacks of threads that wait stand; of those that run that cannot be read.
    fn stack_pointers(&self) -> Vec<u64> {
        let Ok(tasks) = std::fs::read_dir(self.folder.join("task")) else { return Vec::new() };
        let pointer = |task: std::fs::DirEntry| {
            let path = task.path().join("syscall");
            let text = read_bounded(path.to_str()?, 512).ok()?;
            let text = String::from_utf8(text).ok()?;
            // The number of the call, its arguments, stack pointer and instruction pointer.
            let word = text.split_ascii_whitespace().rev().nth(1)?;
            u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
        };
        let mut found: Vec<u64> =
            tasks.take(MAX_THREADS).filter_map(|task| pointer(task.ok()?)).collect();
        found.sort_unstable();
        found
    }

    /// Devices of the file systems in memory that the target sees.
    fn memory_devices(&self) -> BTreeSet<(u32, u32)> {
        let path = self.folder.join("mountinfo");
        let text = path.to_str().and_then(|path| read_bounded(path, MAX_FILE_BYTES).ok());
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        text.lines().filter_map(memory_device).collect()
    }

    /// What lies free in glibc's heaps.
    fn free_chunks(&mut self, heaps: &[Range<u64>]) -> FreeChunks {
        let main = self.regions.iter().map(|region| &region.mapping);
        let main = main.filter(|mapping| mapping.path.as_os_str() == "[heap]");
        let main: Vec<Range<u64>> =
            main.map(|mapping| mapping.start_avma..mapping.end_avma).collect();
        let mut found = FreeChunks::default();
        self.pages.left = MAX_PAGES;
        for heap in main.iter().chain(heaps) {
            let length = heap.end - heap.start;
            let pages = &mut self.pages;
            let free = (found.walked_bytes.saturating_add(length) <= MAX_WALKED_BYTES)
                .then(|| glibc::free_in(self.tgid, heap, |range| pages.held_in(range).unwrap_or(0)))
                .flatten()
                .unwrap_or_default();
            found.free_bytes += free.free_bytes;
            found.trimmable_bytes += free.trimmable_bytes;
            found.walked_bytes += free.walked_bytes;
            // The state of an arena is no chunk.
            let rest = length.saturating_sub(free.walked_bytes);
            found.unwalked_bytes += if rest <= pagemap::page_bytes() { 0 } else { rest };
        }
        found
    }
}

/// The device of a line of mountinfo, if its file system is in memory.
fn memory_device(line: &str) -> Option<(u32, u32)> {
    let (device, kind) = line.split_once(" - ")?;
    let kind = kind.split_ascii_whitespace().next()?;
    let (major, minor) = device.split_ascii_whitespace().nth(2)?.split_once(':')?;
    MEMORY_FILE_SYSTEMS.contains(&kind).then_some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_in_memory_are_told_by_their_mounts() {
        let line = "25 1 0:23 / /dev/shm rw,nosuid,nodev shared:4 - tmpfs tmpfs rw,inode64";
        assert_eq!(memory_device(line), Some((0, 23)));
        for other in ["25 1 8:1 / / rw - ext4 /dev/sda1 rw", "", " - tmpfs", "1 2 x:y / / - tmpfs"]
        {
            assert_eq!(memory_device(other), None);
        }
    }

    #[test]
    fn pages_and_smaps_say_the_same() {
        let by_pages = regions_by_pages(Path::new("/proc/self")).expect("own pages");
        let smaps = BufReader::new(File::open("/proc/self/smaps").unwrap());
        let by_smaps = ledger::read(smaps).unwrap();
        let sum = |regions: &[Region], amount: fn(&Region) -> u64| -> u64 {
            regions.iter().map(amount).sum()
        };
        for amount in [Region::held_bytes, |region: &Region| region.anonymous_bytes] {
            let (pages, smaps) = (sum(&by_pages, amount), sum(&by_smaps, amount));
            // Other tests go on meanwhile.
            assert!(pages.abs_diff(smaps) < (16 << 20), "{pages} {smaps}");
        }
        assert_eq!(regions_by_pages(Path::new("/proc/4194305")), None);
    }

    #[test]
    fn a_bounded_number_is_kept_the_first_and_the_last_among_them() {
        let mut all = Residencies::default();
        for at_ns in 0..1000 {
            all.keep(Residency { at_ns, ..Residency::default() });
            assert!(all.readings.len() <= MAX_READINGS);
            assert_eq!(all.readings[0].at_ns, 0);
            assert_eq!(all.readings.last().unwrap().at_ns, at_ns);
        }
        assert!(all.readings.len() > MAX_READINGS / 4);
        assert!(all.readings.is_sorted_by_key(|reading| reading.at_ns));
    }

    #[test]
    fn own_memory_adds_up_to_what_the_kernel_says() {
        let file = std::fs::File::open("/proc/self/smaps").unwrap();
        let regions = ledger::read(BufReader::new(file)).unwrap();
        let sum: u64 = regions.iter().map(|region| region.resident_bytes).sum();
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let whole = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        let whole: u64 = whole.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024;
        assert!(sum.abs_diff(whole) < (8 << 20), "{sum} {whole}");
    }
}
