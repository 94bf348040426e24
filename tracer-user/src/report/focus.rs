//! Which frame of a stack a reader wants to see first, and how a frame is written in one line.

use super::model::FrameReport;
pub(super) use crate::printable::printable;
use crate::stack::FrameKind;

/// The nearest frame that belongs to the application: the first Python or JavaScript frame outside
/// installed packages and the standard library; else, for machine code, the first frame in the
/// executable `exe`; else the first Python or JavaScript frame; else the leaf.
pub(super) fn application_frame(frames: &[FrameReport], exe: &str) -> Option<usize> {
    let scripted = |frame: &FrameReport| matches!(frame.kind, FrameKind::Python | FrameKind::Js);
    let first = |wanted: &dyn Fn(&FrameReport) -> bool| frames.iter().position(wanted);
    first(&|frame| scripted(frame) && !is_library(frame))
        .or_else(|| first(&scripted))
        .or_else(|| {
            first(&|frame| frame.kind == FrameKind::Native && frame.module.as_deref() == Some(exe))
        })
        .or_else(|| first(&|_| true))
}

fn is_library(frame: &FrameReport) -> bool {
    let Some(file) = frame.file.as_deref() else { return true };
    let marks =
        ["/site-packages/", "/dist-packages/", "/lib/python3", "/lib64/python3", "/node_modules/"];
    file.starts_with('<')
        || file.starts_with("node:")
        || marks.iter().any(|mark| file.contains(mark))
}

/// The part behind the last slash.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `file.py:212`, or the module, or nothing.
pub(super) fn place(frame: &FrameReport) -> Option<String> {
    match (&frame.file, frame.line, &frame.module) {
        (Some(file), Some(line), _) => Some(format!("{}:{line}", base_name(file))),
        (Some(file), None, _) => Some(base_name(file).to_owned()),
        (None, _, Some(module)) => Some(base_name(module).to_owned()),
        (None, _, None) => None,
    }
}

/// `function (file.py:212)`, without control characters.
pub(super) fn label(frame: &FrameReport) -> String {
    let text = match place(frame) {
        Some(place) => format!("{} ({place})", frame.function),
        None => frame.function.clone(),
    };
    printable(&text)
}
