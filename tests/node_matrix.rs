//! Every release of Node.js, every way in which JavaScript comes to allocate, in every tier of its
//! compilers: the merged stacks are those that V8 itself tells, by function, file and line.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use support::node::{self, JsFrame, Node, nodes, plain, program_frames};
use support::{Amount, Outlive, Report, may_trace};

/// What a case holds, by how often its code had run.
struct Temperature {
    name: String,
    tier: String,
    blocks: u64,
}

/// A case, as the target tells it.
struct Case {
    name: String,
    /// Size of each block, bytes; no two cases have the same.
    bytes: u64,
    temperatures: Vec<Temperature>,
    /// The program's frames, leaf first; `None` where Node's own module `inside` allocates.
    frames: Option<Vec<JsFrame>>,
    inside: Vec<String>,
    /// The module whose function takes the place of Node's own where it alone could be told.
    outer: Option<String>,
}

impl Case {
    fn read(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let number = |value: &Value| value.as_u64().expect("a number");
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let inside = value["inside"].as_str().unwrap_or_default();
        let frames: Option<Vec<JsFrame>> =
            serde_json::from_value(value["frames"].clone()).expect("function, file and line");
        let plainly = |frames: Vec<JsFrame>| {
            frames.into_iter().map(|(name, file, line)| (plain(&name).to_owned(), file, line))
        };
        Self {
            name: text(&value["name"]),
            bytes: number(&value["bytes"]),
            temperatures: list(&value["temperatures"])
                .iter()
                .map(|temperature| Temperature {
                    name: text(&temperature["name"]),
                    tier: text(&temperature["tier"]),
                    blocks: number(&temperature["blocks"]),
                })
                .collect(),
            frames: frames.map(|frames| plainly(frames).collect()),
            inside: inside.split('|').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            outer: value["outer"].as_str().map(str::to_owned),
        }
    }

    fn blocks(&self) -> u64 {
        self.temperatures.iter().map(|temperature| temperature.blocks).sum()
    }

    /// Whether a site is one of this case's blocks, and not of what describes them.
    fn has_size(&self, site: &Value) -> bool {
        let number = |name: &str| site[name].as_u64().expect("a number");
        let (blocks, bytes) = (number("live_blocks"), number("live_bytes"));
        blocks > 0
            && bytes / blocks >= self.bytes * 9 / 10
            && bytes / blocks <= self.bytes * 11 / 10
    }

    /// What is wrong with the case in a report.
    fn fault(&self, report: &Report) -> Option<String> {
        let Some(expected) = &self.frames else { return self.fault_inside(report) };
        let sites = report.sites().iter().filter(|site| self.has_size(site));
        let mut held = Amount::default();
        for site in sites.filter(|site| own_frames(site) == *expected) {
            held.bytes += site["live_bytes"].as_u64().expect("bytes");
            held.blocks += site["live_blocks"].as_u64().expect("blocks");
        }
        let wanted = Amount { bytes: self.blocks() * self.bytes, blocks: self.blocks() };
        if held == wanted {
            return None;
        }
        Some(format!(
            "holds {wanted:?} ({}), found {held:?} below {}{}",
            self.tiers(),
            shown(expected),
            self.others(report)
        ))
    }

    /// Where Node allocates with none of the program's functions on the stack, some blocks may be
    /// garbage that is not collected yet.
    fn fault_inside(&self, report: &Report) -> Option<String> {
        let mut blocks = 0;
        for site in report.sites().iter().filter(|site| site["live_bytes"] != 0) {
            let frames = node::js_frames(site);
            let is_there = |(_, file, _): &JsFrame| {
                file.as_deref().is_some_and(|file| self.inside.iter().any(|part| part == file))
            };
            // Newer releases read whole files in C++, on a thread of their own.
            let is_native = |frame: &Value| {
                let function = frame["function"].as_str().unwrap_or("");
                self.inside.iter().any(|part| function.starts_with(part.as_str()))
            };
            let natives = site["frames"].as_array().expect("frames is a list");
            let is_outer = |frame: &Value| {
                frame["line_is_of_function"] == true
                    && self.outer.as_deref().is_some_and(|outer| frame["file"] == outer)
            };
            let exact = site["live_bytes"].as_u64().expect("bytes") % self.bytes == 0;
            if exact
                && self.has_size(site)
                && (frames.iter().any(is_there)
                    || natives.iter().any(|frame| is_native(frame) || is_outer(frame)))
            {
                blocks += site["live_blocks"].as_u64().expect("blocks");
            }
        }
        (blocks < self.blocks()).then(|| {
            let (expected, inside) = (self.blocks(), &self.inside);
            let others = self.others(report);
            format!("{blocks} of {expected} blocks are charged to {inside:?}{others}")
        })
    }

