//! A comparison as collapsed stacks with two numbers each, and as the differential flamegraph that
//! inferno draws from them.

use super::model::Diff;
use crate::report::folded::name;
use crate::report::svg::empty;
use crate::units;
use inferno::flamegraph::color::{BackgroundColor, Color};
use inferno::flamegraph::{Options, from_lines};
use std::collections::BTreeMap;
use std::io;

/// Collapsed stacks, sorted: root first, live bytes before and after. Places that did not change
/// are left out.
pub fn folded(diff: &Diff) -> String {
    let line =
        |(stack, (before, after)): (&String, &(u64, u64))| format!("{stack} {before} {after}\n");
    weights(diff).iter().map(line).collect()
}

fn weights(diff: &Diff) -> BTreeMap<String, (u64, u64)> {
    let mut lines: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for site in &diff.sites {
        let stack: Vec<String> = site.frames.iter().rev().map(|frame| name(frame)).collect();
        let stack = if stack.is_empty() { "[no frames]".into() } else { stack.join(";") };
        let line = lines.entry(stack).or_default();
        line.0 = line.0.saturating_add(site.before.live_bytes);
        line.1 = line.1.saturating_add(site.after.live_bytes);
    }
    lines
}

/// What inferno multiplies without looking for overflow, divided by what it multiplies with.
const MAX_WEIGHT: u64 = i64::MAX as u64 / 1024;

/// A flamegraph of what is live after, in what changed: red has grown, blue has shrunk. Where
/// nothing is, a picture that says so.
///
/// # Errors
/// What inferno says; none is known for what a comparison can hold.
pub fn svg(diff: &Diff) -> io::Result<Vec<u8>> {
    let subtitle = subtitle(diff);
    let mut room = (MAX_WEIGHT, MAX_WEIGHT);
    let mut lines: Vec<String> = weights(diff)
        .into_iter()
        .map(|(stack, (before, after))| {
            let (before, after) = (before.min(room.0), after.min(room.1));
            room = (room.0 - before, room.1 - after);
            format!("{stack} {before} {after}")
        })
        .collect();
    if room.1 == MAX_WEIGHT {
        let message = match diff.sites.is_empty() {
            true => "No place holds more or less than before.",
            false => "All that changed is gone.",
        };
        return Ok(empty(TITLE, &subtitle, message).into_bytes());
    }
    let mut options = Options::default();
    options.title = TITLE.into();
    options.subtitle = Some(subtitle);
    options.count_name = "bytes".into();
    options.name_type = "Frame:".into();
    options.bgcolors = Some(BackgroundColor::Flat(BACKGROUND));
    lines.sort_unstable();
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
    Ok(svg)
}

const TITLE: &str = "outlive: change of live bytes by allocation stack";
/// Darker than the frames in which nothing changed, which inferno makes all but white.
const BACKGROUND: Color = Color { r: 222, g: 226, b: 230 };

fn subtitle(diff: &Diff) -> String {
    let gone = &diff.totals.gone;
    let not_drawn = match gone.sites {
        0 => String::new(),
        _ => format!("; {} gone, not drawn", units::bytes(gone.change_bytes.unsigned_abs())),
    };
    format!(
        "from {} to {}, {} live; width = bytes live after; red grew, blue shrank{not_drawn}",
        units::duration(diff.before.at_ns),
        units::duration(diff.after.at_ns),
        units::signed_bytes(diff.totals.change_bytes),
    )
}
