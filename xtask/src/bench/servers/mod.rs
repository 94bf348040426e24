//! What a server under load notices of being followed: throughput and latencies under an open loop
//! at half of its capacity, throughput of a closed loop at saturation, CPU and memory of both. All
//! followers of one server take turns in each round.

mod cell;
mod process;
mod table;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::load::{Load, Outcome, Pace};
use super::section::{Demand, Section};
use super::spread::{Spread, median, ratios};
use cell::{Cell, Round};
use process::Process;
use table::{Programs, SERVERS, Server, Who};

/// How long and how often it is measured.
struct Extent {
    rounds: usize,
    warm: Duration,
    open: Duration,
    closed: Duration,
    /// With a budget, which is held over ten seconds and needs some to see what fits: how long
    /// at saturation before it is measured, and how long then.
    budget_warm: Duration,
    budget_closed: Duration,
}

impl Extent {
    /// Before the measurement, and the closed loop's.
    fn closed_of(&self, who: Who) -> (Duration, Duration) {
        match who {
            Who::Budgeted => (self.budget_warm, self.budget_closed),
            _ => (self.warm, self.closed),
        }
    }
}

/// Bounds the part to some nine minutes.
const WHOLE: Extent = Extent {
    rounds: 3,
    warm: Duration::from_millis(400),
    open: Duration::from_millis(2500),
    closed: Duration::from_millis(1500),
    budget_warm: Duration::from_secs(10),
    budget_closed: Duration::from_secs(10),
};

const QUICK: Extent = Extent {
    rounds: 1,
    warm: Duration::from_millis(300),
    open: Duration::from_millis(1000),
    closed: Duration::from_millis(700),
    budget_warm: Duration::from_secs(4),
    budget_closed: Duration::from_secs(3),
};

/// Share of the capacity that an open loop asks for.
const SHARE_OF_CAPACITY: f64 = 0.5;

/// What is kept of the throughput at half of the capacity, and at saturation.
const KEPT_OPEN: f64 = 0.99;
const KEPT_CLOSED: f64 = 0.90;
const KEPT_SAMPLED: f64 = 0.95;
/// What a budget of 5 % leaves.
const KEPT_BUDGETED: f64 = 0.95;

/// What the 99th percentile may become, of that of the server alone.
const P99_RATIO: f64 = 1.15;

/// What was measured of a server.
struct Measured {
    server: &'static Server,
    capacity_per_s: f64,
    cells: Vec<Cell>,
}

/// Measures every server.
pub(super) fn measure(quick: bool) -> Result<Section> {
    let extent = if quick { &QUICK } else { &WHOLE };
    let mut section = Section {
        key: "servers",
        text: format!(
            "medians of {} interleaved rounds, some with (least..most); sat.: closed loop, all \
             else under an open loop at half of the capacity\n",
            extent.rounds
        ),
        json: json!({ "rounds": extent.rounds, "open_s": extent.open.as_secs_f64(),
            "closed_s": extent.closed.as_secs_f64() }),
        demands: Vec::new(),
        failures: Vec::new(),
    };
    let mut servers = Map::new();
    for server in &SERVERS {
        match of(server, extent) {
            Ok(measured) => {
                section.text.push_str(&measured.text());
                section.demands.extend(measured.demands());
                section.failures.extend(measured.failures());
                servers.insert(server.key.to_owned(), measured.json());
            }
            Err(error) => section.failures.push(format!("{}: {error:#}", server.label)),
        }
    }
    section.json["servers"] = Value::Object(servers);
    Ok(section)
}

fn of(server: &'static Server, extent: &Extent) -> Result<Measured> {
    let programs = Programs::of(server.kind)?;
    let plain = Process::start(Who::Untraced, &programs)?;
    let capacity_per_s = capacity(server, &plain, extent)?;
    let mut measured = Measured { server, capacity_per_s, cells: Vec::new() };
    // Those that live inside a server, or start it, have one of their own that waits in between.
    let mut own = Vec::new();
    for who in server.followers.iter().copied() {
        let mut cell = Cell { who, rounds: Vec::new(), absent: None };
        let started = (!who.comes_and_goes()).then(|| Process::start(who, &programs));
        let started = started.and_then(|started| {
            let started = started.and_then(|process| warm(server, process, extent));
            started.map_err(|error| cell.absent = Some(told(server, who, &error))).ok()
        });
        own.push(started);
        measured.cells.push(cell);
    }
    for round in 1..=extent.rounds {
        for (cell, own) in measured.cells.iter_mut().zip(&own) {
            if cell.absent.is_some() {
                continue;
            }
            let process = own.as_ref().unwrap_or(&plain);
            match one_round(server, process, cell.who, capacity_per_s, extent) {
                Ok(round) => cell.rounds.push(round),
                Err(error) => cell.absent = Some(told(server, cell.who, &error)),
            }
        }
        eprintln!("xtask: {}: round {round} of {}", server.label, extent.rounds);
    }
    own.into_iter().flatten().for_each(Process::end);
    plain.end();
    Ok(measured)
}

/// Says at once why somebody is not measured, and returns it.
fn told(server: &Server, who: Who, error: &anyhow::Error) -> String {
    let why = format!("{error:#}");
    eprintln!("xtask: {}: {}: {why}", server.label, who.label());
    why
}

