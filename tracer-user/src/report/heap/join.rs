//! Findings by stack and containers that grow, as one list: what is held through a container that
//! grows is told of that container, and whoever allocated it is evidence.

use super::super::build::rate;
use super::super::processes::Owners;
use super::super::resident;
use super::about::{self, About};
use super::containers::JudgedContainer;
use super::grown_types::filled_by_types;
use super::name::{self, leads_through};
use crate::capture::{Chain, Recording};
use crate::report::model::*;
use crate::stack::{FrameKind, StackId};
use crate::symbol::ARENA_FRAME;

/// Share of the objects of a finding that a container has to hold to be named in its place.
const MOSTLY: f64 = 0.5;
/// Functions that are named as those that allocate what a container holds.
const MAX_ALLOCATED_AT: usize = 8;

/// A finding about stacks, with all of these.
pub(in crate::report) struct ByStack {
    pub(in crate::report) finding: Finding,
    pub(in crate::report) stacks: Vec<StackId>,
}

/// A container that is the subject of a finding, and the stacks that fill it.
struct Subject<'a> {
    name: name::Name,
    path: Vec<String>,
    judged: Option<&'a JudgedContainer<'a>>,
    parts: Vec<(Finding, About)>,
}

/// What the heap says, put into the findings; fastest first. Containers that do not grow are left
/// out.
pub(in crate::report) fn join(
    recording: &Recording,
    owners: &Owners<'_>,
    by_stack: Vec<ByStack>,
    containers: &[JudgedContainer<'_>],
) -> Vec<Finding> {
    let growing = outermost(containers);
    let mut subjects: Vec<Subject<'_>> = growing.iter().copied().map(subject).collect();
    let mut findings = Vec::new();
    for ByStack { finding, stacks } in by_stack {
        if finding.application_frame.function == ARENA_FRAME {
            // By itself it says nothing of who fills it.
            if !is_told_by(&growing, &finding) {
                findings.push(filled_by_types(recording, &growing, finding));
            }
            continue;
        }
        let about = about::of_stacks(recording, &stacks);
        match through(&about, &subjects).cloned() {
            Some(chain) => part_of(&mut subjects, containers, &chain, finding, about),
            None => findings.push(answered(finding, about)),
        }
    }
    subjects.retain(|subject| !findings.iter().any(|finding| is_told_in(subject, finding)));
    findings.extend(subjects.into_iter().filter_map(|of| of_container(recording, owners, of)));
    findings
        .sort_by(|a, b| b.growth_bytes_per_s.estimate.total_cmp(&a.growth_bytes_per_s.estimate));
    let all: f64 = findings.iter().map(|finding| finding.growth_bytes_per_s.estimate).sum();
    for finding in &mut findings {
        finding.share_of_growth = finding.growth_bytes_per_s.estimate / all;
    }
    findings
}

/// Whether a finding that grows no slower is held through this container, as far as that is known:
/// what hangs on Python's objects in C's memory is more than they are, and found by no reference.
fn is_told_in(subject: &Subject<'_>, finding: &Finding) -> bool {
    let Some((judged, held)) = subject.judged.zip(finding.heap.held_by.as_ref()) else {
        return false;
    };
    let through = held.chains.iter().filter(|chain| leads_through(&chain.steps, &subject.path));
    let objects = through.fold(0_u64, |sum, chain| sum.saturating_add(chain.objects));
    let known = held.objects.saturating_sub(held.unknown);
    objects > 0
        && subject.parts.is_empty()
        && objects as f64 >= MOSTLY * known as f64
        && judged.estimate() <= finding.growth_bytes_per_s.estimate
        && finding.processes.iter().all(|part| part.pid == judged.heap.pid)
}

/// Whether a finding is that Python maps arenas, in processes whose containers grow by most of that:
/// what fills the arenas is told already, by its name.
fn is_told_by(growing: &[&JudgedContainer<'_>], finding: &Finding) -> bool {
    // Of a process that is watched alone the parts may say nothing.
    let is_of = |pid: u32| {
        finding.processes.is_empty() || finding.processes.iter().any(|part| part.pid == pid)
    };
    let growing = growing.iter().filter(|of| is_of(of.heap.pid));
    let by_containers: f64 = growing.map(|of| of.estimate()).sum();
    by_containers >= MOSTLY * finding.growth_bytes_per_s.estimate
}

/// What the heap says of findings that keep their subject.
pub(in crate::report) fn answer(recording: &Recording, by_stack: Vec<ByStack>) -> Vec<Finding> {
    let told = |part: ByStack| answered(part.finding, about::of_stacks(recording, &part.stacks));
    by_stack.into_iter().map(told).collect()
}

fn answered(finding: Finding, about: About) -> Finding {
    let heap = HeapAnswers {
        nature: about.nature(),
        what: about.what,
        held_by: about.held_by,
        reach: about.reach,
        duplicates: about.duplicates,
        ..HeapAnswers::default()
    };
    Finding { heap, ..finding }
}

/// The containers that grow, without those that are reached through another one that grows no
/// slower: their growth is part of that one's.
fn outermost<'a>(containers: &'a [JudgedContainer<'a>]) -> Vec<&'a JudgedContainer<'a>> {
    let growing: Vec<&JudgedContainer<'_>> =
        containers.iter().filter(|container| container.grows()).collect();
    let is_within = |inner: &JudgedContainer<'_>, outer: &JudgedContainer<'_>| {
        inner.is_within(outer) && inner.estimate() <= outer.estimate()
    };
    let outermost = growing
        .iter()
        .filter(|inner| !growing.iter().any(|outer| is_within(inner, outer)))
        .copied();
    outermost.collect()
}

fn subject<'a>(judged: &'a JudgedContainer<'a>) -> Subject<'a> {
    Subject {
        name: judged.name.clone(),
        path: judged.container.chain.steps.clone(),
        judged: Some(judged),
        parts: Vec::new(),
    }
}

/// The chain through a container that grows by which most of it is held: one that is known to grow
/// by its lengths, or that the chain itself says has grown.
fn through<'c>(about: &'c About, subjects: &[Subject<'_>]) -> Option<&'c Chain> {
    let held = about.held_by.as_ref()?;
    let grows = |chain: &&Chain| {
        name::of_grown_step(chain).is_some()
            || subjects.iter().any(|subject| leads_through(&chain.steps, &subject.path))
    };
    let chains = held.chains.iter().filter(grows);
    let objects = chains.clone().fold(0_u64, |sum, chain| sum.saturating_add(chain.objects));
    (objects as f64 >= MOSTLY * held.objects.max(1) as f64).then(|| chains.clone().next())?
}

fn part_of<'a>(
    subjects: &mut Vec<Subject<'a>>,
    containers: &'a [JudgedContainer<'a>],
    chain: &Chain,
    finding: Finding,
    about: About,
) {
    let known = subjects.iter().position(|subject| leads_through(&chain.steps, &subject.path));
    if let Some(index) = known {
        subjects[index].parts.push((finding, about));
        return;
    }
    let grown = chain.grown_step.and_then(|step| chain.steps.get(..=step));
    let (Some(path), Some(name)) = (grown, name::of_grown_step(chain)) else { return };
    // Of a V8's there is one reading, by which nothing can be judged: what it says is told.
    let is_it = |of: &&JudgedContainer<'_>| {
        of.container.chain.steps.len() == path.len()
            && leads_through(path, &of.container.chain.steps)
    };
    subjects.push(Subject {
        name,
        path: path.to_vec(),
        judged: containers.iter().find(is_it),
        parts: vec![(finding, about)],
    });
}

