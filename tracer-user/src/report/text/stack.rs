//! A stack as lines of text, folded to the frames that matter.

use super::fitted;
use crate::report::focus::label;
use crate::report::model::FrameReport;
use crate::stack::FrameKind;
use std::fmt::{self, Write};

/// Frames of a folded stack that are shown.
const MAX_FRAMES: usize = 8;

/// The stack folded to what matters: scripted frames where there are any, and the leaf.
pub(in crate::report) fn write_stack(
    out: &mut String,
    frames: &[FrameReport],
    application_frame: Option<usize>,
    truncated: Option<&str>,
) -> fmt::Result {
    let scripted = |frame: &FrameReport| matches!(frame.kind, FrameKind::Python | FrameKind::Js);
    let has_scripted = frames.iter().any(scripted);
    let mut hidden = 0;
    let mut shown = 0;
    for (index, frame) in frames.iter().enumerate() {
        let wanted =
            index == 0 || Some(index) == application_frame || !has_scripted || scripted(frame);
        if !wanted || shown >= MAX_FRAMES {
            hidden += 1;
            continue;
        }
        write_hidden(out, &mut hidden)?;
        let mark = if Some(index) == application_frame { '>' } else { ' ' };
        let line = format!("   {mark} {:<6} {}", frame.kind.name(), label(frame));
        writeln!(out, "{}", fitted(&line))?;
        shown += 1;
    }
    write_hidden(out, &mut hidden)?;
    match truncated {
        Some(reason) => writeln!(out, "     outer frames are missing: {reason}"),
        None => Ok(()),
    }
}

fn write_hidden(out: &mut String, hidden: &mut usize) -> fmt::Result {
    if *hidden > 0 {
        writeln!(out, "     ... {hidden} more {}", if *hidden == 1 { "frame" } else { "frames" })?;
    }
    *hidden = 0;
    Ok(())
}
