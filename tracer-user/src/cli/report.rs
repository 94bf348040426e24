//! `outlive report`.

use super::arguments::{Format, Report, View};
use super::moment::named;
use crate::report::diff::Moment;
use crate::{
    capture::{self, Recording},
    growth,
    report::{self, Detail},
    session,
};
use anyhow::{Context as _, Result, bail};
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::Path;

/// Makes a report from a capture.
pub fn report(verb: &Report) -> Result<u8> {
    let to_terminal = verb.output.is_none() && std::io::stdout().is_terminal();
    if verb.format == Format::Pprof && to_terminal {
        bail!(
            "a pprof profile is binary and would garble the terminal; name a file, such as -o live.pb.gz"
        );
    }
    let (path, moment) = named(&verb.capture)?;
    let recording = read_at(&path, moment)?;
    let report = report::build(&recording, &growth::Limits::default());
    let view = match verb.view {
        View::Live => report::View::Live,
        View::Growth => report::View::Growth,
        View::Allocated => report::View::Allocated,
    };
    let detail = if verb.full { Detail::Full } else { Detail::Folded };
    let output = verb.output.as_deref();
    let bytes = match verb.format {
        Format::Json => {
            deliver_json(&report, output)?;
            return Ok(report::outcome(&report, verb.fail_on_growth));
        }
        Format::Text => report::text(&report, to_terminal, detail).into_bytes(),
        Format::Markdown => report::markdown(&report, detail).into_bytes(),
        Format::Folded => report::folded(&report, view).into_bytes(),
        Format::Svg => report::svg(&report, view).context("drawing the flamegraph")?,
        Format::Pprof => report::pprof(&report, &recording).context("compressing the profile")?,
    };
    deliver(&bytes, output)?;
    Ok(report::outcome(&report, verb.fail_on_growth))
}

/// The recording as it was at a moment. The file is read twice where that is not the end: only at
/// its end does it say how long the window was and how often it was read.
fn read_at(path: &Path, moment: Moment) -> Result<Recording> {
    let whole = capture::read(path)?;
    Ok(match moment.until_ns(&path.display().to_string(), &whole)? {
        None => whole,
        Some(until_ns) => capture::read_until(path, until_ns)?,
    })
}

/// Writes a report piece by piece, as [`deliver`] does a text: that of thousands of sites is larger
/// than they are.
fn deliver_json(report: &report::Report, output: Option<&Path>) -> Result<()> {
    match output {
        Some(path) => session::write_with(path, |file| report::write_json(report, file)),
        None => {
            let mut stdout = BufWriter::new(std::io::stdout().lock());
            Ok(report::write_json(report, &mut stdout).and_then(|()| stdout.flush())?)
        }
    }
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
