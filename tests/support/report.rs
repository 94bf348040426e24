//! A run's report.json, asked the way tests ask.

use super::Amount;
use serde_json::Value;
use tracer_common::counter::{Class, Counter};

/// A parsed report.json.
pub struct Report(pub Value);

impl Report {
    pub fn sites(&self) -> &[Value] {
        self.0["sites"].as_array().expect("sites is a list")
    }

    pub fn total(&self, name: &str) -> u64 {
        self.0["totals"][name].as_u64().unwrap_or_else(|| panic!("totals.{name} is missing"))
    }

    pub fn loss(&self, name: &str) -> u64 {
        self.0["losses"][name].as_u64().unwrap_or_else(|| panic!("losses.{name} is missing"))
    }

    /// Sums `field_bytes` and `field_blocks` over the sites whose leaf function is one of these.
    pub fn sum(&self, field: &str, functions: &[&str]) -> Amount {
        let mut sum = Amount::default();
        for site in self.sites().iter().filter(|s| functions.contains(&leaf(s))) {
            sum.bytes += site[format!("{field}_bytes")].as_u64().expect("a number of bytes");
            sum.blocks += site[format!("{field}_blocks")].as_u64().expect("a number of blocks");
        }
        sum
    }

    /// Each counter of a loss is in the report, and is zero.
    pub fn assert_no_losses(&self) {
        for counter in
            Counter::ALL.iter().filter(|c| !matches!(c.class(), Class::Traffic | Class::Walk))
        {
            assert_eq!(self.loss(counter.name()), 0, "losses.{}", counter.name());
        }
    }

    /// Sites that the report calls growing, the largest growth first.
    pub fn growing(&self) -> Vec<&Value> {
        let mut growing: Vec<_> =
            self.sites().iter().filter(|s| s["verdict"].as_str() == Some("growing")).collect();
        let rate = |s: &Value| s["growth_bytes_per_s"]["estimate"].as_f64().unwrap_or(0.0);
        growing.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
        growing
    }
}

/// The function that called the allocator.
pub fn leaf(site: &Value) -> &str {
    site["frames"][0]["function"].as_str().unwrap_or("")
}

/// A site's Python frames, leaf first: (function, file, line).
pub fn python_frames(site: &Value) -> Vec<(String, String, u64)> {
    let frames = site["frames"].as_array().expect("frames is a list");
    let text = |frame: &Value, name: &str| frame[name].as_str().unwrap_or("?").to_owned();
    frames
        .iter()
        .filter(|frame| frame["kind"] == "python")
        .map(|f| (text(f, "function"), text(f, "file"), f["line"].as_u64().unwrap_or(0)))
        .collect()
}
