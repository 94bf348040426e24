//! What people are told, in sections of lines: some lines belong to the one before them.

use super::super::heap::{Alike, together};
use super::HeapReport;
use crate::capture::{Census, Chain, GrownContainer, HeapReading, Held, TypeCount};
use crate::printable::printable;
use crate::units;

/// Types of what a container holds that are told.
const FEW_TYPES: usize = 3;

/// A heading and its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub heading: String,
    pub lines: Vec<Line>,
}

/// A line, and how far in it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub depth: usize,
    pub text: String,
}

fn line(depth: usize, text: impl AsRef<str>) -> Line {
    Line { depth, text: printable(text.as_ref()) }
}

/// All there is to say, the most telling first; empty sections are left out.
pub(super) fn sections(report: &HeapReport) -> Vec<Section> {
    let window = report.window_ns.map(units::duration);
    let during = window.map_or(String::new(), |window| format!(" in {window}"));
    let types = report.census.as_ref().map_or(&[][..], |census| &census.types);
    let all = [
        (format!("Containers that grew{during}"), containers(&report.containers)),
        (format!("Types that grew{during}"), grown(types.iter().chain(&report.constructors))),
        ("What holds much".into(), holding(&report.containers)),
        ("Who holds it".into(), report.held.iter().flat_map(held).collect()),
        ("What lies in it".into(), report.census.as_ref().map_or(Vec::new(), lies_in)),
        ("Constructors".into(), report.constructors.iter().map(type_line).collect()),
        ("How it was read".into(), readings(&report.readings)),
        ("Notes".into(), report.notes.iter().map(|note| line(0, note)).collect()),
    ];
    all.into_iter()
        .filter(|(_, lines): &(String, Vec<Line>)| !lines.is_empty())
        .map(|(heading, lines)| Section { heading: printable(&heading), lines })
        .collect()
}

fn containers(containers: &[GrownContainer]) -> Vec<Line> {
    let mut lines = Vec::new();
    // Of one reading nothing is known of growth.
    let read_twice = containers.iter().filter(|container| container.lengths.len() >= 2);
    for Alike { container, count } in together(read_twice) {
        let ends = (container.lengths.first(), container.lengths.last());
        let (Some((_, first)), Some((_, last))) = ends else { continue };
        let path = match container.chain.steps.as_slice() {
            [] => format!("{} at {:#x}", container.type_name, container.avma),
            steps => steps.join(" -> "),
        };
        lines.push(line(0, format!("{:>+11}  {path}", *last as i128 - i128::from(*first))));
        let contents = container.contents.iter().take(FEW_TYPES).map(of_type);
        let contents = contents.collect::<Vec<_>>().join(", ");
        let of = if contents.is_empty() { contents } else { format!(": {contents}") };
        let many = match count {
            1 => String::new(),
            count => format!("{} times ", units::count(count)),
        };
        let held = units::bytes(container.held_bytes);
        let entries = units::count(*last);
        let kind = &container.type_name;
        lines.push(line(1, format!("{many}{kind} of {entries} entries now, holds {held}{of}")));
    }
    lines
}

/// Containers that were read once.
fn holding(containers: &[GrownContainer]) -> Vec<Line> {
    let mut lines = Vec::new();
    for container in containers.iter().filter(|container| container.lengths.len() < 2) {
        let contents: Vec<String> =
            container.contents.iter().take(FEW_TYPES).map(of_type).collect();
        let path = container.chain.steps.join(" -> ");
        lines.push(line(0, format!("{:>11}  {path}", units::bytes(container.held_bytes))));
        lines.push(line(1, contents.join(", ")));
    }
    lines
}

fn of_type(of: &TypeCount) -> String {
    format!("{} {} ({})", units::count(of.count), of.name, units::bytes(of.bytes))
}

