//! Names of real addresses, also after the process has ended.

use super::*;
use crate::stack::{Domain, WalkEnd};
use crate::target::discover;
use std::process::{Command, Stdio};

fn raw(native: Vec<u64>) -> RawStack {
    RawStack {
        id: StackId(7),
        image: 1,
        domain: Domain::Malloc,
        native,
        native_end: WalkEnd::Bottom,
        js: Vec::new(),
        python: Vec::new(),
        python_end: WalkEnd::Absent,
    }
}

#[test]
fn a_native_stack_is_named_after_the_target_has_ended() {
    use std::io::{BufRead, BufReader, Write};
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"ready\n").unwrap();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let (target, _) = discover(child.id()).unwrap();
    let libc = target.files.values().find(|file| file.name().starts_with("libc.")).unwrap();
    let malloc = libc.elf.find_symbols(&["malloc"])[0].unwrap();
    let avma = target.bias_of(libc).unwrap() + malloc.svma;
    let mut resolver = Resolver::new(target.tgid, &target, Runtimes::default());
    assert_eq!(resolver.observe(&raw(vec![avma + 5])), Observed::default());
    assert!(!resolver.mappings_for_capture().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let stack = resolver.resolve(&raw(vec![avma + 5, 0x10]));
    assert!(stack.frames[0].function.contains("malloc"), "{stack:?}");
    assert_eq!(stack.frames[0].build_id, libc.elf.build_id);
    assert!(stack.frames[0].module.as_deref().unwrap().contains("libc"));
    assert_eq!(stack.frames.last().unwrap().function, "[unknown]");
    assert_eq!(stack.truncated, None);
}

#[test]
fn source_lines_and_inlined_functions_come_from_dwarf() {
    // This very test program, seen from a child that runs it and waits on its pipe.
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("small.c");
    let program = folder.path().join("small");
    std::fs::write(&source, "#include <stdio.h>\n#include <unistd.h>\n\nint marked(int n)\n{\n    volatile int m = n;\n    return m + 1;\n}\nint main(void) { char c; printf(\"%p\\n\", (void *)marked); fflush(stdout); return (int)read(0, &c, 1) + marked(1) - 3; }\n").unwrap();
    if !Command::new("cc")
        .args(["-g", "-O0", "-o"])
        .arg(&program)
        .arg(&source)
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: no C compiler");
        return;
    }
    use std::io::{BufRead, BufReader};
    let mut child =
        Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let marked = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).unwrap();
    let (target, _) = discover(child.id()).unwrap();
    let mut resolver = Resolver::new(target.tgid, &target, Runtimes::default());
    let stack = resolver.resolve(&raw(vec![marked + 10]));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(stack.frames[0].function, "marked");
    assert!(stack.frames[0].file.as_deref().unwrap().ends_with("small.c"));
    assert!((4..=6).contains(&stack.frames[0].line.unwrap()), "{stack:?}");
}

#[test]
fn code_of_a_module_that_was_imported_is_no_doubt_and_other_code_is() {
    let named = |function: &str, file: &str| {
        let frame = Frame::bare(FrameKind::Python, function.to_owned());
        PythonName::Named(Frame { file: Some(file.into()), ..frame }.into())
    };
    let (runs, bootstrap) = RUNS_MODULES;
    let mut names = vec![
        named("FileFinder.find_spec", "<frozen importlib._bootstrap_external>"),
        PythonName::NoCode,
        PythonName::NoCode,
        PythonName::Hidden,
        named(runs, bootstrap),
        PythonName::NoCode,
        named(runs, "/srv/app.py"),
        PythonName::NoCode,
    ];
    told_by_callers(&mut names);
    let is: Vec<bool> = names.iter().map(|name| matches!(name, PythonName::Imported)).collect();
    assert_eq!(is, [false, true, true, false, false, false, false, false]);
    assert!(matches!(names[5], PythonName::NoCode) && matches!(names[7], PythonName::NoCode));
}
