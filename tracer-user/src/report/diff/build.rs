//! From two moments to a comparison.

use super::errors::{self, Draws};
use super::matching::{Holding, Pair, lines_before, pairs};
use super::model::*;
use super::moment::{Answer, Moment, MomentError};
use crate::capture::Recording;
use crate::report::build::unresolved;
use crate::report::focus::{application_frame, base_name};
use crate::report::frames::Frames;
use crate::report::loss::losses;
use crate::report::processes::Owners;
use crate::report::v8;
use crate::report::{FrameReport, WarningReport};
use crate::same::Same;
use crate::stack::{Domain, WalkEnd};
use crate::units;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A moment of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// As people named it.
    pub capture: &'a str,
    /// What was recorded.
    pub recording: &'a Recording,
    /// When.
    pub moment: Moment,
}

/// Compares what was live. Two moments of one recording are known by its being the same in memory.
///
/// # Errors
/// A sentence when a moment lies outside of its window.
///
/// # Cost
/// In proportion to the stacks times the retained ticks, as a report.
pub fn compare(before: Side<'_>, after: Side<'_>) -> Result<Diff, MomentError> {
    let then = before.moment.answer(before.capture, before.recording)?;
    let now = after.moment.answer(after.capture, after.recording)?;
    let mut pairs = pairs(holdings(before.recording, then), holdings(after.recording, now));
    let nothing_matched = pairs.iter().all(|pair| pair.before.is_none() || pair.after.is_none());
    pairs.retain(|pair| {
        held(pair.before.as_ref()) != NOTHING || held(pair.after.as_ref()) != NOTHING
    });
    let drawn_before = Draws::of(before.recording, then);
    let drawn_after = Draws::of(after.recording, now);
    let error_before = drawn_before.error_of(pairs.iter().flat_map(|pair| &pair.before));
    let error_after = drawn_after.error_of(pairs.iter().flat_map(|pair| &pair.after));
    let totals = DiffTotals {
        change_bytes_error: errors::of_difference(error_before, error_after),
        ..totals(&pairs)
    };
    let site = |pair| site(pair, drawn_before, drawn_after);
    let mut sites: Vec<DiffSite> = pairs.into_iter().filter_map(site).collect();
    sites.sort_by(|a, b| {
        let size =
            |site: &DiffSite| (site.change_bytes.unsigned_abs(), site.change_blocks.unsigned_abs());
        size(b).cmp(&size(a)).then(b.change_bytes.cmp(&a.change_bytes)).then_with(|| {
            (a.domain, &a.frames, a.truncated).cmp(&(b.domain, &b.frames, b.truncated))
        })
    });
    let mut diff = Diff {
        schema_version: DIFF_SCHEMA_VERSION,
        outlive_version: env!("CARGO_PKG_VERSION"),
        before: side(before, then, drawn_before, error_before),
        after: side(after, now, drawn_after, error_after),
        totals,
        sites,
        sites_left_out: 0,
        warnings: Vec::new(),
    };
    let is_same = std::ptr::eq(before.recording, after.recording);
    diff.warnings = warnings(&diff, is_same, nothing_matched);
    Ok(diff)
}

const NOTHING: Held = Held { live_bytes: 0, live_blocks: 0 };

fn side(side: Side<'_>, answer: Answer, draws: Draws, error_bytes: Option<f64>) -> SideReport {
    let meta = &side.recording.meta;
    SideReport {
        capture: side.capture.to_owned(),
        at_ns: answer.at_ns,
        outlive_version: meta.outlive_version.clone(),
        target: meta.target.clone(),
        window: meta.window.clone(),
        min_size_bytes: meta.settings.min_size_bytes,
        sample_mean_bytes: draws.mean_bytes(),
        live_bytes_error: error_bytes.map(|error| error.round() as u64),
        lossy: losses(side.recording.aggregate.counters()).lossy,
    }
}