fn grown<'a>(types: impl Iterator<Item = &'a TypeCount>) -> Vec<Line> {
    let mut grown: Vec<&TypeCount> =
        types.filter(|of| of.bytes_change > 0 || of.count_change > 0).collect();
    grown.sort_by_key(|of| std::cmp::Reverse((of.bytes_change, of.count_change)));
    let text = |of: &TypeCount| {
        format!(
            "{:>12} {:>+11}  {} ({} now)",
            units::signed_bytes(of.bytes_change),
            of.count_change,
            of.name,
            units::count(of.count)
        )
    };
    grown.into_iter().map(|of| line(0, text(of))).collect()
}

fn held(held: &Held) -> Vec<Line> {
    let subject = held.subject.type_name.as_deref().unwrap_or("?");
    let is_counted = held.explained > 0 || held.chains.iter().any(|c| c.references_counted > 0);
    let explained = match held.objects {
        // V8 counts no references.
        0 => String::new(),
        _ if !is_counted => String::new(),
        _ => format!(
            "; every reference is explained of {} ({:.1} %)",
            units::count(held.explained),
            100.0 * held.explained as f64 / held.objects as f64
        ),
    };
    let mut lines = vec![line(
        0,
        format!(
            "{subject}: {} objects, {}{explained}",
            units::count(held.objects),
            units::bytes(held.bytes)
        ),
    )];
    lines.extend(held.chains.iter().map(|chain| line(1, chain_text(chain))));
    let rest = [
        (held.other_objects, "by chains that are not listed"),
        (held.unreachable, "only by each other: garbage that waits for the collector"),
        (held.unknown, "by something that was not found"),
    ];
    for (count, how) in rest.iter().filter(|(count, _)| *count > 0) {
        lines.push(line(1, format!("{:>9}  {how}", units::count(*count))));
    }
    lines
}

fn chain_text(chain: &Chain) -> String {
    let explained = match chain.references_counted {
        0 => String::new(),
        counted => format!(
            "  ({} of {} references explained)",
            units::count(chain.references_found),
            units::count(counted)
        ),
    };
    format!("{:>9}  {}{explained}", units::count(chain.objects), chain.steps.join(" -> "))
}

fn lies_in(census: &Census) -> Vec<Line> {
    let mut lines = vec![line(
        0,
        format!("{} objects, {}", units::count(census.objects), units::bytes(census.bytes)),
    )];
    lines.extend(census.types.iter().map(type_line));
    let others = &census.other_types;
    if others.count > 0 {
        lines.push(type_line(&TypeCount { name: "all other types".into(), ..others.clone() }));
    }
    if census.unattributed_bytes > 0 {
        let bytes = units::bytes(census.unattributed_bytes);
        lines.push(line(0, format!("{bytes:>12}              in use by what is no object")));
    }
    lines.push(line(
        0,
        format!(
            "{} of {} pools contradict themselves",
            units::count(census.inconsistent_pools),
            units::count(census.pools)
        ),
    ));
    lines
}

fn type_line(of: &TypeCount) -> Line {
    line(0, format!("{:>12} {:>12}  {}", units::bytes(of.bytes), units::count(of.count), of.name))
}

fn readings(readings: &[HeapReading]) -> Vec<Line> {
    readings.iter().map(|reading| line(0, reading_text(reading))).collect()
}

fn reading_text(reading: &HeapReading) -> String {
    let how = match reading.stopped_ns {
        Some(stop) if reading.was_read_after_stop => {
            format!("while it ran, after a stop of {} that was not enough", units::duration(stop))
        }
        Some(stop) => format!("in one stop of {}", units::duration(stop)),
        None => "while it ran, without a stop".into(),
    };
    let unread = match reading.unread_bytes {
        0 => String::new(),
        bytes => format!("; {} could not be read", units::bytes(bytes)),
    };
    format!(
        "{} {how}; evaluated after {} in all, with {} of outlive's memory{unread}",
        units::bytes(reading.copied_bytes),
        units::duration(reading.took_ns),
        units::bytes(reading.tracer_bytes),
    )
}
