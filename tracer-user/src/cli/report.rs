//! `outlive report`.

use super::arguments::{Format, Report, View};
use crate::{capture, growth, report, session};
use anyhow::{Context as _, Result, bail};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

/// Makes a report from a capture.
pub fn report(verb: &Report) -> Result<u8> {
    let to_terminal = verb.output.is_none() && std::io::stdout().is_terminal();
    if verb.format == Format::Pprof && to_terminal {
        bail!(
            "a pprof profile is binary and would garble the terminal; name a file, such as -o live.pb.gz"
        );
    }
    let recording = capture::read(&verb.capture)?;
    let report = report::build(&recording, &growth::Limits::default());
    let view = match verb.view {
        View::Live => report::View::Live,
        View::Growth => report::View::Growth,
        View::Allocated => report::View::Allocated,
    };
    let bytes = match verb.format {
        Format::Text => report::text(&report, to_terminal).into_bytes(),
        Format::Json => report::json(&report).into_bytes(),
        Format::Folded => report::folded(&report, view).into_bytes(),
        Format::Svg => report::svg(&report, view).context("drawing the flamegraph")?,
        Format::Pprof => report::pprof(&report, &recording).context("compressing the profile")?,
    };
    deliver(&bytes, verb.output.as_deref())?;
    Ok(report::outcome(&report, verb.fail_on_growth))
}

/// Writes to a file, or to stdout where none is named.
pub(super) fn deliver(bytes: &[u8], output: Option<&Path>) -> Result<()> {
    match output {
        Some(path) => session::write_beside(path, bytes),
        None => {
            let mut stdout = std::io::stdout().lock();
            Ok(stdout.write_all(bytes).and_then(|()| stdout.flush())?)
        }
    }
}
