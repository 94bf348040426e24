//! How long attaching and detaching take, how soon there is an answer, and how long the target
//! stands still meanwhile, as its own threads record it (tests/targets/bench/gaps.h).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::program::{ask, compile, folder, start, system_python};
use super::section::{Demand, Section};
use super::spread::Spread;
use super::tracer;
use crate::child::Guarded;
use crate::node;

/// Where outlive keeps unwind tables for root.
const TABLES: &str = "/var/cache/outlive/unwind";

/// Rounds, and those of a quick run; a cold one and a warm one each.
const ROUNDS: [usize; 2] = [3, 1];

/// How long a target is watched by itself, and before it is let go.
const STEADY: Duration = Duration::from_secs(1);

/// Longest stall that is accepted, milliseconds.
const MAX_STALL_MS: f64 = 5.0;

/// A program that records its own gaps.
struct Subject {
    key: &'static str,
    label: &'static str,
    command: fn() -> Result<Vec<String>>,
    /// Longest attach that is accepted with nothing kept and with tables kept, milliseconds.
    max_attach_ms: Option<[f64; 2]>,
    /// Whether the longest stall is bounded for it.
    is_bounded: bool,
}

const SUBJECTS: [Subject; 3] = [
    Subject {
        key: "c",
        label: "C, 64 threads",
        command: || text(&compile("gaps")?).map(|program| vec![program]),
        max_attach_ms: None,
        is_bounded: true,
    },
    Subject {
        key: "python",
        label: "Python",
        command: || Ok(vec![text(&system_python()?)?, text(&folder().join("gaps.py"))?]),
        max_attach_ms: None,
        is_bounded: false,
    },
    Subject {
        key: "node",
        label: "Node.js",
        command: || Ok(vec![text(&node::ensure()?)?, text(&folder().join("gaps.js"))?]),
        max_attach_ms: Some([3000.0, 1000.0]),
        is_bounded: false,
    },
];

/// What is recorded of one round.
const FIGURES: [(&str, &str); 8] = [
    ("attach_ms", "attaching"),
    ("attach_stall_ms", "longest stall meanwhile"),
    ("attach_gap_ms", "longest gap meanwhile"),
    ("first_answer_ms", "first answer, without the time watched"),
    ("detach_ms", "from Ctrl-C until all is over"),
    ("detach_stall_ms", "longest stall meanwhile"),
    ("detach_gap_ms", "longest gap meanwhile"),
    ("watched_stall_ms", "longest stall in a second watched"),
];

/// A program, the cache cold or warm, and its rounds.
struct Case {
    subject: &'static Subject,
    is_warm: bool,
    /// By figure, by round.
    rounds: [Vec<f64>; FIGURES.len()],
    /// The longest stall in a second with nobody near, milliseconds.
    idle_stall_ms: Vec<f64>,
    failure: Option<String>,
}

/// Measures every program, cold and warm.
pub(super) fn measure(quick: bool) -> Result<Section> {
    let rounds = ROUNDS[usize::from(quick)];
    let mut cases = Vec::new();
    for subject in &SUBJECTS {
        for is_warm in [false, true] {
            let mut case = Case {
                subject,
                is_warm,
                rounds: Default::default(),
                idle_stall_ms: Vec::new(),
                failure: None,
            };
            let done = (1..=rounds).try_for_each(|_| case.round());
            case.failure = done.err().map(|error| format!("{}: {error:#}", case.name()));
            eprintln!("xtask: attach: {} done", case.name());
            cases.push(case);
        }
    }
    let mut text = format!("median (least..most) of {rounds} rounds, milliseconds\n");
    cases.iter().for_each(|case| text.push_str(&case.text()));
    let by_key: Map<String, Value> = cases.iter().map(Case::json).collect();
    Ok(Section {
        key: "attach",
        text,
        json: json!({ "rounds": rounds, "cases": by_key }),
        demands: cases.iter().flat_map(Case::demands).collect(),
        failures: cases.iter().filter_map(|case| case.failure.clone()).collect(),
    })
}

