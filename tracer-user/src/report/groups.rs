//! Sites that share their nearest application frame, judged together: one leak that is reached by ten
//! call paths, each of them below the floor, is one leak. And the places where all that was judged
//! has to hold together: among so many series none may be flagged by chance, and what was freed
//! unseen explains the growth of one group only.

use super::build::Judged;
use super::evidence;
use super::inlined;
use super::model::FrameReport;
use super::processes::while_alive;
use super::profiles::Profiles;
use crate::aggregate::Series;
use crate::capture::Recording;
use crate::growth::{FAMILY_LEVEL, Judgement, Limits, UnknownFrees, Verdict, doubt_turnover, holm};
use crate::stack::FrameKind;
use std::collections::BTreeMap;

/// Growth below this share of all growth accuses nobody. Runtimes keep free lists (CPython those of
/// its dictionaries, frames and tuples): a block that one line gave back is handed to the next, so
/// that beside a leak a few of its blocks carry the stacks of whoever came by. A leak of a million
/// bytes a second was seen to make six hundred of them look like another line's.
const LEAST_SHARE: f64 = 1.0 / 200.0;

/// Sites of one place in the application.
pub(super) struct Group {
    /// Of what grows in it.
    pub(super) judgement: Judgement,
    /// Places of its sites in the list of all; those that `judgement` is about.
    pub(super) sites: Vec<usize>,
}

impl Group {
    /// Bytes per second.
    fn estimate(&self) -> f64 {
        self.judgement.rate.map_or(0.0, |rate| rate.estimate)
    }

    fn grows(&self) -> bool {
        self.judgement.verdict == Verdict::Growing
    }

    /// Takes growth back, of the sites that grow by themselves too; `doubted` says why.
    fn doubt(&mut self, doubted: Judgement, judged: &mut [Judged]) {
        for index in &self.sites {
            let part = &mut judged[*index];
            if part.judgement.verdict == Verdict::Growing {
                let reason = doubted.reasons.join("; ");
                part.take(part.judgement.clone().doubted(reason, doubted.needs_ns));
            }
        }
        self.judgement = doubted;
    }
}

/// What there is to tell.
pub(super) struct Groups {
    /// Those that grow.
    pub(super) growing: Vec<Group>,
    /// Those that grew while no garbage collection could have freed what they hold.
    pub(super) pending: Vec<Group>,
    /// What growth was held to.
    pub(super) level: Level,
}

/// How sure growth has to be, since so many series are judged together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    p_value: f64,
    tests: usize,
}

impl Level {
    fn of<'a>(
        judgements: impl Iterator<Item = &'a Judgement>,
        beside: impl Iterator<Item = f64>,
    ) -> Self {
        let p_values = judgements.filter_map(|judgement| judgement.p_value);
        let p_values: Vec<f64> = p_values.chain(beside).collect();
        let tests = p_values.len();
        Self { p_value: holm(p_values, FAMILY_LEVEL), tests }
    }

    /// The judgement, as far as it is sure enough; of something that was watched for so long.
    pub(super) fn hold(&self, judgement: Judgement, watched_ns: u64) -> Judgement {
        judgement.held_to(self.p_value, self.tests, watched_ns)
    }
}

/// A place in the application: a function. What has no name of its own is told by its line too.
pub(super) type Place = (FrameKind, String, Option<String>, Option<String>, Option<u32>);

pub(super) fn place(frame: &FrameReport) -> Place {
    let module = if frame.file.is_none() { frame.module.clone() } else { None };
    let line = frame.line.filter(|_| is_nameless(&frame.function));
    (frame.kind, frame.function.clone(), frame.file.clone(), module, line)
}

/// Whether many functions of a file are called so.
fn is_nameless(function: &str) -> bool {
    let last = function.rsplit('.').next().unwrap_or(function);
    last.is_empty() || last.starts_with('<') || function.contains("anonymous")
}

/// Judges the sites by their places, and takes back what is not sure enough among so many;
/// `beside` are the chances of what else is judged in the report.
pub(super) fn judge(
    recording: &Recording,
    profiles: &Profiles,
    judged: &mut [Judged],
    limits: &Limits,
    beside: impl Iterator<Item = f64>,
) -> Groups {
    let mut places: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for (index, part) in judged.iter().enumerate() {
        let Some(frame) = part.site.application_frame else { continue };
        places.entry(place(&part.site.frames[frame])).or_default().push(index);
    }
    let together =
        |sites: &[usize], judged: &[Judged]| of_sum(recording, sites, judged, profiles, limits);
    let mut sums: Vec<Option<Group>> =
        places.values().map(|sites| sum_that_may_grow(sites, judged, &together)).collect();
    let of_sums = sums.iter().flatten().filter(|sum| sum.sites.len() > 1).map(|sum| &sum.judgement);
    let callers = inlined::groups(judged, &together);
    let of_callers = callers.iter().map(|group| &group.judgement);
    let of_sites = judged.iter().map(|part| &part.judgement);
    let level = Level::of(of_sites.chain(of_sums).chain(of_callers), beside);
    let watched_ns = recording.meta.window.duration_ns;
    let hold = |judgement| level.hold(judgement, watched_ns);
    for part in judged.iter_mut() {
        let held = hold(part.judgement.clone());
        part.take(held);
    }
    let (mut growing, mut pending) = (Vec::new(), Vec::new());
    for (sites, sum) in places.values().zip(&mut sums) {
        let with = |verdict: Verdict| -> Vec<usize> {
            let has = |index: &&usize| judged[**index].judgement.verdict == verdict;
            sites.iter().filter(has).copied().collect()
        };
        let sum = sum.take().map(|sum| Group { judgement: hold(sum.judgement), sites: sum.sites });
        match sum.filter(Group::grows) {
            Some(sum) => growing.push(sum),
            None => {
                growing.extend(what_is(Verdict::Growing, with(Verdict::Growing), judged, &together))
            }
        }
        pending.extend(what_is(Verdict::PendingGc, with(Verdict::PendingGc), judged, &together));
    }
    growing.extend(inlined::growing(callers, &growing, hold));
    doubt_replacement(recording, judged, &mut growing);
    doubt_exchange(judged, &mut growing);
    growing.retain(Group::grows);
    Groups { growing, pending, level }
}

