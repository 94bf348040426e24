//! A capture made here is reported where none of the target's files exist, with the same names,
//! lines and build IDs: in a root that holds nothing but outlive, what it links to, and the capture.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::ffi::CString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::{Outlive, Target, compile, may_trace, node, run_outlive, run_to_end, tests_dir};

/// How long a target works: long enough for any judge, a round each 100 ms.
const ROUNDS: u32 = 120;
const ROUND: Duration = Duration::from_millis(100);
/// Everything that a capture can be made into.
const FORMATS: [&str; 6] = ["json", "text", "markdown", "folded", "svg", "pprof"];
/// Where outlive lies in the other root; the target's libraries lie where libraries do.
const ELSEWHERE: &str = "elsewhere";

/// A root with outlive and what it links to, under paths that no target uses.
fn other_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("scratch folder");
    let folder = root.path().join(ELSEWHERE);
    std::fs::create_dir(&folder).expect("folder");
    let mut ldd = Command::new("ldd");
    ldd.arg(Outlive::binary());
    let listed = String::from_utf8(run_to_end(ldd).stdout).expect("text");
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.map(Path::new).chain([Outlive::binary()]) {
        let name = file.file_name().expect("a name");
        std::fs::copy(file, folder.join(name))
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
    root
}

/// Runs outlive in the other root. Its loader is called by its name, as it has no place there.
fn run_elsewhere(root: &Path, args: &[&str]) -> Option<i32> {
    let folder = root.join(ELSEWHERE);
    let is_loader = |name: &str| name.starts_with("ld-linux");
    let files = std::fs::read_dir(folder).expect("the folder of outlive").flatten();
    let mut names = files.filter_map(|file| file.file_name().into_string().ok());
    let loader = names.find(|name| is_loader(name)).expect("a loader");
    let mut command = Command::new(format!("/{ELSEWHERE}/{loader}"));
    command.args(["--library-path", &format!("/{ELSEWHERE}"), &format!("/{ELSEWHERE}/outlive")]);
    command.args(args).env_clear();
    let path = CString::new(root.to_str().expect("text")).expect("no zero byte");
    // SAFETY: both calls are async-signal-safe, and touch no memory but the path, which lives on.
    unsafe {
        command.pre_exec(move || {
            if libc::chroot(path.as_ptr()) != 0 || libc::chdir(c"/".as_ptr()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let output = run_to_end(command);
    assert!(output.stdout.is_empty(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    output.status.code()
}

/// Records a target that grows, in a folder of its own which then vanishes; and compares all reports
/// of it, made here while it was there, with those made elsewhere. Returns report.json.
fn compared(command: Command, files: tempfile::TempDir, options: &[&str]) -> Value {
    let mut target = Target::from_command(command);
    let root = other_root();
    let out = root.path().join("out");
    let outlive = Outlive::attach(target.pid()).args(options).out(&out).start();
    for _ in 0..ROUNDS {
        target.go();
        target.json();
        std::thread::sleep(ROUND);
    }
    let finished = outlive.stop();
    finished.assert_done();
    let live = finished.file("report.json");

    let capture = out.join("capture.outlive");
    let home = |format: &str| out.join(format!("home.{format}"));
    for format in FORMATS {
        let (capture, file) = (capture.to_str().expect("path"), home(format));
        let file = file.to_str().expect("path");
        let output = run_outlive(&["report", capture, "--format", format, "-o", file]);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    }
    assert!(target.finish().success(), "the target was harmed");
    files.close().expect("the target's files go");

    for format in FORMATS {
        let file = format!("/out/elsewhere.{format}");
        let args = ["report", "/out/capture.outlive", "--format", format, "-o", &file];
        let code = run_elsewhere(root.path(), &args);
        assert_eq!(code, finished.code, "{format}");
        let read = |path: PathBuf| std::fs::read(&path).unwrap_or_else(|e| panic!("{e}"));
        let same = read(home(format)) == read(root.path().join(&file[1..]));
        assert!(same, "{format} differs: {}", root.keep().display());
    }
    assert_eq!(live, std::fs::read_to_string(home("json")).expect("report"), "live and replayed");
    serde_json::from_str(&live).expect("JSON")
}

/// What grows by the function of this name, or waits for a collection.
fn grown<'a>(report: &'a Value, function: &str) -> &'a Value {
    let lists = ["findings", "pending"].map(|name| report[name].as_array().expect("a list"));
    let mut all = lists.into_iter().flatten();
    let found = all.find(|finding| finding["application_frame"]["function"] == function);
    found.unwrap_or_else(|| panic!("{function} does not grow: {:#}", report["findings"]))
}

/// The line of a text that contains this, and its number.
fn line_with(text: &str, mark: &str) -> (u64, String) {
    let mut lines = (1..).zip(text.lines());
    let (number, line) = lines.find(|(_, line)| line.contains(mark)).expect("a marked line");
    (number, line.trim().to_owned())
}

/// A copy of a target's file in a folder that will go.
fn copied(folder: &tempfile::TempDir, name: &str) -> (PathBuf, String) {
    let from = tests_dir().join("targets").join(name);
    let text = std::fs::read_to_string(&from).expect("a target");
    let path = folder.path().join(from.file_name().expect("a name"));
    std::fs::write(&path, &text).expect("copy");
    (path, text)
}

fn assert_shows(finding: &Value, file: &Path, (line, text): (u64, String)) {
    let frame = &finding["application_frame"];
    assert_eq!(frame["file"], file.to_str().expect("path"));
    assert_eq!(frame["line"], line);
    assert_eq!(finding["source_line"], text);
}

#[test]
fn a_native_capture_has_the_same_names_elsewhere() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    copied(&folder, "c/truth.h");
    let (source, text) = copied(&folder, "c/sides.c");
    // The folder of compiled targets stays; this one's binary goes with its source.
    let compiled = compile(&source, &format!("sides-{}", std::process::id()), &["-pthread"]);
    let program = folder.path().join("sides");
    std::fs::copy(&compiled, &program).expect("copy");
    std::fs::remove_file(&compiled).expect("remove");
    let mut command = Command::new(program);
    command.args(["40", "0"]);
    let report = compared(command, folder, &[]);
    let finding = grown(&report, "kept_block");
    assert_shows(finding, &source, line_with(&text, "malloc(1000)"));
    let frame = &finding["application_frame"];
    assert!(frame["build_id"].as_str().is_some_and(|id| id.len() >= 16), "{frame:#}");
    assert!(frame["module"].as_str().is_some_and(|path| path.ends_with("/sides")), "{frame:#}");
}

#[test]
fn a_python_capture_has_the_same_names_elsewhere() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let (script, text) = copied(&folder, "python/rounds.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(&script);
    let report = compared(command, folder, &[]);
    assert_shows(grown(&report, "keep"), &script, line_with(&text, "this line keeps it"));
}

#[test]
fn a_node_capture_has_the_same_names_elsewhere() {
    if !may_trace() {
        return;
    }
    let Some(node) = node::node_of("v22") else { return };
    let folder = tempfile::tempdir().expect("scratch folder");
    let (script, text) = copied(&folder, "node/rounds.js");
    let mut command = Command::new(node.program);
    command.arg(&script);
    let report = compared(command, folder, &[]);
    assert_shows(grown(&report, "keep"), &script, line_with(&text, "this line keeps it"));
}

#[test]
fn no_line_is_shown_of_a_file_that_changed_since_the_program_read_it() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("scratch folder");
    let (script, text) = copied(&folder, "python/rounds.py");
    let mut target = Target::spawn("/usr/bin/python3", &[&script]);
    let outlive = Outlive::attach(target.pid()).start();
    for _ in 0..ROUNDS {
        target.go();
        target.json();
        std::thread::sleep(ROUND);
    }
    std::fs::write(&script, format!("# another line\n{text}")).expect("write");
    let finished = outlive.stop();
    finished.assert_done();
    let report = finished.report().0;
    assert_eq!(grown(&report, "keep")["source_line"], Value::Null);
    assert!(target.finish().success(), "the target was harmed");

    // The same session as if it had ended earlier.
    let at = |moment: &str| {
        let capture = format!("{}@{moment}", finished.out.join("capture.outlive").display());
        run_outlive(&["report", &capture, "--format", "json"])
    };
    let then: Value = serde_json::from_slice(&at("4s").stdout).expect("JSON");
    let number = |report: &Value, part: &str, name: &str| report[part][name].as_u64().expect(name);
    let live = |report: &Value| number(report, "totals", "live_bytes");
    assert!((1..live(&report) / 2).contains(&live(&then)), "{} of {}", live(&then), live(&report));
    let duration_ns = number(&then, "window", "duration_ns");
    assert!((3_000_000_000..=4_020_000_000).contains(&duration_ns), "{duration_ns}");
    let beyond = at("1h");
    assert_eq!(beyond.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&beyond.stderr).contains("name an earlier moment"));
}
