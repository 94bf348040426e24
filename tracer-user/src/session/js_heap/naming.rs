//! How a place in JavaScript is shown, as V8's profiler names it: by the function and where its
//! definition begins, not by the line that allocated.

use crate::{
    runtime::node::{Original, display_path, inspector::JsPlace},
    stack::{Frame, FrameKind, Generated},
};
use std::collections::HashMap;

/// What allocates without JavaScript on the stack.
const NOBODY: &str = "[no JavaScript]";

/// Where the places of scripts that a compiler wrote come from, by their source maps.
pub type Originals = HashMap<JsPlace, Original>;

/// The frames of a stack, innermost first; one that says so where there is none.
pub fn frames(places: &[&JsPlace], originals: &Originals) -> Vec<Frame> {
    match places {
        [] => vec![unplaced(NOBODY)],
        places => places.iter().map(|place| frame(place, originals.get(place))).collect(),
    }
}

fn frame(place: &JsPlace, original: Option<&Original>) -> Frame {
    let file = (!place.url.is_empty()).then(|| display_path(&place.url));
    let line = u32::try_from(place.line_number).ok().map(|line| line.saturating_add(1));
    let line = line.filter(|_| file.is_some());
    let name = function(&place.function_name);
    if let (Some(original), Some(file), Some(line)) = (original, &file, line) {
        return Frame {
            file: Some(original.file.clone()),
            line: Some(original.line),
            generated: Some(Generated { file: file.clone(), line }),
            ..unplaced(&name)
        };
    }
    Frame { file, line, ..unplaced(&name) }
}

fn unplaced(function: &str) -> Frame {
    Frame::bare(FrameKind::Js, function)
}

/// V8's names for itself stand in brackets, as in other stacks.
fn function(name: &str) -> String {
    match name {
        "" | "(anonymous)" => "<anonymous>".to_owned(),
        "(GC)" => "[V8 garbage collector]".to_owned(),
        "(PARSER)" => "[V8 parser]".to_owned(),
        "(BYTECODE_COMPILER)" => "[V8 bytecode compiler]".to_owned(),
        "(COMPILER)" => "[V8 compiler]".to_owned(),
        "(EXTERNAL)" => "[native code]".to_owned(),
        "(V8 API)" => "[V8 API]".to_owned(),
        "(IDLE)" => "[idle]".to_owned(),
        "(program)" | "(JS)" | "(OTHER)" | "(LOGGING)" => "[V8]".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(
        function_name: &str,
        url: &str,
        line_number: i64,
    ) -> (String, Option<String>, Option<u32>) {
        let place = JsPlace {
            function_name: function_name.into(),
            url: url.into(),
            line_number,
            column_number: 3,
        };
        let frame = frames(&[&place], &Originals::new()).remove(0);
        (frame.function, frame.file, frame.line)
    }

    #[test]
    fn places_are_shown_as_people_know_them() {
        for (function, url, line, expected) in [
            ("keep", "file:///srv/a%20b/x.js", 6, ("keep", Some("/srv/a b/x.js"), Some(7))),
            ("", "file:///srv/x%.js", 0, ("<anonymous>", Some("/srv/x%.js"), Some(1))),
            ("emit", "node:events", 400, ("emit", Some("node:events"), Some(401))),
            ("(V8 API)", "", -1, ("[V8 API]", None, None)),
            (
                "run",
                "evalmachine.<anonymous>",
                0,
                ("run", Some("evalmachine.<anonymous>"), Some(1)),
            ),
        ] {
            let (name, file, number) = expected;
            let expected = (name.to_owned(), file.map(str::to_owned), number);
            assert_eq!(shown(function, url, line), expected, "{url}");
        }
        assert_eq!(frames(&[], &Originals::new())[0].function, NOBODY);
    }

    #[test]
    fn a_place_with_an_original_keeps_the_one_that_runs_beside_it() {
        let place = JsPlace {
            function_name: "keep".into(),
            url: "file:///srv/app.js".into(),
            line_number: 9,
            column_number: 3,
        };
        let original = Original { file: "/srv/app.ts".into(), line: 30 };
        let originals = Originals::from([(place.clone(), original)]);
        let frame = frames(&[&place], &originals).remove(0);
        assert_eq!((frame.file.as_deref(), frame.line), (Some("/srv/app.ts"), Some(30)));
        let generated = Generated { file: "/srv/app.js".into(), line: 10 };
        assert_eq!(frame.generated, Some(generated));
    }
}
