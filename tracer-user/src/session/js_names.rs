//! What a session says at its end of the JavaScript frames that it has seen.

use super::images::Images;
use crate::{
    capture::Meta,
    symbol::{JS_NAMED, Resolver, no_js_counts},
    units,
    warning::Warning,
};
use std::collections::BTreeMap;

/// Enters how many frames have names into the recording, where the target runs JavaScript, and
/// warns of the others.
pub fn tell(images: &Images, meta: &mut Meta) -> Option<Warning> {
    let resolvers = || images.resolvers().filter(|resolver| resolver.node().is_some());
    let runtime = resolvers().find_map(Resolver::node)?;
    let mut counts = no_js_counts();
    for (result, count) in resolvers().flat_map(Resolver::js_counts) {
        *counts.entry(result).or_default() += count;
    }
    let node = meta.node.get_or_insert_default();
    node.v8_version = runtime.version.to_string();
    node.js_frames = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    warning(&counts)
}

fn warning(counts: &BTreeMap<&'static str, u64>) -> Option<Warning> {
    let all: u64 = counts.values().sum();
    let failed = counts.iter().filter(|(name, count)| **name != JS_NAMED && **count > 0);
    let reasons: Vec<String> =
        failed.map(|(name, count)| format!("{name} {}", units::count(*count))).collect();
    if reasons.is_empty() {
        return None;
    }
    Some(Warning::new(
        "js-frames-inexact",
        format!(
            "Of {} different JavaScript frames some are not exact ({}): with line_of_function they show the line at which their function begins, since V8 tells no place or its code was gone when it was looked at; the others appear as [js ...].",
            units::count(all),
            reasons.join(", ")
        ),
        "",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_frames_without_names_are_worth_a_warning() {
        assert_eq!(warning(&BTreeMap::from([(JS_NAMED, 12), ("moved", 0)])), None);
        let told = warning(&BTreeMap::from([(JS_NAMED, 12), ("moved", 2), ("unreadable", 1)]));
        let message = told.map(|warning| warning.message).unwrap_or_default();
        assert!(message.contains("Of 15 ") && message.contains("(moved 2, unreadable 1)"));
    }
}
