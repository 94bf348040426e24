//! `outlive diff`.

use super::arguments::{Diff, DiffFormat};
use super::moment::named;
use super::report::deliver;
use crate::capture::{self, Recording};
use crate::report::diff::{self, Side, compare};
use anyhow::{Context as _, Result, bail};
use std::io::IsTerminal as _;
use std::path::Path;

/// Compares two captures, or two moments of one.
pub fn diff(verb: &Diff) -> Result<u8> {
    let (before, after) = (named(&verb.before)?, named(&verb.after)?);
    let is_same = is_same_file(&before.0, &after.0);
    if is_same && before.1 == after.1 {
        bail!(
            "{} would be compared with itself; name another capture, or another moment of it (FILE@30s, FILE@start, FILE@end)",
            before.0.display()
        );
    }
    let was = read(&before.0)?;
    let other = if is_same { None } else { Some(read(&after.0)?) };
    let is = other.as_ref().unwrap_or(&was);
    let (before_name, after_name) = (before.0.display().to_string(), after.0.display().to_string());
    let diff = compare(
        Side { capture: &before_name, recording: &was, moment: before.1 },
        Side { capture: &after_name, recording: is, moment: after.1 },
    )?;
    let color = verb.output.is_none() && std::io::stdout().is_terminal();
    let bytes = match verb.format {
        DiffFormat::Text => diff::text(&diff, color, verb.limit).into_bytes(),
        DiffFormat::Json => diff::json(&diff, verb.limit).into_bytes(),
        DiffFormat::Folded => diff::folded(&diff).into_bytes(),
        DiffFormat::Svg => diff::svg(&diff).context("drawing the flamegraph")?,
    };
    deliver(&bytes, verb.output.as_deref())?;
    Ok(diff::outcome(&diff, verb.fail_above))
}

fn read(path: &Path) -> Result<Recording> {
    capture::read(path).with_context(|| path.display().to_string())
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    a == b || std::fs::canonicalize(a).is_ok_and(|a| std::fs::canonicalize(b).is_ok_and(|b| a == b))
}
