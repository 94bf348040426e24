//! From a recording to the answer: places judged cycle by cycle, or over time, and held against
//! budgets, baseline and suppressions.

use super::baseline::{Baseline, excess};
use super::cycles::Moments;
use super::judge::{FEWEST_CYCLES, Growth, Levels, Pattern, judge};
use super::model::*;
use super::over_time;
use super::suppression::Suppression;
use super::words;
use crate::capture::Recording;
use crate::growth::Limits;
use crate::printable::printable;
use crate::report::{
    self, ContainerReport, FrameReport, Nature, Place, Rate, Report, WarningReport,
};
use crate::stack::{Domain, StackId};
use crate::symbol::ARENA_FRAME;
use crate::units;
use std::collections::{BTreeMap, BTreeSet};

/// Doubtful places that are kept.
const MAX_DOUBTFUL: usize = 10;

/// What is held against what was seen.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Cycles that do not count, and those that do; `None` to judge over time.
    pub cycles: Option<(u32, u32)>,
    /// What all places together may leave behind, bytes.
    pub budget_bytes: u64,
    /// What a single place may leave behind without being counted, bytes.
    pub site_budget_bytes: Option<u64>,
    /// What is accepted.
    pub baseline: Option<Baseline>,
    /// What is not looked at.
    pub suppressions: Vec<Suppression>,
}

/// How the session went, apart from what was seen.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Cycles that had not settled when their time was over.
    pub unsettled: u32,
    /// Why it came to no end: whether it could run at all, what happened, what to do.
    pub setback: Option<(Status, String)>,
    /// What else is worth a word.
    pub notes: Vec<String>,
}

/// Builds the answer.
pub fn build(recording: &Recording, rules: &Rules, course: &Course) -> Check {
    let report = report::build(recording, &Limits::default());
    let moments = rules.cycles.map(|(warm_up, _)| Moments::of(recording, warm_up));
    let mut findings = match &moments {
        Some(moments) => by_cycles(recording, moments, rules),
        None => over_time::findings(recording, &report, rules),
    };
    findings.iter_mut().for_each(|finding| dispose(finding, rules));
    findings.sort_by(|a, b| {
        let rank = |finding: &CheckFinding| finding.disposition;
        rank(a)
            .cmp(&rank(b))
            .then(b.bytes.estimate.total_cmp(&a.bytes.estimate))
            .then(a.key.cmp(&b.key))
    });
    let unit = unit(rules);
    let cycles =
        rules.cycles.zip(moments.as_ref()).map(|((warm_up, wanted), moments)| CyclesReport {
            warm_up,
            wanted,
            measured: moments.cycles() as u32,
            unsettled: course.unsettled,
        });
    let counted = counted(&findings);
    let mut check = Check {
        schema_version: SCHEMA_VERSION,
        outlive_version: recording.meta.outlive_version.clone(),
        status: Status::Clean,
        sentence: String::new(),
        problems: Vec::new(),
        command: printable(&recording.meta.target.cmdline),
        pid: recording.meta.target.pid,
        duration_ns: recording.meta.window.duration_ns,
        cycles,
        unit,
        budget_bytes: rules.budget_bytes,
        site_budget_bytes: rules.site_budget_bytes,
        counted_bytes: counted,
        unseen_baseline: unseen(rules, &findings),
        unused_suppressions: unused(rules, &findings),
        findings,
        lossy: report.lossy.clone(),
        notes: course.notes.clone(),
        warnings: report.warnings.clone(),
    };
    check.notes.extend(notes(recording, &report, &check));
    decide(&mut check, &report, course);
    check.sentence = words::sentence(&check);
    check
}

/// The answer of a check that did not even begin.
pub fn not_run(message: &str) -> Check {
    let mut check = build(
        &Recording::default(),
        &Rules { cycles: Some((0, 0)), ..Rules::default() },
        &Course { setback: Some((Status::CouldNotRun, printable(message))), ..Course::default() },
    );
    check.outlive_version = env!("CARGO_PKG_VERSION").to_owned();
    (check.cycles, check.lossy) = (None, Vec::new());
    check
}

