//! What outlive said of a program beside what the program knows of itself. Pure: documents in, a
//! score out.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// The verdict of report.json that accuses.
const ACCUSING: &str = "growing";
/// How far from the truth a rate may be.
pub const TOLERANCE: f64 = 0.15;
/// The same in short windows beside other tests: a starved program does not leak at one rate.
pub const SHORT_TOLERANCE: f64 = 0.3;
/// Share of the change in resident memory that the ledger must explain.
const EXPLAINED: f64 = 0.9;

/// How one run went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// From 1, of the finding with the true function and line among those that accuse.
    pub rank: Option<usize>,
    /// Rate found over true rate.
    pub ratio: Option<f64>,
    /// The true rate, bytes per second, of all that leaks; of the program's own books.
    pub true_rate: f64,
    /// Of the site at the true place with most live bytes; or, of a program that leaks nothing, of
    /// the whole report.
    pub verdict: String,
    /// Seconds until the leak was first flagged, where that was asked.
    pub first_flag_s: Option<u64>,
    /// Findings that accuse others: function, place, verdict's rate.
    pub accused: Vec<String>,
    /// Share of the change in resident memory that the ledger explains.
    pub explained: Option<f64>,
    /// What was demanded and missed, in words.
    pub missed: Vec<String>,
}

