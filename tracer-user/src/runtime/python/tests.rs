//! Real interpreters: the walk that the kernel side does is done here through /proc, with the
//! very offsets of the layout, and must yield the stack that the program says it has.

use super::*;
use crate::runtime::Runtimes;
use crate::runtime::memory::{read_vec, u32_in, u64_in};
use crate::stack::{Domain, FrameKind, RawStack, StackId, WalkEnd};
use crate::symbol::Resolver;
use crate::target::discover;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tracer_common::python::{INSTR_POINTER, NO_OFFSET};
use tracer_common::record::PythonFrame;

const PROGRAM: &str = "\
import sys, threading
def outer():
    return Größe().inner()
class Größe:
    def inner(self):
        print('ready', threading.get_ident(), flush=True)
        return sys.stdin.readline()
outer()
";

struct Running(Child);
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Interpreters that can be found here.
fn interpreters() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/usr/bin/python3")];
    let root = Command::new("pyenv")
        .arg("root")
        .output()
        .ok()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    for version in std::fs::read_dir(PathBuf::from(root.unwrap_or_default()).join("versions"))
        .into_iter()
        .flatten()
        .flatten()
    {
        found.push(version.path().join("bin/python3"));
    }
    found.retain(|path| path.exists());
    found
}

/// A program that waits in `inner`, and the address of its main thread's control block.
fn waiting(interpreter: &PathBuf) -> Option<(Running, u64)> {
    let mut child = Running(
        Command::new(interpreter)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?,
    );
    let mut line = String::new();
    BufReader::new(child.0.stdout.take()?).read_line(&mut line).ok()?;
    let block = line.split_whitespace().nth(1)?.parse().ok()?;
    wait_until_it_reads(child.0.id());
    Some((child, block))
}

/// The line is printed before the program waits: returns once it is inside read(0, ...), which is
/// system call 0 on x86-64 (proc(5), /proc/PID/syscall).
fn wait_until_it_reads(tgid: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let reads = || {
        let text = std::fs::read_to_string(format!("/proc/{tgid}/syscall")).unwrap_or_default();
        text.starts_with("0 0x0 ")
    };
    while !reads() {
        assert!(Instant::now() < deadline, "{tgid} never came to wait for its input");
        std::thread::yield_now();
    }
}

/// The frames of a thread without the GIL: code object and instruction, innermost first.
fn walk(tgid: u32, layout: &PythonLayout, thread_block: u64) -> Option<Vec<(u64, i32, bool)>> {
    let word = |avma: u64| u64_in(&read_vec(tgid, avma, 8)?, 0);
    let state = if layout.tss_avma == 0 {
        word(thread_block.wrapping_add_signed(layout.gilstate_tls_offset))?
    } else {
        let key = u32_in(&read_vec(tgid, layout.tss_avma, 8)?, 4)?;
        word(thread_block + 0x310 + 16 * u64::from(key) + 8)?
    };
    assert_eq!(word(state + u64::from(layout.tstate_thread_id))?, thread_block);
    let mut frame = word(state + u64::from(layout.tstate_frame))?;
    if layout.cframe_frame != NO_OFFSET {
        frame = word(frame + u64::from(layout.cframe_frame))?;
    }
    let mut frames = Vec::new();
    while frame != 0 && frames.len() < 100 {
        let code = word(frame + u64::from(layout.frame_code))? & !7;
        let instruction = read_vec(tgid, frame + u64::from(layout.frame_instr), 8)?;
        let instruction = if layout.instr_form == INSTR_POINTER {
            u64_in(&instruction, 0)?.wrapping_sub(code) as i32
        } else {
            u32_in(&instruction, 0)?.cast_signed()
        };
        let is_entry = layout.frame_entry == NO_OFFSET || {
            let mark = read_vec(tgid, frame + u64::from(layout.frame_entry), 1)?[0];
            u32::from(mark) == layout.frame_entry_value
        };
        frames.push((code, instruction, is_entry));
        frame = word(frame + u64::from(layout.frame_previous))?;
    }
    Some(frames)
}