pub(super) fn unit(rules: &Rules) -> Unit {
    if rules.cycles.is_some() { Unit::Cycle } else { Unit::Hour }
}

/// What makes several places one finding: what suppresses them, whether they are in V8's heap, and
/// their name.
type Key = (Option<usize>, bool, String);

fn by_cycles(recording: &Recording, moments: &Moments, rules: &Rules) -> Vec<CheckFinding> {
    let places = report::places(recording);
    // V8's own pages are nobody's: what is in them is told where its heap is looked into.
    let places: Vec<&Place> = places.iter().filter(|place| !place.is_heap_page).collect();
    let work = moments.work(&places);
    let mut groups: BTreeMap<Key, Vec<&Place>> = BTreeMap::new();
    for place in places {
        groups.entry(key(place, rules, usize::MAX)).or_default().push(place);
    }
    let candidates = groups.values().filter(|group| moments.levels(group).rose()).count();
    let run = Run { recording, moments, work, candidates, rules };
    let mut findings = Vec::new();
    let mut left: BTreeMap<Key, (usize, Vec<&Place>)> = BTreeMap::new();
    for (key_of, group) in groups {
        match finding(&key_of, &group, &run) {
            Some(found) if found.disposition != Disposition::Doubtful => findings.push(found),
            doubtful => {
                // A leak that comes by many ways, none of them in every cycle, shows in their sum.
                let (count, sum) = left.entry(key(group[0], rules, 1)).or_default();
                *count += 1;
                sum.extend(group);
                findings.extend(doubtful);
            }
        }
    }
    for (key_of, (_, sum)) in left.into_iter().filter(|(_, (count, _))| *count > 1) {
        let found = finding(&key_of, &sum, &run);
        if let Some(found) = found.filter(|found| found.disposition != Disposition::Doubtful) {
            findings.push(found);
        }
    }
    let mut doubtful: Vec<CheckFinding> =
        findings.extract_if(.., |found| found.disposition == Disposition::Doubtful).collect();
    doubtful.sort_by(|a, b| b.bytes.estimate.total_cmp(&a.bytes.estimate));
    doubtful.truncate(MAX_DOUBTFUL);
    findings.extend(doubtful);
    findings
}

fn key(place: &Place, rules: &Rules, names: usize) -> Key {
    let suppressed = rules.suppressions.iter().position(|one| one.matches(&place.frames));
    let names = &place.names[..place.names.len().min(names)];
    let name = match names {
        [] => "[no frames]".to_owned(),
        names => printable(&names.join(" < ")).trim().to_owned(),
    };
    let is_v8 = place.domain == Domain::V8.name();
    let name = if is_v8 { name + " [v8]" } else { name };
    (suppressed, is_v8, name)
}

/// What all places of a run have in common.
struct Run<'a> {
    recording: &'a Recording,
    moments: &'a Moments,
    /// Bytes that the whole program allocated in each cycle.
    work: Vec<u64>,
    /// Places that hold more than they did.
    candidates: usize,
    rules: &'a Rules,
}

impl Run<'_> {
    /// Who holds what these places left, which `containers` fill, and whether anybody does.
    fn held_by(
        &self,
        places: &[&Place],
        containers: &[ContainerReport],
    ) -> (Vec<String>, Option<Nature>) {
        let stacks: Vec<StackId> = places.iter().flat_map(|place| place.stacks.clone()).collect();
        let mut lines = report::filled_by_these(containers);
        let (held_by, nature) = report::held_by(self.recording, &stacks);
        lines.extend(held_by);
        (lines, nature)
    }
}