/// What is read of report.json: it is large, and most of it is not compared.
#[derive(Debug, Deserialize)]
pub struct Report {
    findings: Vec<Finding>,
    #[serde(default)]
    sites: Vec<Site>,
    #[serde(default)]
    lossy: Vec<String>,
    ledger: Option<Ledger>,
    verdict: Option<Summary>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    application_frame: Frame,
    /// Of a finding about a container: who fills it, the fastest first.
    #[serde(default)]
    allocated_at: Vec<Frame>,
    verdict: Option<String>,
    growth_bytes_per_s: Rate,
    #[serde(default)]
    domains: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Site {
    verdict: String,
    live_bytes: u64,
    application_frame: Option<usize>,
    frames: Vec<Frame>,
}

#[derive(Debug, Deserialize)]
struct Frame {
    function: String,
    file: Option<String>,
    line: Option<u64>,
    module: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Rate {
    estimate: f64,
    low: f64,
    high: f64,
}

#[derive(Debug, Deserialize)]
struct Ledger {
    explained_share: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    status: String,
}

impl Finding {
    /// The place that is named: what is held is said of its holder, and beside that who made most of
    /// it.
    fn place(&self) -> &Frame {
        self.allocated_at.first().unwrap_or(&self.application_frame)
    }
}

impl Report {
    fn accusing(&self) -> impl Iterator<Item = &Finding> {
        let accuses = |one: &&Finding| one.verdict.as_deref().unwrap_or(ACCUSING) == ACCUSING;
        self.findings.iter().filter(accuses)
    }
}

/// Scores a report by the program's truths from when the window began and from when it ended; a rate
/// may be `tolerance` from the truth, as a share of it.
///
/// # Errors
/// When a truth lacks what it must have.
pub fn score(
    report: &Report,
    before: &Value,
    after: &Value,
    leaks: bool,
    tolerance: f64,
) -> Result<Score> {
    let truth = Truth::new(before, after)?;
    let mut score = Score {
        explained: report.ledger.as_ref().and_then(|ledger| ledger.explained_share),
        true_rate: truth.rate,
        ..Score::default()
    };
    let accused = report.accusing().filter(|one| !leaks || !truth.is_known(one.place()));
    score.accused = accused.map(said_of).collect();
    if leaks {
        let is_it = |one: &&Finding| truth.is_place(one.place());
        score.rank = report.accusing().position(|one| is_it(&one)).map(|index| index + 1);
        let found: Vec<&Finding> = report.accusing().filter(is_it).collect();
        let rate: f64 = found.iter().map(|one| one.growth_bytes_per_s.estimate).sum();
        score.ratio = (score.rank.is_some() && truth.rate > 0.0).then(|| rate / truth.rate);
        score.verdict = verdict_at(report, &truth);
        score.miss_leak(&found, &truth, tolerance);
    } else if let Some(verdict) = &report.verdict {
        score.verdict.clone_from(&verdict.status);
    }
    for accused in &score.accused {
        score.missed.push(format!("accuses an innocent: {accused}"));
    }
    if let Some(share) = score.explained.filter(|share| *share < EXPLAINED) {
        score.missed.push(format!("the ledger explains {:.0} %", 100.0 * share));
    }
    if !report.lossy.is_empty() {
        score.missed.push(format!("something was lost: {}", report.lossy.join(", ")));
    }
    Ok(score)
}

/// Whether a report flags the leak that `truth` tells of.
pub fn flags(report: &Report, truth: &Value) -> bool {
    Truth::new(truth, truth)
        .is_ok_and(|truth| report.accusing().any(|one| truth.is_place(one.place())))
}

impl Score {
    fn miss_leak(&mut self, found: &[&Finding], truth: &Truth<'_>, tolerance: f64) {
        match self.rank {
            None => self.missed.push(format!("not found; it is {} there", self.verdict)),
            Some(1) => {}
            Some(rank) => self.missed.push(format!("found at rank {rank}")),
        }
        let Some(ratio) = self.ratio else { return };
        // Where V8's heap is sampled, the truth need only lie where the report says that it may.
        let sampled = found.iter().all(|one| one.domains == ["v8"]);
        let low: f64 = found.iter().map(|one| one.growth_bytes_per_s.low).sum();
        let high: f64 = found.iter().map(|one| one.growth_bytes_per_s.high).sum();
        let is_within = sampled && (low..=high).contains(&truth.rate);
        if (ratio - 1.0).abs() > tolerance && !is_within {
            self.missed.push(format!("its rate is {:.0} % of the truth", 100.0 * ratio));
        }
    }
}

/// What a program says of itself.
struct Truth<'a> {
    /// The place that retains most; others that leak with it.
    place: Option<&'a Value>,
    others: Vec<&'a Value>,
    companions: Vec<&'a str>,
    /// Of `place`, bytes per second.
    rate: f64,
}

impl<'a> Truth<'a> {
    fn new(before: &Value, after: &'a Value) -> Result<Self> {
        let retained = after["retained"].as_array().context("the truth has no `retained`")?;
        let companions = after["companions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let place = retained.first();
        Ok(Self {
            place,
            others: retained.iter().skip(1).collect(),
            companions: companions.iter().filter_map(Value::as_str).collect(),
            rate: place.map_or(0.0, |place| {
                let times = [&before["now_ns"], &after["now_ns"]].map(|at| at.as_f64());
                true_rate(&before["retained"][0], place, times)
            }),
        })
    }

    fn is_place(&self, frame: &Frame) -> bool {
        self.place.is_some_and(|place| {
            // Where V8's profiler may name the caller instead, the truth says so.
            let callers = place["inlined_into"].as_array().map(Vec::as_slice).unwrap_or_default();
            is_at(frame, place) || callers.iter().any(|caller| is_at(frame, caller))
        })
    }

    /// Whether a frame has to do with the leak.
    fn is_known(&self, frame: &Frame) -> bool {
        let companion =
            || self.companions.iter().any(|one| short_name(one) == short_name(&frame.function));
        self.is_place(frame) || self.others.iter().any(|place| is_at(frame, place)) || companion()
    }
}

/// Bytes per second that a place came to retain: from the latest piece in one truth to the latest
/// in the other, so that it does not matter when in between two pieces one asks.
fn true_rate(before: &Value, after: &Value, asked: [Option<f64>; 2]) -> f64 {
    let bytes = |one: &Value| one["heap_bytes"].as_f64().or(one["bytes"].as_f64()).unwrap_or(0.0);
    let pieces = [before, after].map(|one| one["last_ns"].as_f64().filter(|at| *at > 0.0));
    let [from, to] = if pieces[0].is_some() { pieces } else { asked };
    let seconds = (to.unwrap_or(0.0) - from.unwrap_or(0.0)) / 1e9;
    if seconds > 0.0 { (bytes(after) - bytes(before)) / seconds } else { 0.0 }
}

/// Whether a frame is in that function, on a line that retains or, as V8 has it, on its first.
fn is_at(frame: &Frame, place: &Value) -> bool {
    let known = place["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut known = known.iter().chain([&place["defined_line"]]).filter_map(Value::as_u64);
    let name = place["function"].as_str().unwrap_or_default();
    short_name(&frame.function) == short_name(name)
        && frame.file.as_deref() == place["file"].as_str()
        && known.any(|line| Some(line) == frame.line)
}

/// `finish` of `Store.finish`.
fn short_name(function: &str) -> &str {
    function.rsplit('.').next().unwrap_or(function)
}

/// The verdict of that site at the true place which holds most.
fn verdict_at(report: &Report, truth: &Truth<'_>) -> String {
    let here = report.sites.iter().filter(|site| {
        site.frames.get(site.application_frame.unwrap_or(0)).is_some_and(|f| truth.is_place(f))
    });
    let most = here.max_by_key(|site| site.live_bytes);
    most.map_or_else(|| "not seen".to_owned(), |site| site.verdict.clone())
}

fn said_of(finding: &Finding) -> String {
    let Frame { function, file, line, module } = &finding.application_frame;
    let file = file.as_deref().or(module.as_deref()).unwrap_or("?");
    let file = file.rsplit('/').next().unwrap_or(file);
    let line = line.map_or_else(String::new, |line| format!(":{line}"));
    format!("{function} ({file}{line}) {:.1} kB/s", finding.growth_bytes_per_s.estimate / 1000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Report, TOLERANCE, flags, score};

    fn read(report: Value) -> Report {
        serde_json::from_value(report).unwrap()
    }

    fn truth(seconds: u64, bytes: u64) -> Value {
        json!({
            "now_ns": seconds * 1_000_000_000, "companions": ["Store.keep"],
            "retained": [{
                "function": "Store.join", "file": "/s.py", "lines": [7], "bytes": bytes,
                "last_ns": seconds * 1_000_000_000,
            }],
        })
    }

    fn finding(function: &str, line: u32, rate: f64) -> Value {
        json!({
            "application_frame": {"function": function, "file": "/s.py", "line": line},
            "verdict": "growing", "domains": ["malloc"],
            "growth_bytes_per_s": {"estimate": rate, "low": rate * 0.7, "high": rate * 1.3},
        })
    }

    fn missed(findings: &[Value], leaks: bool) -> String {
        let report = read(json!({"findings": findings, "sites": [], "lossy": []}));
        score(&report, &truth(10, 0), &truth(20, 10_000), leaks, TOLERANCE)
            .unwrap()
            .missed
            .join("; ")
    }

    #[test]
    fn the_true_line_first_and_at_its_rate_is_what_is_demanded() {
        let leak = finding("Store.join", 7, 1_100.0);
        assert_eq!(missed(&[leak.clone(), finding("Store.keep", 30, 9.0)], true), "");
        let other = finding("Cache.put", 12, 5_000.0);
        let said = missed(&[other, leak], true);
        assert!(said.contains("rank 2") && said.contains("Cache.put (s.py:12) 5.0 kB/s"), "{said}");
    }

    #[test]
    fn what_is_told_of_its_holder_has_to_name_first_who_fills_it() {
        let frame = |function, line| json!({"function": function, "file": "/s.py", "line": line});
        let mut held = finding("Store._kept", 0, 1_000.0);
        assert!(missed(&[held.clone()], true).contains("accuses an innocent"));
        held["allocated_at"] = json!([frame("Store.join", 7), frame("Store.other", 9)]);
        assert_eq!(missed(&[held.clone()], true), "");
        held["allocated_at"] = json!([frame("Store.other", 9), frame("Store.join", 7)]);
        assert!(missed(&[held], true).contains("accuses an innocent"));
    }

    #[test]
    fn another_line_of_the_function_is_not_it() {
        let said = missed(&[finding("Store.join", 8, 1_000.0)], true);
        assert!(said.contains("not found") && said.contains("accuses an innocent"), "{said}");
    }

    #[test]
    fn a_wrong_rate_is_missed_unless_it_is_sampled_and_says_how_wrong_it_may_be() {
        let mut leak = finding("Store.join", 7, 1_250.0);
        assert_eq!(missed(&[leak.clone()], true), "its rate is 125 % of the truth");
        leak["domains"] = json!(["v8"]);
        assert_eq!(missed(&[leak.clone()], true), "");
        leak["growth_bytes_per_s"] = json!({"estimate": 2_000.0, "low": 1_500.0, "high": 2_500.0});
        assert_eq!(missed(&[leak], true), "its rate is 200 % of the truth");
    }

    #[test]
    fn whoever_is_flagged_in_an_innocent_program_is_accused() {
        assert_eq!(missed(&[], false), "");
        assert!(missed(&[finding("Store.join", 7, 1.0)], false).contains("Store.join"));
        let mut filling = finding("Cache.put", 3, 1.0);
        filling["verdict"] = json!("filling");
        assert_eq!(missed(&[filling], false), "");
    }

    #[test]
    fn what_the_ledger_leaves_and_what_was_lost_count() {
        let report = read(json!({
            "findings": [], "sites": [], "lossy": ["stacks_dropped"],
            "ledger": {"explained_share": 0.8}, "verdict": {"status": "steady"},
        }));
        let score =
            score(&report, &json!({"retained": []}), &json!({"retained": []}), false, TOLERANCE);
        assert_eq!(score.unwrap().missed.len(), 2);
    }

    #[test]
    fn a_report_flags_the_leak_only_where_it_accuses() {
        let mut leak = finding("Store.join", 7, 1.0);
        assert!(flags(&read(json!({"findings": [leak.clone()]})), &truth(1, 1)));
        leak["verdict"] = json!("filling");
        assert!(!flags(&read(json!({"findings": [leak]})), &truth(1, 1)));
    }
}
