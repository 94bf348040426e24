//! `outlive report`.

use super::arguments::{Format, Report, View};
use crate::{capture, growth, report, session};
use anyhow::{Context as _, Result};
use std::io::{IsTerminal as _, Write as _};

/// Makes a report from a capture.
pub fn report(verb: &Report) -> Result<u8> {
    let recording = capture::read(&verb.capture)?;
    let report = report::build(&recording, &growth::Limits::default());
    let view = match verb.view {
        View::Live => report::View::Live,
        View::Growth => report::View::Growth,
        View::Allocated => report::View::Allocated,
    };
    let color = verb.output.is_none() && std::io::stdout().is_terminal();
    let bytes = match verb.format {
        Format::Text => report::text(&report, color).into_bytes(),
        Format::Json => report::json(&report).into_bytes(),
        Format::Folded => report::folded(&report, view).into_bytes(),
        Format::Svg => report::svg(&report, view).context("drawing the flamegraph")?,
    };
    match &verb.output {
        Some(path) => session::write_beside(path, &bytes)?,
        None => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&bytes).and_then(|()| stdout.flush())?;
        }
    }
    Ok(report::outcome(&report, verb.fail_on_growth))
}