    fn tiers(&self) -> String {
        let words = self.temperatures.iter().map(|t| format!("{} {} {}", t.blocks, t.name, t.tier));
        words.collect::<Vec<_>>().join(", ")
    }

    /// Blocks of exactly this size at other places.
    fn others(&self, report: &Report) -> String {
        let mut text = String::new();
        for site in report.sites().iter().filter(|site| self.has_size(site)) {
            let number = |name: &str| site[name].as_u64().expect("a number");
            let frames = own_frames(site);
            if number("live_bytes") == number("live_blocks") * self.bytes
                && self.frames.as_ref() != Some(&frames)
            {
                let _ = write!(text, "\n{:12}{} below ", "", number("live_blocks"));
                text += &if frames.is_empty() { all_names(site) } else { shown(&frames) };
                if let Some(why) = site["truncated"].as_str() {
                    let _ = write!(text, " (cut: {why})");
                }
            }
        }
        text
    }
}

/// The target's own frames, without those of packages. Text that was evaluated without a name has
/// no file.
fn own_frames(site: &Value) -> Vec<JsFrame> {
    let own = |(_, file, _): &JsFrame| !file.as_deref().unwrap_or("").contains("/node_modules/");
    let frames = program_frames(site).into_iter().filter(own);
    frames
        .map(|(name, file, line)| (name, file.filter(|file| !file.starts_with("eval at ")), line))
        .collect()
}

fn shown(frames: &[JsFrame]) -> String {
    let frame = |(name, file, line): &JsFrame| {
        let file = file.as_deref().unwrap_or("?").rsplit('/').next().unwrap_or("?");
        format!("{name} {file}:{line}")
    };
    frames.iter().map(frame).collect::<Vec<_>>().join(" < ")
}

/// The JavaScript frames of a site as they are, or the native ones where there are none.
fn all_names(site: &Value) -> String {
    let frames = site["frames"].as_array().expect("frames is a list");
    let has_js = frames.iter().any(|frame| frame["kind"] == "js");
    let shown = frames.iter().filter(|frame| !has_js || frame["kind"] == "js");
    let names = shown.map(|frame| {
        let name: String = frame["function"].as_str().unwrap_or("?").chars().take(40).collect();
        let file = frame["file"].as_str().unwrap_or("");
        format!("{name} {file}:{}", frame["line"])
    });
    names.take(12).collect::<Vec<String>>().join(" < ")
}

/// Past the test harness's capture: the matrix is shown whether or not the test passes.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Runs all cases under outlive's eyes.
fn trace(node: &Node) -> (Vec<Case>, Report) {
    let mut target = node.start("matrix/main.js", &[]);
    assert_eq!(target.json()["ready"], true);
    let outlive = Outlive::attach(target.pid()).start();
    target.go();
    let truth = target.json();
    let finished = outlive.stop();
    finished.assert_done();
    assert!(target.finish().success(), "{} was harmed", node.name);
    let cases = truth["cases"].as_array().expect("cases is a list");
    (cases.iter().map(Case::read).collect(), finished.report())
}

