//! `outlive check` on real servers: with the leak on it fails and names the line, with it off it
//! passes; what is known is accepted, and nothing that went wrong is ever clean.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::venv::venv;
use support::{Outlive, Target, compile, die_with_parent, may_trace, node, run_to_end, tests_dir};

/// The server of batches, and its next version.
fn batches(is_next: bool) -> PathBuf {
    let source = tests_dir().join("targets/c/batches.c");
    match is_next {
        false => compile(&source, "batches", &["-pthread"]),
        true => compile(&source, "batches-next", &["-pthread", "-DSHIFTED"]),
    }
}

/// The line of a source on which this stands.
fn line_of(source: &str, text: &str) -> u64 {
    let source = std::fs::read_to_string(tests_dir().join("targets").join(source)).expect("source");
    let line = source.lines().position(|line| line.contains(text)).expect("the text is there");
    line as u64 + 1
}

/// What a check said.
struct Checked {
    code: Option<i32>,
    answer: Value,
    stderr: String,
}

impl Checked {
    fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{:#}\n{}", self.answer, self.stderr);
    }

    /// Function and line of the first finding that counts.
    fn first(&self) -> (&str, u64) {
        let finding = &self.answer["findings"][0];
        let index = finding["application_frame"].as_u64().expect("a frame") as usize;
        let frame = &finding["frames"][index];
        (frame["function"].as_str().expect("a name"), frame["line"].as_u64().expect("a line"))
    }
}

/// Runs `outlive check` to its end, however long that takes: it bounds its own steps.
fn check(options: &[OsString], command: &[OsString], environment: &[(&str, &str)]) -> Checked {
    let mut outlive = Command::new(Outlive::binary());
    outlive.args(["check", "--format", "json"]).args(options).arg("--").args(command);
    for name in ["GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION", "GITHUB_STEP_SUMMARY"] {
        outlive.env_remove(name);
    }
    outlive.envs(environment.iter().copied());
    // Servers that end with their stdin have one that stays open.
    outlive.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_parent(&mut outlive);
    let mut child = outlive.spawn().expect("start outlive");
    let stdin = child.stdin.take();
    let mut stdout = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let mut stderr = Vec::new();
    child.stderr.take().expect("piped").read_to_end(&mut stderr).expect("read stderr");
    let status = child.wait().expect("wait for outlive");
    drop(stdin);
    let stdout = reader.join().expect("reader").expect("read stdout");
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    let answer = serde_json::from_str(&stdout).unwrap_or(Value::Null);
    Checked { code: status.code(), answer, stderr }
}

/// A check of the server of batches.
struct Batches {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Batches {
    fn new(is_next: bool) -> Self {
        Self { folder: tempfile::tempdir().expect("scratch folder"), program: batches(is_next) }
    }

    fn fifo(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn cycle(&self) -> String {
        format!("echo go > {} && read answer < {}", self.fifo("in"), self.fifo("out"))
    }

    /// Checks it with these switches; `options` may override the usual ones.
    fn check(&self, switches: &[&str], options: &[&str]) -> Checked {
        self.check_in(switches, options, &[])
    }

    fn check_in(
        &self,
        switches: &[&str],
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Checked {
        let (ready, cycle) = (format!("test -p {}", self.fifo("in")), self.cycle());
        let mut all: Vec<OsString> = Vec::new();
        for (name, value) in
            [("--ready", ready.as_str()), ("--cycle", cycle.as_str()), ("--cycles", "6")]
        {
            if !options.contains(&name) {
                all.extend([name.into(), value.into()]);
            }
        }
        all.extend(options.iter().map(Into::into));
        let mut command: Vec<OsString> =
            vec![self.program.clone().into(), self.folder.path().into()];
        command.extend(switches.iter().map(Into::into));
        let checked = check(&all, &command, environment);
        self.assert_stopped();
        let _ = std::fs::remove_file(self.fifo("in"));
        let _ = std::fs::remove_file(self.fifo("out"));
        checked
    }

    /// Nothing of the server is left.
    fn assert_stopped(&self) {
        let folder = self.folder.path().as_os_str().as_encoded_bytes();
        let left = std::fs::read_dir("/proc").expect("/proc").flatten().filter(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == folder))
        });
        assert_eq!(left.count(), 0, "the command runs on");
    }
}

