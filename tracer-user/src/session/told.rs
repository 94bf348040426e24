//! Which warnings have been told: each once, and of each kind no more than anybody reads.

use crate::capture::RecordedWarning;
use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher as _, RandomState},
};

/// Warnings of one code that are told in full. Some name a process, and there may be thousands.
const MAX_OF_A_KIND: u64 = 32;
/// Warnings that are known again. Beyond, one that comes twice counts twice.
const MAX_KNOWN: usize = 1 << 16;

/// What becomes of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is told.
    Told,
    /// It was told or counted before.
    Known,
    /// It is counted; so many of its kind have been.
    Counted(u64),
}

/// The warnings so far.
#[derive(Debug, Default)]
pub struct Told {
    hasher: RandomState,
    /// Hashes, so that the texts need not be kept twice.
    known: HashSet<u64>,
    of_kind: BTreeMap<String, u64>,
}

impl Told {
    /// Whether this one is to be told.
    pub fn judge(&mut self, warning: &RecordedWarning) -> Verdict {
        let RecordedWarning { code, message, advice } = warning;
        let hash = self.hasher.hash_one((code, message, advice));
        if self.known.contains(&hash) {
            return Verdict::Known;
        }
        if self.known.len() < MAX_KNOWN {
            self.known.insert(hash);
        }
        let of_kind = self.of_kind.entry(code.clone()).or_default();
        *of_kind += 1;
        match of_kind.saturating_sub(MAX_OF_A_KIND) {
            0 => Verdict::Told,
            beyond => Verdict::Counted(beyond),
        }
    }

    /// A warning for each kind of which there were more than were told.
    pub fn untold(&self) -> Vec<RecordedWarning> {
        let beyond = |(code, count): (&String, &u64)| {
            let more = count.saturating_sub(MAX_OF_A_KIND);
            (more > 0).then(|| RecordedWarning {
                code: code.clone(),
                message: format!("And {more} more of this kind ({code})."),
                advice: String::new(),
            })
        };
        self.of_kind.iter().filter_map(beyond).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(code: &str, number: u64) -> RecordedWarning {
        RecordedWarning {
            code: code.into(),
            message: format!("Process {number} did it."),
            ..RecordedWarning::default()
        }
    }

    #[test]
    fn a_flood_of_one_kind_is_counted_and_hides_no_other() {
        let mut told = Told::default();
        let verdicts: Vec<_> =
            (0..1000).map(|number| told.judge(&warning("flood", number))).collect();
        assert!(verdicts[..32].iter().all(|verdict| *verdict == Verdict::Told));
        assert_eq!(verdicts[32], Verdict::Counted(1));
        assert_eq!(verdicts[999], Verdict::Counted(968));
        assert_eq!(told.judge(&warning("flood", 0)), Verdict::Known);
        assert_eq!(told.judge(&warning("flood", 999)), Verdict::Known, "counted once");
        assert_eq!(told.judge(&warning("rare", 0)), Verdict::Told);
        let untold = told.untold();
        assert_eq!(untold.len(), 1);
        assert_eq!(untold[0].code, "flood");
        assert_eq!(untold[0].message, "And 968 more of this kind (flood).");
    }

    #[test]
    fn what_was_all_told_needs_no_more_words() {
        let mut told = Told::default();
        assert!((0..32).all(|number| told.judge(&warning("some", number)) == Verdict::Told));
        assert_eq!(told.untold(), Vec::new());
    }
}
