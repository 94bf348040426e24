//! Every CPython that can be had, every way in which Python comes to allocate: the frames that
//! outlive names are those that the interpreter names, to the byte, with the C code between
//! them, down to where the thread began.
#![allow(missing_docs)]

#[path = "python_matrix/interpreter.rs"]
mod interpreter;
#[path = "python_matrix/merged_stack.rs"]
mod merged_stack;
mod support;

use interpreter::Interpreter;
use merged_stack::Demand;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use support::{Amount, Finished, Outlive, Report, Target, may_trace, python_frames, tests_dir};
use tracer_common::counter::{Class, Counter};

/// What can be wrong with a case, in the order of the table's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Aspect {
    /// No site has the case's Python frames, or not its bytes and blocks.
    Exact,
    /// Native frames stand where they do not belong.
    Order,
    /// The stack ends before its thread's start.
    Whole,
    /// The run itself: losses, a target that came to harm, an interpreter that is not there.
    Run,
}

/// One line of the matrix.
struct Line {
    runtime: String,
    case: String,
    faults: Vec<(Aspect, String)>,
    /// Why the interpreter cannot do the case.
    cannot: Option<String>,
}

impl Line {
    fn about_run(runtime: &str, fault: impl Into<Option<String>>) -> Self {
        Self {
            runtime: runtime.to_owned(),
            case: "(the run)".to_owned(),
            faults: fault.into().into_iter().map(|fault| (Aspect::Run, fault)).collect(),
            cannot: None,
        }
    }

    /// What the table shows: `ok`, `-` for what the interpreter cannot do, or what is wrong.
    fn cell(&self) -> String {
        if self.cannot.is_some() {
            return "-".to_owned();
        }
        let mut letters: Vec<char> = self
            .faults
            .iter()
            .map(|(aspect, _)| match aspect {
                Aspect::Exact => 'E',
                Aspect::Order => 'O',
                Aspect::Whole => 'W',
                Aspect::Run => 'R',
            })
            .collect();
        letters.dedup();
        if letters.is_empty() { "ok".to_owned() } else { letters.into_iter().collect() }
    }

    fn text(&self) -> String {
        let mut text = format!("{:12} {:38} {}", self.runtime, self.case, self.cell());
        if let Some(reason) = &self.cannot {
            let _ = write!(text, ": {reason}");
        }
        for (_, fault) in &self.faults {
            let _ = write!(text, "\n{:14}{fault}", "");
        }
        text
    }
}

/// Past the test harness's capture: the matrix is shown whether or not the test passes.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[test]
fn every_case_on_every_interpreter_is_exact_in_order_and_whole() {
    if !may_trace() {
        return;
    }
    let interpreters = interpreter::all();
    let mut lines = Vec::new();
    for interpreter in &interpreters {
        for line in check(interpreter) {
            say(&line.text());
            lines.push(line);
        }
    }
    say(&table(&interpreters, &lines));
    let failed_count = lines.iter().filter(|line| !line.faults.is_empty()).count();
    assert_eq!(failed_count, 0, "{failed_count} of {} lines failed", lines.len());
}

/// A row for each case, a column for each interpreter.
fn table(interpreters: &[Interpreter], lines: &[Line]) -> String {
    let mut rows: Vec<&str> = Vec::new();
    let mut cells = BTreeMap::new();
    for line in lines {
        if !rows.contains(&line.case.as_str()) {
            rows.push(&line.case);
        }
        cells.insert((line.case.as_str(), line.runtime.as_str()), line.cell());
    }
    let mut text = String::from(
        "\nok, - (the interpreter cannot), or what is wrong: E frames, bytes or blocks, \
         O native frames out of order, W not whole, R the run itself\n",
    );
    let _ = write!(text, "{:38}", "");
    for interpreter in interpreters {
        let _ = write!(text, " {:>11}", interpreter.name);
    }
    for row in rows {
        let _ = write!(text, "\n{row:38}");
        for interpreter in interpreters {
            let cell = cells.get(&(row, interpreter.name.as_str())).map_or("", String::as_str);
            let _ = write!(text, " {cell:>11}");
        }
    }
    text
}

/// The lines of one interpreter; a run that panics is one line that says so.
fn check(interpreter: &Interpreter) -> Vec<Line> {
    let runtime = interpreter.name.as_str();
    let python = match &interpreter.python {
        Ok(python) => python,
        Err(missing) => return vec![Line::about_run(runtime, Some(missing.clone()))],
    };
    match catch_unwind(AssertUnwindSafe(|| trace(python))) {
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            vec![Line::about_run(runtime, said.or(Some("the run panicked".to_owned())))]
        }
        Ok(run) => {
            let mut lines = vec![Line::about_run(runtime, run.fault())];
            let cases = run.truth["cases"].as_array().expect("cases is a list");
            lines.extend(cases.iter().map(|case| Line {
                runtime: runtime.to_owned(),
                case: case["name"].as_str().expect("a case has a name").to_owned(),
                faults: run.faults(case),
                cannot: case["cannot"].as_str().map(str::to_owned),
            }));
            lines
        }
    }
}