const PATTERN: &str = "3 blocks, 131,072 bytes, every cycle";

#[test]
fn a_leak_in_c_fails_with_its_pattern_and_line_and_without_it_all_is_clean() {
    if !may_trace() {
        return;
    }
    let server = Batches::new(false);
    let leaky = server.check(&["leak"], &[]);
    leaky.assert_code(1);
    assert_eq!(leaky.first(), ("remember_batch", line_of("c/batches.c", "/* leaks */")));
    assert_eq!(leaky.answer["findings"][0]["pattern"], PATTERN);
    assert_eq!(leaky.answer["findings"].as_array().expect("findings").len(), 1);
    let clean = server.check(&[], &[]);
    clean.assert_code(0);
    assert_eq!(clean.answer["cycles"]["measured"], 6);
    // What each cycle leaves is allowed.
    server.check(&["leak"], &["--budget", "128KiB/cycle"]).assert_code(0);
    server.check(&["leak"], &["--budget", "127KiB/cycle"]).assert_code(1);
}

#[test]
fn a_sample_is_drawn_in_the_fast_lane_and_judged_alike() {
    if !may_trace() {
        return;
    }
    let server = Batches::new(false);
    let out = server.folder.path().join("findings");
    let options = ["--sample", "4KiB", "--cycles", "12", "--out", out.to_str().expect("path")];
    let leaky = server.check(&["leak"], &options);
    leaky.assert_code(1);
    assert_eq!(leaky.first(), ("remember_batch", line_of("c/batches.c", "/* leaks */")));
    let report = std::fs::read_to_string(out.join("report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["lane"]["taken"], true, "{}\n{}", report["lane"], leaky.stderr);
    server.check(&[], &options).assert_code(0);
}

#[test]
fn the_baseline_accepts_what_is_known_in_every_build_and_catches_a_second_leak() {
    if !may_trace() {
        return;
    }
    let server = Batches::new(false);
    let file = server.folder.path().join("outlive.baseline");
    let baseline = ["--baseline", file.to_str().expect("path")];
    server.check(&["leak"], &[baseline[0], baseline[1], "--update-baseline"]).assert_code(0);
    let text = std::fs::read_to_string(&file).expect("the baseline");
    let entry =
        "131072 bytes/cycle  remember_batch (batches.c) < work (batches.c) < main (batches.c)";
    assert_eq!(text.lines().last(), Some(entry), "{text}");
    server.check(&["leak"], &baseline).assert_code(0);
    let second = server.check(&["leak", "second"], &baseline);
    second.assert_code(1);
    assert_eq!(second.first(), ("note_batch", line_of("c/batches.c", "/* leaks too */")));

    let next = Batches::new(true);
    let checked = next.check(&["leak"], &baseline);
    checked.assert_code(0);
    assert_eq!(checked.answer["findings"][0]["disposition"], "in-baseline");
    assert_eq!(checked.answer["unseen_baseline"], serde_json::json!([]));
    let fixed = next.check(&[], &baseline);
    fixed.assert_code(0);
    assert_eq!(fixed.answer["unseen_baseline"].as_array().expect("a list").len(), 1);
    next.check(&["leak", "second"], &baseline).assert_code(1);

    let file = server.folder.path().join("outlive.supp");
    std::fs::write(&file, "# Known.\nleak:^remember_*\n").expect("write");
    let suppressed = server.check(&["leak"], &["--suppressions", file.to_str().expect("path")]);
    suppressed.assert_code(0);
    assert_eq!(suppressed.answer["findings"][0]["disposition"], "suppressed");
}

#[test]
fn what_goes_wrong_is_never_clean() {
    if !may_trace() {
        return;
    }
    let server = Batches::new(false);
    let says = |checked: &Checked, code: i32, word: &str| {
        checked.assert_code(code);
        let all = format!("{} {}", checked.answer["problems"], checked.stderr);
        assert!(all.contains(word), "says nothing of {word:?}: {all}");
    };
    says(&server.check(&["die", "5"], &[]), 3, "exit code 7");
    let unready = ["--ready", "echo too early >&2; false", "--timeout", "1s"];
    says(&server.check(&[], &unready), 2, "too early");
    says(&server.check(&[], &["--cycle", "exit 9"]), 3, "exit code 9");
    says(&server.check(&[], &["--cycle", "sleep 50", "--timeout", "1s"]), 3, "still running");
    says(&server.check(&[], &["--cycles", "3"]), 3, "--cycles");
    let lossy = server.check(&["leak"], &["--max-live", "20"]);
    says(&lossy, 3, "lost");
    let missing = check(&["--cycle".into(), "true".into()], &["/nonexistent".into()], &[]);
    says(&missing, 2, "/nonexistent");
    let gone = check(&["--cycle".into(), "true".into()], &["true".into()], &[]);
    assert!(matches!(gone.code, Some(2 | 3)), "{:?} {}", gone.code, gone.stderr);
    for (options, word) in [
        (&["--budget", "1MiB/h"][..], "by cycle"),
        (&["--duration", "5s"], "--cycles"),
        (&["--baseline", "/etc/hostname"], "no entry"),
        (&["--suppressions", "/nonexistent"], "/nonexistent"),
    ] {
        says(&server.check(&[], options), 2, word);
    }
}

#[test]
fn a_process_that_runs_is_checked_and_left_alone() {
    if !may_trace() {
        return;
    }
    let server = Batches::new(false);
    let mut command = Command::new(&server.program);
    command.arg(server.folder.path()).arg("leak");
    let mut target = Target::from_command(command);
    support::eventually("the server is ready", || Path::new(&server.fifo("in")).exists());
    let mut outlive = Command::new(Outlive::binary());
    outlive.args(["check", "-q", "--pid", &target.pid().to_string(), "--cycle", &server.cycle()]);
    let output = run_to_end(outlive);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.starts_with(&format!("GROWTH: {PATTERN}")), "{stdout}");
    assert!(target.is_running(), "the target was stopped");
}

/// A port of the loopback device that nobody has.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("an address").port()
}

