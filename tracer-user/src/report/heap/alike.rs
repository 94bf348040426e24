//! Containers that are reached alike, as one: each session's own list is a small part of what
//! grows, and may grow too seldom to be sure of; together they are the finding.

use super::containers::MAX_READINGS;
use super::name::without_index;
use crate::capture::{GrownContainer, TypeCount};

/// Containers of one type behind one way, keys and indices aside.
pub(in crate::report) struct Alike {
    /// With the sums of all of them.
    pub container: GrownContainer,
    /// How many they are.
    pub count: u64,
}

/// All of one heap, in the order of the first of each way. One that nothing is known to hold stands
/// for itself.
pub(in crate::report) fn together<'a>(
    containers: impl Iterator<Item = &'a GrownContainer>,
) -> Vec<Alike> {
    let mut ways: Vec<Vec<&GrownContainer>> = Vec::new();
    for container in containers {
        let known = ways.iter_mut().find(|way| is_alike(way[0], container));
        match known {
            Some(way) => way.push(container),
            None => ways.push(vec![container]),
        }
    }
    ways.iter().map(|way| sum(way)).collect()
}

fn is_alike(a: &GrownContainer, b: &GrownContainer) -> bool {
    let (way, other) = (&a.chain.steps, &b.chain.steps);
    !way.is_empty()
        && way.len() == other.len()
        && (&a.type_name, a.is_lru_cache) == (&b.type_name, b.is_lru_cache)
        && way.iter().zip(other).all(|(a, b)| without_index(a) == without_index(b))
}

fn sum(way: &[&GrownContainer]) -> Alike {
    let mut container = way[0].clone();
    if way.len() > 1 {
        container.lengths = lengths(way);
    }
    for other in &way[1..] {
        for (step, of_other) in container.chain.steps.iter_mut().zip(&other.chain.steps) {
            if step != of_other {
                *step = format!("{}[*]", without_index(step));
            }
        }
        // References of all are only explained if those of each are.
        let (own, of_other) = (&mut container.chain, &other.chain);
        if own.references_found == own.references_counted {
            own.references_found = of_other.references_found;
            own.references_counted = of_other.references_counted;
        }
        container.held_bytes = container.held_bytes.saturating_add(other.held_bytes);
        other.contents.iter().for_each(|of| add(&mut container.contents, of));
    }
    container.contents.sort_by_key(|of| std::cmp::Reverse(of.bytes));
    let count = way.len() as u64;
    container.chain.objects = container.chain.objects.max(count);
    Alike { container, count }
}

fn add(contents: &mut Vec<TypeCount>, of: &TypeCount) {
    match contents.iter_mut().find(|known| known.name == of.name) {
        Some(known) => {
            known.count = known.count.saturating_add(of.count);
            known.bytes = known.bytes.saturating_add(of.bytes);
            known.count_change = known.count_change.saturating_add(of.count_change);
            known.bytes_change = known.bytes_change.saturating_add(of.bytes_change);
        }
        None => contents.push(of.clone()),
    }
}

/// Entries of all at each moment. Between two of its readings a container has as many as at the
/// first of them; behind its last it is gone.
fn lengths(way: &[&GrownContainer]) -> Vec<(u64, u64)> {
    let read: Vec<Vec<(u64, u64)>> = way
        .iter()
        .map(|container| {
            let mut read = container.lengths.clone();
            read.truncate(MAX_READINGS);
            read.sort_unstable();
            read
        })
        .collect();
    let mut sums: Vec<(u64, u64)> = read.iter().flatten().map(|(at_ns, _)| (*at_ns, 0)).collect();
    sums.sort_unstable();
    sums.dedup();
    sums.truncate(MAX_READINGS);
    for read in read {
        let mut next = 0;
        for (at_ns, sum) in &mut sums {
            while read.get(next).is_some_and(|(read_ns, _)| read_ns <= at_ns) {
                next += 1;
            }
            let is_there = next < read.len() || read.last().is_some_and(|last| last.0 == *at_ns);
            if let Some((_, length)) = next.checked_sub(1).and_then(|last| read.get(last))
                && is_there
            {
                *sum = sum.saturating_add(*length);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Chain;

    fn list(step: &str, lengths: &[(u64, u64)]) -> GrownContainer {
        let contents =
            TypeCount { name: "bytes".into(), count: 2, bytes: 70, ..TypeCount::default() };
        GrownContainer {
            type_name: "list".into(),
            chain: Chain {
                steps: vec![step.into(), "Session.streams".into()],
                objects: 1,
                ..Chain::default()
            },
            lengths: lengths.to_vec(),
            held_bytes: 100,
            contents: vec![contents],
            ..GrownContainer::default()
        }
    }

    #[test]
    fn the_lists_of_all_sessions_are_one_way_and_others_are_not() {
        let mut dict = list("Store.sessions['c']", &[(0, 1)]);
        dict.type_name = "dict".into();
        let all = [
            list("Store.sessions['a']", &[(0, 1), (10, 2), (20, 3)]),
            list("Store.sessions['b']", &[(0, 10), (20, 30)]),
            dict,
            list("Store.other['a']", &[(0, 7)]),
            list("Store.sessions['gone']", &[(0, 100), (10, 100)]),
        ];
        let found = together(all.iter());
        assert_eq!(found.iter().map(|way| way.count).collect::<Vec<_>>(), [3, 1, 1]);
        let way = &found[0].container;
        assert_eq!(way.chain.steps, ["Store.sessions[*]", "Session.streams"]);
        assert_eq!(way.lengths, [(0, 111), (10, 112), (20, 33)]);
        assert_eq!((way.held_bytes, way.contents[0].bytes, way.chain.objects), (300, 210, 3));
        assert_eq!(found[1].container, all[2]);
    }

    #[test]
    fn what_nothing_is_known_to_hold_stands_for_itself() {
        let mut lost = list("x", &[(0, 1)]);
        lost.chain.steps.clear();
        assert_eq!(together([&lost, &lost].into_iter()).len(), 2);
    }
}
