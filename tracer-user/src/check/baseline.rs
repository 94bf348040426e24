//! The baseline: what is known to be left behind, a line each, sorted, made to be read in a code
//! review. Names hold neither lines nor addresses nor folders, so that an entry outlives rebuilds.
//!
//! ```text
//! # Why this one is accepted.
//! 131072 bytes/cycle  Store.flush (store.py) < Gateway.post (gateway.py)
//! ```

use super::model::Unit;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The longest file; bytes.
pub const MAX_BYTES: u64 = 4 << 20;
/// What stands at the head of a new file.
const HEAD: &str =
    "# What outlive check accepts as known: what a place may leave behind, and its name.
# outlive check --baseline FILE --update-baseline writes this file and keeps comments.
";
/// A place may leave this much more than its entry says.
const TOLERANCE: f64 = 0.1;

/// Why a file is no baseline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// A line that is no entry.
    #[error(
        "line {line}: `{text}` is no entry; write for example `4096 bytes/cycle  function (file)`"
    )]
    NoEntry {
        /// 1-based.
        line: usize,
        /// As it stands there.
        text: String,
    },
    /// A place that is named twice.
    #[error("line {line}: `{key}` has an entry already")]
    Twice {
        /// 1-based.
        line: usize,
        /// Name of the place.
        key: String,
    },
}

/// What is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Comments before the first entry.
    head: Vec<String>,
    entries: BTreeMap<(Unit, String), Entry>,
    /// Comments behind the last one.
    foot: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    bytes: u64,
    /// That stand before it.
    comments: Vec<String>,
}

impl PartialOrd for Unit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Unit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name().cmp(other.name())
    }
}

impl Baseline {
    /// Reads a file.
    ///
    /// # Errors
    /// The first line that is no entry.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let mut baseline = Self::default();
        let mut comments: Vec<String> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim().trim_start_matches('\u{feff}');
            if line.starts_with('#') || line.is_empty() {
                comments.push(line.to_owned());
                continue;
            }
            let Some((unit, key, bytes)) = entry(line) else {
                let text = line.chars().take(80).collect();
                return Err(BaselineError::NoEntry { line: index + 1, text });
            };
            // What is set off by an empty line belongs to the file, not to its first entry.
            if baseline.entries.is_empty()
                && baseline.head.is_empty()
                && let Some(end) = comments.iter().position(String::is_empty)
            {
                baseline.head = comments.drain(..=end).collect();
            }
            let comments = std::mem::take(&mut comments);
            let known = baseline.entries.insert((unit, key.clone()), Entry { bytes, comments });
            if known.is_some() {
                return Err(BaselineError::Twice { line: index + 1, key });
            }
        }
        match baseline.entries.is_empty() {
            true => baseline.head = comments,
            false => baseline.foot = comments,
        }
        Ok(baseline)
    }

    /// What a place may leave behind; bytes.
    pub fn allows(&self, unit: Unit, key: &str) -> Option<u64> {
        self.entries.get(&(unit, key.to_owned())).map(|entry| entry.bytes)
    }

    /// Names of the places in it.
    pub fn keys(&self, unit: Unit) -> impl Iterator<Item = &str> {
        self.entries.keys().filter(move |(of, _)| *of == unit).map(|(_, key)| key.as_str())
    }

    /// The same with exactly these places for this unit. Comments stay with their entries; an entry
    /// that still allows what there is stays as it is.
    pub fn updated(&self, unit: Unit, found: &[(String, f64)]) -> Self {
        let mut updated = self.clone();
        updated
            .entries
            .retain(|(of, key), _| *of != unit || found.iter().any(|(found, _)| found == key));
        for (key, bytes) in found {
            let entry = updated.entries.entry((unit, key.clone())).or_default();
            if excess(*bytes, entry.bytes) > 0.0 || *bytes < entry.bytes as f64 * (1.0 - TOLERANCE)
            {
                entry.bytes = bytes.ceil().max(1.0) as u64;
            }
        }
        updated
    }

    /// As a file.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let comments = |out: &mut String, lines: &[String]| {
            lines.iter().for_each(|line| {
                let _ = writeln!(out, "{line}");
            });
        };
        match self.head.is_empty() {
            true => out += &format!("{HEAD}\n"),
            false => comments(&mut out, &self.head),
        }
        for ((unit, key), entry) in &self.entries {
            comments(&mut out, &entry.comments);
            let _ = writeln!(out, "{} bytes/{}  {key}", entry.bytes, unit.name());
        }
        comments(&mut out, &self.foot);
        out
    }
}

