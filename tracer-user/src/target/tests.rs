//! Discovery of real processes, and of what cannot be traced.

use super::*;
use std::process::{Child, Command, Stdio};

struct Running(Child);
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `cat` that waits on its pipe; it has run its start-up code once it has echoed a line.
fn waiting_cat() -> Running {
    use std::io::{BufRead, BufReader, Write};
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"ready\n").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    Running(child)
}

/// Address of its malloc.
fn libc_code(target: &Target) -> u64 {
    let libc = target.files.values().find(|file| file.name().starts_with("libc.so")).unwrap();
    let malloc = libc.elf.find_symbols(&["malloc"])[0].unwrap();
    target.bias_of(libc).unwrap() + malloc.svma
}

#[test]
fn a_running_program_is_discovered_with_its_libc() {
    let cat = waiting_cat();
    let (target, warnings) = discover(cat.0.id()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(target.cmdline, ["cat"]);
    assert!(target.is_alive());
    let libc = target.files.values().find(|file| file.name().starts_with("libc.so")).unwrap();
    let avma = libc_code(&target);
    let mapping = target.mapping_at(avma).unwrap();
    assert!(mapping.executable && mapping.file == Some(libc.id));
    assert!(libc.elf.build_id.is_some());
    drop(cat);
    assert!(!target.is_alive());
}

#[test]
fn what_cannot_be_traced_is_told_in_a_sentence() {
    assert!(matches!(discover(std::process::id()), Err(TargetError::Itself(_))));
    assert!(matches!(discover(u32::MAX), Err(TargetError::NoSuchProcess(_))));
    let mut child = Command::new("true").spawn().unwrap();
    let start = std::time::Instant::now();
    loop {
        match discover(child.id()) {
            Err(TargetError::Zombie { .. }) => break,
            _ if start.elapsed().as_secs() < 10 => std::thread::yield_now(),
            other => panic!("{other:?}"),
        }
    }
    child.wait().unwrap();
    // Process 2 is the kernel's thread keeper, except in a PID namespace of its own.
    if status::Stat::read(2).is_ok_and(|stat| stat.is_kernel_thread()) {
        assert!(matches!(discover(2), Err(TargetError::KernelThread { .. })));
    }
}

#[test]
fn code_ranges_are_sorted_and_do_not_overlap() {
    let cat = waiting_cat();
    let (target, _) = discover(cat.0.id()).unwrap();
    let (ranges, warnings) = code_ranges(&target);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(ranges.len() >= 3);
    for key in [
        TableKey::Vdso,
        TableKey::File(target.mapping_at(libc_code(&target)).unwrap().file.unwrap()),
    ] {
        let range = ranges.iter().find(|range| range.table == Some(key)).unwrap();
        assert_eq!(range.walk, tracer_common::slot::walk::TABLE, "{key:?}");
    }
    assert!(ranges.windows(2).all(|pair| pair[0].end_avma <= pair[1].start_avma));
}
