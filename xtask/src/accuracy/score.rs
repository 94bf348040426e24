//! What outlive said of a program beside what the program knows of itself. Pure: JSON documents in,
//! a score out.

use anyhow::{Context, Result};
use serde_json::Value;

/// The verdict of report.json that accuses.
const ACCUSING: &str = "growing";
/// How far from the truth a rate may be.
const TOLERANCE: f64 = 0.15;
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

/// Scores a report by the program's truths from when the window began and from when it had ended.
///
/// # Errors
/// When a document lacks what it must have.
pub fn score(report: &Value, before: &Value, after: &Value, leaks: bool) -> Result<Score> {
    let findings = report["findings"].as_array().context("the report has no `findings`")?;
    let accusing: Vec<&Value> = findings
        .iter()
        .filter(|one| one["verdict"].as_str().unwrap_or(ACCUSING) == ACCUSING)
        .collect();
    let truth = Truth::new(before, after)?;
    let mut score = Score {
        explained: report["ledger"]["explained_share"].as_f64(),
        true_rate: truth.rate,
        ..Score::default()
    };
    let accused =
        accusing.iter().filter(|one| !leaks || !truth.is_known(&one["application_frame"]));
    score.accused = accused.map(|one| said_of(one)).collect();
    if leaks {
        let found = accusing.iter().position(|one| truth.is_place(&one["application_frame"]));
        score.rank = found.map(|index| index + 1);
        let at_place: Vec<&&Value> =
            accusing.iter().filter(|one| truth.is_place(&one["application_frame"])).collect();
        let rate: f64 = at_place.iter().filter_map(|one| estimate(one, "estimate")).sum();
        score.ratio = (found.is_some() && truth.rate > 0.0).then(|| rate / truth.rate);
        score.verdict = verdict_at(report, &truth);
        score.miss_leak(&at_place, &truth);
    } else {
        let status = &report["verdict"]["status"];
        status.as_str().unwrap_or("no verdict").clone_into(&mut score.verdict);
    }
    for accused in &score.accused {
        score.missed.push(format!("accuses an innocent: {accused}"));
    }
    if let Some(share) = score.explained.filter(|share| *share < EXPLAINED) {
        score.missed.push(format!("the ledger explains {:.0} %", 100.0 * share));
    }
    let lossy = report["lossy"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !lossy.is_empty() {
        score.missed.push(format!("something was lost: {lossy:?}"));
    }
    Ok(score)
}

/// Whether a report flags the leak that `truth` tells of.
pub fn flags(report: &Value, truth: &Value) -> bool {
    let Ok(truth) = Truth::new(truth, truth) else { return false };
    let findings = report["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    findings.iter().any(|one| {
        one["verdict"].as_str().unwrap_or(ACCUSING) == ACCUSING
            && truth.is_place(&one["application_frame"])
    })
}

impl Score {
    fn miss_leak(&mut self, found: &[&&Value], truth: &Truth<'_>) {
        match self.rank {
            None => self.missed.push(format!("not found; it is {} there", self.verdict)),
            Some(1) => {}
            Some(rank) => self.missed.push(format!("found at rank {rank}")),
        }
        let Some(ratio) = self.ratio else { return };
        // Where V8's heap is sampled, the truth need only lie where the report says that it may.
        let sampled = found.iter().all(|one| one["domains"] == serde_json::json!(["v8"]));
        let sum = |field| found.iter().filter_map(|one| estimate(one, field)).sum::<f64>();
        let within = sampled && sum("low") <= truth.rate && truth.rate <= sum("high");
        if (ratio - 1.0).abs() > TOLERANCE && !within {
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

    fn is_place(&self, frame: &Value) -> bool {
        self.place.is_some_and(|place| is_at(frame, place))
    }

    /// Whether a frame has to do with the leak.
    fn is_known(&self, frame: &Value) -> bool {
        let companion = || {
            let name = frame["function"].as_str().unwrap_or_default();
            self.companions.iter().any(|one| short_name(one) == short_name(name))
        };
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
fn is_at(frame: &Value, place: &Value) -> bool {
    let name = |value: &Value| short_name(value.as_str().unwrap_or_default()).to_owned();
    let known = place["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    name(&frame["function"]) == name(&place["function"])
        && frame["file"] == place["file"]
        && !frame["line"].is_null()
        && known.iter().chain([&place["defined_line"]]).any(|line| *line == frame["line"])
}

/// `finish` of `Store.finish`.
fn short_name(function: &str) -> &str {
    function.rsplit('.').next().unwrap_or(function)
}

fn estimate(finding: &Value, field: &str) -> Option<f64> {
    finding["growth_bytes_per_s"][field].as_f64()
}

/// The verdict of that site at the true place which holds most.
fn verdict_at(report: &Value, truth: &Truth<'_>) -> String {
    let sites = report["sites"].as_array().map(Vec::as_slice).unwrap_or_default();
    let here = sites.iter().filter(|site| {
        let frame = site["application_frame"].as_u64().unwrap_or(0);
        truth.is_place(&site["frames"][usize::try_from(frame).unwrap_or(0)])
    });
    let most = here.max_by_key(|site| site["live_bytes"].as_u64());
    most.map_or("not seen", |site| site["verdict"].as_str().unwrap_or("without a verdict"))
        .to_owned()
}

fn said_of(finding: &Value) -> String {
    let frame = &finding["application_frame"];
    let file = frame["file"].as_str().or(frame["module"].as_str()).unwrap_or("?");
    let file = file.rsplit('/').next().unwrap_or(file);
    let rate = estimate(finding, "estimate").unwrap_or(0.0) / 1000.0;
    let function = frame["function"].as_str().unwrap_or("?");
    format!("{function} ({file}:{}) {rate:.1} kB/s", frame["line"])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{flags, score};

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
        let report = json!({"findings": findings, "sites": [], "lossy": []});
        score(&report, &truth(10, 0), &truth(20, 10_000), leaks).unwrap().missed.join("; ")
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
        let report = json!({
            "findings": [], "sites": [], "lossy": ["stacks_dropped"],
            "ledger": {"explained_share": 0.8}, "verdict": {"status": "steady"},
        });
        let score = score(&report, &json!({"retained": []}), &json!({"retained": []}), false);
        assert_eq!(score.unwrap().missed.len(), 2);
    }

    #[test]
    fn a_report_flags_the_leak_only_where_it_accuses() {
        let mut leak = finding("Store.join", 7, 1.0);
        assert!(flags(&json!({"findings": [leak.clone()]}), &truth(1, 1)));
        leak["verdict"] = json!("filling");
        assert!(!flags(&json!({"findings": [leak]}), &truth(1, 1)));
    }
}
