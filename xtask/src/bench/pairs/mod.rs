//! What a pair of malloc and free costs, by the stack it is made from and by who follows it. All
//! take turns within a round, so that the machine's moods hit everyone, and what is compared was
//! measured in the same round.

mod table;
mod turns;

use anyhow::Result;

use super::section::{Demand, Section};
use super::spread::{median, ratios};
use table::{SUBJECTS, Who};
use turns::Figures;

/// Rounds, and those of a quick run.
const ROUNDS: [usize; 2] = [5, 2];

/// What the script that does the same must cost at least, over outlive.
const TIMES_CHEAPER: f64 = 5.0;

/// What an unsampled pair of the fast lane may cost beyond an untraced one, nanoseconds.
const LANE_MOST_NS: f64 = 10.0;

/// Measures all kinds of stacks of all programs.
pub(super) fn measure(quick: bool) -> Result<Section> {
    let rounds = ROUNDS[usize::from(quick)];
    let mut all = Vec::new();
    for subject in &SUBJECTS {
        all.push(turns::of(subject, rounds)?);
    }
    let mut text = format!(
        "nanoseconds of a pair: median (least..most) of {rounds} interleaved rounds, and times the \
         floor\n"
    );
    all.iter().for_each(|figures| text.push_str(&figures.text()));
    let kinds: serde_json::Map<_, _> = all.iter().flat_map(Figures::json).collect();
    Ok(Section {
        key: "pairs",
        text,
        json: serde_json::json!({ "rounds": rounds, "kinds": kinds }),
        demands: all.iter().flat_map(demands).collect(),
        failures: all.iter().flat_map(Figures::failures).collect(),
    })
}

fn demands(figures: &Figures) -> Vec<Demand> {
    let mut demands = Vec::new();
    for (index, kind) in figures.subject.kinds.iter().enumerate() {
        let Some(most) = kind.most else { continue };
        let of = |who| figures.ns(index, who);
        let over = |who, floor| median(&ratios(of(who), of(floor)));
        let what = format!("exact over the floor, {}", kind.label);
        demands.push(Demand::at_most(what, over(Who::Exact, Who::Floor), most, ""));
        if !of(Who::Bpftrace).is_empty() {
            let what = format!("bpftrace over exact, {}", kind.label);
            let times = over(Who::Bpftrace, Who::Exact);
            demands.push(Demand::at_least(what, times, TIMES_CHEAPER, ""));
        }
        if !of(Who::Lane).is_empty() && !kind.rotates() {
            let more: Vec<f64> =
                of(Who::Lane).iter().zip(of(Who::Untraced)).map(|(a, b)| a - b).collect();
            let what = format!("fast lane beyond untraced, {}", kind.label);
            demands.push(Demand::at_most(what, median(&more), LANE_MOST_NS, " ns"));
        }
    }
    demands
}