/// What every stack held, those included that held nothing: their lines tell others apart.
fn holdings(recording: &Recording, answer: Answer) -> Vec<Holding> {
    let owners = Owners::of(recording);
    let is_seen_inside = v8::is_seen_inside(recording);
    let mut groups: BTreeMap<(Domain, Vec<Same<FrameReport>>, String), Holding> = BTreeMap::new();
    let mut known = Frames::default();
    for (id, _) in recording.aggregate.stacks() {
        let stack = match recording.stacks.get(&id) {
            Some(stack) => Cow::Borrowed(stack),
            None => Cow::Owned(unresolved(recording, id)),
        };
        let process = owners.of_stack(id);
        // What a process held goes with it.
        let is_gone = owners.gone_ns(process).is_some_and(|gone_ns| gone_ns <= answer.gone_by_ns);
        let samples = recording.aggregate.series(id).samples;
        let sample = answer.tick.filter(|_| !is_gone).and_then(|tick| samples.get(tick));
        let sample = sample.copied().unwrap_or_default();
        let mut nowhere = |frame| {
            let shown = known.shown(frame);
            known.nowhere(&shown)
        };
        let mut frames: Vec<_> = stack.frames.iter().map(&mut nowhere).collect();
        let mut truncated = stack.truncated;
        if v8::are_of_heap_page(&frames) {
            // What lies in them is counted object by object.
            if is_seen_inside && stack.domain == Domain::Mmap {
                continue;
            }
            (frames, truncated) = (v8::page_frames(&frames), None);
        }
        let frames = v8::without_tiers(&frames);
        let exe = owners.exe(process).to_owned();
        let key = (stack.domain, frames, exe);
        let group = groups.entry(key).or_insert_with_key(|(domain, frames, exe)| Holding {
            domain: *domain,
            frames: frames.clone(),
            truncated: truncated.map(WalkEnd::name),
            exe: exe.clone(),
            live_bytes: 0,
            live_blocks: 0,
            live_variance: 0,
        });
        group.live_bytes = group.live_bytes.saturating_add(sample.live_bytes);
        group.live_blocks = group.live_blocks.saturating_add(sample.live_blocks);
        group.live_variance = group.live_variance.saturating_add(sample.live_variance);
    }
    groups.into_values().collect()
}

fn held(holding: Option<&Holding>) -> Held {
    holding.map_or(NOTHING, |holding| Held {
        live_bytes: holding.live_bytes,
        live_blocks: holding.live_blocks,
    })
}

