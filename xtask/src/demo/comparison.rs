//! What outlive reported beside what the gateway itself knows. Pure: two JSON documents in, a
//! conclusion out.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;

/// The verdict of report.json that accuses a site.
const ACCUSING: &str = "growing";

/// A function that every stack of the flush path contains: a growing site below it belongs to
/// the leak (say, the list that holds the buffers), any other one is innocent.
const FLUSH_PATH: &str = "_flush_messages";

/// What the demo is to find, as the last line names it.
#[derive(Debug, PartialEq)]
pub struct Found<'a> {
    pub function: &'a str,
    pub file: &'a str,
    pub line: u64,
    pub rate: String,
}

/// What the comparison comes to.
#[derive(Debug, PartialEq)]
pub enum Conclusion<'a> {
    /// No site was flagged.
    Nothing,
    /// The leaking function is at the top and no innocent one is flagged.
    Leak(Found<'a>),
    /// Functions outside the flush path that were flagged, or that stand above the leak.
    Innocent(String),
}

/// A flagged site: its numbers and its innermost Python frame.
struct Site<'a> {
    function: &'a str,
    file: &'a str,
    line: u64,
    in_flush_path: bool,
    live_bytes: u64,
    live_blocks: u64,
    bytes_per_s: f64,
}

/// Report and truth, side by side.
pub struct Comparison<'a> {
    flagged: Vec<Site<'a>>,
    /// The leaking function's name as the gateway gives it.
    true_function: &'a str,
    /// Retained by the gateway during the window.
    true_bytes: u64,
    true_blocks: u64,
}

impl<'a> Comparison<'a> {
    /// Reads `report` and the gateway's truth from right before and right after it.
    ///
    /// # Errors
    /// When a field is missing.
    pub fn new(report: &'a Value, before: &Value, after: &'a Value) -> Result<Self> {
        let sites = report["sites"].as_array().context("the report has no `sites`")?;
        let flagged: Result<Vec<Site<'a>>> =
            sites.iter().filter(|site| site["verdict"] == ACCUSING).map(site).collect();
        let retained = |truth: &Value, field: &str| {
            truth["retained"][0][field]
                .as_u64()
                .with_context(|| format!("the truth has no retained[0].{field}"))
        };
        let gained = |field: &str| -> Result<u64> {
            Ok(retained(after, field)?.saturating_sub(retained(before, field)?))
        };
        Ok(Self {
            flagged: flagged?,
            true_function: after["retained"][0]["function"]
                .as_str()
                .context("the truth has no retained[0].function")?,
            true_bytes: gained("bytes")?,
            true_blocks: gained("blocks")?,
        })
    }

    /// What it comes to.
    pub fn conclusion(&self) -> Conclusion<'_> {
        let Some(top) = self.flagged.first() else { return Conclusion::Nothing };
        let mut innocent: Vec<&str> =
            self.flagged.iter().filter(|s| !s.in_flush_path).map(|s| s.function).collect();
        if !self.is_leak(top) {
            innocent.insert(0, top.function);
        }
        innocent.dedup();
        if !innocent.is_empty() {
            return Conclusion::Innocent(innocent.join(", "));
        }
        let Site { function, file, line, .. } = *top;
        let rate = format!("{:.0} kB/s", self.found(|s| s.bytes_per_s) / 1000.0);
        Conclusion::Leak(Found { function, file, line, rate })
    }

    fn is_leak(&self, site: &Site<'_>) -> bool {
        short_name(site.function) == short_name(self.true_function)
    }

    fn found<T: std::iter::Sum>(&self, number: impl Fn(&Site<'a>) -> T) -> T {
        self.flagged.iter().filter(|site| self.is_leak(site)).map(number).sum()
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = short_name(self.true_function);
        let (bytes, blocks) = (self.found(|s| s.live_bytes), self.found(|s| s.live_blocks));
        writeln!(f, "kept by {name} while outlive was attached:")?;
        writeln!(
            f,
            "  the gateway counted  {:>12} bytes {:>7} blocks",
            self.true_bytes, self.true_blocks
        )?;
        writeln!(f, "  outlive reported     {bytes:>12} bytes {blocks:>7} blocks")?;
        if self.true_bytes > 0 {
            let percent = 100.0 * bytes as f64 / self.true_bytes as f64;
            writeln!(
                f,
                "  that is {percent:.1} %; the gateway is asked just before and just after, \
                 so it counts a little more"
            )?;
        }
        Ok(())
    }
}

