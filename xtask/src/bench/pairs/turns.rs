//! The rounds of one program: who attaches takes turns on one process, who lives inside one has a
//! process of its own that waits in between.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::table::{ALL, Kind, Subject, Who};
use crate::bench::peer::{self, Heaptrack};
use crate::bench::program::{self, PATIENCE};
use crate::bench::spread::{Spread, median, ratios};
use crate::bench::tracer::{self, Attached};
use crate::child::Guarded;

/// Who has just attached is busy for a moment with what it has found, on a machine with few CPUs
/// beside the program.
const SETTLING: Duration = Duration::from_millis(1500);

/// What was measured of one program.
pub(super) struct Figures {
    pub(super) subject: &'static Subject,
    /// Nanoseconds of a pair by kind, by who follows it, by round.
    ns: Vec<[Vec<f64>; ALL.len()]>,
    /// Why somebody was not measured, or not in all rounds.
    absent: [Option<String>; ALL.len()],
}

/// A process of its own, and what it needs to live.
struct Inside {
    program: Guarded,
    _heaptrack: Option<Heaptrack>,
    _folder: TempDir,
}

/// What is attached to the process that all share.
enum Holder {
    Nobody,
    Outlive(Attached),
    Peer(Guarded),
}

/// Measures one program.
///
/// # Errors
/// When it does not start. Whoever cannot follow it is told in the figures.
pub(super) fn of(subject: &'static Subject, rounds: usize) -> Result<Figures> {
    let command = (subject.command)()?;
    let mut shared = program::start(subject.key, &command)?;
    let mut figures = Figures {
        subject,
        ns: subject.kinds.iter().map(|_| Default::default()).collect(),
        absent: Default::default(),
    };
    let mut inside: Vec<Option<Inside>> = Vec::new();
    for who in ALL {
        let started = start_inside(who, &command).transpose();
        inside.push(started.and_then(|started| figures.note(who, started)));
    }
    for round in 1..=rounds {
        for who in ALL {
            if figures.absent[who as usize].is_some() {
                continue;
            }
            let measured = match &mut inside[who as usize] {
                Some(inside) => measure(subject, &mut inside.program),
                None => measure_attached(who, subject, &mut shared),
            };
            if let Some(measured) = figures.note(who, measured) {
                for (kind, ns) in figures.ns.iter_mut().zip(measured) {
                    kind[who as usize].push(ns);
                }
            }
        }
        eprintln!("xtask: {}: round {round} of {rounds}", subject.key);
    }
    for inside in inside.iter_mut().flatten() {
        // Whoever does not end by itself is killed.
        let _ = inside.program.close();
    }
    shared.close()?;
    Ok(figures)
}

/// Starts the process of somebody who lives inside it; `None` for those who attach.
fn start_inside(who: Who, command: &[String]) -> Result<Option<Inside>> {
    let folder = tracer::folder()?;
    let mut heaptrack = None;
    let mut command = match who {
        Who::Lane => {
            let mut lane = tracer::lane(&folder)?;
            lane.args(command);
            lane
        }
        Who::Heaptrack => heaptrack.insert(Heaptrack::start()?).follow(command),
        Who::Massif => peer::massif(command, folder.path())?,
        _ => return Ok(None),
    };
    let program = program::start_as(who.label(), &mut command)?;
    Ok(Some(Inside { program, _heaptrack: heaptrack, _folder: folder }))
}

fn measure_attached(who: Who, subject: &Subject, shared: &mut Guarded) -> Result<Vec<f64>> {
    let pid = shared.pid();
    let holder = match who {
        Who::Floor => Holder::Outlive(tracer::floor(pid)?),
        Who::Exact => Holder::Outlive(tracer::exact(pid, &[])?),
        Who::Sampled => {
            tracer::can_sample()?;
            Holder::Outlive(tracer::sampled(pid)?)
        }
        Who::Bpftrace => Holder::Peer(peer::bpftrace(pid)?),
        _ => Holder::Nobody,
    };
    let measured = measure(subject, shared);
    match holder {
        Holder::Outlive(outlive) => outlive.end()?,
        Holder::Peer(mut peer) => drop(peer.end("INT")?),
        Holder::Nobody => {}
    }
    measured
}

