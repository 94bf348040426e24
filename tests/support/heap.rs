//! `outlive heap`: run on a process, and what it printed, asked the way tests ask.

use super::{Outlive, run_outlive};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// More types than any target has.
const ALL_TYPES: &str = "100000";

/// One answer of `outlive heap PID --json`.
pub struct Heap(pub Value);

/// Objects and bytes of a type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    pub count: u64,
    pub bytes: u64,
    pub count_change: i64,
}

/// Looks at the heap of a process; fails unless it was done, or done with less than was asked for.
pub fn look(pid: u32, options: &[&str]) -> Heap {
    let output = attempt(pid, options);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "outlive heap ended with {code:?}:\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    Heap(serde_json::from_slice(&output.stdout).expect("the answer is JSON"))
}

/// The same, however it ends.
pub fn attempt(pid: u32, options: &[&str]) -> std::process::Output {
    let pid = pid.to_string();
    let mut args = vec!["heap", &pid, "--json", "--types", ALL_TYPES];
    args.extend(options);
    run_outlive(&args)
}

/// A look that has two moments.
pub struct Window(Child);

impl Window {
    /// Starts it, and returns when the first moment is over.
    pub fn open(pid: u32, length: &str, options: &[&str]) -> Self {
        let mut command = Command::new(Outlive::binary());
        command.args(["heap", &pid.to_string(), "--json", "--types", ALL_TYPES, "--for", length]);
        command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        super::die_with_parent(&mut command);
        let window = Self(command.spawn().expect("start outlive"));
        window.wait_until_it_sleeps();
        window
    }

    /// Its answer.
    pub fn close(self) -> Heap {
        let output = self.0.wait_with_output().expect("wait for outlive");
        assert!(matches!(output.status.code(), Some(0 | 3)), "{:?}", output.status);
        Heap(serde_json::from_slice(&output.stdout).expect("the answer is JSON"))
    }

    /// While it reads it sleeps nowhere (`clock_nanosleep` is call 230); then it only sleeps.
    fn wait_until_it_sleeps(&self) {
        let call = format!("/proc/{}/syscall", self.0.id());
        let mut in_a_row = 0;
        let deadline = Instant::now() + super::PATIENCE;
        while in_a_row < 8 {
            assert!(Instant::now() < deadline, "outlive is not done with the first look");
            let sleeps = std::fs::read_to_string(&call).unwrap_or_default().starts_with("230 ");
            in_a_row = if sleeps { in_a_row + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Heap {
    /// Types by name.
    pub fn types(&self) -> BTreeMap<String, Objects> {
        let mut types: BTreeMap<String, Objects> = BTreeMap::new();
        for of in self.list(&self.0["census"]["types"], "census.types") {
            let number = |field: &str| of[field].as_u64().expect("a number");
            let all = types.entry(of["name"].as_str().expect("a name").to_owned()).or_default();
            all.count += number("count");
            all.bytes += number("bytes");
            all.count_change += of["count_change"].as_i64().expect("a number");
        }
        types
    }

    /// A number of the census.
    pub fn census(&self, field: &str) -> u64 {
        self.0["census"][field].as_u64().unwrap_or_else(|| panic!("census.{field} is missing"))
    }

    /// What it says of what it could not see.
    pub fn notes(&self) -> Vec<&str> {
        self.list(&self.0["notes"], "notes").iter().filter_map(Value::as_str).collect()
    }

    /// Containers that grew.
    pub fn containers(&self) -> &[Value] {
        self.list(&self.0["containers"], "containers")
    }

    /// Who holds objects of a type.
    pub fn held(&self, type_name: &str) -> Option<&Value> {
        let held = self.list(&self.0["held"], "held");
        held.iter().find(|of| of["subject"]["type_name"] == type_name)
    }

    /// How long the process was stopped by the last reading.
    pub fn stopped(&self) -> Option<Duration> {
        let last = self.list(&self.0["readings"], "readings").last()?;
        last["stopped_ns"].as_u64().map(Duration::from_nanos)
    }

    fn list<'a>(&self, value: &'a Value, name: &str) -> &'a [Value] {
        value.as_array().unwrap_or_else(|| panic!("{name} is no list in {:#}", self.0))
    }
}

/// The steps of a chain, as a person would read them.
pub fn shown(chain: &Value) -> String {
    let steps = chain["steps"].as_array().into_iter().flatten();
    steps.map(|step| step.as_str().expect("a step is text")).collect::<Vec<_>>().join(" -> ")
}
