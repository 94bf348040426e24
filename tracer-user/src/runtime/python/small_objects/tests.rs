//! Real interpreters, each of which says itself how its small objects are served.

use super::*;
use crate::runtime::python::{arenas, detect};
use crate::target::discover;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Fills arenas, and says how many there are by `sys._debugmallocstats`' own count.
const PROGRAM: &str = "\
import os, sys, tempfile
kept = [object() for _ in range(300000)]
with tempfile.TemporaryFile() as file:
    saved = os.dup(2)
    os.dup2(file.fileno(), 2)
    sys._debugmallocstats()
    os.dup2(saved, 2)
    file.seek(0)
    lines = [line for line in file.read().decode().splitlines()
             if line.startswith('# arenas allocated current')]
print('ready', lines[0].split('=')[1].replace(',', '').strip() if lines else 0, flush=True)
sys.stdin.readline()
";

struct Running(Child);
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn interpreters() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/usr/bin/python3")];
    let root = Command::new("pyenv").arg("root").output().ok();
    let root = root.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let versions = PathBuf::from(root.unwrap_or_default()).join("versions");
    for version in std::fs::read_dir(versions).into_iter().flatten().flatten() {
        found.push(version.path().join("bin/python3"));
    }
    found.retain(|path| path.exists());
    found
}

/// A program that waits, and the arenas that it says it has.
fn waiting(interpreter: &PathBuf, python_malloc: &str) -> Option<(Running, u64)> {
    let mut child = Running(
        Command::new(interpreter)
            .args(["-c", PROGRAM])
            .env("PYTHONMALLOC", python_malloc)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?,
    );
    let mut line = String::new();
    BufReader::new(child.0.stdout.take()?).read_line(&mut line).ok()?;
    Some((child, line.split_whitespace().nth(1)?.parse().ok()?))
}

fn check(interpreter: &PathBuf, python_malloc: &str) -> Option<(SmallObjects, Option<u64>, u64)> {
    let (child, arena_count) = waiting(interpreter, python_malloc)?;
    let (target, _) = discover(child.0.id()).ok()?;
    let runtime = detect(&target).0?;
    if runtime.version.minor < 8 {
        return None;
    }
    let small = find(&target, &runtime);
    assert_eq!(
        is_libc(&target, &runtime),
        Some(small == SmallObjects::MallocLibc),
        "{interpreter:?}"
    );
    let arena_bytes = if runtime.version.minor >= 10 { 1 << 20 } else { 256 << 10 };
    Some((small, arenas::held_bytes(&target, &runtime), arena_count * arena_bytes))
}

#[test]
fn interpreters_are_told_apart_by_how_they_serve_small_objects() {
    let mut looked_at = 0;
    for interpreter in interpreters() {
        let Some((small, held, said)) = check(&interpreter, "pymalloc") else { continue };
        looked_at += 1;
        // Debian's is optimised by profile, and pyenv's are not.
        if interpreter.starts_with("/usr/bin") {
            assert_eq!(small, SmallObjects::Inlined, "{interpreter:?}");
        } else {
            let SmallObjects::Probed(functions) = &small else {
                panic!("{interpreter:?}: {small:?}")
            };
            assert_eq!(functions.len(), 4, "{interpreter:?}");
        }
        assert!(said > 0);
        assert_eq!(held, Some(said), "{interpreter:?}");
        let (small, held, _) = check(&interpreter, "malloc").unwrap();
        assert_eq!((small, held), (SmallObjects::MallocLibc, None), "{interpreter:?}");
        let (small, _, _) = check(&interpreter, "debug").unwrap();
        assert!(matches!(small, SmallObjects::Unknown(_)), "{interpreter:?}: {small:?}");
    }
    if looked_at == 0 {
        eprintln!("skipped: no CPython from 3.8 on here");
    }
}
