//! Where resident memory went, against what programs say of themselves and glibc of its heaps.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::io::Write as _;
use support::memory_group::Group;
use support::{Finished, Outlive, Report, Target, c_target, may_trace};

const MIB: i64 = 1 << 20;

struct Ledger {
    ledger: Value,
    truth: Value,
    report: Report,
    finished: Finished,
}

impl Ledger {
    /// Watches the C target grow in one way.
    fn of(mode: &[&str]) -> Option<Self> {
        if !may_trace() {
            return None;
        }
        Some(Self::watch(&mut Target::spawn(c_target("ledger"), mode), &[]))
    }

    fn watch(target: &mut Target, args: &[&str]) -> Self {
        let (report, truth, finished) = Outlive::attach(target.pid()).args(args).watch(target);
        report.assert_no_losses();
        let ledger = report.0["ledger"].clone();
        assert!(ledger.is_object(), "no ledger: {}", finished.stderr);
        let found = Self { ledger, truth, report, finished };
        let sum: i64 = found.rows().iter().filter_map(|row| row["change_bytes"].as_i64()).sum();
        assert_eq!(sum, found.change(), "rows add up to the change: {}", found.ledger);
        found
    }

    fn rows(&self) -> &[Value] {
        self.ledger["rows"].as_array().expect("rows")
    }

    fn row(&self, kind: &str) -> i64 {
        let row = self.rows().iter().find(|row| row["kind"] == kind);
        row.map_or(0, |row| row["change_bytes"].as_i64().expect("a number"))
    }

    fn change(&self) -> i64 {
        let bytes = |name: &str| self.ledger[name].as_i64().expect("a number");
        bytes("last_bytes") - bytes("first_bytes")
    }

    fn truth(&self, name: &str) -> i64 {
        self.truth[name].as_i64().unwrap_or_else(|| panic!("{name} in {}", self.truth))
    }

    /// The change is what the program saw, and at least nine tenths of it are explained.
    fn assert_explained(&self) {
        assert_near(self.change(), self.truth("resident_change"), 2 * MIB, &self.ledger);
        let share = self.ledger["explained_share"].as_f64().expect("a share");
        assert!(share >= 0.9, "{:#}", self.ledger);
    }

    /// The largest row, and by how much it changed.
    fn assert_largest(&self, kind: &str, bytes: i64) {
        assert_eq!(self.rows()[0]["kind"], kind, "{:#}", self.ledger);
        assert_near(self.row(kind), bytes, bytes.abs() / 20 + MIB / 2, &self.ledger);
    }

    fn advice(&self, code: &str) -> Option<&Value> {
        self.ledger["advice"].as_array().expect("advice").iter().find(|a| a["code"] == code)
    }
}

fn assert_near(found: i64, expected: i64, tolerance: i64, ledger: &Value) {
    assert!((found - expected).abs() <= tolerance, "{found}, not {expected}: {ledger:#}");
}

#[test]
fn a_leak_is_live_blocks() {
    let Some(found) = Ledger::of(&["leak"]) else { return };
    found.assert_explained();
    found.assert_largest("live-malloc", found.truth("bytes"));
    assert_eq!(found.row("live-malloc"), found.truth("bytes"));
    assert!(found.advice("retention").is_none(), "{:#}", found.ledger);
}

#[test]
fn fragmentation_is_what_the_allocator_keeps() {
    let Some(found) = Ledger::of(&["fragment"]) else { return };
    found.assert_explained();
    assert_eq!(found.row("live-malloc"), found.truth("bytes"));
    found.assert_largest("allocator-retained", found.truth("free_change"));
    let advice = found.advice("retention").expect("retention is said");
    assert!(advice["advice"].as_str().unwrap().contains("fragmented"), "{advice:#}");
    assert!(found.finished.file("report.txt").contains("retention, not a leak"));
}

#[test]
fn whole_pages_that_the_allocator_keeps_could_be_trimmed() {
    let Some(found) = Ledger::of(&["keep"]) else { return };
    found.assert_explained();
    found.assert_largest("allocator-retained", found.truth("free_change"));
    let advice = found.advice("retention").expect("retention is said");
    let text = advice["advice"].as_str().unwrap();
    assert!(text.starts_with("malloc_trim(0) would give back 4"), "{advice:#}");
}

#[test]
fn arenas_that_keep_memory_are_counted() {
    let Some(found) = Ledger::of(&["arenas"]) else { return };
    found.assert_explained();
    found.assert_largest("allocator-retained", found.truth("free_change"));
    let advice = found.advice("retention").expect("retention is said");
    let (sentence, text) =
        (advice["sentence"].as_str().unwrap(), advice["advice"].as_str().unwrap());
    assert!(sentence.contains("; 12 arenas beside the main one hold"), "{advice:#}");
    assert!(text.starts_with("MALLOC_ARENA_MAX=2"), "{advice:#}");
}

#[test]
fn stacks_of_threads_are_told() {
    let Some(found) = Ledger::of(&["stacks"]) else { return };
    found.assert_explained();
    found.assert_largest("thread-stacks", found.truth("bytes"));
}

