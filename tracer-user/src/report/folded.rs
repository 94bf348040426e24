//! Collapsed stacks: one line per stack, root first, with its weight; what flamegraph tools read.

use super::View;
use super::focus::label;
use super::model::{FrameReport, Report, Site};
use crate::growth::Verdict;
use std::collections::BTreeMap;

/// The report as collapsed stacks, sorted; weights are bytes.
pub fn render(report: &Report, view: View) -> String {
    weights(report, view).iter().map(|(stack, weight)| format!("{stack} {weight}\n")).collect()
}

/// Stacks that weigh something.
pub(super) fn weights(report: &Report, view: View) -> BTreeMap<String, u64> {
    let heavy = || report.sites.iter().filter(|site| weight(site, view) > 0);
    let has_roots = has_several(heavy().map(|site| site.domain));
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for site in heavy() {
        let root = has_roots.then(|| root(site.domain));
        let mut stack: Vec<String> =
            root.into_iter().chain(site.frames.iter().rev().map(|frame| name(frame))).collect();
        if site.frames.is_empty() {
            stack.push("[no frames]".into());
        }
        let line = lines.entry(stack.join(";")).or_default();
        *line = line.saturating_add(weight(site, view));
    }
    lines
}

/// Whether kinds of memory are to be told apart: each then has an outermost frame of its own.
fn has_several<'a>(mut domains: impl Iterator<Item = &'a str>) -> bool {
    domains.next().is_some_and(|first| domains.any(|domain| domain != first))
}

/// The outermost frame of a kind of memory: `[malloc]`.
pub(super) fn root(domain: &str) -> String {
    format!("[{domain}]")
}

fn weight(site: &Site, view: View) -> u64 {
    match (view, site.growth_bytes_per_s) {
        (View::Live, _) if site.process_ended => 0,
        (View::Live, _) => site.live_bytes,
        (View::Allocated, _) => site.allocated_bytes,
        (View::Growth, Some(rate)) if site.verdict == Verdict::Growing.name() => {
            (rate.estimate.max(0.0) * site.followed_ns as f64 / 1e9).round() as u64
        }
        (View::Growth, _) => 0,
    }
}

/// A frame's name in a collapsed stack: no separator, no look of a comment or a weight.
pub(super) fn name(frame: &FrameReport) -> String {
    let mut name = label(frame).replace(';', ":").trim().to_owned();
    if name.starts_with('#') {
        name.insert(0, '_');
    }
    if name.ends_with(|c: char| c.is_ascii_digit()) {
        name = name.replace(' ', "_");
    }
    if name.is_empty() { "[unknown]".into() } else { name }
}
