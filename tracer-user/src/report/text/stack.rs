//! A stack as lines of text.

use super::fitted;
use crate::report::focus::label;
use crate::report::model::FrameReport;
use crate::report::telling::{Detail, Fold, folded};
use crate::same::Same;
use std::fmt::{self, Write};

/// A frame a line, the leaf first; `>` marks the application frame.
pub(crate) fn write_stack(
    out: &mut String,
    frames: &[Same<FrameReport>],
    application_frame: Option<usize>,
    truncated: Option<&str>,
    detail: Detail,
) -> fmt::Result {
    for fold in folded(frames, application_frame, detail) {
        match fold {
            Fold::Frame(index) => {
                let frame = &frames[index];
                let mark = if Some(index) == application_frame { '>' } else { ' ' };
                let line = format!("   {mark} {:<6} {}", frame.kind.name(), label(frame));
                writeln!(out, "{}", fitted(&line))?;
            }
            Fold::Hidden(1) => writeln!(out, "     ... 1 more frame")?,
            Fold::Hidden(count) => writeln!(out, "     ... {count} more frames")?,
        }
    }
    match truncated {
        Some(reason) => writeln!(out, "     outer frames are missing: {reason}"),
        None => Ok(()),
    }
}