#[test]
fn mappings_of_the_program_are_its_own() {
    let Some(found) = Ledger::of(&["mmap"]) else { return };
    found.assert_explained();
    found.assert_largest("direct-mappings", found.truth("bytes"));
}

#[test]
fn mappings_that_nobody_saw_are_not_explained() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("ledger"), &["mmap"]);
    let found = Ledger::watch(&mut target, &["--no-mappings"]);
    found.assert_largest("unexplained", found.truth("bytes"));
    assert!(found.ledger["explained_share"].as_f64().unwrap() < 0.1, "{:#}", found.ledger);
    assert!(found.advice("unattributed").is_some(), "{:#}", found.ledger);
}

#[test]
fn shared_memory_is_told() {
    let Some(found) = Ledger::of(&["shared"]) else { return };
    found.assert_explained();
    found.assert_largest("shared", found.truth("bytes"));
    assert!(found.advice("unattributed").is_some(), "{:#}", found.ledger);
}

#[test]
fn pages_of_files_are_told() {
    let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    file.write_all(&vec![7; 40 << 20]).expect("write it");
    let path = file.path().to_str().expect("a path").to_owned();
    let Some(found) = Ledger::of(&["file", &path]) else { return };
    found.assert_explained();
    found.assert_largest("files", found.truth("bytes"));
}

#[test]
fn blocks_that_are_mapped_one_by_one_are_mallocs() {
    let Some(found) = Ledger::of(&["large"]) else { return };
    found.assert_explained();
    found.assert_largest("live-malloc", found.truth("bytes"));
}

#[test]
fn blocks_that_were_never_touched_are_no_memory() {
    let Some(found) = Ledger::of(&["untouched"]) else { return };
    found.assert_explained();
    assert_eq!(found.row("live-malloc"), found.truth("bytes"));
    let untouched = found.truth("resident_change") - found.truth("bytes");
    assert_near(found.row("untouched"), untouched, MIB, &found.ledger);
    assert!(found.advice("untouched").is_some(), "{:#}", found.ledger);
}

#[test]
fn what_was_there_before_and_goes_is_taken_off() {
    let Some(found) = Ledger::of(&["before"]) else { return };
    found.assert_explained();
    let traffic = &found.report.0["traffic"]["freed_unknown_bytes"];
    assert_eq!(traffic.as_i64(), Some(found.truth("freed_unknown_bytes")));
    assert_eq!(found.report.0["traffic"]["freed_unknown_unsized_blocks"], 0);
    assert_eq!(found.row("live-malloc"), found.truth("bytes"));
}

#[test]
fn the_limit_of_a_control_group_is_reached_when_the_rate_says() {
    if !may_trace() {
        return;
    }
    let Some(group) = Group::new("ledger", 300 * MIB) else { return };
    let mut target = Target::spawn(c_target("ledger"), &["slowly"]);
    group.take(target.pid());
    let found = Ledger::watch(&mut target, &[]);
    let limit = &found.report.0["limit"];
    assert_eq!(limit["kind"], "cgroup", "{limit:#}");
    let name = group.folder().file_name().unwrap().to_str().unwrap();
    assert!(limit["name"].as_str().unwrap().ends_with(name), "{limit:#}");
    assert_eq!(limit["limit_bytes"].as_i64(), Some(300 * MIB));
    let used = limit["used_bytes"].as_i64().unwrap();
    assert!((38 * MIB..60 * MIB).contains(&used), "{limit:#}");
    let true_rate = found.truth("resident_change") as f64 * 1000.0 / found.truth("took_ms") as f64;
    let seconds = (300 * MIB - used) as f64 / true_rate;
    let said = limit["seconds"].as_f64().unwrap();
    assert!((said / seconds - 1.0).abs() < 0.15, "{said}, not {seconds}: {limit:#}");
    assert!(limit["earliest_seconds"].as_f64().unwrap() <= said);
    drop(target);
}

/// A program of Debian's Python that keeps small objects.
const SMALL_OBJECTS: &str = "
import io, json, os, sys, time
def rss():
    with open('/proc/self/smaps_rollup') as f:
        return next(int(l.split()[1]) for l in f if l.startswith('Rss:')) * 1024
rss()
sys.stdin.readline()
before = rss()
time.sleep(0.5)
kept = None
for piece in range(30):
    for i in range(15000):
        kept = (kept, i + 100000)
    time.sleep(0.02)
print(json.dumps({'resident_change': rss() - before, 'bytes': 30 * 15000 * (64 + 32)}), flush=True)
sys.stdin.readline()
os._exit(0)
";

#[test]
fn small_objects_of_python_are_in_its_arenas() {
    if !may_trace() {
        return;
    }
    let spawn = || Target::spawn("/usr/bin/python3", &["-c", SMALL_OBJECTS]);
    let found = Ledger::watch(&mut spawn(), &[]);
    assert_eq!(found.advice("unattributed"), None, "the heap was read, and says what they are");

    let found = Ledger::watch(&mut spawn(), &["--no-heap"]);
    found.assert_explained();
    found.assert_largest("python-arenas", found.truth("bytes"));
    let advice = found.advice("unattributed").expect("said");
    assert!(advice["advice"].as_str().unwrap().contains("--python-objects"), "{advice:#}");
}