#[test]
fn a_waiting_program_is_found_in_the_function_and_line_where_it_waits() {
    let mut walked = 0;
    for interpreter in interpreters() {
        let Some((child, thread_block)) = waiting(&interpreter) else { continue };
        let (target, _) = discover(child.0.id()).unwrap();
        let (runtime, warnings) = detect(&target);
        let Some(runtime) = runtime else { continue };
        let known = runtime.version.major == 3 && KNOWN_MINORS.contains(&runtime.version.minor);
        assert_eq!(runtime.is_walked(), known, "{interpreter:?}: {warnings:?}");
        if !known {
            assert_eq!(warnings[0].code, "python-unknown");
            assert!(warnings[0].message.contains(&runtime.version.to_string()));
            assert!(warnings[0].advice.contains("3.8 to 3.15"));
            assert_ne!(runtime.version.minor, 0, "{interpreter:?}");
            continue;
        }
        let said_by = runtime.layout_source;
        assert_eq!(
            said_by == LayoutSource::DebugOffsets,
            runtime.version.minor >= 13,
            "{interpreter:?}: {said_by:?}"
        );
        assert_ne!(said_by, LayoutSource::Tables, "{interpreter:?}");
        assert!(warnings.is_empty(), "{warnings:?}");
        assert!(!runtime.eval.loops.is_empty());
        assert!(
            runtime.eval.loops.iter().all(|(start, _)| target
                .mapping_at(*start)
                .is_some_and(|mapping| mapping.executable))
        );
        let mut reader = CodeReader::new(target.tgid, &runtime);
        let stack: Vec<(String, Option<u32>, bool)> =
            walk(target.tgid, &runtime.layout, thread_block)
                .unwrap()
                .into_iter()
                .filter(|(_, _, is_entry)| !(*is_entry && runtime.has_entry_shims()))
                .map(|(code, offset, is_entry)| {
                    let object = reader.read(code).unwrap();
                    assert_eq!(reader.read(code).unwrap(), object);
                    let name = object.qualname.rsplit('.').next().unwrap().to_owned();
                    (name, object.line(offset), is_entry)
                })
                .collect();
        // Reading a line may go through codecs' Python code: look at the outer end.
        let tail: Vec<_> = stack
            .iter()
            .rev()
            .take(3)
            .rev()
            .map(|(name, line, _)| (name.as_str(), *line))
            .collect();
        assert_eq!(
            tail,
            [("inner", Some(7)), ("outer", Some(3)), ("<module>", Some(8))],
            "{interpreter:?}"
        );
        named_after_the_end(child, &target, &runtime, thread_block);
        walked += 1;
    }
    if walked == 0 {
        eprintln!("skipped: no CPython 3.8 to 3.15 here");
    }
}

/// What the resolver saw while the target lived is named when it has ended, in the place of the
/// interpreter loop.
fn named_after_the_end(child: Running, target: &Target, runtime: &PythonRuntime, block: u64) {
    let frames = walk(target.tgid, &runtime.layout, block).unwrap();
    let raw = RawStack {
        id: StackId(9),
        image: 1,
        domain: Domain::Malloc,
        native: vec![runtime.eval.loops.last().unwrap().0 + 64],
        native_end: WalkEnd::NoFramePointer,
        js: Vec::new(),
        python: frames
            .into_iter()
            .map(|(code_avma, instr_offset, is_entry)| PythonFrame {
                code_avma,
                instr_offset,
                is_entry: u32::from(is_entry),
            })
            .collect(),
        python_end: WalkEnd::Bottom,
    };
    let runtimes = Runtimes { python: Some(runtime.clone()), ..Runtimes::default() };
    let mut resolver = Resolver::new(target.tgid, target, runtimes);
    resolver.observe(&raw);
    drop(child);
    let stack = resolver.resolve(&raw);
    let names: Vec<&str> = stack.frames.iter().map(|frame| frame.function.as_str()).collect();
    let inner = if runtime.version.minor >= 11 { "Größe.inner" } else { "inner" };
    assert!(names.ends_with(&[inner, "outer", "<module>"]), "{names:?}");
    assert!(stack.frames.iter().all(|frame| frame.kind == FrameKind::Python));
    assert_eq!(stack.truncated, Some(WalkEnd::NoFramePointer));
}

#[test]
fn a_program_without_python_has_none() {
    let child = Running(Command::new("sleep").arg("600").spawn().unwrap());
    let (target, _) = discover(child.0.id()).unwrap();
    let (runtime, warnings) = detect(&target);
    assert!(runtime.is_none() && warnings.is_empty());
}
