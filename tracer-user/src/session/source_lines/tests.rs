//! Which lines are read, and of which files.

use super::*;
use std::fs::FileTimes;

fn root() -> File {
    File::open("/").unwrap()
}

/// A file of this content, written at this time as far as its own time goes.
fn file(folder: &Path, name: &str, text: &str, written: Option<SystemTime>) -> PlainFile {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    if let Some(written) = written {
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_modified(written)).unwrap();
    }
    plain_file::open(&root(), &path).unwrap()
}

#[test]
fn only_lines_that_people_write_are_shown() {
    for (line, expected) in [
        (b"\t  x = [1,\t2]  \r".as_slice(), Some("x = [1, 2]")),
        ("grö\u{df}e → 文件".as_bytes(), Some("größe → 文件")),
        (b"   ", None),
        (b"\x00\x01", None),
        (b"caf\xe9", None),
        (b"\x1b[31mred", None),
    ] {
        assert_eq!(shown(line).as_deref(), expected, "{line:?}");
    }
    let long = "x".repeat(200);
    let cut = shown(long.as_bytes()).unwrap();
    assert!(cut.chars().count() == MAX_CHARACTERS && cut.ends_with("x..."), "{cut}");
    assert_eq!(shown("x".repeat(MAX_LINE_BYTES + 1).as_bytes()), None);
}

#[test]
fn lines_are_counted_from_one_and_none_is_beyond_the_end() {
    let text = b"one\n\nthree\nfour";
    let lines = |wanted: &[u32]| lines_of(text, wanted);
    assert_eq!(lines(&[1, 3]), [(1, "one".to_owned()), (3, "three".to_owned())]);
    assert_eq!(lines(&[2, 4, 5, u32::MAX]), [(4, "four".to_owned())]);
    assert_eq!(lines(&[]), []);
    assert_eq!(lines_of(b"", &[1]), []);
}

#[test]
fn a_file_that_was_written_or_put_there_since_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let minute = Duration::from_secs(60);
    let now = SystemTime::now();
    let found = file(folder.path(), "a.py", "x", None);
    assert!(is_of_what_runs(&found, now + minute, None));
    assert!(!is_of_what_runs(&found, now - minute, None));
    // It says that it is old, and has come just now all the same.
    let moved = file(folder.path(), "b.py", "x", Some(now - 9 * minute));
    assert!(!is_of_what_runs(&moved, now - minute, None));
    assert!(is_of_what_runs(&moved, now + minute, None));
}

#[test]
fn what_was_made_of_a_file_has_to_be_newer_than_it() {
    let folder = tempfile::tempdir().unwrap();
    let minute = Duration::from_secs(60);
    let now = SystemTime::now();
    let root = root();
    let source = file(folder.path(), "a.ts", "x", Some(now - 5 * minute));
    let check = |made: &str, expected: bool| {
        let path = folder.path().join(made);
        let made = Some((&root, path.to_str().unwrap()));
        assert_eq!(is_of_what_runs(&source, now + minute, made), expected, "{}", path.display());
    };
    file(folder.path(), "older.js", "x", Some(now - 6 * minute));
    file(folder.path(), "newer.js", "x", Some(now - 4 * minute));
    check("older.js", false);
    check("newer.js", true);
    check("none.js", false);
}

#[test]
fn a_session_that_knows_nothing_reads_nothing() {
    assert_eq!(SourceRoots::default().lines(&Recording::default()), []);
}

#[test]
fn code_is_as_old_as_the_oldest_of_its_forks() {
    let pid = std::process::id();
    let own = Stat::read(pid).unwrap();
    let meta = |pid, start_time_ticks, parent_pid, images: &[u32]| ProcessMeta {
        pid,
        start_time_ticks,
        parent_pid,
        images: images.to_vec(),
        ..ProcessMeta::default()
    };
    // This process has come by an exec: its stack is not its parent's.
    assert_ne!(stack_of(pid), stack_of(own.parent_pid));
    let this = [meta(pid, own.start_time_ticks, own.parent_pid, &[1])];
    let since = code_since(1, &this).unwrap();
    // A start is told in ticks, and this one may have been within the present one.
    let age = SystemTime::now().duration_since(since).unwrap_or_default();
    assert!(age < Duration::from_secs(3600), "{age:?}");
    assert_eq!(code_since(2, &this), None);

    // Of those that have ended nothing else is known. A second image was not forked.
    let gone = [meta(4_000_001, 500, 0, &[1]), meta(4_000_002, 900, 4_000_001, &[2, 3])];
    let since = |image| code_since(image, &gone).unwrap();
    let near = |a: SystemTime, b: SystemTime| {
        let apart = a.duration_since(b).or_else(|_| b.duration_since(a)).unwrap();
        apart < Duration::from_millis(100)
    };
    assert!(near(since(1), since(2)));
    let second = procfs::ticks_per_second() as f64;
    assert!(near(since(3), since(1) + Duration::from_secs_f64(400.0 / second)));
}
