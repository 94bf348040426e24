//! Real interpreters: what is read from outside must be what the program says of itself.

use super::*;
use crate::heap::{Image, Region, RegionKind};
use crate::runtime::memory::read_exact;
use crate::runtime::python::detect;
use crate::target::{Target, discover};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Builds objects, prints how many there are by type as the collector and its own walk tell, and
/// waits.
const PROGRAM: &str = include_str!("truth.py");

pub(super) struct Running(pub(super) Child);
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The interpreters of `cargo xtask interpreters`, else the system's: name and program.
pub(super) fn interpreters() -> Vec<(String, PathBuf)> {
    let list = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/interpreters.json");
    let listed = std::fs::read_to_string(list).ok().and_then(|text| {
        let list: Vec<serde_json::Value> = serde_json::from_str(&text).ok()?;
        let text = |entry: &serde_json::Value, key: &str| Some(entry[key].as_str()?.to_owned());
        list.iter()
            .map(|entry| Some((text(entry, "name")?, text(entry, "python")?.into())))
            .collect::<Option<Vec<_>>>()
    });
    let listed = listed.filter(|list| !list.is_empty());
    let mut found =
        listed.unwrap_or_else(|| vec![("system".to_owned(), PathBuf::from("/usr/bin/python3"))]);
    found.retain(|(_, path)| path.exists());
    if let Ok(only) = std::env::var("OUTLIVE_TEST_PYTHON") {
        found.retain(|(name, _)| name.contains(&only));
    }
    found
}