fn finding((suppressed, _, name): &Key, places: &[&Place], run: &Run<'_>) -> Option<CheckFinding> {
    let Run { moments, work, candidates, rules, .. } = run;
    let levels = Levels { work: work.clone(), ..moments.levels(places) };
    let (changes_bytes, changes_blocks) = (levels.changes(), levels.block_changes());
    let cycles = changes_bytes.len().max(1) as f64;
    let mean = |changes: &[i64]| changes.iter().map(|change| *change as f64).sum::<f64>() / cycles;
    let (disposition, bytes, blocks, exact, pattern) = match judge(&levels, *candidates) {
        Growth::None => return None,
        Growth::Doubtful(why) => {
            let mean_bytes = mean(&changes_bytes);
            let rate = Rate { estimate: mean_bytes, low: 0.0, high: mean_bytes };
            (Disposition::Doubtful, rate, mean(&changes_blocks), false, why.to_owned())
        }
        Growth::Pending(pattern) => of_pattern(Disposition::Pending, pattern),
        Growth::Growing(pattern) => of_pattern(Disposition::New, pattern),
    };
    let held = |place: &&&Place| {
        moments.levels(&[**place]).survivors.iter().map(|(b, _)| *b as f64).sum::<f64>()
    };
    let shown = places.iter().max_by(|a, b| held(a).total_cmp(&held(b)))?;
    let stacks: BTreeSet<_> = places.iter().map(|place| &place.frames).collect();
    let domains: BTreeSet<_> = places.iter().map(|place| place.domain).collect();
    let containers = match is_arena(shown.frames.first().map(|frame| &**frame)) {
        true => report::grown_containers(run.recording),
        false => Vec::new(),
    };
    let (held_by, nature) = run.held_by(places, &containers);
    Some(CheckFinding {
        disposition,
        key: name.clone(),
        domains: domains.into_iter().collect(),
        bytes,
        blocks: Some(blocks),
        exact,
        pattern,
        allowed_bytes: None,
        suppressed_by: suppressed.map(|index| rules.suppressions[index].pattern.clone()),
        changes_bytes,
        changes_blocks,
        held_by,
        nature,
        containers,
        stacks: stacks.len(),
        application_frame: shown.application.first().copied(),
        truncated: shown.truncated,
        frames: shown.frames.clone(),
    })
}

/// Whether it is memory that Python's small objects lie in, whose stack says nothing of who fills it.
pub(super) fn is_arena(leaf: Option<&FrameReport>) -> bool {
    leaf.is_some_and(|leaf| leaf.function == ARENA_FRAME)
}

fn of_pattern(
    disposition: Disposition,
    pattern: Pattern,
) -> (Disposition, Rate, f64, bool, String) {
    let Pattern { bytes, blocks, exact } = pattern;
    let rate = Rate { estimate: bytes.estimate, low: bytes.low, high: bytes.high };
    (disposition, rate, blocks, exact, words::pattern(&pattern))
}

/// What the rules make of a finding.
fn dispose(finding: &mut CheckFinding, rules: &Rules) {
    if finding.disposition == Disposition::Doubtful {
        return;
    }
    let baseline = rules.baseline.as_ref();
    finding.allowed_bytes = baseline.and_then(|known| known.allows(unit(rules), &finding.key));
    // What is not certain is not held against anybody.
    let least = finding.bytes.low;
    finding.disposition = match (finding.disposition, finding.allowed_bytes) {
        _ if finding.suppressed_by.is_some() => Disposition::Suppressed,
        (_, Some(allowed)) if excess(least, allowed) == 0.0 => Disposition::InBaseline,
        _ if rules.site_budget_bytes.is_some_and(|budget| least <= budget as f64) => {
            Disposition::WithinSiteBudget
        }
        (Disposition::Pending, _) => Disposition::Pending,
        (_, Some(_)) => Disposition::Grew,
        (_, None) => Disposition::New,
    };
}

/// What counts against the budget: of each place what it leaves at least, less what is accepted.
fn counted(findings: &[CheckFinding]) -> f64 {
    over(findings.iter().filter(|finding| finding.disposition.counts()))
}

