//! Which frame of a stack a reader wants to see first, and how a frame is written in one line.

use super::model::FrameReport;
pub(super) use crate::printable::printable;
use crate::same::Same;
use crate::stack::FrameKind;

/// The nearest frame that belongs to the application: the first Python or JavaScript frame outside
/// installed packages and the standard library; else the first JavaScript frame of a package, of
/// Node.js itself, any Python or JavaScript frame; else, for machine code, the first frame in the
/// executable `exe`; else the leaf.
pub(super) fn application_frame(frames: &[Same<FrameReport>], exe: &str) -> Option<usize> {
    let first =
        |wanted: &dyn Fn(&FrameReport) -> bool| frames.iter().position(|frame| wanted(frame));
    first(&|frame| is_scripted(frame) && !is_library(frame))
        .or_else(|| first(&|frame| file_of_js(frame).is_some_and(|file| !is_of_node(file))))
        .or_else(|| first(&|frame| file_of_js(frame).is_some()))
        .or_else(|| first(&is_scripted))
        .or_else(|| {
            first(&|frame| frame.kind == FrameKind::Native && frame.module.as_deref() == Some(exe))
        })
        .or_else(|| first(&|_| true))
}

/// Whether it is a function of Python or JavaScript.
pub(crate) fn is_scripted(frame: &FrameReport) -> bool {
    matches!(frame.kind, FrameKind::Python | FrameKind::Js)
}

/// Whether a function of Python or JavaScript belongs to a package or to the language.
pub(super) fn is_library(frame: &FrameReport) -> bool {
    let Some(file) = frame.file.as_deref() else { return true };
    let marks =
        ["/site-packages/", "/dist-packages/", "/lib/python3", "/lib64/python3", "/node_modules/"];
    file.starts_with('<') || is_of_node(file) || marks.iter().any(|mark| file.contains(mark))
}

fn file_of_js(frame: &FrameReport) -> Option<&str> {
    frame.file.as_deref().filter(|_| frame.kind == FrameKind::Js)
}

/// Whether a script is part of Node.js.
fn is_of_node(file: &str) -> bool {
    file.starts_with("node:")
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
pub fn label(frame: &FrameReport) -> String {
    let text = match place(frame) {
        Some(place) => format!("{} ({place})", frame.function),
        None => frame.function.clone(),
    };
    printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> FrameReport {
        let (kind, file) = match text.split_once(' ') {
            Some(("js", "")) => (FrameKind::Js, None),
            Some(("js", file)) => (FrameKind::Js, Some(file)),
            Some(("py", file)) => (FrameKind::Python, Some(file)),
            _ => (FrameKind::Native, None),
        };
        FrameReport {
            kind,
            function: "f".into(),
            file: file.map(str::to_owned),
            line: None,
            module: (kind == FrameKind::Native).then(|| text.to_owned()),
            build_id: None,
            offset: None,
            generated: None,
            line_is_of_function: false,
        }
    }

    #[test]
    fn the_application_comes_before_packages_and_these_before_the_runtime() {
        let check = |claim: &str, frames: &[&str], expected: Option<usize>| {
            let frames: Vec<_> = frames.iter().map(|text| Same::from(frame(text))).collect();
            assert_eq!(application_frame(&frames, "/bin/node"), expected, "{claim}");
        };
        check(
            "the application's own",
            &[
                "/bin/node",
                "js node:buffer",
                "js ",
                "js /srv/node_modules/ws/lib/sender.js",
                "js /srv/gateway.js",
                "js /srv/main.js",
            ],
            Some(4),
        );
        check(
            "a package's",
            &["/bin/node", "js node:buffer", "js file:///srv/node_modules/ws/index.mjs"],
            Some(2),
        );
        check("Node's own", &["/bin/node", "js ", "js node:net", "js node:events"], Some(2));
        check("a builtin's", &["/bin/node", "js "], Some(1));
        check("machine code", &["/lib/libc.so", "/bin/node", "/bin/node"], Some(1));
        check("Python's packages", &["py <frozen>", "py /usr/lib/python3/x.py"], Some(0));
        check("nothing", &[], None);
    }
}
