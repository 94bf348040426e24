//! Which place of one side is which of the other. Pure.
//!
//! First by everything but lines: a line shifts when another is written above it. Stacks that
//! differ in lines alone are told apart by their lines where these can be trusted, else by their
//! order, which no shift changes; where that says nothing either, they are one place. What is left
//! is matched where addresses stand for names and there is no doubt; then by the frames of scripts
//! alone, where the interpreter around them is of another build or was not walked to its end.

use super::name;
use crate::report::FrameReport;
use crate::report::focus::base_name;
use crate::same::Same;
use crate::stack::{Domain, FrameKind};
use std::collections::BTreeMap;

/// What stacks that read the same held at a moment, all processes together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) domain: Domain,
    /// Leaf first, without offsets.
    pub(super) frames: Vec<Same<FrameReport>>,
    pub(super) truncated: Option<&'static str>,
    /// The program of its process.
    pub(super) exe: String,
    pub(super) live_bytes: u64,
    pub(super) live_blocks: u64,
    /// Of `live_bytes`, by sampling, in [`VARIANCE_UNIT`](crate::tick::VARIANCE_UNIT).
    pub(super) live_variance: u64,
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

/// What makes a group, and whether such a group is one place.
type Criterion = (fn(&Holding) -> Key, fn(&Group) -> bool);

/// Every holding of either side, once.
pub(super) fn pairs(before: Vec<Holding>, after: Vec<Holding>) -> Vec<Pair> {
    let mut found = Vec::new();
    let mut left = Group::default();
    for group in groups((before, after), key).into_values() {
        match is_one_sided(&group) {
            true => put_back(&mut left, group),
            false => found.extend(told_apart(group.0, group.1)),
        }
    }
    let further: [Criterion; 2] = [(loose_key, is_pair), (script_key, has_script)];
    for (key, may_match) in further {
        for group in groups(std::mem::take(&mut left), key).into_values() {
            if !is_one_sided(&group) && may_match(&group) && !is_same_code(&group) {
                found.push(Pair { before: merged(group.0), after: merged(group.1) });
            } else {
                put_back(&mut left, group);
            }
        }
    }
    found.extend(alone(left));
    found
}

fn is_one_sided((before, after): &Group) -> bool {
    before.is_empty() || after.is_empty()
}

fn is_pair((before, after): &Group) -> bool {
    before.len() == 1 && after.len() == 1
}

fn put_back(left: &mut Group, group: Group) {
    left.0.extend(group.0);
    left.1.extend(group.1);
}

fn groups((before, after): Group, key: impl Fn(&Holding) -> Key) -> BTreeMap<Key, Group> {
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    before.into_iter().for_each(|one| groups.entry(key(&one)).or_default().0.push(one));
    after.into_iter().for_each(|one| groups.entry(key(&one)).or_default().1.push(one));
    groups
}

fn key(holding: &Holding) -> Key {
    let name = |frame: &Same<FrameReport>| {
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

fn script_key(holding: &Holding) -> Key {
    let (domain, mut names) = loose_key(holding);
    names.retain(|(kind, ..)| is_script(*kind));
    (domain, names)
}

fn is_script(kind: FrameKind) -> bool {
    matches!(kind, FrameKind::Python | FrameKind::Js)
}

/// Whether the frames of scripts have a name among them; they are the same in the whole group.
fn has_script((before, _): &Group) -> bool {
    let is_named = |frame: &Same<FrameReport>| {
        is_script(frame.kind) && name::without_addresses(&frame.function).is_none()
    };
    before.first().is_some_and(|one| one.frames.iter().any(is_named))
}

/// Whether machine code that differs is different: both sides are of the same builds, and walked
/// to their ends.
fn is_same_code((before, after): &Group) -> bool {
    let mut builds: BTreeMap<&str, &str> = BTreeMap::new();
    before.iter().chain(after).all(|holding| {
        let mut native = holding.frames.iter().filter(|frame| frame.kind == FrameKind::Native);
        holding.truncated.is_none()
            && native.all(|frame| {
                let (Some(module), Some(build)) = (&frame.module, &frame.build_id) else {
                    return false;
                };
                *builds.entry(name::module(module, &holding.exe)).or_insert(build) == build
            })
    })
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
        return found.into_iter().chain(alone(left)).collect();
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

/// Lines of the frames of `after` on the side before, `None` for a frame that has no counterpart
/// there; nothing at all where no line differs.
pub(super) fn lines_before(before: &Holding, after: &Holding) -> Option<Vec<Option<u32>>> {
    let is_alike = loose_key(before) == loose_key(after);
    // Matched by their scripts: only those frames are the same on both sides.
    let has_counterpart = |frame: &&Same<FrameReport>| is_alike || is_script(frame.kind);
    let mut counterparts = before.frames.iter().filter(has_counterpart);
    let mut differs = false;
    let lines = after.frames.iter().map(|frame| {
        let counterpart = has_counterpart(&frame).then(|| counterparts.next()).flatten()?;
        differs |= counterpart.line != frame.line;
        counterpart.line
    });
    let lines: Vec<Option<u32>> = lines.collect();
    differs.then_some(lines)
}

/// All as one place: that which holds most, without the lines and addresses in which others with
/// the same frames differ from it.
fn merged(holdings: Vec<Holding>) -> Option<Holding> {
    let mut sum = holdings.iter().max_by_key(|one| one.live_bytes)?.clone();
    let shown = loose_key(&sum);
    (sum.live_bytes, sum.live_blocks, sum.live_variance) = (0, 0, 0);
    for one in &holdings {
        sum.live_bytes = sum.live_bytes.saturating_add(one.live_bytes);
        sum.live_blocks = sum.live_blocks.saturating_add(one.live_blocks);
        sum.live_variance = sum.live_variance.saturating_add(one.live_variance);
        if loose_key(one) != shown {
            continue;
        }
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
    }
    Some(sum)
}

fn alone((before, after): Group) -> impl Iterator<Item = Pair> {
    let before = before.into_iter().map(|one| Pair { before: Some(one), after: None });
    before.chain(after.into_iter().map(|one| Pair { before: None, after: Some(one) }))
}
