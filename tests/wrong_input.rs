//! Wrong input ends with exit 2, one sentence that says what to do, and no half-written file.
#![allow(missing_docs)]

mod support;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{Outlive, Target, c_target, compile, die_with_parent, may_trace, run_outlive};

fn assert_refused(output: &Output, what: &str, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{what}: {:?}\n{stderr}", output.status);
    for trace in ["panicked at", "RUST_BACKTRACE", "stack backtrace"] {
        assert!(!stderr.contains(trace), "{what}: panicked:\n{stderr}");
    }
    let stderr = stderr.trim();
    assert!(!stderr.is_empty(), "{what}: refused without a word");
    let lines = stderr.lines().count();
    assert!(lines <= 4, "{what}: {lines} lines are more than a sentence and a hint:\n{stderr}");
    let lower = stderr.to_lowercase();
    assert!(
        words.iter().any(|word| lower.contains(word)),
        "{what}: says none of {words:?}:\n{stderr}"
    );
}

fn assert_nothing_written(folder: &Path, what: &str) {
    let left: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{what}: left behind {left:?}");
}

/// `attach PID` for a second, with a folder for the results.
fn attach(pid: u32, out: &Path) -> std::process::Output {
    let pid = pid.to_string();
    run_outlive::<&OsStr>(&[
        "attach".as_ref(),
        pid.as_ref(),
        "--duration".as_ref(),
        "1s".as_ref(),
        "--out".as_ref(),
        out.as_ref(),
    ])
}

/// `attach PID` is refused, and writes nothing.
fn check_attach(pid: u32, what: &str, words: &[&str]) {
    let folder = tempfile::tempdir().expect("scratch folder");
    let out = folder.path().join("out");
    let output = attach(pid, &out);
    assert_refused(&output, what, words);
    assert_nothing_written(&out, what);
}

#[test]
fn a_pid_of_nobody_is_refused() {
    if may_trace() {
        // Above the largest PID that Linux gives out.
        check_attach(4_194_305, "no such process", &["no process", "no such process"]);
    }
}

#[test]
fn a_kernel_thread_is_refused() {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let is_kernel_thread = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let flags = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(6));
        flags.and_then(|f| f.parse::<u64>().ok()).is_some_and(|f| f & PF_KTHREAD != 0)
    };
    let mut pids = std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    match pids.find(|pid| is_kernel_thread(*pid)) {
        Some(pid) if may_trace() => check_attach(pid, "kernel thread", &["kernel thread"]),
        Some(_) => {}
        None => eprintln!("SKIPPED: no kernel thread can be seen from this PID namespace"),
    }
}

#[test]
fn a_zombie_is_refused() {
    if !may_trace() {
        return;
    }
    let mut child = Command::new("/bin/true").spawn().expect("start true");
    let stat = format!("/proc/{}/stat", child.id());
    support::eventually("it is a zombie", || {
        std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z "))
    });
    check_attach(child.id(), "zombie", &["zombie", "has ended", "has exited"]);
    child.wait().expect("reap");
}

/// Copies an executable, in a process of its own: a file that this process wrote may still be open
/// in a child that another test's thread is just starting, and cannot be executed then.
fn install(from: &Path, to: &Path) {
    let mut command = Command::new("install");
    command.args(["-m", "755"]).arg(from).arg(to);
    assert!(support::run_to_end(command).status.success(), "install {}", to.display());
}

/// A whole 32-bit program: it pauses for ever.
fn elf32() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let code = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7]; // again: mov eax, 29; int 0x80; jmp again
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut put = |bytes: &[u8]| elf.extend_from_slice(bytes);
    put(&[2, 0, 3, 0]); // an executable, for i386
    for word in [1, BASE + 84, 52, 0, 0] {
        put(&u32::to_le_bytes(word)); // version, entry, program headers, no sections, flags
    }
    for half in [52u16, 32, 1, 40, 0, 0] {
        put(&half.to_le_bytes()); // sizes and counts of the headers
    }
    let bytes = 84 + code.len() as u32;
    for word in [1, 0, BASE, BASE, bytes, bytes, 5, 4096] {
        put(&u32::to_le_bytes(word)); // one segment: load all of it, read and execute
    }
    put(&code);
    elf
}

#[test]
fn a_program_of_another_architecture_is_refused() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let (image, program) = (folder.path().join("image"), folder.path().join("elf32"));
    std::fs::write(&image, elf32()).expect("write the program");
    install(&image, &program);
    let mut command = Command::new(&program);
    die_with_parent(&mut command);
    match command.spawn() {
        Ok(mut child) => {
            check_attach(child.id(), "32-bit program", &["32-bit", "i386", "architecture"]);
            child.kill().and_then(|()| child.wait()).expect("end it");
        }
        Err(error) => eprintln!("SKIPPED: this kernel runs no 32-bit programs: {error}"),
    }
}