fn site(site: &Value) -> Result<Site<'_>> {
    let frames = site["frames"].as_array().context("a site has no `frames`")?;
    let is_python = |frame: &&Value| frame["kind"] == "python";
    let frame = frames.iter().find(is_python).or(frames.first()).unwrap_or(&Value::Null);
    let in_flush_path = frames
        .iter()
        .filter_map(|frame| frame["function"].as_str())
        .any(|function| short_name(function) == FLUSH_PATH);
    Ok(Site {
        function: frame["function"].as_str().unwrap_or("(unknown)"),
        file: frame["file"].as_str().unwrap_or("?"),
        line: frame["line"].as_u64().unwrap_or(0),
        in_flush_path,
        live_bytes: site["live_bytes"].as_u64().context("a site has no `live_bytes`")?,
        live_blocks: site["live_blocks"].as_u64().context("a site has no `live_blocks`")?,
        bytes_per_s: site["growth_bytes_per_s"]["estimate"].as_f64().unwrap_or(0.0),
    })
}

/// `finish` of `Store.finish`.
pub fn short_name(function: &str) -> &str {
    function.rsplit('.').next().unwrap_or(function)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Comparison, Conclusion};

    fn truth(bytes: u64) -> Value {
        json!({"retained": [{"function": "Store._drop", "bytes": bytes, "blocks": bytes / 100}]})
    }

    fn growing(functions: &[&str]) -> Value {
        let python = functions
            .iter()
            .map(|name| json!({"kind": "python", "function": name, "file": "s.py", "line": 7}));
        let native = json!({"kind": "native", "function": "malloc"});
        let frames: Vec<Value> = std::iter::once(native).chain(python).collect();
        json!({"verdict": "growing", "live_bytes": 900, "live_blocks": 9, "frames": frames,
               "growth_bytes_per_s": {"estimate": 2000.0}})
    }

    fn conclude(sites: &[Value], check: impl Fn(Conclusion<'_>)) {
        let report = json!({ "sites": sites });
        let (before, after) = (truth(100), truth(1100));
        check(Comparison::new(&report, &before, &after).unwrap().conclusion());
    }

    #[test]
    fn the_leak_at_the_top_is_found_with_file_and_line() {
        let leak = growing(&["Store._drop", "Store._flush_messages"]);
        let list = growing(&["Store._persist", "Store._flush_messages"]);
        conclude(&[leak, list], |conclusion| match conclusion {
            Conclusion::Leak(found) => {
                assert_eq!((found.function, found.file, found.line), ("Store._drop", "s.py", 7));
                assert_eq!(found.rate, "2 kB/s");
            }
            other => panic!("{other:?}"),
        });
    }

    #[test]
    fn an_innocent_function_beside_or_above_the_leak_is_a_failure() {
        let leak = growing(&["Store._drop", "Store._flush_messages"]);
        let cache = growing(&["Cache.put"]);
        let innocent = |c: Conclusion<'_>| assert_eq!(c, Conclusion::Innocent("Cache.put".into()));
        conclude(&[leak.clone(), cache.clone()], innocent);
        conclude(&[cache, leak], innocent);
    }

    #[test]
    fn a_steady_site_is_not_flagged() {
        let mut steady = growing(&["Cache.put"]);
        steady["verdict"] = json!("steady");
        conclude(&[steady], |conclusion| assert_eq!(conclusion, Conclusion::Nothing));
        conclude(&[], |conclusion| assert_eq!(conclusion, Conclusion::Nothing));
    }

    #[test]
    fn a_report_without_sites_is_an_error() {
        assert!(Comparison::new(&json!({}), &truth(0), &truth(1)).is_err());
    }
}