#[test]
fn a_leak_in_python_fails_with_its_line_and_without_it_all_is_clean() {
    if !may_trace() {
        return;
    }
    let python = venv("OUTLIVE_VENV", "venv", "gateway");
    let (shown, folder) = (python.display(), tests_dir().join("targets/gateway"));
    let here = folder.display();
    let mut stub = Command::new(&python);
    stub.arg(folder.join("model_stub.py")).arg("--exit-with-stdin");
    let model = Target::from_command(stub);
    let model_url = format!("http://127.0.0.1:{}", model.json()["port"]);
    for leak in [true, false] {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let ready =
            format!("{shown} -c 'import urllib.request as r; r.urlopen(\"{url}/healthz\")'");
        let cycle = format!(
            "{shown} {here}/load.py --gateway-url {url} --rate 60 --max-turns 30 --concurrency 30 --seed $((OUTLIVE_CYCLE + 1))"
        );
        let options =
            ["--ready", &ready, "--cycle", &cycle, "--settle", "500ms"].map(OsString::from);
        let port = port.to_string();
        let mut command: Vec<OsString> =
            vec![python.clone().into(), folder.join("gateway.py").into()];
        command.extend(["--port", &port, "--model-url", &model_url].map(OsString::from));
        command.extend(leak.then(|| "--leak".into()));
        let checked = check(&options, &command, &[("PYTHONDONTWRITEBYTECODE", "1")]);
        checked.assert_code(i32::from(leak));
        if leak {
            let line = line_of("gateway/sessions.py", "# allocates what the leak keeps");
            let function = "SessionStore._drop_trailing_empty_response_scaffolding";
            assert_eq!(checked.first(), (function, line));
        }
    }
}