/// Rates of what grows side by side.
fn added(a: Rate, b: Rate) -> Rate {
    Rate { estimate: a.estimate + b.estimate, low: a.low + b.low, high: a.high + b.high }
}

fn of_container(
    recording: &Recording,
    owners: &Owners<'_>,
    subject: Subject<'_>,
) -> Option<Finding> {
    let Subject { name, path, judged, mut parts } = subject;
    parts.sort_by(|(a, _), (b, _)| {
        b.growth_bytes_per_s.estimate.total_cmp(&a.growth_bytes_per_s.estimate)
    });
    let by_stacks = parts.iter().map(|(part, _)| part.growth_bytes_per_s).reduce(added);
    let own = judged.and_then(|of| of.judgement.rate).map(rate);
    // Objects that something else reaches first are in the numbers of the stacks alone.
    let by_entries = own.filter(|own| by_stacks.is_none_or(|by| own.estimate >= by.estimate));
    let growth_bytes_per_s = by_entries.or(by_stacks)?;
    let container = report_of(&name, &path, judged);
    let mut finding = match judged.filter(|_| by_entries.is_some()) {
        Some(judged) => bare(recording, owners, judged, &container, growth_bytes_per_s),
        None => parts.first()?.0.clone(),
    };
    finding.growth_bytes_per_s = growth_bytes_per_s;
    let kind = finding.application_frame.kind;
    finding.application_frame = FrameReport { kind, ..frame(&name.name) };
    finding.source_line = None;
    let first = parts.first().map(|(_, about)| about.clone()).unwrap_or_default();
    finding.heap = HeapAnswers {
        subject: crate::report::model::Subject::Container,
        nature: Some(Nature::Accumulation),
        container: Some(container),
        allocated_at: Vec::new(),
        what: judged.map_or(first.what, |of| of.container.contents.clone()),
        held_by: first.held_by.or_else(|| judged.and_then(held_of)),
        reach: first.reach,
        duplicates: first.duplicates,
    };
    let (mut sites, mut domains, mut processes) = (Vec::new(), Vec::new(), Vec::new());
    for (part, _) in parts {
        finding.heap.allocated_at.push(part.application_frame);
        sites.extend(part.sites);
        domains.extend(part.domains);
        processes.extend(part.processes);
    }
    finding.heap.allocated_at.truncate(MAX_ALLOCATED_AT);
    if !sites.is_empty() {
        domains.sort_unstable();
        domains.dedup();
        (finding.sites, finding.domains) = (sites, domains);
        if by_entries.is_none() {
            finding.processes = of_each(processes);
        }
    }
    Some(finding)
}

