//! What there is to be told about each place in the code, before any verdict: for those who judge
//! by something else than time.

use super::build::judged_sites;
use super::diff::name;
pub use super::focus::label;
use super::focus::{base_name, is_library};
use super::model::FrameReport;
use super::processes::{Owners, gone_with};
use super::profiles::Profiles;
use super::regimes::Stretch;
use super::v8::are_page_frames;
use crate::aggregate::Series;
use crate::capture::Recording;
use crate::growth::{Collections, Limits};
use crate::same::Same;
use crate::stack::{FrameKind, StackId};

/// Frames of the application that a place is named by.
const MAX_NAMED: usize = 3;

/// A place that allocates, in one process.
#[derive(Clone, Debug)]
pub struct Place {
    /// Kind of memory.
    pub domain: &'static str,
    /// The stacks that it is.
    pub stacks: Vec<StackId>,
    /// Leaf first.
    pub frames: Vec<Same<FrameReport>>,
    /// Indices of the frames that belong to the application, the nearest first; a few.
    pub application: Vec<usize>,
    /// The names of these frames, nearest first: functions with their files, without lines,
    /// folders, addresses, and what compilers and linkers make of names.
    pub names: Vec<String>,
    /// Why outer frames are missing; `None` when the stack is whole.
    pub truncated: Option<&'static str>,
    /// What it did over time; nothing is live of a process that has ended.
    pub series: Series,
    /// Whether its numbers are samples.
    pub is_sampled: bool,
    /// Where only a garbage collector frees its blocks, and its collections are seen.
    pub collections: Option<Collections>,
    /// Whether it is memory of V8's heap, of which nobody knows who fills it.
    pub is_heap_page: bool,
}

/// Every place of a recording, process by process.
pub fn places(recording: &Recording) -> Vec<Place> {
    let owners = Owners::of(recording);
    let profiles = Profiles::of(recording);
    let (judged, _) = judged_sites(recording, &owners, &profiles, &Limits::default());
    let place = |judged: super::build::Judged| {
        let exe = owners.exe(judged.process);
        let series = judged.series(recording);
        let frames = judged.site.frames;
        let application = application_frames(&frames, judged.site.application_frame, exe);
        Place {
            domain: judged.site.domain,
            stacks: judged.stacks,
            names: application.iter().map(|index| named(&frames[*index], exe)).collect(),
            application,
            truncated: judged.site.truncated,
            series: gone_with(
                match judged.evidence.sampling {
                    Some(_) => series,
                    None => profiles.stretch.within(series),
                },
                owners.gone_ns(judged.process),
            ),
            is_sampled: judged.evidence.is_sampled(),
            collections: judged.evidence.collections,
            is_heap_page: are_page_frames(&frames),
            frames,
        }
    };
    judged.into_iter().map(place).collect()
}

/// The part of a recording whose numbers may be compared, nanoseconds since the session began;
/// `None` where that is all of it.
pub fn comparable(recording: &Recording) -> Option<(u64, u64)> {
    Stretch::of(recording).bounds()
}

/// From the nearest frame of the application on, those that are its own in the same way. Calls of a
/// function by itself are one.
fn application_frames(
    frames: &[Same<FrameReport>],
    nearest: Option<usize>,
    exe: &str,
) -> Vec<usize> {
    let Some(nearest) = nearest.filter(|nearest| *nearest < frames.len()) else {
        return Vec::new();
    };
    let is_script = |frame: &FrameReport| matches!(frame.kind, FrameKind::Python | FrameKind::Js);
    let is_own = |frame: &FrameReport| match is_script(frame) {
        true => !is_library(frame),
        false => frame.module.as_deref() == Some(exe),
    };
    let mut found = vec![nearest];
    if !is_own(&frames[nearest]) {
        return found;
    }
    let is_same =
        |a: &FrameReport, b: &FrameReport| (&a.function, &a.file) == (&b.function, &b.file);
    for (index, frame) in frames.iter().enumerate().skip(nearest + 1) {
        let last = &frames[found[found.len() - 1]];
        if found.len() >= MAX_NAMED {
            break;
        }
        if is_script(frame) == is_script(last) && is_own(frame) && !is_same(frame, last) {
            found.push(index);
        }
    }
    found
}

/// `function (file)`, as it is in every build and on every machine.
pub fn named(frame: &FrameReport, exe: &str) -> String {
    let function = name::function(&frame.function);
    let function = name::without_addresses(function).unwrap_or_else(|| function.to_owned());
    match (&frame.file, &frame.module) {
        (Some(file), _) => format!("{function} ({})", base_name(file)),
        (None, Some(module)) => format!("{function} ({})", name::module(module, exe)),
        (None, None) => function,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: FrameKind, function: &str, file: Option<&str>, module: &str) -> FrameReport {
        FrameReport {
            kind,
            function: function.into(),
            file: file.map(str::to_owned),
            line: Some(7),
            module: Some(module.into()),
            build_id: None,
            offset: None,
            generated: None,
            line_is_of_function: false,
        }
    }

    #[test]
    fn a_place_is_named_by_the_frames_of_the_application() {
        let native =
            |function, module| Same::from(frame(FrameKind::Native, function, None, module));
        let python =
            |function, file| Same::from(frame(FrameKind::Python, function, Some(file), ""));
        let check = |frames: &[Same<FrameReport>], nearest, expected: &[&str]| {
            let found = application_frames(frames, Some(nearest), "/srv/app");
            let names: Vec<_> =
                found.iter().map(|index| named(&frames[*index], "/srv/app")).collect();
            assert_eq!(names, expected);
        };
        let c = [
            native("malloc", "/lib/libc.so.6"),
            native("keep.constprop.0", "/srv/app"),
            native("qsort", "/lib/libc.so.6"),
            native("walk", "/srv/app"),
            native("walk", "/srv/app"),
            native("0x1234", "/srv/app"),
            native("main", "/srv/app"),
        ];
        check(&c, 1, &["keep ([program])", "walk ([program])", "0x? ([program])"]);
        check(&c[..1], 0, &["malloc (libc.so)"]);
        let script = [
            native("PyBytes_FromStringAndSize", "/srv/app"),
            python("flush", "/srv/1.2/sessions.py"),
            python("handle", "/usr/lib/python3/dist-packages/web.py"),
            python("main", "/srv/1.2/gateway.py"),
            native("main", "/srv/app"),
        ];
        check(&script, 1, &["flush (sessions.py)", "main (gateway.py)"]);
        assert!(application_frames(&[], None, "").is_empty());
    }
}