/// By how much a place leaves more than it may, the tolerance kept in mind; bytes.
pub(super) fn excess(bytes: f64, allowed_bytes: u64) -> f64 {
    let allowed = allowed_bytes as f64;
    if bytes <= allowed * (1.0 + TOLERANCE) { 0.0 } else { bytes - allowed }
}

fn entry(line: &str) -> Option<(Unit, String, u64)> {
    let (bytes, rest) = line.split_once(' ')?;
    let (unit, key) = rest.trim_start().split_once(' ')?;
    let unit = match unit {
        "bytes/cycle" => Unit::Cycle,
        "bytes/hour" => Unit::Hour,
        _ => return None,
    };
    let key = key.trim();
    (!key.is_empty()).then_some((unit, key.to_owned(), bytes.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Ours.\n\n# The vendor knows.\n4096 bytes/cycle  b (b.c)\n100 bytes/hour  a (a.c) < main (a.c)\n# end\n";

    #[test]
    fn a_file_is_read_and_written_sorted_with_its_comments() {
        let baseline = Baseline::parse(FILE).expect("a baseline");
        assert_eq!(baseline.allows(Unit::Cycle, "b (b.c)"), Some(4096));
        assert_eq!(baseline.allows(Unit::Hour, "b (b.c)"), None);
        assert_eq!(baseline.allows(Unit::Hour, "a (a.c) < main (a.c)"), Some(100));
        assert_eq!(baseline.text(), FILE);
        let found = [("b (b.c)".to_owned(), 5000.0), ("a::x (b.c)".to_owned(), 7.2)];
        let updated = baseline.updated(Unit::Cycle, &found);
        assert_eq!(
            updated.text(),
            "# Ours.\n\n8 bytes/cycle  a::x (b.c)\n# The vendor knows.\n5000 bytes/cycle  b (b.c)\n100 bytes/hour  a (a.c) < main (a.c)\n# end\n"
        );
        assert_eq!(Baseline::parse(&updated.text()), Ok(updated.clone()));
        let gone = updated.updated(Unit::Cycle, &[]);
        assert_eq!(gone.keys(Unit::Cycle).count(), 0);
        assert_eq!(gone.keys(Unit::Hour).count(), 1);
    }

    #[test]
    fn a_new_file_says_what_it_is_and_is_stable() {
        let text = Baseline::default().updated(Unit::Cycle, &[("a".into(), 1.0)]).text();
        assert!(text.starts_with("# What outlive"), "{text}");
        let again = Baseline::parse(&text).expect("a baseline");
        assert_eq!(again.updated(Unit::Cycle, &[("a".into(), 1.05)]).text(), text);
    }

    #[test]
    fn a_place_may_leave_a_tenth_more() {
        assert_eq!(excess(1100.0, 1000), 0.0);
        assert_eq!(excess(1200.0, 1000), 200.0);
        assert_eq!(excess(1.0, 0), 1.0);
        assert_eq!(excess(f64::INFINITY, u64::MAX), f64::INFINITY);
    }

    #[test]
    fn what_is_no_baseline_is_refused() {
        for (text, line) in [
            ("x", 1),
            ("# a\n12 bytes/day  x", 2),
            ("-1 bytes/cycle  x", 1),
            ("99999999999999999999999 bytes/cycle  x", 1),
            ("12 bytes/cycle", 1),
            ("12 bytes/cycle   ", 1),
            ("{\"json\": 1}", 1),
            ("<xml/>\n", 1),
        ] {
            let error = Baseline::parse(text).expect_err(text);
            assert!(
                matches!(error, BaselineError::NoEntry { line: at, .. } if at == line),
                "{text}"
            );
        }
        let twice = Baseline::parse("1 bytes/cycle  x\n2 bytes/cycle  x");
        assert_eq!(twice, Err(BaselineError::Twice { line: 2, key: "x".into() }));
        assert!(Baseline::parse(&"\u{0}".repeat(1000)).is_err());
        assert_eq!(Baseline::parse("").expect("empty").keys(Unit::Cycle).count(), 0);
    }
}
