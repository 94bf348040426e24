//! Native stacks are whole, and equal what libgcc's unwinder finds at the same place.
#![allow(missing_docs)]

mod support;

use outlive::capture::{self, Recording};
use outlive::stack::{RawStack, WalkEnd};
use serde_json::Value;
use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Finished, Outlive, Target, may_trace, tests_dir};

/// How far apart two calls of one function may be, in bytes.
const FUNCTION_BYTES: u64 = 1024;
/// Frames between the function under test and the allocator: operator new, and what Rust and
/// libstdc++ call it through.
const MAX_FRAMES_BETWEEN: usize = 6;

/// Builds a target from `tests/targets/stacks`.
fn build(compiler: &str, source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stacks");
    std::fs::create_dir_all(&folder).expect("make the folder of compiled targets");
    let binary = folder.join(name);
    let output = Command::new(compiler)
        .arg(tests_dir().join("targets/stacks").join(source))
        .arg("-o")
        .arg(&binary)
        .args(flags)
        .output()
        .unwrap_or_else(|error| panic!("run {compiler}: {error}"));
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {source}: {messages}");
    binary
}

/// A stack as libgcc saw it.
struct Expected {
    name: String,
    frames: Vec<u64>,
    /// One of the frames was interrupted by a signal.
    has_interrupted: bool,
}

fn expected(truth: &Value) -> Vec<Expected> {
    let sites = truth["sites"].as_array().expect("the truth has sites");
    assert!(!sites.is_empty());
    let frames = |site: &Value| serde_json::from_value(site["frames"].clone()).expect("frames");
    sites
        .iter()
        .map(|site| Expected {
            name: site["name"].as_str().expect("a name").to_owned(),
            frames: frames(site),
            has_interrupted: site["signal"] == true,
        })
        .collect()
}

impl Expected {
    /// Whether `found` is this stack: equal in all frames outside the function that allocates.
    fn is(&self, found: &RawStack) -> bool {
        let outer = &self.frames[1..];
        let Some(at) = found.native.len().checked_sub(outer.len() + 1) else { return false };
        at <= MAX_FRAMES_BETWEEN
            && found.native[at].abs_diff(self.frames[0]) < FUNCTION_BYTES
            && self.equal(outer, &found.native[at + 1..])
    }

    /// An instruction that a signal interrupted is recorded as if a call before it had returned.
    fn equal(&self, expected: &[u64], found: &[u64]) -> bool {
        let differing: Vec<_> = expected.iter().zip(found).filter(|(a, b)| a != b).collect();
        match differing[..] {
            [] => !self.has_interrupted,
            [(interrupted, recorded)] => self.has_interrupted && interrupted + 1 == *recorded,
            _ => false,
        }
    }

    /// Blocks that were allocated with this stack.
    fn blocks(&self, recording: &Recording) -> u64 {
        let is_this = |id| recording.raw_stacks.get(&id).is_some_and(|raw| self.is(raw));
        let stacks = recording.aggregate.stacks();
        stacks.filter(|(id, _)| is_this(*id)).map(|(_, totals)| totals.allocated_blocks).sum()
    }
}

fn recording(finished: &Finished) -> Recording {
    capture::read(&finished.out.join("capture.outlive")).expect("the capture")
}

/// Each stack of the truth was recorded in each round, and no walk was cut short.
fn assert_equal(what: &str, truth: &Value, rounds: u64, finished: &Finished) {
    finished.assert_done();
    let recording = recording(finished);
    let all = expected(truth);
    for stack in &all {
        let occurred = all.iter().filter(|other| other.frames[1..] == stack.frames[1..]).count();
        let found = stack.blocks(&recording);
        // Containers and exceptions allocate more than once.
        let is_c = what.starts_with("c-");
        let wanted = rounds * occurred as u64;
        if found < wanted || is_c && found > wanted {
            let hex = |frames: &[u64]| frames.iter().map(|f| format!("{f:x}")).collect::<Vec<_>>();
            for raw in recording.raw_stacks.values() {
                eprintln!("recorded ({}): {:?}", raw.native_end.name(), hex(&raw.native));
            }
            let frames = hex(&stack.frames);
            panic!("{what}: {} found {found} times, expected {wanted}: {frames:?}", stack.name);
        }
    }
    for raw in recording.raw_stacks.values() {
        assert_eq!(raw.native_end, WalkEnd::Bottom, "{what}: {:x?}", raw.native);
    }
    let report = finished.report();
    report.assert_no_losses();
    assert_eq!(report.0["walks"]["native_whole_share"], 1.0, "{what}: {}", report.0["walks"]);
}