#[test]
fn a_static_program_without_symbols_is_refused() {
    if !may_trace() {
        return;
    }
    let source = support::tests_dir().join("targets/c/hold.c");
    let program = compile(&source, "hold_static_stripped", &["-static", "-s"]);
    let target = Target::spawn(program, &["10", "64"]);
    check_attach(target.pid(), "static and stripped", &["static", "symbol", "no libc"]);
}

#[test]
fn lacking_privileges_are_named() {
    if !may_trace() {
        return;
    }
    const NOBODY: u32 = 65534;
    // Where nobody may run it from.
    let folder = tempfile::tempdir().expect("scratch folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("open the folder");
    let binary = folder.path().join("outlive");
    install(Outlive::binary(), &binary);

    let target = Target::spawn(c_target("hold"), &["10", "64"]);
    let mut command = Command::new(&binary);
    command.args(["attach", &target.pid().to_string(), "--duration", "1s", "--out"]);
    command.arg(folder.path().join("out")).uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    let output = support::run_to_end(command);
    assert_refused(&output, "no privileges", &["root", "sudo", "privilege", "cap_"]);
}

#[test]
fn an_out_that_cannot_be_written_is_refused_before_the_session() {
    if !may_trace() {
        return;
    }
    let target = Target::spawn(c_target("hold"), &["10", "64"]);
    let file = tempfile::NamedTempFile::new().expect("scratch file");
    for out in [file.path().to_owned(), file.path().join("below"), "/proc/outlive".into()] {
        let output = attach(target.pid(), &out);
        assert_refused(
            &output,
            &format!("--out {}", out.display()),
            &["--out", "writ", "director"],
        );
    }
    assert_eq!(std::fs::read(file.path()).expect("still there"), b"", "the file was touched");
}

fn check_report(capture: &Path, what: &str) {
    for format in ["text", "json", "folded", "svg", "pprof"] {
        let folder = tempfile::tempdir().expect("scratch folder");
        let file = folder.path().join("written");
        let output = run_outlive::<&OsStr>(&[
            "report".as_ref(),
            capture.as_ref(),
            "--format".as_ref(),
            format.as_ref(),
            "-o".as_ref(),
            file.as_ref(),
        ]);
        assert_refused(&output, what, &["capture"]);
        assert_nothing_written(folder.path(), what);
    }
}

#[test]
fn foreign_files_are_no_captures() {
    let folder = tempfile::tempdir().expect("scratch folder");
    let path = folder.path().join("file");
    check_report(&path, "a file that is not there");
    check_report(folder.path(), "a folder");
    let noise: Vec<u8> =
        (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let cases: [(&str, &[u8]); 4] =
        [("empty", b""), ("text", b"not a capture\n"), ("JSON", b"{}"), ("noise", &noise)];
    for (what, bytes) in cases {
        std::fs::write(&path, bytes).expect("write");
        check_report(&path, what);
    }
}

#[test]
fn truncated_captures_are_refused_at_every_tried_length() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("hold"), &["1000", "64"]);
    let outlive = Outlive::attach(target.pid()).start();
    target.go();
    target.json();
    let finished = outlive.stop();
    let whole = std::fs::read(finished.out.join("capture.outlive")).expect("a capture");
    let folder = tempfile::tempdir().expect("scratch folder");
    let path = folder.path().join("truncated.outlive");
    for length in [1, 7, 8, 16, whole.len() / 4, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).expect("write");
        check_report(&path, &format!("{length} of {} bytes", whole.len()));
    }
}

#[test]
fn senseless_arguments_are_refused() {
    let cases: [&[&str]; 7] = [
        &["attach"],
        &["attach", "not-a-pid"],
        &["attach", "1", "--duration", "soon"],
        &["attach", "1", "--interval", "0s"],
        &["report"],
        &["run"],
        &["no-such-command"],
    ];
    for args in cases {
        let output = run_outlive(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}:\n{stderr}");
        assert!(!stderr.trim().is_empty() && !stderr.contains("panicked"), "{args:?}:\n{stderr}");
    }
}

#[test]
fn names_and_commands_of_nobody_are_refused() {
    if !may_trace() {
        return;
    }
    let name = ["attach", "--name", "^no process is called this$", "--duration", "1s"];
    assert_refused(&run_outlive(&name), "--name", &["no process"]);
    let command = ["run", "--", "/nonexistent/command"];
    assert_refused(&run_outlive(&command), "run", &["/nonexistent/command"]);
}
