//! What is asked of the heap of a CPython: what lies in it, what grew, who holds that.

use super::HeapLook;
use crate::{
    capture::{Census, GrownContainer, Held, TypeCount},
    heap::{
        Copied, Image,
        python::{
            Growth, Moment, PythonHeap, TypeInfo,
            graph::{Graph, Roots},
        },
    },
    runtime::python::PythonRuntime,
    target::Target,
};
use anyhow::Result;
use std::collections::BTreeSet;

/// Containers that grew of which is told how they are reached.
const MOST_CONTAINERS: usize = 20;
/// Types whose holders are told when none were asked for.
const FEW_TYPES: usize = 3;
/// Modules that are told of where a name is asked for that several have.
const MOST_OF_ONE_NAME: usize = 8;

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Look {
    before: Option<Moment>,
}

/// What the last look tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub census: Census,
    pub containers: Vec<GrownContainer>,
    pub held: Vec<Held>,
    pub notes: Vec<String>,
}

impl Look {
    /// Remembers what there is; so many types of it, and what is to be said of them.
    pub fn first(
        &mut self,
        image: &Image,
        target: &Target,
        runtime: &PythonRuntime,
        types: usize,
    ) -> Result<(Census, Vec<String>)> {
        let heap = PythonHeap::read(image, target, runtime)?;
        self.before = Some(heap.moment());
        Ok((shortened(heap.whole_census(None), types), heap.notes()))
    }

    /// Tells what there is, and what changed since the first look, which was at `began_ns`.
    pub fn last(
        &mut self,
        copied: &Copied,
        target: &Target,
        runtime: &PythonRuntime,
        wanted: &HeapLook,
        (began_ns, now_ns): (u64, u64),
    ) -> Result<Told> {
        let heap = PythonHeap::read(&copied.image, target, runtime)?;
        let growth = self.before.as_ref().map(|before| heap.grown_since(before));
        let whole = heap.whole_census(self.before.as_ref());
        let (census, subjects, unknown) = chosen(&heap.types, whole, wanted, growth.as_ref());
        let mut told = Told { census, notes: heap.notes(), ..Told::default() };
        told.notes.extend(
            unknown
                .into_iter()
                .map(|name| format!("No type is called {name}; its holders cannot be told.")),
        );
        let mut roots = Roots::of(target, runtime);
        roots.registers =
            copied.threads.iter().flat_map(|thread| &thread.registers).copied().collect();
        let Some(mut graph) = Graph::new(&heap, &roots) else {
            told.notes.push(
                "Who holds what cannot be told of this CPython: its references are not known here."
                    .into(),
            );
            return Ok(told);
        };
        graph.hide_keys(wanted.hide_keys);
        told.held = subjects.iter().map(|name| graph.held_types(name)).collect();
        for grown in growth.iter().flat_map(|growth| &growth.containers).take(MOST_CONTAINERS) {
            let mut container = graph.container(grown.object);
            container.lengths = vec![(began_ns, grown.before), (now_ns, grown.after)];
            told.containers.push(container);
        }
        told.containers.sort_by_key(|container| std::cmp::Reverse(container.held_bytes));
        told.notes.extend(graph.notes());
        Ok(told)
    }
}

/// The census as it is told, the types whose holders are told, and names that were asked for and
/// are none. Holders are told of types that the list leaves out, too: it is the largest ones of the
/// interpreter's own that fill it.
fn chosen(
    types: &[TypeInfo],
    whole: Census,
    wanted: &HeapLook,
    growth: Option<&Growth>,
) -> (Census, Vec<String>, Vec<String>) {
    let (subjects, unknown) = subjects(types, wanted, growth, &whole);
    (shortened(whole, wanted.types), subjects, unknown)
}

/// With so many types, those that grew among them; the rest is summed up.
fn shortened(mut census: Census, types: usize) -> Census {
    let mut rest = census.types.split_off(types.min(census.types.len()));
    let grown = rest.extract_if(.., |of| of.count_change > 0).collect::<Vec<_>>();
    census.types.extend(grown);
    for of in rest {
        let sum = &mut census.other_types;
        sum.count = sum.count.saturating_add(of.count);
        sum.bytes = sum.bytes.saturating_add(of.bytes);
        sum.count_change = sum.count_change.saturating_add(of.count_change);
        sum.bytes_change = sum.bytes_change.saturating_add(of.bytes_change);
    }
    census
}

/// The types whose holders are told, by their whole names, and names that were asked for and are
/// none's.
fn subjects(
    types: &[TypeInfo],
    wanted: &HeapLook,
    growth: Option<&Growth>,
    census: &Census,
) -> (Vec<String>, Vec<String>) {
    if !wanted.holders.is_empty() {
        let (mut called, mut unknown) = (Vec::new(), Vec::new());
        for name in &wanted.holders {
            let found = called_so(types, name);
            match found.is_empty() {
                true => unknown.push(name.clone()),
                false => called.extend(found),
            }
        }
        let mut seen = BTreeSet::new();
        called.retain(|name| seen.insert(name.clone()));
        return (called, unknown);
    }
    let is_users = |of: &&TypeCount| of.name.contains('.') && !of.name.starts_with("builtins.");
    let few = |types: &mut dyn Iterator<Item = &TypeCount>| {
        types.filter(is_users).take(FEW_TYPES).map(|of| of.name.clone()).collect()
    };
    match growth {
        Some(growth) => {
            (few(&mut growth.types.iter().filter(|of| of.count_change > 0)), Vec::new())
        }
        None => (few(&mut census.types.iter()), Vec::new()),
    }
}

/// The whole names of types that are meant by one, with or without its module: one of each module
/// that has such a type, a bounded number.
fn called_so(types: &[TypeInfo], name: &str) -> BTreeSet<String> {
    let is_called = |known: &str| {
        known == name || known.strip_suffix(name).is_some_and(|module| module.ends_with('.'))
    };
    let mut found = BTreeSet::new();
    for kind in types.iter().filter(|kind| is_called(&kind.name)) {
        if found.len() < MOST_OF_ONE_NAME {
            found.insert(kind.name.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::wanted;
    use super::*;

    #[test]
    fn holders_are_told_of_a_programs_types_that_the_list_is_too_short_for() {
        let names = ["dict", "list", "app.Large", "app.Small"];
        let types = names.map(|name| TypeInfo { name: name.to_owned(), ..TypeInfo::default() });
        let counts = names.iter().zip([400, 300, 200, 100]);
        let whole = Census {
            types: counts
                .map(|(name, bytes)| TypeCount {
                    name: (*name).to_owned(),
                    bytes,
                    ..TypeCount::default()
                })
                .collect(),
            ..Census::default()
        };
        let (census, subjects, unknown) = chosen(&types, whole, &wanted(1, 2), None);
        assert_eq!(census.types.len(), 2);
        assert_eq!(census.other_types.bytes, 300);
        assert_eq!(subjects, ["app.Large", "app.Small"]);
        assert!(unknown.is_empty());
    }
    #[test]
    fn a_name_means_the_types_of_all_modules_that_have_it() {
        let names = ["app.Session", "app.Session", "other.Session", "other.Sessions", "Session"];
        let types = names.map(|name| TypeInfo { name: name.to_owned(), ..TypeInfo::default() });
        let holders = ["Session", "other.Session", "Nobody"].map(str::to_owned).to_vec();
        let asked = HeapLook { holders, ..wanted(1, 2) };
        let (subjects, unknown) = subjects(&types, &asked, None, &Census::default());
        assert_eq!(subjects, ["Session", "app.Session", "other.Session"]);
        assert_eq!(unknown, ["Nobody"]);
    }
}