/// Requests a second that the server alone answers at saturation: the best of three, since what
/// else the machine does only ever slows it down.
fn capacity(server: &Server, process: &Process, extent: &Extent) -> Result<f64> {
    let seconds = |lasts| load(server, process, Pace::Closed, lasts);
    // Code of a JIT needs a while to be compiled.
    seconds(extent.closed)?;
    let all = (0..3).map(|_| Ok(seconds(extent.closed)?.per_second()));
    let all = all.collect::<Result<Vec<f64>>>().context("measuring the capacity")?;
    Ok(Spread::of(&all).max)
}

fn warm(server: &Server, process: Process, extent: &Extent) -> Result<Process> {
    load(server, &process, Pace::Closed, extent.closed)?;
    Ok(process)
}

fn load(server: &Server, process: &Process, pace: Pace, lasts: Duration) -> Result<Outcome> {
    let Server { paths, connections, .. } = *server;
    Load { port: process.port, paths, connections, pace, lasts }.run()
}

fn one_round(
    server: &Server,
    process: &Process,
    who: Who,
    capacity_per_s: f64,
    extent: &Extent,
) -> Result<Round> {
    let visitor = process.visit(who)?;
    let measured = loads(server, process, &visitor, who, capacity_per_s, extent);
    visitor.leave()?;
    measured
}

fn loads(
    server: &Server,
    process: &Process,
    visitor: &process::Visitor,
    who: Who,
    capacity_per_s: f64,
    extent: &Extent,
) -> Result<Round> {
    let (warm, closed) = extent.closed_of(who);
    load(server, process, Pace::Closed, warm)?;
    // The open loop comes last: one that the server cannot keep up with leaves it work to do.
    let closed = load(server, process, Pace::Closed, closed)?;
    let pace = Pace::PerSecond(capacity_per_s * SHARE_OF_CAPACITY);
    let (before, began) = (process.used(visitor)?, std::time::Instant::now());
    let open = load(server, process, pace, extent.open)?;
    let (after, took) = (process.used(visitor)?, began.elapsed());
    Ok(Round::of(&open, &closed, before, after, took.as_secs_f64()))
}

impl Measured {
    fn cell(&self, who: Who) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.who == who && !cell.rounds.is_empty())
    }

    /// The median over rounds of a figure over that of the server alone in the same round.
    fn over_untraced(&self, who: Who, of: impl Fn(&Round) -> f64) -> f64 {
        let figures = |who| self.cell(who).map_or_else(Vec::new, |cell| cell.figures(&of));
        median(&ratios(&figures(who), &figures(Who::Untraced)))
    }

    fn demands(&self) -> Vec<Demand> {
        let of = |what: &str| format!("{what}, {}", self.server.label);
        let kept = |who| self.over_untraced(who, |round| round.closed_per_s);
        let mut demands = vec![
            Demand::at_least(
                of("exact keeps at half of the capacity"),
                self.over_untraced(Who::Exact, |round| round.open_per_s),
                KEPT_OPEN,
                "",
            ),
            Demand::at_most(
                of("p99 with exact over that without"),
                self.over_untraced(Who::Exact, |round| round.latency_ms[1]),
                P99_RATIO,
                "",
            ),
            Demand::at_least(of("exact keeps at saturation"), kept(Who::Exact), KEPT_CLOSED, ""),
        ];
        if self.cell(Who::Sampled).is_some() {
            let what = of("sampled keeps at saturation");
            demands.push(Demand::at_least(what, kept(Who::Sampled), KEPT_SAMPLED, ""));
        }
        if self.cell(Who::Budgeted).is_some() {
            let what = of("within 5 % keeps at saturation");
            demands.push(Demand::at_least(what, kept(Who::Budgeted), KEPT_BUDGETED, ""));
        }
        let peers = self.cells.iter().map(|cell| cell.who).filter(|who| who.is_attaching_peer());
        for peer in peers.filter(|who| self.cell(*who).is_some()) {
            let what = of(&format!("{} keeps at saturation, exact keeps more", peer.label()));
            demands.push(Demand::at_most(what, kept(peer), kept(Who::Exact), ""));
        }
        demands
    }

    fn failures(&self) -> Vec<String> {
        let must = self.cells.iter().filter(|cell| cell.who.must_be_there());
        let absent = must.filter_map(|cell| {
            let why = cell.absent.as_ref()?;
            Some(format!("{}, {}: {why}", self.server.label, cell.who.label()))
        });
        absent.collect()
    }

    fn text(&self) -> String {
        let mut text = format!(
            "\n{}: {:.0} requests a second alone\n",
            self.server.label, self.capacity_per_s
        );
        text.push_str(&Cell::header());
        self.cells.iter().for_each(|cell| text.push_str(&cell.text()));
        text
    }

    fn json(&self) -> Value {
        let by = self.cells.iter().map(|cell| {
            let mut told = cell.json();
            if !cell.rounds.is_empty() {
                told["kept_at_saturation"] =
                    json!(self.over_untraced(cell.who, |round| round.closed_per_s));
            }
            (cell.who.key().to_owned(), told)
        });
        json!({
            "label": self.server.label, "capacity_per_s": self.capacity_per_s,
            "by": by.collect::<Map<_, _>>(),
        })
    }
}
