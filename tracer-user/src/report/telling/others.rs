//! Places that do not grow, and are worth a line: what else is said of them, and what they hold.

use super::{Detail, FEW, sampled};
use crate::growth::Verdict;
use crate::report::focus::label;
use crate::report::model::{FrameReport, Report, Site};
use crate::units;
use std::collections::BTreeMap;

/// Sites with one verdict that share their application frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report) struct Other {
    pub(in crate::report) verdict: &'static str,
    pub(in crate::report) live_bytes: u64,
    /// For filling: up to what, where that is known of all.
    pub(in crate::report) bound_bytes: Option<u64>,
    /// For a sawtooth: the longest of their periods.
    pub(in crate::report) period_ns: Option<u64>,
    /// Where.
    pub(in crate::report) label: String,
}

impl Other {
    /// `7.3 MiB of 12.0 MiB`, `2.0 MiB, every 12.0 s`.
    pub(in crate::report) fn amount(&self) -> String {
        let live = units::bytes(self.live_bytes);
        match (self.bound_bytes, self.period_ns) {
            (Some(bound), _) => format!("{live}, up to {}", units::bytes(bound)),
            (None, Some(period_ns)) => format!("{live}, every {}", units::duration(period_ns)),
            (None, None) => live,
        }
    }

    /// The same as a clause: what it does, if it does not leak.
    pub(in crate::report) fn clause(&self) -> String {
        let (label, live) = (&self.label, units::bytes(self.live_bytes));
        match (self.verdict, self.bound_bytes, self.period_ns) {
            (verdict, Some(bound), _) if verdict == Verdict::Filling.name() => {
                format!("{label} fills up to {}, and holds {live} now", units::bytes(bound))
            }
            (verdict, None, _) if verdict == Verdict::Filling.name() => {
                format!("{label} fills more and more slowly, and holds {live} now")
            }
            (verdict, _, Some(period_ns)) if verdict == Verdict::Sawtooth.name() => {
                format!("{label} rises and is freed again every {}", units::duration(period_ns))
            }
            (verdict, _, _) if verdict == Verdict::Sawtooth.name() => {
                format!("{label} rises and is freed again")
            }
            _ => format!("{label} rose once, and holds {live}"),
        }
    }
}

/// The places that fill, rise and fall, or rose once; most live bytes first.
pub(in crate::report) fn others(report: &Report, detail: Detail) -> Vec<Other> {
    let told = [Verdict::Filling, Verdict::Sawtooth, Verdict::OneOff].map(Verdict::name);
    let mut groups: BTreeMap<(&'static str, FrameReport), Other> = BTreeMap::new();
    for site in report.sites.iter().filter(|site| told.contains(&site.verdict)) {
        let Some(frame) = site.application_frame.and_then(|index| site.frames.get(index)) else {
            continue;
        };
        let key = (site.verdict, FrameReport { offset: None, ..FrameReport::clone(frame) });
        match groups.get_mut(&key) {
            Some(known) => add(known, site),
            None => {
                let other = Other {
                    verdict: site.verdict,
                    live_bytes: site.live_bytes,
                    bound_bytes: site.bound_bytes,
                    period_ns: site.period_ns,
                    label: label(frame),
                };
                groups.insert(key, other);
            }
        }
    }
    let mut others: Vec<Other> = groups.into_values().collect();
    others.sort_by_key(|other| std::cmp::Reverse(other.live_bytes));
    others.truncate(detail.at_most(FEW));
    others
}

fn add(known: &mut Other, site: &Site) {
    known.live_bytes = known.live_bytes.saturating_add(site.live_bytes);
    known.bound_bytes = known.bound_bytes.zip(site.bound_bytes).map(|(a, b)| a.saturating_add(b));
    known.period_ns = known.period_ns.max(site.period_ns);
}

/// What holds most, a line each: amount, blocks, kind of memory, place.
pub(in crate::report) fn largest(report: &Report, detail: Detail) -> Vec<[String; 4]> {
    let mut sites: Vec<&Site> = report.sites.iter().filter(|site| site.live_bytes > 0).collect();
    sites.sort_by_key(|site| std::cmp::Reverse(site.live_bytes));
    let line = |site: &&Site| {
        let frame = site.application_frame.and_then(|index| site.frames.get(index));
        let ended = if site.process_ended { ", its process has ended" } else { "" };
        [
            sampled(site.live_bytes, site.live_bytes_error),
            units::count(site.live_blocks),
            format!("{}{ended}", site.domain),
            frame.map_or("[no frames]".into(), |frame| label(frame)),
        ]
    };
    sites.iter().take(detail.at_most(FEW)).map(line).collect()
}
