//! What is measured: programs, kinds of stacks, and who follows the pairs.

use std::path::Path;

use anyhow::{Context, Result};

use crate::bench::program;

/// A program that makes pairs on request.
pub(super) struct Subject {
    pub(super) key: &'static str,
    /// The command that starts it.
    pub(super) command: fn() -> Result<Vec<String>>,
    pub(super) kinds: &'static [Kind],
}

/// A kind of stack below the pairs.
pub(super) struct Kind {
    pub(super) key: &'static str,
    pub(super) label: &'static str,
    /// The line that asks the program for it.
    pub(super) request: &'static str,
    /// What outlive may cost, every block exact, over the floor.
    pub(super) most: Option<f64>,
}

impl Kind {
    /// Whether no stack was seen lately.
    pub(super) fn rotates(&self) -> bool {
        self.request.starts_with("rotate")
    }
}

pub(super) static SUBJECTS: [Subject; 2] = [
    Subject { key: "pair.c", command: pair_c, kinds: &NATIVE },
    Subject { key: "pair.py", command: pair_py, kinds: &PYTHON },
];

static NATIVE: [Kind; 4] = [
    Kind { key: "native_10", label: "10 native frames", request: "round 10", most: Some(1.35) },
    Kind { key: "native_30", label: "30 native frames", request: "round 30", most: Some(1.6) },
    Kind {
        key: "native_10_rotating",
        label: "10 native frames, 1,024 stacks in turn",
        request: "rotate 10",
        most: Some(2.5),
    },
    Kind {
        key: "native_30_rotating",
        label: "30 native frames, 1,024 stacks in turn",
        request: "rotate 30",
        most: Some(4.0),
    },
];

static PYTHON: [Kind; 4] = [
    Kind {
        key: "python_20",
        label: "20 Python frames over some 30 native ones",
        request: "mixed 20",
        most: Some(1.8),
    },
    Kind {
        key: "python_20_rotating",
        label: "20 Python frames over native ones, 1,024 stacks in turn",
        request: "rotate 20",
        most: Some(4.0),
    },
    // These two tell what a Python frame costs.
    Kind { key: "python_3_plain", label: "3 Python frames", request: "round 3", most: None },
    Kind { key: "python_20_plain", label: "20 Python frames", request: "round 20", most: None },
];

fn pair_c() -> Result<Vec<String>> {
    Ok(vec![text(&program::compile("pair")?)?])
}

fn pair_py() -> Result<Vec<String>> {
    Ok(vec![text(&program::system_python()?)?, text(&program::folder().join("pair.py"))?])
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path that is not UTF-8")
}

/// Who follows the pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Untraced,
    Floor,
    Exact,
    Sampled,
    Lane,
    Bpftrace,
    Heaptrack,
    Massif,
}

/// In the order of a round.
pub(super) const ALL: [Who; 8] = [
    Who::Untraced,
    Who::Floor,
    Who::Exact,
    Who::Sampled,
    Who::Lane,
    Who::Bpftrace,
    Who::Heaptrack,
    Who::Massif,
];

impl Who {
    pub(super) fn key(self) -> &'static str {
        match self {
            Who::Untraced => "untraced",
            Who::Floor => "floor",
            Who::Exact => "outlive_exact",
            Who::Sampled => "outlive_sampled",
            Who::Lane => "outlive_lane",
            Who::Bpftrace => "bpftrace",
            Who::Heaptrack => "heaptrack",
            Who::Massif => "massif",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Who::Untraced => "untraced",
            Who::Floor => "empty probes at the same places (floor)",
            Who::Exact => "outlive, every block exact",
            Who::Sampled => "outlive --sample 64KiB",
            Who::Lane => "outlive run --sample 64KiB (fast lane)",
            Who::Bpftrace => "bpftrace, memleak as a script",
            Who::Heaptrack => "heaptrack (preloaded)",
            Who::Massif => "valgrind massif",
        }
    }

    /// Whether the bench has failed without it. What a build does not offer has no part here.
    pub(super) fn must_be_there(self) -> bool {
        matches!(self, Who::Untraced | Who::Floor | Who::Exact)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ALL, SUBJECTS};

    #[test]
    fn no_two_kinds_and_no_two_followers_share_a_key() {
        let kinds: Vec<_> = SUBJECTS.iter().flat_map(|subject| subject.kinds).collect();
        let keys: BTreeSet<_> = kinds.iter().map(|kind| kind.key).collect();
        assert_eq!(keys.len(), kinds.len());
        assert_eq!(ALL.map(|who| who.key()).into_iter().collect::<BTreeSet<_>>().len(), ALL.len());
        for (index, who) in ALL.into_iter().enumerate() {
            assert_eq!(who as usize, index, "a place in the tables");
        }
    }
}
