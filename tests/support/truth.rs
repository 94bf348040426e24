//! What targets say about themselves, compared with what outlive reports.
#![allow(dead_code, missing_docs)]

use super::{Report, leaf};
use serde_json::Value;

/// Bytes and blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub bytes: u64,
    pub blocks: u64,
}

/// Where in a site's stack the function of a truth stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It called the allocator itself.
    Leaf,
    /// The nearest of its program's functions; library code may stand between (Rust).
    Inside,
}

impl Place {
    fn holds(self, site: &Value, names: &[&str]) -> bool {
        match self {
            Place::Leaf => names.contains(&leaf(site)),
            Place::Inside => {
                let frames = site["frames"].as_array().expect("frames is a list");
                frames.iter().any(|frame| {
                    let function = frame["function"].as_str().unwrap_or("");
                    names.iter().any(|name| function.split("::").any(|part| part == *name))
                })
            }
        }
    }
}

/// Every number of the truth is in the report, and the report adds nothing of its own.
pub fn assert_equal(report: &Report, truth: &Value, program: &str, place: Place) {
    let mut known = Vec::new();
    for site in truth["sites"].as_array().expect("the truth has sites") {
        let name = site["function"].as_str().expect("a name");
        let mut names = vec![name];
        names.extend(site["alias"].as_str().expect("names").split('|'));
        known.extend(names.clone());
        for field in ["live", "allocated", "freed"] {
            let found = sum(report, field, |site| place.holds(site, &names));
            let bytes = site[format!("{field}_bytes")].as_u64().expect("bytes");
            // Null where a mapping has a hole: how many blocks is that?
            let holes = site["live_blocks"].is_null();
            let blocks = site[format!("{field}_blocks")].as_u64().filter(|_| !holes);
            let expected = Amount { bytes, blocks: blocks.unwrap_or(found.blocks) };
            assert_eq!(found, expected, "{program}: {field} by {name}");
        }
    }
    let own = |site: &Value| {
        let module = site["frames"][0]["module"].as_str().unwrap_or("");
        std::path::Path::new(module).file_name().is_some_and(|name| name == program)
    };
    for site in report.sites().iter().filter(|s| own(s) && !place.holds(s, &known)) {
        assert_eq!(site["live_blocks"], 0, "{program}: unexpected site {site:#}");
    }
}

fn sum(report: &Report, field: &str, wanted: impl Fn(&Value) -> bool) -> Amount {
    let mut sum = Amount::default();
    for site in report.sites().iter().filter(|site| wanted(site)) {
        sum.bytes += site[format!("{field}_bytes")].as_u64().expect("a number of bytes");
        sum.blocks += site[format!("{field}_blocks")].as_u64().expect("a number of blocks");
    }
    sum
}
