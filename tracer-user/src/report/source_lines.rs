//! Lines of source code: which of them a report may want to show, and where it shows them. Who can
//! read them is `session`, when the target is at hand; here nothing is read.

use super::focus::{application_frame, is_scripted};
use super::frames::Frames;
use super::model::{Finding, FrameReport};
use crate::capture::{Recording, SourceLine};
use crate::stack::Stack;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Stacks that are looked at, those with the most live bytes first. All that is live was born in the
/// window, so what grows is among them.
const MAX_STACKS: usize = 4096;
/// Lines of application frames, and of other frames, that are asked for.
const MAX_APPLICATION_LINES: usize = 400;
const MAX_OTHER_LINES: usize = 200;

/// A line that a report may want to show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedLine {
    /// The image of the process whose frame names it.
    pub image: u32,
    /// Path, as the frame names it.
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// What was made from that file and runs: a binary, a script that a compiler wrote. `None` where
    /// the file itself is run.
    pub made: Option<String>,
}

/// The lines that frames of the largest stacks point at: application frames, then other scripted
/// ones. Each place is named once.
pub fn wanted_lines(recording: &Recording) -> Vec<WantedLine> {
    let exes: HashMap<u32, &str> = recording
        .meta
        .processes
        .iter()
        .flat_map(|process| process.images.iter().map(|image| (*image, process.exe.as_str())))
        .collect();
    let mut live: Vec<(u64, &Stack, u32)> = recording
        .aggregate
        .stacks()
        .filter(|(_, totals)| totals.live_bytes() > 0)
        .filter_map(|(id, totals)| {
            let stack = recording.stacks.get(&id)?;
            Some((totals.live_bytes(), stack, recording.raw_stacks.get(&id)?.image))
        })
        .collect();
    live.sort_by_key(|(bytes, stack, _)| (Reverse(*bytes), stack.id));
    let mut known = Frames::default();
    let mut named = BTreeSet::new();
    let mut wanted = Vec::new();
    let mut others = Vec::new();
    for (_, stack, image) in live.into_iter().take(MAX_STACKS) {
        let frames: Vec<_> = stack.frames.iter().map(|frame| known.shown(frame)).collect();
        let exe = exes.get(&image).copied().unwrap_or(&recording.meta.target.exe);
        let Some(index) = application_frame(&frames, exe) else { continue };
        if wanted.len() < MAX_APPLICATION_LINES {
            wanted.extend(line_of(&frames[index], image, &mut named));
        }
        let scripted = frames.iter().filter(|frame| is_scripted(frame));
        for frame in scripted.take(MAX_OTHER_LINES.saturating_sub(others.len())) {
            others.extend(line_of(frame, image, &mut named));
        }
    }
    wanted.append(&mut others);
    wanted
}

/// Where a frame points; `None` where that was asked for already, or is no line of a file.
fn line_of(
    frame: &FrameReport,
    image: u32,
    known: &mut BTreeSet<(String, u32)>,
) -> Option<WantedLine> {
    let (file, line) = (frame.file.as_deref()?, frame.line?);
    // Others are relative to nobody knows what, or no files (`<frozen os>`, `node:fs`).
    if !file.starts_with('/') || !known.insert((file.to_owned(), line)) {
        return None;
    }
    let made = match (&frame.generated, is_scripted(frame)) {
        (Some(generated), _) => Some(generated.file.clone()),
        (None, true) => None,
        (None, false) => Some(frame.module.clone()?),
    };
    Some(WantedLine { image, file: file.to_owned(), line, made })
}

/// Shows, in each finding, the line that its application frame points at.
pub(super) fn fill(findings: &mut [Finding], lines: &[SourceLine]) {
    let texts: BTreeMap<(&str, u32), &str> =
        lines.iter().map(|line| ((line.file.as_str(), line.line), line.text.as_str())).collect();
    for finding in findings {
        // A container has none of its own: whoever fills it has.
        let frame = finding.heap.allocated_at.first().unwrap_or(&finding.application_frame);
        let place = frame.file.as_deref().zip(frame.line);
        finding.source_line =
            place.and_then(|place| texts.get(&place)).map(|text| (*text).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::recording;
    use super::*;
    use crate::growth::Limits;
    use crate::report::build;
    use crate::stack::{FrameKind, Generated};

    fn names<'a>(wanted: &'a [WantedLine]) -> Vec<(&'a str, u32, Option<&'a str>)> {
        let name = |line: &'a WantedLine| (line.file.as_str(), line.line, line.made.as_deref());
        wanted.iter().map(name).collect()
    }

    #[test]
    fn application_frames_are_asked_for_before_others_and_each_line_once() {
        let wanted = wanted_lines(&recording(30, true));
        assert_eq!(
            names(&wanted),
            [
                ("/srv/app/gateway.py", 212, None),
                ("/srv/app/gateway.py", 40, None),
                ("/usr/lib/python3.11/json/encoder.py", 200, None),
                ("/srv/app/gateway.py", 88, None),
            ]
        );
        assert!(wanted.iter().all(|line| line.image == 1));
    }

    #[test]
    fn what_is_no_line_of_a_file_is_not_asked_for() {
        let mut recording = recording(30, true);
        for (stack, file) in recording.stacks.values_mut().zip(["<frozen os>", "app.py", "node:fs"])
        {
            stack.frames.truncate(3);
            stack.frames.remove(1);
            stack.frames[1].file = Some(file.into());
        }
        assert_eq!(wanted_lines(&recording), []);
    }

    #[test]
    fn what_was_made_of_a_file_is_named_with_it() {
        let mut recording = recording(30, true);
        recording.stacks.retain(|id, _| id.0 == 0xa1);
        let stack = recording.stacks.values_mut().next().expect("a stack");
        let mut script = stack.frames[2].clone();
        script.kind = FrameKind::Js;
        script.file = Some("/srv/src/a.ts".into());
        script.generated = Some(Generated { file: "/srv/dist/a.js".into(), line: 1 });
        let mut native = stack.frames[0].clone();
        (native.file, native.line) = (Some("/src/a.c".into()), Some(7));
        stack.frames = vec![native.clone(), script];
        let wanted = wanted_lines(&recording);
        assert_eq!(names(&wanted), [("/srv/src/a.ts", 212, Some("/srv/dist/a.js"))]);

        recording.stacks.values_mut().next().expect("a stack").frames = vec![native];
        let wanted = wanted_lines(&recording);
        assert_eq!(names(&wanted), [("/src/a.c", 7, Some("/usr/bin/python3.11"))]);
    }

    #[test]
    fn a_finding_shows_the_line_that_its_frame_points_at() {
        let mut recording = recording(30, true);
        let line = |line, text: &str| SourceLine {
            file: "/srv/app/gateway.py".into(),
            line,
            text: text.into(),
        };
        recording.meta.source_lines =
            vec![line(211, "before"), line(212, "it"), line(213, "behind")];
        let report = build(&recording, &Limits::default());
        assert_eq!(report.findings[0].source_line.as_deref(), Some("it"));
        recording.meta.source_lines.remove(1);
        assert_eq!(build(&recording, &Limits::default()).findings[0].source_line, None);
    }
}