/// Nanoseconds of a pair by kind.
fn measure(subject: &Subject, program: &mut Guarded) -> Result<Vec<f64>> {
    let mut ask = |kind: &Kind| -> Result<f64> {
        program.send(kind.request)?;
        program.wait_for("measurement", PATIENCE, |line| line.trim().parse().ok())
    };
    let kinds = subject.kinds.iter();
    let began = Instant::now();
    kinds
        .map(|kind| {
            // The first one warms caches and the breakpoint's page and is thrown away; and what is
            // asked while who follows is still busy with having come.
            ask(kind)?;
            while began.elapsed() < SETTLING {
                ask(kind)?;
            }
            ask(kind).with_context(|| kind.label)
        })
        .collect()
}

impl Figures {
    /// By round.
    pub(super) fn ns(&self, kind: usize, who: Who) -> &[f64] {
        &self.ns[kind][who as usize]
    }

    /// Takes the result, or notes why there is none.
    fn note<T>(&mut self, who: Who, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let why = format!("{error:#}");
                eprintln!("xtask: {}: {}: {why}", self.subject.key, who.label());
                self.absent[who as usize] = Some(why);
                None
            }
        }
    }

    pub(super) fn failures(&self) -> Vec<String> {
        let absent = ALL.iter().filter(|who| who.must_be_there()).filter_map(|who| {
            let why = self.absent[*who as usize].as_ref()?;
            Some(format!("{}, {}: {why}", self.subject.key, who.label()))
        });
        absent.collect()
    }

    /// What a frame adds to a pair that is followed, from the two kinds that differ in it alone.
    fn ns_per_frame(&self, few: usize, many: usize, frames: f64) -> f64 {
        let median_of = |kind| median(self.ns(kind, Who::Exact));
        (median_of(many) - median_of(few)) / frames
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (index, kind) in self.subject.kinds.iter().enumerate() {
            let _ = writeln!(text, "\n{}", kind.label);
            for who in ALL {
                let ns = self.ns(index, who);
                let label = who.label();
                let _ = match (&self.absent[who as usize], ns.is_empty()) {
                    (Some(why), true) => {
                        writeln!(text, "  {label:<42} not available: {}", first_line(why))
                    }
                    _ => {
                        let over = median(&ratios(ns, self.ns(index, Who::Floor)));
                        writeln!(text, "  {label:<42} {:<34.1} {over:>8.3}", Spread::of(ns))
                    }
                };
            }
        }
        let (first, last, frames, what) = self.frame_kinds();
        let per_frame = self.ns_per_frame(first, last, frames);
        let _ = writeln!(text, "\na {what} frame more adds {per_frame:.1} ns with outlive");
        text
    }

    /// Two kinds of one program that differ in their number of frames only.
    fn frame_kinds(&self) -> (usize, usize, f64, &'static str) {
        match self.subject.key {
            "pair.c" => (0, 1, 20.0, "native"),
            _ => (2, 3, 17.0, "Python"),
        }
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let mut kinds = Map::new();
        for (index, kind) in self.subject.kinds.iter().enumerate() {
            let mut by = Map::new();
            for who in ALL {
                let ns = self.ns(index, who);
                let told = match (&self.absent[who as usize], ns.is_empty()) {
                    (Some(why), true) => json!({ "not_available": why }),
                    _ => json!({
                        "ns": Spread::of(ns).json(), "rounds_ns": ns,
                        "over_floor": median(&ratios(ns, self.ns(index, Who::Floor))),
                    }),
                };
                by.insert(who.key().to_owned(), told);
            }
            let told = json!({ "label": kind.label, "program": self.subject.key, "by": by });
            kinds.insert(kind.key.to_owned(), told);
        }
        kinds
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