fn over<'a>(findings: impl Iterator<Item = &'a CheckFinding>) -> f64 {
    findings.map(|finding| finding.bytes.low - finding.allowed_bytes.unwrap_or(0) as f64).sum()
}

fn unseen(rules: &Rules, findings: &[CheckFinding]) -> Vec<String> {
    let Some(baseline) = &rules.baseline else { return Vec::new() };
    let is_seen = |key: &str| findings.iter().any(|finding| finding.key == key);
    let keys = baseline.keys(unit(rules)).filter(|key| !is_seen(key));
    keys.map(str::to_owned).collect()
}

fn unused(rules: &Rules, findings: &[CheckFinding]) -> Vec<String> {
    let is_used = |pattern: &String| {
        let mut used = findings.iter().filter_map(|finding| finding.suppressed_by.as_ref());
        used.any(|used| used == pattern)
    };
    let patterns = rules.suppressions.iter().map(|one| &one.pattern);
    patterns.filter(|pattern| !is_used(pattern)).map(|pattern| printable(pattern)).collect()
}

fn notes(recording: &Recording, report: &Report, check: &Check) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(sampling) = report.sampling {
        notes.push(format!(
            "All numbers are estimates, from one draw in {} on average.",
            units::bytes(sampling.mean_bytes)
        ));
    }
    let has_v8 = !report.v8_heaps.is_empty();
    if has_v8 && !report.v8_heaps.iter().any(|heap| heap.seen_inside) {
        notes.push(
            "The JavaScript heap was not looked into, so that leaks in it are not found: give --js-heap.".to_owned(),
        );
    }
    if let Some(cycles) = check.cycles.filter(|cycles| cycles.unsettled > 0) {
        notes.push(format!(
            "{} of the cycles had not settled when --settle was over: what was in use then looks like it was left behind.",
            cycles.unsettled
        ));
    }
    let missed = |warning: &&WarningReport| warning.code == "children-not-followed";
    notes
        .extend(report.warnings.iter().find(missed).map(|w| format!("{} {}", w.message, w.advice)));
    if recording.meta.target.runtime == "python"
        && recording
            .meta
            .python_objects
            .as_ref()
            .is_some_and(|python| python.unattributed_bytes.is_some())
    {
        notes.push("Python objects of 512 bytes and less were not followed one by one: --python-objects does that.".to_owned());
    }
    notes
}

fn decide(check: &mut Check, report: &Report, course: &Course) {
    let budget = check.budget_bytes as f64;
    if let Some((status, message)) = &course.setback {
        check.status = *status;
        check.problems.push(printable(message));
        return;
    }
    if !check.lossy.is_empty() {
        check.status = Status::Inconclusive;
        check.problems.push(format!(
            "Something was lost ({}), so that the numbers prove nothing; larger --max-live or --max-stacks, or a larger --min-size, may help.",
            check.lossy.join(", ")
        ));
        return;
    }
    if let Some(cycles) = check.cycles.filter(|cycles| (cycles.measured as usize) < FEWEST_CYCLES) {
        check.status = Status::Inconclusive;
        check.problems.push(format!(
            "{} cycles count, and fewer than {FEWEST_CYCLES} prove nothing; give more by --cycles.",
            cycles.measured
        ));
        return;
    }
    if check.cycles.is_none() && report.verdict.status == report::Status::Inconclusive {
        check.status = Status::Inconclusive;
        check.problems.push(report.verdict.sentence.clone());
        return;
    }
    let is_pending = |finding: &&CheckFinding| finding.disposition == Disposition::Pending;
    let pending = over(check.findings.iter().filter(is_pending));
    if check.counted_bytes > budget {
        check.status = Status::Growth;
    } else if check.counted_bytes + pending > budget {
        check.status = Status::Inconclusive;
        check.problems.push(
            "What grew may be garbage: no full collection came after most cycles. With --js-heap outlive has V8 collect after each of them.".to_owned(),
        );
    }
}