/// The sum of the sites but for those that are known to do something else; `None` without any.
fn sum_that_may_grow(
    sites: &[usize],
    judged: &[Judged],
    together: &impl Fn(&[usize], &[Judged]) -> Judgement,
) -> Option<Group> {
    let may_grow = |index: &&usize| {
        let verdict = judged[**index].judgement.verdict;
        !matches!(verdict, Verdict::Filling | Verdict::OneOff | Verdict::Sawtooth)
    };
    let sites: Vec<usize> = sites.iter().filter(may_grow).copied().collect();
    let judgement = match sites.as_slice() {
        [] => return None,
        several => together(several, judged),
    };
    Some(Group { judgement, sites })
}

/// The sites that have a verdict, as one that has it; `None` without any. Where their sum has
/// another, the fastest of them stands for them.
fn what_is(
    verdict: Verdict,
    sites: Vec<usize>,
    judged: &[Judged],
    together: &impl Fn(&[usize], &[Judged]) -> Judgement,
) -> Option<Group> {
    let estimate = |index: &usize| judged[*index].judgement.rate.map_or(0.0, |rate| rate.estimate);
    let fastest = *sites.iter().max_by(|a, b| estimate(a).total_cmp(&estimate(b)))?;
    let judgement = together(&sites, judged);
    Some(match judgement.verdict == verdict {
        true => Group { judgement, sites },
        false => Group { judgement: judged[fastest].judgement.clone(), sites },
    })
}

/// What these sites do together, while all the processes that they are in were followed: before, the
/// sum grew more slowly.
fn of_sum(
    recording: &Recording,
    sites: &[usize],
    judged: &[Judged],
    profiles: &Profiles,
    limits: &Limits,
) -> Judgement {
    if let [only] = sites {
        return judged[*only].judgement.clone();
    }
    let parts: Vec<&Judged> = sites.iter().map(|index| &judged[*index]).collect();
    let from_ns = parts.iter().map(|part| part.attached_ns).max().unwrap_or(0);
    let series = while_alive(series_of(recording, sites, judged), from_ns, None);
    let judgement = profiles.judge(series, limits, &evidence::together(&parts));
    match parts.iter().all(|part| super::v8::are_page_frames(&part.site.frames)) {
        true => super::v8::not_by_itself(judgement),
        false => judgement,
    }
}

/// Takes back what is so little beside the rest that free lists may have put it there.
fn doubt_exchange(judged: &mut [Judged], growing: &mut [Group]) {
    let all: f64 = growing.iter().filter(|group| group.grows()).map(Group::estimate).sum();
    for group in growing.iter_mut().filter(|group| group.grows()) {
        let share = group.estimate() / all;
        if share.is_nan() || share >= LEAST_SHARE {
            continue;
        }
        let reason = format!(
            "its growth is {:.2} % of all: so little beside the rest may be blocks of others that free lists handed on; look again when the rest is mended",
            share * 100.0
        );
        group.doubt(group.judgement.clone().doubted(reason, None), judged);
    }
}

fn series_of(recording: &Recording, sites: &[usize], judged: &[Judged]) -> Series {
    let mut series = Series::default();
    sites.iter().for_each(|index| series.add(&judged[*index].series(recording)));
    series
}

/// Takes back what may only replace blocks from before the session. What was freed unseen explains
/// the fastest growth that it may explain, and what is left of it the next: handed out to each, one
/// full cache would excuse every leak beside it. What grows much faster than that is passed over.
fn doubt_replacement(recording: &Recording, judged: &mut [Judged], growing: &mut [Group]) {
    let Some(mut frees) = UnknownFrees::of(recording.aggregate.unknown_frees()) else { return };
    growing.sort_by(|a, b| b.estimate().total_cmp(&a.estimate()));
    for group in growing {
        let is_sampled = |index: &usize| judged[*index].evidence.is_sampled();
        if group.sites.iter().any(is_sampled) {
            continue;
        }
        let series = series_of(recording, &group.sites, judged);
        let doubted = doubt_turnover(group.judgement.clone(), &series, &frees);
        if doubted.verdict == Verdict::Growing {
            continue;
        }
        frees = frees.less(&series);
        group.doubt(doubted, judged);
    }
}
