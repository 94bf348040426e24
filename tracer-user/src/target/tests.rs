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

/// V8 maps its built-in code a second time, from its own place in the file.
#[test]
fn a_file_that_is_mapped_twice_has_two_ranges_of_one_table() {
    let cat = waiting_cat();
    let (mut target, _) = discover(cat.0.id()).unwrap();
    let first = target.mapping_at(libc_code(&target)).unwrap().clone();
    let (into, at) = (0x3000, 0x7ffe_0000_0000);
    target.mappings.push(Mapping {
        start_avma: at,
        end_avma: at + 0x2000,
        file_offset: first.file_offset + into,
        ..first.clone()
    });
    target.mappings.sort_by_key(|mapping| mapping.start_avma);
    let ranges = code_ranges(&target);
    let range = |avma| *ranges.iter().find(|range| range.start_avma == avma).unwrap();
    let (here, there) = (range(first.start_avma), range(at));
    assert_eq!((here.walk, here.table), (there.walk, there.table));
    // The same code has the same address in the file's own numbering.
    assert_eq!((first.start_avma + into).wrapping_sub(here.bias), at.wrapping_sub(there.bias),);
}

#[test]
fn code_outside_of_files_is_told_apart() {
    use tracer_common::slot::walk;
    let cat = waiting_cat();
    let (mut target, _) = discover(cat.0.id()).unwrap();
    let libc = target.mapping_at(libc_code(&target)).unwrap().clone();
    let at = |index: u64| 0x7ffe_0000_0000 + index * 0x10000;
    let kinds = [
        ("", None, walk::FRAME_POINTER),
        ("[uprobes]", None, walk::TRAMPOLINE),
        ("[vsyscall]", None, walk::NONE),
        ("/memfd:jit", Some(7), walk::FRAME_POINTER),
        ("/tmp/no-elf", Some(8), walk::NONE),
    ];
    for (index, (path, inode, _)) in kinds.iter().enumerate() {
        target.mappings.push(Mapping {
            start_avma: at(index as u64),
            end_avma: at(index as u64) + 0x1000,
            file: inode.map(|inode| FileId { major: 0, minor: 1, inode }),
            path: path.into(),
            ..libc.clone()
        });
    }
    target.mappings.sort_by_key(|mapping| mapping.start_avma);
    let ranges = code_ranges(&target);
    for (index, (path, _, expected)) in kinds.iter().enumerate() {
        let range = ranges.iter().find(|range| range.start_avma == at(index as u64)).unwrap();
        assert_eq!((range.walk, range.table), (*expected, None), "{path}");
    }
}

#[test]
fn code_ranges_are_sorted_and_do_not_overlap() {
    let cat = waiting_cat();
    let (target, _) = discover(cat.0.id()).unwrap();
    let ranges = code_ranges(&target);
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

#[test]
fn files_that_went_away_take_no_place_from_those_that_come() {
    let cat = waiting_cat();
    let (mut target, _) = discover(cat.0.id()).unwrap();
    let libc = target.mapping_at(libc_code(&target)).unwrap().file.unwrap();
    let file = target.files.remove(&libc).unwrap();
    let mapped_count = target.files.len() + 1;
    for inode in 0..2 * MAX_FILES as u64 {
        let id = FileId { major: u32::MAX, minor: 0, inode };
        target.files.insert(id, Arc::clone(&file));
    }
    let warnings = target.refresh().unwrap();
    assert!(target.files.contains_key(&libc));
    assert_eq!(target.files.len(), mapped_count + MAX_UNMAPPED_FILES);
    assert_eq!(
        warnings.iter().map(|warning| warning.code).collect::<Vec<_>>(),
        ["files-forgotten"]
    );
    assert_eq!(target.refresh().unwrap(), []);
    // A process of its own needs none of them.
    let (other, warnings) = discover_beside(cat.0.id(), &target.files).unwrap();
    assert_eq!((other.files.len(), warnings), (mapped_count, vec![]));
}

#[test]
fn the_end_of_a_process_takes_none_of_its_files_away() {
    let mut cat = waiting_cat();
    let (mut target, _) = discover(cat.0.id()).unwrap();
    let file = target.files.values().next().unwrap().clone();
    for inode in 0..2 * MAX_FILES as u64 {
        target.files.insert(FileId { major: u32::MAX, minor: 0, inode }, Arc::clone(&file));
    }
    let count = target.files.len();
    cat.0.kill().unwrap();
    let start = std::time::Instant::now();
    while !status::Stat::read(target.tgid).unwrap().is_zombie() {
        assert!(start.elapsed().as_secs() < 10, "cat does not end");
        std::thread::yield_now();
    }
    assert_eq!(target.refresh().unwrap(), []);
    assert!(target.mappings.is_empty());
    assert_eq!(target.files.len(), count);
}

#[test]
fn only_regular_files_are_opened() {
    use std::io::Read as _;
    let folder = tempfile::tempdir().unwrap();
    let (plain, pipe) = (folder.path().join("plain"), folder.path().join("pipe"));
    std::fs::write(&plain, "content").unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (mut file, metadata) = open_regular(&plain).unwrap().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), metadata.len()), ("content", 7));
    // Opening a pipe for reading waits for a writer, for ever.
    assert!(open_regular(&pipe).unwrap().is_none());
    assert!(open_regular(Path::new("/dev/null")).unwrap().is_none());
    assert!(open_regular(folder.path()).unwrap().is_none());
    assert!(open_regular(&folder.path().join("missing")).is_err());
}