#[test]
fn a_leak_in_node_fails_with_its_line_and_without_it_all_is_clean() {
    if !may_trace() {
        return;
    }
    let Some(node) = node::node_of("v22") else { return };
    let folder = tests_dir().join("targets/node");
    let scratch = tempfile::tempdir().expect("scratch folder");
    let (shown, here, hold) =
        (node.program.display(), folder.display(), scratch.path().join("hold"));
    for leak in [true, false] {
        let port = free_port().to_string();
        let url = format!("http://127.0.0.1:{port}");
        let ready = format!(
            "{shown} -e 'require(\"http\").get(\"{url}\", () => process.exit(0)).on(\"error\", () => process.exit(1))'"
        );
        // The load ends with its stdin.
        let cycle = format!(
            "{shown} {here}/load.js --url {url} --rate 37 --duration 1 --concurrency 40 <> {}",
            hold.display()
        );
        let options =
            ["--ready", &ready, "--cycle", &cycle, "--settle", "500ms"].map(OsString::from);
        let mut command: Vec<OsString> =
            vec![node.program.clone().into(), folder.join("flush/gateway.js").into()];
        command.extend(leak.then(|| "--leak".into()));
        let made = Command::new("mkfifo").arg(&hold).status().expect("mkfifo");
        assert!(made.success());
        let checked = check(&options, &command, &[("PORT", &port)]);
        std::fs::remove_file(&hold).expect("remove the FIFO");
        checked.assert_code(i32::from(leak));
        if leak {
            assert_eq!(
                checked.first(),
                ("joinBody", line_of("node/flush/gateway.js", "// retains"))
            );
        }
    }
}

/// The folder of schemas that `cargo xtask test` fetches. Where it is missing prints why the test
/// is skipped; fails instead where a run was promised (`CI` is set).
fn schemas() -> Option<PathBuf> {
    let folder = std::env::var_os("OUTLIVE_SCHEMAS").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("schemas"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    let reason = "schemas are missing: `cargo xtask test` fetches them";
    assert!(std::env::var_os("CI").is_none(), "not skipped where CI is set: {reason}");
    eprintln!("SKIPPED: {reason}");
    None
}

#[test]
fn files_for_ci_systems_validate_and_open_in_their_readers() {
    if !may_trace() {
        return;
    }
    let Some(schemas) = schemas() else { return };
    let python = venv("OUTLIVE_VENV_READERS", "venv-readers", "readers");
    let server = Batches::new(false);
    let path = |name: &str| server.folder.path().join(name);
    let (junit, sarif, summary) = (path("a.xml"), path("a.sarif"), path("summary.md"));
    let text = |path: &PathBuf| path.to_str().expect("path").to_owned();
    let files = ["--junit", &text(&junit), "--sarif", &text(&sarif)];
    for (switches, options, code) in
        [(&["leak"][..], &[][..], 1), (&[], &[], 0), (&[], &["--cycle", "false"], 3)]
    {
        let options = [&files[..], options].concat();
        let environment = [("GITHUB_STEP_SUMMARY", &*text(&summary)), ("GITHUB_ACTIONS", "true")];
        let checked = server.check_in(switches, &options, &environment);
        checked.assert_code(code);
        let mut read = Command::new(&python);
        read.arg(tests_dir().join("targets/readers/read.py"));
        read.arg(&junit).arg(schemas.join("junit.xsd"));
        read.arg(&sarif).arg(schemas.join("sarif-2.1.0.json"));
        let output = run_to_end(read);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let numbers = ["failures", "errors"].map(|name| found[name].as_u64().expect("a number"));
        let records = found["records"].as_array().expect("records");
        match code {
            1 => {
                assert_eq!(numbers, [2, 0], "{found:#}");
                let line = line_of("c/batches.c", "/* leaks */");
                assert_eq!(records.len(), 1, "{found:#}");
                let place = (records[0]["Location"].as_str(), records[0]["Line"].as_u64());
                assert_eq!(place, (Some("tests/targets/c/batches.c"), Some(line)), "{found:#}");
                let annotation = format!(
                    "::error file=tests/targets/c/batches.c,line={line},title=outlive check::{PATTERN}"
                );
                assert!(checked.stderr.contains(&annotation), "{}", checked.stderr);
            }
            0 => assert_eq!((numbers, records.len()), ([0, 0], 0), "{found:#}"),
            _ => assert_eq!(numbers, [0, 1], "{found:#}"),
        }
    }
    let summary = std::fs::read_to_string(&summary).expect("the job's summary");
    assert_eq!(summary.matches("## outlive check").count(), 3, "{summary}");
}