/// A program that runs, and what it prints.
fn start(
    interpreter: &PathBuf,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (Running, BufReader<ChildStdout>) {
    let mut child = Command::new(interpreter)
        .arg("-c")
        .arg(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (Running(child), output)
}

/// All writable private memory of a process, read as it is.
pub(super) fn image_of(target: &Target) -> Image {
    let mut regions = Vec::new();
    for mapping in &target.mappings {
        let path = mapping.path.to_string_lossy().into_owned();
        let is_skipped = !mapping.writable || !mapping.readable || mapping.is_special();
        if is_skipped && path != "[heap]" {
            continue;
        }
        let kind = if mapping.file.is_some() {
            RegionKind::Static { module: path }
        } else {
            RegionKind::Anonymous
        };
        // As a reader must: the parts of a library that begin as zero have no file.
        let mut bytes = vec![0; mapping.length_bytes() as usize];
        if read_exact(target.tgid, mapping.start_avma, &mut bytes).is_some() {
            regions.push(Region { start_avma: mapping.start_avma, kind, bytes });
        }
    }
    Image::new(regions)
}

/// What the program printed: counts by type.
fn truth(output: &mut impl BufRead) -> BTreeMap<String, u64> {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn counts(heap: &PythonHeap<'_>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for object in heap.objects.all() {
        *counts.entry(heap.types[object.kind.0 as usize].name.clone()).or_default() += 1;
    }
    counts
}

/// Types whose objects code holds, which the collector's walk does not enter: there may be more.
const IN_CODE: [&str; 7] = ["str", "bytes", "tuple", "code", "int", "float", "datetime.timedelta"];

/// Compares what was read with what the program says.
fn compare(name: &str, heap: &PythonHeap<'_>, truth: &BTreeMap<String, u64>) {
    let seen = counts(heap);
    let (mut close, mut all) = (0, 0);
    for (kind, count) in truth {
        let seen = seen.get(kind).copied().unwrap_or(0);
        if kind.starts_with("__main__.") {
            assert_eq!(seen, *count, "{name}: {kind}");
        }
        let is_close = seen.abs_diff(*count) <= (*count / 100).max(2)
            || (seen > *count && IN_CODE.contains(&kind.as_str()));
        if !is_close {
            eprintln!("{name}: {kind}: {count} there, {seen} seen");
        }
        all += 1;
        close += u32::from(is_close);
    }
    assert!(close * 100 >= all * 95, "{name}: {close} of {all} types");
}

fn on_each(arguments: &[&str], mut check: impl FnMut(&str, &mut Child, &mut dyn BufRead)) {
    for (name, interpreter) in interpreters() {
        let (mut running, mut output) = start(&interpreter, PROGRAM, arguments, &[]);
        check(&name, &mut running.0, &mut output);
    }
}

#[test]
fn an_idle_program_is_counted_as_it_counts_itself_and_its_growth_is_seen() {
    on_each(&["idle"], |name, child, mut output| {
        let before_truth = truth(&mut output);
        let (target, _) = discover(child.id()).unwrap();
        let runtime = detect(&target).0.unwrap();
        let image = image_of(&target);
        let heap = PythonHeap::read(&image, &target, &runtime).unwrap();
        compare(name, &heap, &before_truth);
        let census = heap.census();
        assert_eq!(census.inconsistent_pools, 0, "{name}");
        if runtime.free_threaded {
            return;
        }
        assert!(census.pools > 100, "{name}");
        let attributed = heap.attributed_pool_bytes();
        eprintln!(
            "{name}: {} objects of {} types, {} B in pools, {} of them unattributed",
            census.objects,
            heap.types.len(),
            attributed,
            census.unattributed_bytes
        );
        assert!(census.unattributed_bytes < attributed / 10, "{name}: {census:?}");
        // The list of half a million: its items are in one mapped block.
        let big = heap
            .objects
            .all()
            .iter()
            .enumerate()
            .find(|(index, _)| heap.length_of(ObjectIndex(*index as u32)) == Some(500_000));
        let big = ObjectIndex(big.unwrap().0 as u32);
        assert!((4_000_000..4_100_000).contains(&heap.bytes_of(big)), "{name}");
        let moment = heap.moment();

        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"grow\n").unwrap();
        let after_truth = truth(&mut output);
        let (target, _) = discover(child.id()).unwrap();
        let image = image_of(&target);
        let heap = PythonHeap::read(&image, &target, &runtime).unwrap();
        compare(name, &heap, &after_truth);
        let growth = heap.grown_since(&moment);
        let plain = growth.types.iter().find(|kind| kind.name == "__main__.Plain").unwrap();
        assert_eq!(plain.count_change, 600, "{name}");
        for (kind, before, after) in [
            ("dict", 20_000, 23_000),
            ("list", 3000, 3600),
            ("collections.deque", 200, 1700),
            ("set", 299, 1199),
            ("bytearray", 3490, 8490),
        ] {
            let is_told = growth.containers.iter().any(|it| {
                (it.before, it.after) == (before, after)
                    && heap.kind_of(it.object).name == kind
                    && !it.is_new
            });
            assert!(is_told, "{name}: {kind} {:?}", growth.containers);
        }
    });
}

#[test]
fn a_busy_program_is_counted_within_two_percent() {
    on_each(&["busy"], |name, child, mut output| {
        let truth = truth(&mut output);
        let (target, _) = discover(child.id()).unwrap();
        let runtime = detect(&target).0.unwrap();
        let image = image_of(&target);
        let heap = PythonHeap::read(&image, &target, &runtime).unwrap();
        let seen = counts(&heap);
        for (kind, count) in truth.iter().filter(|(kind, _)| kind.starts_with("__main__.")) {
            let seen = seen.get(kind).copied().unwrap_or(0);
            assert!(
                seen.abs_diff(*count) <= (count / 50).max(1),
                "{name}: {kind}: {count}, {seen}"
            );
        }
    });
}

#[test]
fn objects_that_malloc_holds_are_counted() {
    let Some((name, interpreter)) =
        interpreters().into_iter().find(|(name, _)| name.contains("3.11"))
    else {
        eprintln!("skipped: no CPython 3.11 here");
        return;
    };
    let environment = [("PYTHONMALLOC", "malloc")];
    let (running, mut output) = start(&interpreter, PROGRAM, &["idle"], &environment);
    let truth = truth(&mut output);
    let (target, _) = discover(running.0.id()).unwrap();
    let runtime = detect(&target).0.unwrap();
    let image = image_of(&target);
    let heap = PythonHeap::read(&image, &target, &runtime).unwrap();
    assert_eq!(heap.census().pools, 0);
    compare(&name, &heap, &truth);
}
