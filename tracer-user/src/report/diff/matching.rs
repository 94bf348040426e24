//! Which place of one side is which of the other. Pure.
//!
//! First by everything but lines: a line shifts when another is written above it. Stacks that
//! differ in lines alone are told apart by their lines where these can be trusted, else by their
//! order, which no shift changes; where that says nothing either, they are one place. What has no
//! name but an address is matched last: where there is no doubt, or where the frames of a script
//! say enough (the interpreter around them may be stripped, and another build).

use super::name;
use crate::report::FrameReport;
use crate::report::focus::base_name;
use crate::stack::{Domain, FrameKind};
use std::collections::{BTreeMap, BTreeSet};

/// What stacks that read the same held at a moment, all processes together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) domain: Domain,
    /// Leaf first, without offsets.
    pub(super) frames: Vec<FrameReport>,
    pub(super) truncated: Option<&'static str>,
    /// The program of its process.
    pub(super) exe: String,
    pub(super) live_bytes: u64,
    pub(super) live_blocks: u64,
}

/// A place on both sides, or on one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) before: Option<Holding>,
    pub(super) after: Option<Holding>,
}

/// A frame as it is compared: kind, function, file and module.
type Name = (FrameKind, String, Option<String>, Option<String>);
type Key = (Domain, Vec<Name>);
/// Holdings of one key on either side.
type Group = (Vec<Holding>, Vec<Holding>);

/// Every holding of either side, once.
pub(super) fn pairs(before: Vec<Holding>, after: Vec<Holding>) -> Vec<Pair> {
    let mut found = Vec::new();
    let mut left = Group::default();
    for (before, after) in groups(before, after, key).into_values() {
        match before.is_empty() || after.is_empty() {
            true => {
                left.0.extend(before);
                left.1.extend(after);
            }
            false => found.extend(told_apart(before, after)),
        }
    }
    for (before, after) in groups(left.0, left.1, loose_key).into_values() {
        let is_pair = before.len() == 1 && after.len() == 1;
        let is_scripted = before.first().is_some_and(has_script) && !after.is_empty();
        if (is_pair || is_scripted) && !have_same_addresses(&before, &after) {
            found.push(Pair { before: merged(before), after: merged(after) });
        } else {
            found.extend(alone(before, after));
        }
    }
    found
}

fn groups(
    before: Vec<Holding>,
    after: Vec<Holding>,
    key: impl Fn(&Holding) -> Key,
) -> BTreeMap<Key, Group> {
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    before.into_iter().for_each(|one| groups.entry(key(&one)).or_default().0.push(one));
    after.into_iter().for_each(|one| groups.entry(key(&one)).or_default().1.push(one));
    groups
}

fn key(holding: &Holding) -> Key {
    let name = |frame: &FrameReport| {
        (
            frame.kind,
            name::function(&frame.function).to_owned(),
            frame.file.as_deref().map(|file| base_name(file).to_owned()),
            frame.module.as_deref().map(|path| name::module(path, &holding.exe).to_owned()),
        )
    };
    (holding.domain, holding.frames.iter().map(name).collect())
}

fn loose_key(holding: &Holding) -> Key {
    let (domain, mut names) = key(holding);
    for (_, function, _, _) in &mut names {
        if let Some(loose) = name::without_addresses(function) {
            *function = loose;
        }
    }
    (domain, names)
}

fn has_script(holding: &Holding) -> bool {
    holding.frames.iter().any(|frame| {
        let is_scripted = matches!(frame.kind, FrameKind::Python | FrameKind::Js);
        is_scripted && name::without_addresses(&frame.function).is_none()
    })
}

/// Whether addresses that differ are different places: they are in files of the same builds.
fn have_same_addresses(before: &[Holding], after: &[Holding]) -> bool {
    let builds = |holding: &Holding| -> Option<Vec<String>> {
        let frames = holding.frames.iter();
        let nameless = frames.filter(|frame| name::without_addresses(&frame.function).is_some());
        nameless.map(|frame| frame.build_id.clone()).collect()
    };
    let known: BTreeSet<Vec<String>> = before.iter().filter_map(builds).collect();
    after.iter().filter_map(builds).any(|build| known.contains(&build))
}

/// Pairs of what differs in lines alone (and folders, and builds); neither side is empty.
fn told_apart(mut before: Vec<Holding>, mut after: Vec<Holding>) -> Vec<Pair> {
    let order =
        |a: &Holding, b: &Holding| lines(a).cmp(lines(b)).then_with(|| a.frames.cmp(&b.frames));
    before.sort_by(order);
    after.sort_by(order);
    if before.len() == after.len() && !is_same_build(&before, &after) {
        let pair = |(before, after)| Pair { before: Some(before), after: Some(after) };
        return before.into_iter().zip(after).map(pair).collect();
    }
    let fewer = before.len().min(after.len());
    let (found, left) = by_lines(&before, &after);
    if found.len() == fewer || is_same_build(&before, &after) {
        return found.into_iter().chain(alone(left.0, left.1)).collect();
    }
    vec![Pair { before: merged(before), after: merged(after) }]
}

/// Pairs with the same lines, and what is left on either side.
fn by_lines(before: &[Holding], after: &[Holding]) -> (Vec<Pair>, Group) {
    let mut by_lines: BTreeMap<Vec<Option<u32>>, Vec<&Holding>> = BTreeMap::new();
    for other in after.iter().rev() {
        by_lines.entry(lines(other).collect()).or_default().push(other);
    }
    let mut found = Vec::new();
    let mut left = Group::default();
    for one in before {
        let other = by_lines.get_mut(&lines(one).collect::<Vec<_>>()).and_then(Vec::pop);
        match other {
            Some(other) => {
                found.push(Pair { before: Some(one.clone()), after: Some(other.clone()) });
            }
            None => left.0.push(one.clone()),
        }
    }
    left.1 = by_lines.into_values().flatten().cloned().collect();
    (found, left)
}

fn lines(holding: &Holding) -> impl Iterator<Item = Option<u32>> {
    holding.frames.iter().map(|frame| frame.line)
}

/// Whether all of it is machine code of the same builds: then the same line is the same place.
fn is_same_build(before: &[Holding], after: &[Holding]) -> bool {
    let builds = |holding: &Holding| -> Option<Vec<String>> {
        holding.frames.iter().map(|frame| frame.build_id.clone()).collect()
    };
    let Some(expected) = before.first().and_then(builds) else { return false };
    before.iter().chain(after).all(|holding| builds(holding).as_ref() == Some(&expected))
}

/// All as one place, without the lines and addresses in which they differ.
fn merged(holdings: Vec<Holding>) -> Option<Holding> {
    holdings.into_iter().reduce(|mut sum, one| {
        sum.live_bytes = sum.live_bytes.saturating_add(one.live_bytes);
        sum.live_blocks = sum.live_blocks.saturating_add(one.live_blocks);
        for (mine, theirs) in sum.frames.iter_mut().zip(&one.frames) {
            if mine.line != theirs.line {
                mine.line = None;
            }
            if mine.function != theirs.function
                && let Some(name) = name::without_addresses(&mine.function)
            {
                mine.function = name;
            }
        }
        sum
    })
}

fn alone(before: Vec<Holding>, after: Vec<Holding>) -> impl Iterator<Item = Pair> {
    let before = before.into_iter().map(|one| Pair { before: Some(one), after: None });
    before.chain(after.into_iter().map(|one| Pair { before: None, after: Some(one) }))
}
