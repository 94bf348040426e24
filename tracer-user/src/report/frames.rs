//! The frames of a report: each is made once, however many sites pass through it.

use super::build::frame_report;
use super::model::FrameReport;
use crate::same::Same;
use crate::stack::Frame;
use std::collections::HashMap;

/// Those that were made.
#[derive(Debug, Default)]
pub(super) struct Frames {
    shown: HashMap<Same<Frame>, Same<FrameReport>>,
    /// By themselves with and without their offsets.
    nowhere: HashMap<Same<FrameReport>, Same<FrameReport>>,
}

impl Frames {
    /// A frame as it is shown.
    pub(super) fn shown(&mut self, frame: &Same<Frame>) -> Same<FrameReport> {
        if let Some(shown) = self.shown.get(frame) {
            return shown.clone();
        }
        let shown = Same::from(frame_report(frame));
        self.shown.insert(frame.clone(), shown.clone());
        shown
    }

    /// The same without its offset: frames of one line are one.
    pub(super) fn nowhere(&mut self, frame: &Same<FrameReport>) -> Same<FrameReport> {
        if let Some(known) = self.nowhere.get(frame) {
            return known.clone();
        }
        let bare = FrameReport { offset: None, ..FrameReport::clone(frame) };
        let known = self.nowhere.get(&bare).cloned().unwrap_or_else(|| bare.into());
        self.nowhere.insert(known.clone(), known.clone());
        self.nowhere.insert(frame.clone(), known.clone());
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::FrameKind;

    #[test]
    fn frames_that_differ_by_their_offsets_are_one_without_them() {
        let at = |offset| Frame { offset, ..Frame::bare(FrameKind::Native, "fill") };
        let mut frames = Frames::default();
        let shown = [Some(1), Some(2), None].map(|offset| frames.shown(&at(offset).into()));
        assert_eq!(shown[1].offset, Some(2));
        let [one, other, bare] = shown.map(|frame| frames.nowhere(&frame));
        assert_eq!(one.offset, None);
        let address = |frame: &Same<FrameReport>| std::ptr::from_ref::<FrameReport>(frame);
        assert!([other, bare].iter().all(|same| address(same) == address(&one)));
    }
}
