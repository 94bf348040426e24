//! SARIF 2.1.0: what counts is a result, with its place in the sources and its stack.
//!
//! # Sources
//! OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.

use super::model::{Check, CheckFinding, Disposition, Status};
use super::words::place;
use crate::printable::printable;
use crate::report::{FrameReport, label};
use serde_json::{Map, Value, json};

/// The rule that all results are of.
const RULE: &str = "outlive/growth";
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
const WHAT_IS_IT: &str = "https://github.com/outlive/outlive#readme";
/// Results, and frames of a stack, that are written.
const MAX_RESULTS: usize = 1000;
const MAX_FRAMES: usize = 100;

/// The answer as SARIF. Files inside the folder `root` are named relative to it.
pub fn render(check: &Check, root: &str) -> String {
    let shown = check.findings.iter().filter(|f| f.disposition != Disposition::Doubtful);
    let results: Vec<Value> =
        shown.take(MAX_RESULTS).map(|finding| result(check, finding, root)).collect();
    let is_answer = matches!(check.status, Status::Clean | Status::Growth);
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "outlive",
                "semanticVersion": check.outlive_version,
                "informationUri": WHAT_IS_IT,
                "rules": [{
                    "id": RULE,
                    "name": "GrowthHeld",
                    "shortDescription": { "text": "Memory is left behind." },
                    "fullDescription": { "text": "Memory that was allocated here outlives the work that it was allocated for, again and again." },
                    "help": { "text": "Free it, bound whatever keeps it, or accept it in the baseline (outlive check --update-baseline)." },
                    "defaultConfiguration": { "level": "error" },
                    "properties": { "tags": ["memory", "leak"] },
                }],
            }},
            "invocations": [{
                "executionSuccessful": is_answer,
                "exitCode": check.status.exit_code(),
                "toolExecutionNotifications": check.problems.iter().chain(&check.notes).map(|text| json!({
                    "level": if is_answer { "note" } else { "error" },
                    "message": { "text": printable(text) },
                })).collect::<Vec<_>>(),
            }],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    // Only maps with keys that are no strings can fail, and there are none.
    serde_json::to_string_pretty(&log).unwrap_or_default() + "\n"
}

fn result(check: &Check, finding: &CheckFinding, root: &str) -> Value {
    let counts = finding.disposition.counts() && check.status == Status::Growth;
    let message = format!(
        "{}: {} held since {}",
        finding.disposition.in_words(),
        finding.pattern,
        place(finding)
    );
    let mut result = json!({
        "ruleId": RULE,
        "ruleIndex": 0,
        "level": if counts { "error" } else { "note" },
        "message": { "text": printable(&message) },
        "locations": finding.place().map(|frame| location(frame, root, None)).into_iter().collect::<Vec<_>>(),
        "stacks": [{
            "message": { "text": "where it is allocated" },
            "frames": finding.frames.iter().take(MAX_FRAMES).map(|frame| json!({
                "location": location(frame, root, None),
                "module": frame.module.as_deref().map_or_else(String::new, printable),
            })).collect::<Vec<_>>(),
        }],
        "codeFlows": [{ "threadFlows": [{
            // Flows are read from the outside inwards.
            "locations": finding.frames.iter().take(MAX_FRAMES).rev().map(|frame| json!({
                "location": location(frame, root, Some(&label(frame))),
            })).collect::<Vec<_>>(),
        }]}],
        "partialFingerprints": { "outlive/place/v1": fingerprint(&finding.key) },
        "properties": {
            "bytes": finding.bytes.estimate,
            "blocks": finding.blocks,
            "per": check.unit.name(),
            "exact": finding.exact,
            "disposition": finding.disposition,
        },
    });
    if finding.frames.is_empty()
        && let Some(result) = result.as_object_mut()
    {
        result.remove("codeFlows");
    }
    let accepted = match finding.disposition {
        Disposition::InBaseline | Disposition::WithinSiteBudget => Some("accepted"),
        Disposition::Suppressed => Some("suppressed"),
        _ => None,
    };
    if let (Some(_), Some(result)) = (accepted, result.as_object_mut()) {
        let suppression = json!([{ "kind": "external", "justification": message_of(finding) }]);
        result.insert("suppressions".to_owned(), suppression);
    }
    result
}

fn message_of(finding: &CheckFinding) -> String {
    match &finding.suppressed_by {
        Some(pattern) => printable(&format!("leak:{pattern}")),
        None => finding.disposition.in_words().to_owned(),
    }
}

fn location(frame: &FrameReport, root: &str, message: Option<&str>) -> Value {
    let mut location = Map::new();
    if let Some(physical) = physical(frame, root) {
        location.insert("physicalLocation".to_owned(), physical);
    }
    let logical = json!([{ "fullyQualifiedName": printable(&frame.function), "kind": "function" }]);
    location.insert("logicalLocations".to_owned(), logical);
    if let Some(message) = message {
        location.insert("message".to_owned(), json!({ "text": message }));
    }
    Value::Object(location)
}

fn physical(frame: &FrameReport, root: &str) -> Option<Value> {
    let file = frame.file.as_deref().filter(|file| !file.starts_with(['<', '[']))?;
    let artifact = match relative(file, root) {
        Some(inside) => json!({ "uri": encoded(inside), "uriBaseId": "%SRCROOT%" }),
        None if file.starts_with('/') => json!({ "uri": format!("file://{}", encoded(file)) }),
        None => json!({ "uri": encoded(file) }),
    };
    let region = frame.line.filter(|line| *line > 0).map(|line| json!({ "startLine": line }));
    let mut physical = json!({ "artifactLocation": artifact });
    if let (Some(region), Some(physical)) = (region, physical.as_object_mut()) {
        physical.insert("region".to_owned(), region);
    }
    Some(physical)
}

/// The part of a path behind the folder `root`; `None` for what does not lie in it.
pub(super) fn relative<'a>(file: &'a str, root: &str) -> Option<&'a str> {
    let file = file.strip_prefix("file://").unwrap_or(file);
    if !file.starts_with('/') {
        let is_path = !file.contains(':') && !file.split('/').any(|part| part == "..");
        return Some(file.trim_start_matches("./")).filter(|_| is_path);
    }
    let inside = file.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/')?;
    (!inside.split('/').any(|part| part == "..")).then_some(inside)
}

/// A path as it stands in a URI (RFC 3986).
fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'/'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'+'
            | b'@' => {
                out.push(char::from(byte));
            }
            byte => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// A number of a name that is the same in every version (FNV-1a).
fn fingerprint(key: &str) -> String {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