#[test]
fn stacks_are_those_of_v8_in_every_release_and_every_tier() {
    if !may_trace() {
        return;
    }
    let Some(nodes) = nodes() else { return };
    let mut faults = Vec::new();
    for node in &nodes {
        let (cases, report) = trace(node);
        report.assert_no_losses();
        let tiers = |name: &str| {
            let all = cases.iter().flat_map(|case| &case.temperatures);
            all.filter(|temperature| temperature.tier == name).count()
        };
        let counts =
            ["interpreted", "baseline", "maglev", "turbofan"].map(|name| (name, tiers(name)));
        say(&format!("{}: {} cases, {counts:?}", node.name, cases.len()));
        for (name, count) in counts {
            // Maglev is on by default from release 24 on.
            let expected = name != "maglev" || matches!(node.name.as_str(), "v24" | "v26");
            assert!(!expected || count > 0, "{}: no code was {name}", node.name);
        }
        for case in &cases {
            if let Some(fault) = case.fault(&report) {
                say(&format!("  {} {}: {fault}", node.name, case.name));
                faults.push(format!("{} {}", node.name, case.name));
            }
        }
    }
    assert!(faults.is_empty(), "{} cases are wrong: {faults:?}", faults.len());
}

/// Turns of the busy server while outlive watches, and allocations through JavaScript that are
/// known to come of them.
const TURNS: u64 = 400;
const ALLOCATIONS: u64 = 100_000;
/// Bytes of a part, of which each turn makes 60.
const PART_BYTES: u64 = 33_000;
const PARTS: u64 = 60;

#[test]
fn of_a_busy_server_nearly_all_allocations_have_every_javascript_frame_named() {
    if !may_trace() {
        return;
    }
    let Some(nodes) = nodes() else { return };
    for node in &nodes {
        let server = node.start("busy/server.js", &[]);
        let port = server.json()["port"].as_u64().expect("a port");
        let load = node.load(port, 60, 300);
        let turns = |truth: &Value| truth["turns"].as_u64().expect("turns");
        // Its code is hot by then.
        node::truth_when(port, "warm", |truth| turns(truth) > 60);
        let outlive = Outlive::attach(server.pid()).start();
        let begin = turns(&node::truth(port));
        let end = node::truth_when(port, "busy", |truth| turns(truth) >= begin + TURNS);
        let finished = outlive.stop();
        drop(load);
        assert!(server.finish().success(), "{} was harmed", node.name);
        finished.assert_done();
        check_names(&node.name, &finished.report(), turns(&end) - begin);
    }
}

fn check_names(node: &str, report: &Report, turns: u64) {
    let number = |site: &Value, name: &str| site[name].as_u64().expect("a number");
    let with_js = report.sites().iter().filter(|site| !node::js_frames(site).is_empty());
    let allocations: u64 = with_js.map(|site| number(site, "allocated_blocks")).sum();
    let walks = &report.0["walks"];
    let share = walks["js_whole_share"].as_f64().expect("a share");
    say(&format!("{node}: {allocations} allocations in {turns} turns, {share:.5} whole: {walks}"));
    assert!(allocations >= ALLOCATIONS, "{node}: only {allocations} through JavaScript");
    assert!(share >= 0.99, "{node}: {share} of {allocations}: {walks}");
    let reasons = walks["js_frames"].as_object().expect("reasons");
    let unnamed = |(name, count): (&String, &Value)| name != "named" && count.as_u64() != Some(0);
    assert!(share >= 1.0 || reasons.iter().any(unnamed), "{node}: the rest has no reason");

    // A part's memory comes from one line, whatever the compilers make of the way there.
    let of_parts = |site: &&Value| {
        let (bytes, blocks) = (number(site, "allocated_bytes"), number(site, "allocated_blocks"));
        blocks > 0 && bytes == blocks * PART_BYTES
    };
    let (mut all, mut right) = (0, 0);
    for site in report.sites().iter().filter(of_parts) {
        let frames = program_frames(site);
        let names: Vec<&str> = frames.iter().map(|(name, ..)| name.as_str()).collect();
        all += number(site, "allocated_blocks");
        if matches!(names[..], ["Part", "partsOf", "takeTurn", ..]) {
            right += number(site, "allocated_blocks");
        }
    }
    assert!(all >= (turns - 1) * PARTS, "{node}: {all} parts in {turns} turns");
    assert!(right as f64 >= 0.99 * all as f64, "{node}: {right} of {all} parts have their chain");
}
