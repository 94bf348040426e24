//! What a part of the bench hands back: its table, the same as JSON, what is demanded of it, and
//! what it should have measured and could not.

use std::fmt;

use serde_json::{Value, json};

/// Where a figure has to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A figure, and what is demanded of it.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    pub(super) what: String,
    pub(super) figure: f64,
    pub(super) bound: Bound,
    /// Behind both numbers; empty for a ratio.
    pub(super) unit: &'static str,
}

impl Demand {
    pub(super) fn at_most(
        what: impl Into<String>,
        figure: f64,
        most: f64,
        unit: &'static str,
    ) -> Self {
        Self { what: what.into(), figure, bound: Bound::AtMost(most), unit }
    }

    pub(super) fn at_least(
        what: impl Into<String>,
        figure: f64,
        least: f64,
        unit: &'static str,
    ) -> Self {
        Self { what: what.into(), figure, bound: Bound::AtLeast(least), unit }
    }

    /// What is no number is not met.
    pub(super) fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.figure <= most,
            Bound::AtLeast(least) => self.figure >= least,
        }
    }

    fn json(&self) -> Value {
        let (key, bound) = match self.bound {
            Bound::AtMost(most) => ("at_most", most),
            Bound::AtLeast(least) => ("at_least", least),
        };
        json!({
            "what": self.what, "figure": self.figure, key: bound, "unit": self.unit,
            "met": self.is_met(),
        })
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.is_met() { "met" } else { "MISSED" };
        let (words, bound) = match self.bound {
            Bound::AtMost(most) => ("at most", most),
            Bound::AtLeast(least) => ("at least", least),
        };
        let Self { what, figure, unit, .. } = self;
        // Some bounds are figures of others.
        let bound = (bound * 100.0).round() / 100.0;
        write!(formatter, "{met:<7}{what}: {figure:.2}{unit} ({words} {bound}{unit})")
    }
}

/// A part of the bench, done.
pub(super) struct Section {
    pub(super) key: &'static str,
    pub(super) text: String,
    pub(super) json: Value,
    pub(super) demands: Vec<Demand>,
    /// What outlive itself should have been measured at and was not, with reasons.
    pub(super) failures: Vec<String>,
}

impl Section {
    /// A part that could not be measured at all.
    pub(super) fn failed(key: &'static str, why: &anyhow::Error) -> Self {
        let failure = format!("{key}: {why:#}");
        Self {
            key,
            text: String::new(),
            json: json!({}),
            demands: Vec::new(),
            failures: vec![failure],
        }
    }

    /// As one object: what was measured, and the verdicts on it.
    pub(super) fn json(&self) -> Value {
        let mut json = self.json.clone();
        json["demands"] = self.demands.iter().map(Demand::json).collect();
        json["failures"] = json!(self.failures);
        json
    }
}

impl fmt::Display for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\n== {}\n{}", self.key, self.text)?;
        self.demands.iter().try_for_each(|demand| writeln!(formatter, "  {demand}"))?;
        self.failures.iter().try_for_each(|failure| writeln!(formatter, "  NOT MEASURED {failure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Demand;

    #[test]
    fn a_demand_is_printed_beside_its_figure() {
        let met = Demand::at_most("10 native frames", 1.33, 1.35, "");
        assert_eq!(met.to_string(), "met    10 native frames: 1.33 (at most 1.35)");
        let missed = Demand::at_least("cheaper", 4.0, 5.0, " times");
        assert_eq!(missed.to_string(), "MISSED cheaper: 4.00 times (at least 5 times)");
        assert_eq!(missed.json()["at_least"], 5.0);
        assert_eq!(missed.json()["met"], false);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        assert!(!Demand::at_most("x", f64::NAN, 1.0, "").is_met());
        assert!(!Demand::at_least("x", f64::NAN, 1.0, "").is_met());
    }
}