fn check(what: &str, program: &Path, args: &[&Path]) {
    let mut target = Target::spawn(program, args);
    target.json();
    let outlive = Outlive::attach(target.pid()).start();
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    assert_equal(what, &truth, 1, &finished);
    assert!(target.finish().success(), "{what} was harmed");
}

#[test]
fn c_stacks_equal_those_of_libgcc() {
    if !may_trace() {
        return;
    }
    let builds: [(&str, &[&str]); 5] = [
        ("c-O0", &["-O0", "-fomit-frame-pointer"]),
        ("c-O2", &["-O2", "-fomit-frame-pointer"]),
        ("c-frame-pointers", &["-O2", "-fno-omit-frame-pointer"]),
        ("c-static", &["-O2", "-fomit-frame-pointer", "-static"]),
        ("c-plt", &["-O2", "-fomit-frame-pointer", "-no-pie", "-fplt", "-Wl,-z,lazy"]),
    ];
    for (name, flags) in builds {
        let flags: Vec<&str> = flags.iter().copied().chain(["-pthread"]).collect();
        check(name, &build("gcc", "stacks.c", name, &flags), &[]);
    }
}

#[test]
fn stacks_through_a_plugin_equal_those_of_libgcc() {
    if !may_trace() {
        return;
    }
    let flags = ["-O2", "-fomit-frame-pointer"];
    let plugin = build("gcc", "plugin.c", "plugin.so", &["-O2", "-shared", "-fPIC", flags[1]]);
    let flags = [flags[0], flags[1], "-pthread", "-DPLUGIN"];
    check("c-plugin", &build("gcc", "stacks.c", "c-plugin", &flags), &[&plugin]);
}

#[test]
fn cpp_stacks_equal_those_of_libgcc() {
    if !may_trace() {
        return;
    }
    for (name, level) in [("cpp-O0", "-O0"), ("cpp-O2", "-O2")] {
        let program = build("g++", "stacks.cpp", name, &[level, "-fomit-frame-pointer"]);
        check(name, &program, &[]);
    }
}

#[test]
fn rust_stacks_equal_those_of_libgcc() {
    if !may_trace() {
        return;
    }
    for (name, level) in [("rust-O0", "0"), ("rust-O3", "3")] {
        let level = format!("opt-level={level}");
        let flags = ["--edition", "2024", "-C", &level, "-C", "force-frame-pointers=no"];
        check(name, &build("rustc", "stacks.rs", name, &flags), &[]);
    }
}

/// A return probe of another tracer on a function of the target: no program behind it, the kernel
/// replaces return addresses all the same.
struct ForeignReturnProbe(#[expect(dead_code, reason = "held for its drop")] OwnedFd);

impl ForeignReturnProbe {
    fn place(pid: u32, file: &Path, offset: u64) -> Self {
        let kind = std::fs::read_to_string("/sys/bus/event_source/devices/uprobe/type");
        let kind: u32 = kind.expect("uprobes").trim().parse().expect("a number");
        let path = CString::new(file.as_os_str().as_bytes()).expect("a path");
        // struct perf_event_attr, first published version plus one: type and size, config (bit 0:
        // return probe), five fields that stay zero, uprobe_path, probe_offset.
        let mut attributes = [0_u64; 9];
        attributes[0] = u64::from(kind) | (size_of_val(&attributes) as u64) << 32;
        attributes[1] = 1;
        attributes[7] = path.as_ptr() as u64;
        attributes[8] = offset;
        // SAFETY: attributes and path outlive the call.
        let fd = unsafe {
            libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), pid, -1, -1, 0)
        };
        assert!(fd >= 0, "perf_event_open: {}", std::io::Error::last_os_error());
        // SAFETY: a descriptor that was just opened and is nobody else's.
        Self(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }
}