impl Case {
    fn name(&self) -> String {
        let cache = if self.is_warm { "tables kept" } else { "no tables kept" };
        format!("{}, {cache}", self.subject.label)
    }

    fn round(&mut self) -> Result<()> {
        let mut program = start(self.subject.label, &(self.subject.command)()?)?;
        let pid = program.pid();
        if !self.is_warm {
            forget_tables()?;
        }
        thread::sleep(STEADY / 2);
        gaps(&mut program)?;
        thread::sleep(STEADY);
        self.idle_stall_ms.push(gaps(&mut program)?.stall_ms);

        let attached = tracer::exact(pid, &[])?;
        let attaching = gaps(&mut program)?;
        thread::sleep(STEADY);
        let watched = gaps(&mut program)?;
        let attach_ms = ms(attached.took);
        let ended = attached.end_timed()?;
        let detaching = gaps(&mut program)?;
        program.close()?;
        let figures = [
            attach_ms,
            attaching.stall_ms,
            attaching.gap_ms,
            attach_ms + ms(ended.report),
            ms(ended.whole),
            detaching.stall_ms,
            detaching.gap_ms,
            watched.stall_ms,
        ];
        self.rounds.iter_mut().zip(figures).for_each(|(rounds, figure)| rounds.push(figure));
        Ok(())
    }

    fn figure(&self, key: &str) -> Spread {
        let index = FIGURES.iter().position(|(name, _)| *name == key);
        Spread::of(index.map_or(&[], |index| self.rounds[index].as_slice()))
    }

    fn demands(&self) -> Vec<Demand> {
        let mut demands = Vec::new();
        let name = self.name();
        if self.subject.is_bounded {
            for (key, when) in [("attach_stall_ms", "attaching"), ("detach_stall_ms", "detaching")]
            {
                let what = format!("longest stall while {when}, {name}");
                let longest = self.figure(key).max;
                demands.push(Demand::at_most(what, longest, MAX_STALL_MS, " ms"));
            }
        }
        if let Some(most) = self.subject.max_attach_ms {
            let what = format!("attaching, {name}");
            let most = most[usize::from(self.is_warm)];
            demands.push(Demand::at_most(what, self.figure("attach_ms").median, most, " ms"));
        }
        demands
    }

    fn text(&self) -> String {
        let idle = Spread::of(&self.idle_stall_ms);
        let mut text = format!("\n{} (longest stall with nobody near: {idle:.2})\n", self.name());
        for (key, label) in FIGURES {
            let _ = writeln!(text, "  {label:<42} {:.2}", self.figure(key));
        }
        text
    }

    fn json(&self) -> (String, Value) {
        let mut told = json!({ "label": self.name(), "idle_stall_ms": self.idle_stall_ms });
        for ((key, _), rounds) in FIGURES.iter().zip(&self.rounds) {
            told[*key] = json!({ "spread": Spread::of(rounds).json(), "rounds": rounds });
        }
        let cache = if self.is_warm { "warm" } else { "cold" };
        (format!("{}_{cache}", self.subject.key), told)
    }
}

/// What a target recorded since it was last asked.
struct Gaps {
    gap_ms: f64,
    stall_ms: f64,
}

fn gaps(program: &mut Guarded) -> Result<Gaps> {
    let told = ask(program, "gaps")?;
    let number = |key: &str| told[key].as_f64().with_context(|| format!("no `{key}` in {told}"));
    Ok(Gaps { gap_ms: number("gap_ms")?, stall_ms: number("stall_ms")? })
}

/// Empties the folder of unwind tables. They are made anew by whoever needs them.
fn forget_tables() -> Result<()> {
    let Ok(files) = fs::read_dir(TABLES) else { return Ok(()) };
    for file in files.flatten() {
        fs::remove_file(file.path()).with_context(|| format!("emptying {TABLES}"))?;
    }
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path that is not UTF-8")
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