/// One interpreter that did every case under outlive's eyes.
struct Run {
    truth: Value,
    report: Report,
    finished: Finished,
    unharmed: bool,
}

fn trace(python: &Path) -> Run {
    let script = tests_dir().join("targets/python/cases.py");
    let mut target = Target::spawn(python, &[&script]);
    let ready = target.json();
    assert_eq!(ready["ready"], true);
    // An interpreter that serves its objects from a heap of its own is followed there.
    let own_heap = ready["own_heap"] == true;
    let options: &[&str] = if own_heap { &["--python-objects"] } else { &[] };
    let outlive = Outlive::attach(target.pid()).args(options).start();
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    let report = finished.report();
    Run { truth, report, finished, unharmed: target.finish().success() }
}

impl Run {
    /// What is wrong with the run as such.
    fn fault(&self) -> Option<String> {
        let mut faults = Vec::new();
        if !matches!(self.finished.code, Some(0 | 3)) {
            faults.push(format!("outlive ended with {:?}", self.finished.code));
        }
        if !self.unharmed {
            faults.push("the target came to harm".to_owned());
        }
        let counters = Counter::ALL
            .iter()
            .filter(|counter| !matches!(counter.class(), Class::Traffic | Class::Walk));
        for counter in counters {
            let count = self.report.loss(counter.name());
            if count > 0 {
                faults.push(format!("losses.{} is {count}", counter.name()));
            }
        }
        let warnings = self.report.0["warnings"].as_array().into_iter().flatten();
        for warning in warnings.filter(|warning| warning["code"] == "python-unknown") {
            faults.push(format!("warning: {}", warning["message"].as_str().unwrap_or("?")));
        }
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    /// What is wrong with a case.
    fn faults(&self, case: &Value) -> Vec<(Aspect, String)> {
        let executable = self.truth["executable"].as_str().expect("an executable");
        let demand = Demand { case, executable };
        let outer: Vec<_> = frames_of(&case["outer_frames"]);
        let mut faults = Vec::new();
        for site in case["sites"].as_array().expect("sites is a list") {
            let inner = frames_of(&site["frames"]);
            let found = self.sites_with(&inner, &outer, &case["domain"]);
            let number = |name: &str| site[name].as_u64().expect("a number");
            let held = Amount { bytes: number("live_bytes"), blocks: number("live_blocks") };
            let mut sum = Amount::default();
            for site in &found {
                sum.bytes += site["live_bytes"].as_u64().expect("bytes");
                sum.blocks += site["live_blocks"].as_u64().expect("blocks");
            }
            if found.is_empty() {
                faults.push((Aspect::Exact, self.nearest(&inner, held)));
            } else if sum != held {
                faults.push((Aspect::Exact, format!("holds {held:?}, and outlive says {sum:?}")));
            }
            for site in found.iter().filter(|site| site["live_blocks"] != 0) {
                let frames = site["frames"].as_array().expect("frames is a list");
                let order = demand.order(frames);
                faults.extend(order.into_iter().map(|fault| (Aspect::Order, fault)));
                faults.extend(demand.truncation(site).map(|fault| (Aspect::Whole, fault)));
            }
        }
        faults.sort();
        faults.dedup();
        faults
    }

    /// Sites of blocks with these Python frames; those of the interpreter that started a
    /// sub-interpreter may follow.
    fn sites_with(
        &self,
        inner: &[PythonFrame],
        outer: &[PythonFrame],
        domain: &Value,
    ) -> Vec<&Value> {
        self.block_sites()
            .filter(|site| {
                let frames = python_frames(site);
                frames
                    .strip_prefix(inner)
                    .is_some_and(|rest| rest.is_empty() || (!outer.is_empty() && rest == outer))
                    && site["domain"] == *domain
            })
            .collect()
    }

    fn block_sites(&self) -> impl Iterator<Item = &Value> {
        self.report.sites().iter().filter(|site| site["domain"] != "mmap")
    }

    /// What a case that no site fits may have been taken for.
    fn nearest(&self, expected: &[PythonFrame], held: Amount) -> String {
        let same_leaf = |site: &&Value| python_frames(site).first() == expected.first();
        let same_amount =
            |site: &&Value| site["live_bytes"] == held.bytes && site["live_blocks"] == held.blocks;
        if let Some(site) = self.block_sites().find(same_leaf) {
            let found = python_frames(site);
            let at = (0..).find(|at| found.get(*at) != expected.get(*at)).unwrap_or(0);
            return format!("Python frame {at} is {:?}, not {:?}", found.get(at), expected.get(at));
        }
        match self.block_sites().find(same_amount).map(python_frames) {
            Some(frames) => format!("has the Python frames {frames:?}, not {expected:?}"),
            None => {
                format!("no site holds {held:?}, and none has the frame {:?}", expected.first())
            }
        }
    }
}

type PythonFrame = (String, String, u64);

fn frames_of(list: &Value) -> Vec<PythonFrame> {
    serde_json::from_value(list.clone()).expect("frames are (function, file, line)")
}