/// Where a function of a target that is not position-independent lies in its file.
fn file_offset(program: &Path, function: &str) -> u64 {
    let output = Command::new("nm").arg(program).output().expect("run nm (install binutils)");
    let symbols = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = symbols.lines().find(|line| line.ends_with(&format!(" {function}")));
    let address = line.and_then(|line| line.split(' ').next()).expect("the function's symbol");
    u64::from_str_radix(address, 16).expect("an address") - 0x40_0000
}

#[test]
fn return_probes_of_others_are_seen_through() {
    if !may_trace() {
        return;
    }
    let flags = ["-O2", "-fomit-frame-pointer", "-pthread", "-no-pie"];
    let program = build("gcc", "stacks.c", "c-probed", &flags);
    let mut target = Target::spawn(&program, &[] as &[&str]);
    target.json();
    let outlive = Outlive::attach(target.pid()).start();
    // Once as it is, for libgcc to see; once with return addresses replaced in the midst of
    // stacks, twice in some of them, and behind a signal's frame.
    target.go();
    let truth = target.json();
    let probes = ["plain_middle", "plain_outer", "interrupted"].map(|function| {
        ForeignReturnProbe::place(target.pid(), &program, file_offset(&program, function))
    });
    target.go();
    target.json();
    let finished = outlive.stop();
    drop(probes);
    assert_equal("c-probed", &truth, 2, &finished);
    assert!(target.finish().success(), "the target was harmed");
}

/// A CPython that has its own test suite: Debian's, stripped and built with all optimisations, or
/// pyenv's.
fn python_with_tests() -> PathBuf {
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let pyenv = pyenv.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".pyenv")));
    let versions = pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    let others = versions.into_iter().flatten().flatten().map(|v| v.path().join("bin/python3.11"));
    let has_tests = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", "import test.test_json"]);
        command.output().is_ok_and(|output| output.status.success())
    };
    std::iter::once(PathBuf::from("/usr/bin/python3.11"))
        .chain(others)
        .find(has_tests)
        .expect("a Python 3.11 with its tests: install libpython3.11-testsuite")
}

#[test]
fn a_million_allocations_of_cpythons_own_tests_are_unwound_to_the_bottom() {
    if !may_trace() {
        return;
    }
    let script = "import sys, runpy\nprint('{}', flush=True)\nsys.stdin.readline()\n\
                  sys.argv = ['test', '-q', 'test_re']\n\
                  runpy.run_module('test', run_name='__main__')\n";
    let mut command = Command::new(python_with_tests());
    // Every object goes through malloc.
    command.args(["-c", script]).env("PYTHONMALLOC", "malloc").stderr(Stdio::null());
    let mut target = Target::from_command(command);
    target.json();
    // Walks are what is counted here: few stacks are kept, so that few have to be named.
    let outlive = Outlive::attach(target.pid()).args(&["--max-stacks", "1000"]).start();
    target.go();
    let deadline = Instant::now() + Duration::from_secs(600);
    while target.is_running() {
        assert!(Instant::now() < deadline, "Python's tests never end");
        std::thread::sleep(Duration::from_millis(100));
    }
    let finished = outlive.wait();
    finished.assert_done();
    let report = finished.report();
    let walks = &report.0["walks"];
    let by_end = walks["native_walks"].as_object().expect("walks by end");
    let all: u64 = by_end.values().map(|count| count.as_u64().expect("a count")).sum();
    assert!(all > 1_000_000, "only {all} walks");
    assert!(all >= report.total("allocated_blocks"), "a walk of no reason: {walks}");
    assert_eq!(by_end.get("unknown"), None, "{walks}");
    let share = walks["native_whole_share"].as_f64().expect("a share");
    assert!(share >= 0.995, "{walks:#}");
}
