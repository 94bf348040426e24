//! A stack folded to the frames that matter.

use super::Detail;
use crate::report::focus::{is_library, is_scripted};
use crate::report::model::FrameReport;
use crate::same::Same;

/// Frames of a folded stack that are shown.
const MAX_FRAMES: usize = 8;

/// A part of a folded stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Fold {
    /// The frame of this index.
    Frame(usize),
    /// So many that are left out.
    Hidden(usize),
}

/// A stack folded to what matters: the leaf, the application frame, scripted frames where there are
/// any, those of the application before those of libraries, and the nearest before those further
/// out.
pub(in crate::report) fn folded(
    frames: &[Same<FrameReport>],
    application_frame: Option<usize>,
    detail: Detail,
) -> Vec<Fold> {
    let has_scripted = frames.iter().any(|frame| is_scripted(frame));
    let module = application_frame.and_then(|index| frames.get(index)?.module.as_ref());
    // Smaller matters more.
    let rank = |(index, frame): (usize, &Same<FrameReport>)| {
        if index == 0 || Some(index) == application_frame {
            return Some((0, index));
        }
        let is_own = match has_scripted {
            true if !is_scripted(frame) => return None,
            true => !is_library(frame),
            false => frame.module.as_ref() == module,
        };
        Some((if is_own { 1 } else { 2 }, index))
    };
    let mut wanted: Vec<(u8, usize)> = match detail {
        Detail::Folded => frames.iter().enumerate().filter_map(rank).collect(),
        Detail::Full => (0..frames.len()).map(|index| (0, index)).collect(),
    };
    wanted.sort_unstable();
    wanted.truncate(detail.at_most(MAX_FRAMES));
    let mut shown: Vec<usize> = wanted.into_iter().map(|(_, index)| index).collect();
    shown.sort_unstable();
    let mut folds = Vec::with_capacity(2 * shown.len() + 1);
    let mut next = 0;
    for index in shown {
        if index > next {
            folds.push(Fold::Hidden(index - next));
        }
        folds.push(Fold::Frame(index));
        next = index + 1;
    }
    if frames.len() > next {
        folds.push(Fold::Hidden(frames.len() - next));
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::frame_report;
    use crate::stack::{Frame, FrameKind};

    fn frame(text: &str) -> FrameReport {
        let (kind, place) = match text.split_once(' ') {
            Some(("py", file)) => (FrameKind::Python, Some(file)),
            Some(("c", module)) => (FrameKind::Native, Some(module)),
            _ => (FrameKind::Native, None),
        };
        let mut frame = frame_report(&Frame::bare(kind, text));
        match kind {
            FrameKind::Native => frame.module = place.map(str::to_owned),
            _ => frame.file = place.map(str::to_owned),
        }
        frame
    }

    /// Shown frames by index, `.` for what is left out.
    fn check(frames: &[String], application_frame: Option<usize>, expected: &str) {
        let frames: Vec<_> = frames.iter().map(|text| Same::from(frame(text))).collect();
        let folds = folded(&frames, application_frame, Detail::Folded);
        let told: Vec<String> = folds
            .iter()
            .map(|fold| match fold {
                Fold::Frame(index) => index.to_string(),
                Fold::Hidden(count) => format!("({count})"),
            })
            .collect();
        assert_eq!(told.join(" "), expected);
        let whole = folded(&frames, application_frame, Detail::Full);
        assert_eq!(whole, (0..frames.len()).map(Fold::Frame).collect::<Vec<_>>());
    }

    #[test]
    fn the_applications_own_frames_come_before_those_of_libraries() {
        let own = |n: usize| vec!["py /srv/a.py".to_owned(); n];
        let library = |n: usize| vec!["py /usr/lib/python3/b.py".to_owned(); n];
        let native = |n: usize| vec!["c /lib/libc.so".to_owned(); n];
        check(&[], None, "");
        check(&[native(2), own(2)].concat(), Some(2), "0 (1) 2 3");
        let deep = [native(1), own(1), library(9), own(2), native(3)].concat();
        check(&deep, Some(1), "0 1 2 3 4 5 (5) 11 12 (3)");
        check(&[own(20)].concat(), Some(0), "0 1 2 3 4 5 6 7 (12)");
    }

    #[test]
    fn native_stacks_show_the_program_before_its_libraries() {
        let frames: Vec<String> = ["c /lib/x.so"; 9]
            .into_iter()
            .chain(["c /bin/app"; 4])
            .chain(["c /lib/libc.so"; 2])
            .map(str::to_owned)
            .collect();
        check(&frames, Some(9), "0 1 2 3 (5) 9 10 11 12 (2)");
    }
}