fn difference(before: u64, after: u64) -> i64 {
    let difference = i128::from(after) - i128::from(before);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

fn change(before: Held, after: Held) -> Option<Change> {
    let size = |held: Held| (held.live_bytes, held.live_blocks);
    match (before == NOTHING, after == NOTHING) {
        _ if before == after => None,
        (true, _) => Some(Change::New),
        (_, true) => Some(Change::Gone),
        _ if size(after) > size(before) => Some(Change::Grown),
        _ => Some(Change::Shrunk),
    }
}

fn totals(pairs: &[Pair]) -> DiffTotals {
    let mut totals = DiffTotals::default();
    let add = |sum: &mut Held, held: Held| {
        sum.live_bytes = sum.live_bytes.saturating_add(held.live_bytes);
        sum.live_blocks = sum.live_blocks.saturating_add(held.live_blocks);
    };
    for pair in pairs {
        let (before, after) = (held(pair.before.as_ref()), held(pair.after.as_ref()));
        add(&mut totals.before, before);
        add(&mut totals.after, after);
        let part = match change(before, after) {
            Some(Change::Grown) => &mut totals.grown,
            Some(Change::New) => &mut totals.new,
            Some(Change::Shrunk) => &mut totals.shrunk,
            Some(Change::Gone) => &mut totals.gone,
            None => &mut totals.unchanged,
        };
        part.sites += 1;
        part.change_bytes =
            part.change_bytes.saturating_add(difference(before.live_bytes, after.live_bytes));
    }
    totals.change_bytes = difference(totals.before.live_bytes, totals.after.live_bytes);
    totals.change_blocks = difference(totals.before.live_blocks, totals.after.live_blocks);
    totals
}

/// `None` where nothing changed.
fn site(pair: Pair, drawn_before: Draws, drawn_after: Draws) -> Option<DiffSite> {
    let (before, after) = (held(pair.before.as_ref()), held(pair.after.as_ref()));
    let change = change(before, after)?;
    let change_bytes_error = errors::of_change(&pair, drawn_before, drawn_after);
    let lines_before = match (&pair.before, &pair.after) {
        (Some(before), Some(after)) => lines_before(before, after),
        _ => None,
    };
    let shown = pair.after.or(pair.before)?;
    Some(DiffSite {
        change,
        domain: shown.domain.name(),
        before,
        after,
        change_bytes: difference(before.live_bytes, after.live_bytes),
        change_bytes_error,
        change_blocks: difference(before.live_blocks, after.live_blocks),
        truncated: shown.truncated,
        application_frame: application_frame(&shown.frames, &shown.exe),
        frames: shown.frames,
        lines_before,
    })
}

fn warnings(diff: &Diff, is_same: bool, nothing_matched: bool) -> Vec<WarningReport> {
    let (before, after) = (&diff.before, &diff.after);
    let mut warnings = Vec::new();
    let mut warn = |code: &str, message: String, advice: &str| {
        let (code, advice) = (code.to_owned(), advice.to_owned());
        warnings.push(WarningReport { code, message, advice });
    };
    // One capture lost the same at both moments.
    let sides = if is_same { &[after][..] } else { &[before, after] };
    for side in sides {
        if !side.lossy.is_empty() {
            warn(
                "diff-incomplete",
                format!(
                    "The numbers of {} are incomplete ({}).",
                    side.capture,
                    side.lossy.join(", ")
                ),
                "Its own report says what was lost; record it again before you trust a difference.",
            );
        }
    }
    for side in sides.iter().filter(|side| side.sample_mean_bytes > 0) {
        warn(
            "diff-sampled",
            format!(
                "The numbers of {} are estimates, from one draw in {} on average: ± {} of what was live in all.",
                side.capture,
                units::bytes(side.sample_mean_bytes),
                units::bytes(side.live_bytes_error.unwrap_or(0))
            ),
            "A change that is within its own error (±) may be none.",
        );
    }
    if is_same {
        return warnings;
    }
    if before.min_size_bytes != after.min_size_bytes {
        let floor = |side: &SideReport| units::bytes(side.min_size_bytes);
        warn(
            "diff-settings",
            format!(
                "Blocks below {} were not followed before, and below {} after.",
                floor(before),
                floor(after)
            ),
            "Record both with the same --min-size.",
        );
    }
    let longer = before.at_ns.abs_diff(after.at_ns);
    if longer > before.at_ns.max(after.at_ns) / 10 {
        warn(
            "diff-windows",
            format!(
                "Before had been watched for {}, after for {}: what keeps growing had not as long on one side as on the other.",
                units::duration(before.at_ns),
                units::duration(after.at_ns)
            ),
            "Compare equal times, such as A@60s and B@60s.",
        );
    }
    let (exe_before, exe_after) = (base_name(&before.target.exe), base_name(&after.target.exe));
    if exe_before != exe_after {
        warn(
            "diff-programs",
            format!("The program was {exe_before} before, and is {exe_after} after."),
            "",
        );
    }
    let has_both = diff.totals.before != NOTHING && diff.totals.after != NOTHING;
    if nothing_matched && has_both {
        warn(
            "diff-nothing-matched",
            "No stack of one side is on the other: everything is new or gone.".to_owned(),
            "Are these captures of the same program, and has it names (is it not stripped)?",
        );
    }
    warnings
}
