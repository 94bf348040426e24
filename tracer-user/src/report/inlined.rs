//! Functions of JavaScript that come to be inlined while outlive watches. V8's profiler then books
//! what they allocate to their caller, so that one leak ends in one function and begins in another:
//! neither grows to the end of the window, and their sum does.

use super::build::Judged;
use super::focus::{is_library, is_scripted};
use super::groups::{Group, Place, place};
use crate::growth::{Judgement, Verdict};
use crate::stack::Domain;
use std::collections::{BTreeMap, BTreeSet};

/// How far up the optimiser's choices are followed; it inlines small functions of small functions.
const MAX_CALLERS: usize = 3;

/// Sites of V8's heap that have a caller in common, judged together, the smallest groups first; no
/// group is of one place alone, which is judged anyway.
pub(super) fn groups(
    judged: &[Judged],
    together: &impl Fn(&[usize], &[Judged]) -> Judgement,
) -> Vec<Group> {
    let mut of_callers: BTreeMap<Place, BTreeMap<usize, Place>> = BTreeMap::new();
    for (index, part) in judged.iter().enumerate() {
        let site = &part.site;
        let Some(nearest) = site.application_frame else { continue };
        if site.domain != Domain::V8.name() {
            continue;
        }
        let own = site.frames[nearest..].iter().filter(|f| is_scripted(f) && !is_library(f));
        for frame in own.take(1 + MAX_CALLERS) {
            let own_place = place(&site.frames[nearest]);
            of_callers.entry(place(frame)).or_default().insert(index, own_place);
        }
    }
    let several =
        |sites: &BTreeMap<usize, Place>| sites.values().collect::<BTreeSet<_>>().len() > 1;
    let mut candidates: Vec<Vec<usize>> =
        of_callers.into_values().filter(several).map(|sites| sites.into_keys().collect()).collect();
    candidates.sort_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b)));
    candidates.dedup();
    candidates
        .into_iter()
        .map(|sites| Group { judgement: together(&sites, judged), sites })
        .collect()
}

/// Those of the candidates that grow, as far as nothing in them grows by itself.
pub(super) fn growing(
    candidates: Vec<Group>,
    found: &[Group],
    hold: impl Fn(Judgement) -> Judgement,
) -> Vec<Group> {
    let mut told: BTreeSet<usize> = found.iter().flat_map(|group| &group.sites).copied().collect();
    let mut growing = Vec::new();
    for Group { judgement, sites } in candidates {
        let mut judgement = hold(judgement);
        if judgement.verdict != Verdict::Growing || sites.iter().any(|site| told.contains(site)) {
            continue;
        }
        judgement.reasons.push(
            "V8 books what it inlines to the caller, so that these functions are judged together"
                .to_owned(),
        );
        told.extend(&sites);
        growing.push(Group { judgement, sites });
    }
    growing
}