/// One row for each process.
fn of_each(parts: Vec<FindingPart>) -> Vec<FindingPart> {
    let mut rows: Vec<FindingPart> = Vec::new();
    for part in parts {
        match rows.iter_mut().find(|row| row.pid == part.pid) {
            Some(row) => {
                row.live_bytes = row.live_bytes.saturating_add(part.live_bytes);
                row.live_blocks = row.live_blocks.saturating_add(part.live_blocks);
            }
            None => rows.push(part),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.live_bytes));
    rows
}

/// A finding of the container's own numbers.
fn bare(
    recording: &Recording,
    owners: &Owners<'_>,
    judged: &JudgedContainer<'_>,
    container: &ContainerReport,
    growth_bytes_per_s: Rate,
) -> Finding {
    let gained = container.last_length.saturating_sub(container.first_length);
    let live_bytes = (gained as f64 * judged.bytes_per_entry) as u64;
    let judgement = &judged.judgement;
    Finding {
        application_frame: frame(&container.name),
        source_line: None,
        verdict: judgement.verdict.name(),
        confidence: judgement.confidence,
        survival: None,
        share_of_growth: 0.0,
        reasons: judgement.reasons.clone(),
        growth_bytes_per_s,
        live_bytes,
        live_bytes_error: None,
        live_blocks: gained,
        share_of_resident_growth: resident::share(
            recording,
            live_bytes,
            [owners.of_pid(judged.heap.pid)],
        ),
        domains: vec!["python"],
        sites: Vec::new(),
        processes: vec![FindingPart { pid: judged.heap.pid, live_bytes, live_blocks: gained }],
        heap: HeapAnswers::default(),
    }
}

/// The container in the place of a function.
fn frame(name: &str) -> FrameReport {
    FrameReport {
        kind: FrameKind::Python,
        function: name.to_owned(),
        file: None,
        line: None,
        module: None,
        build_id: None,
        offset: None,
        generated: None,
        line_is_of_function: false,
    }
}

pub(super) fn report_of(
    name: &name::Name,
    path: &[String],
    judged: Option<&JudgedContainer<'_>>,
) -> ContainerReport {
    let (first_length, last_length) = judged.map_or((0, 0), JudgedContainer::lengths);
    ContainerReport {
        pid: judged.map_or(0, |of| of.heap.pid),
        name: name.name.clone(),
        type_name: judged.map_or(String::new(), |of| of.container.type_name.clone()),
        cached_function: name.cached_function.clone(),
        path: path.to_vec(),
        first_length,
        last_length,
        held_bytes: judged.map_or(0, |of| of.container.held_bytes),
        alike: judged.map_or(1, |of| of.count),
    }
}

/// Who holds the container itself.
fn held_of(judged: &JudgedContainer<'_>) -> Option<HeldReport> {
    let chain = &judged.container.chain;
    if chain.steps.is_empty() {
        return None;
    }
    let is_whole =
        chain.references_counted > 0 && chain.references_found == chain.references_counted;
    Some(HeldReport {
        objects: judged.count,
        bytes: judged.container.held_bytes,
        explained: if is_whole { judged.count } else { 0 },
        chains: vec![Chain { objects: chain.objects.max(1), ..chain.clone() }],
        ..HeldReport::default()
    })
}
