//! One stack from two: Python frames take the place of the native frames of the interpreter
//! loop that ran them. Pure.

use crate::stack::{Domain, Frame, FrameKind, WalkEnd};

/// Functions through which CPython maps an arena (named only in files that are not stripped).
const ARENA_FUNCTIONS: [&str; 3] = ["_PyObject_ArenaMmap", "_PyMem_ArenaAlloc", "new_arena"];
/// The frame that stands for all arenas.
pub const ARENA_FRAME: &str = "[pymalloc arena]";

/// A native return address.
#[derive(Clone, Debug)]
pub struct NativeSlot {
    /// Its frames, innermost (inlined) first.
    pub frames: Vec<Frame>,
    /// It lies in the interpreter loop.
    pub is_eval: bool,
}

/// A recorded Python frame.
#[derive(Clone, Debug)]
pub struct PythonSlot {
    /// `None` for a place-holder that stands for no function.
    pub frame: Option<Frame>,
    /// C code entered the interpreter with it: the loop's native frame ends here.
    pub is_entry: bool,
}

/// The merged stack, leaf first, and why it is not whole (`None` when it is).
///
/// A stack whose Python frames reach the bottom counts as whole even when the native walk ended
/// early, as it does in code without frame pointers: nothing that people wrote is missing.
pub fn merge(
    native: &[NativeSlot],
    native_end: WalkEnd,
    python: &[PythonSlot],
    python_end: WalkEnd,
    domain: Domain,
    python_module: Option<&str>,
) -> (Vec<Frame>, Option<WalkEnd>) {
    if domain == Domain::Mmap
        && let Some(leaf) = native.first()
        && is_arena(&leaf.frames, python_module)
    {
        return (arena(native), None);
    }
    let mut frames = Vec::with_capacity(native.len() + python.len());
    let mut rest = python;
    for slot in native {
        if !slot.is_eval || rest.is_empty() {
            frames.extend(slot.frames.iter().cloned());
            continue;
        }
        let taken =
            rest.iter().position(|frame| frame.is_entry).map_or(rest.len(), |entry| entry + 1);
        frames.extend(rest[..taken].iter().filter_map(|slot| slot.frame.clone()));
        rest = &rest[taken..];
    }
    // The native walk ended before the interpreter's outermost loop; the Python chain does not
    // depend on it.
    frames.extend(rest.iter().filter_map(|slot| slot.frame.clone()));
    let python_is_whole = !python.is_empty() && python_end == WalkEnd::Bottom;
    let truncated = if native_end.is_complete() || python_is_whole {
        None
    } else if !python.is_empty() && !python_end.is_complete() {
        Some(python_end)
    } else {
        Some(native_end)
    };
    (frames, truncated)
}

/// Whether the caller of mmap is pymalloc: an arena serves all small objects to come and must
/// not be charged to whoever happened to ask for the first of them.
fn is_arena(leaf: &[Frame], python_module: Option<&str>) -> bool {
    let Some(module) = python_module else { return false };
    let in_interpreter = leaf.last().is_some_and(|frame| frame.module.as_deref() == Some(module));
    let is_named = |frame: &Frame| !frame.function.contains("+0x");
    let is_arena_function =
        |frame: &Frame| ARENA_FUNCTIONS.iter().any(|name| frame.function.starts_with(name));
    // A file without names cannot tell its callers apart; arenas are by far the most of them.
    in_interpreter && (leaf.iter().any(is_arena_function) || !leaf.iter().any(is_named))
}

fn arena(native: &[NativeSlot]) -> Vec<Frame> {
    let first = native.first().and_then(|slot| slot.frames.last());
    vec![Frame {
        kind: FrameKind::Native,
        function: ARENA_FRAME.to_owned(),
        file: None,
        line: None,
        module: first.and_then(|frame| frame.module.clone()),
        build_id: first.and_then(|frame| frame.build_id.clone()),
        offset: first.and_then(|frame| frame.offset),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTHON: &str = "/lib/libpython3.11.so";

    fn frame(kind: FrameKind, function: &str) -> Frame {
        Frame {
            kind,
            function: function.into(),
            file: None,
            line: None,
            module: Some(PYTHON.into()),
            build_id: None,
            offset: None,
        }
    }

    /// `eval` is the loop, anything else a native function.
    fn native(names: &[&str]) -> Vec<NativeSlot> {
        names
            .iter()
            .map(|name| NativeSlot {
                frames: vec![frame(FrameKind::Native, name)],
                is_eval: *name == "eval",
            })
            .collect()
    }

    /// A `*` marks an entry frame, a lone `*` a place-holder.
    fn python(names: &[&str]) -> Vec<PythonSlot> {
        let slot = |name: &&str| {
            let function = name.trim_end_matches('*');
            PythonSlot {
                frame: (!function.is_empty()).then(|| frame(FrameKind::Python, function)),
                is_entry: name.ends_with('*'),
            }
        };
        names.iter().map(slot).collect()
    }

    fn check(
        claim: &str,
        native_side: (&[&str], WalkEnd),
        python_side: (&[&str], WalkEnd),
        expected: (&[&str], Option<WalkEnd>),
    ) {
        let (frames, truncated) = merge(
            &native(native_side.0),
            native_side.1,
            &python(python_side.0),
            python_side.1,
            Domain::Malloc,
            Some(PYTHON),
        );
        let names: Vec<&str> = frames.iter().map(|frame| frame.function.as_str()).collect();
        assert_eq!((names.as_slice(), truncated), expected, "{claim}");
    }

    #[test]
    fn python_frames_take_the_place_of_the_loop() {
        use WalkEnd::{Absent, Bottom, NoFramePointer, TooDeep};
        check(
            "two loops",
            (&["list_append", "eval", "sorted", "eval", "main"], Bottom),
            (&["a", "b*", "c", "d*"], Bottom),
            (&["list_append", "a", "b", "sorted", "c", "d", "main"], None),
        );
        check(
            "the native walk ended early",
            (&["bytes_new"], NoFramePointer),
            (&["a", "b*", "c*"], Bottom),
            (&["bytes_new", "a", "b", "c"], None),
        );
        check(
            "place-holders are not shown",
            (&["eval", "main"], Bottom),
            (&["a", "*"], Bottom),
            (&["a", "main"], None),
        );
        check(
            "a loop without frames stays",
            (&["eval", "main"], Bottom),
            (&[], Absent),
            (&["eval", "main"], None),
        );
        check(
            "more loops than frames",
            (&["eval", "eval", "main"], Bottom),
            (&["a*"], Bottom),
            (&["a", "eval", "main"], None),
        );
        check(
            "no Python at all",
            (&["f", "main"], NoFramePointer),
            (&[], Absent),
            (&["f", "main"], Some(NoFramePointer)),
        );
        check(
            "both cut",
            (&["f"], NoFramePointer),
            (&["a", "b"], TooDeep),
            (&["f", "a", "b"], Some(TooDeep)),
        );
        check("nothing", (&[], Absent), (&[], Absent), (&[], None));
    }

    #[test]
    fn an_arena_is_charged_to_nobody() {
        let arena_of = |leaf: &str, domain, module| {
            let (frames, truncated) = merge(
                &native(&[leaf, "eval"]),
                WalkEnd::NoFramePointer,
                &python(&["innocent*"]),
                WalkEnd::Bottom,
                domain,
                module,
            );
            (
                frames.len() == 1 && frames[0].function == ARENA_FRAME && truncated.is_none(),
                frames.iter().any(|frame| frame.function == "innocent"),
            )
        };
        assert_eq!(arena_of("_PyObject_ArenaMmap", Domain::Mmap, Some(PYTHON)), (true, false));
        assert_eq!(arena_of("python3.11+0x1234", Domain::Mmap, Some(PYTHON)), (true, false));
        assert_eq!(arena_of("new_mmap_object", Domain::Mmap, Some(PYTHON)), (false, true));
        assert_eq!(arena_of("python3.11+0x1234", Domain::Mmap, Some("/other")), (false, true));
        assert_eq!(arena_of("python3.11+0x1234", Domain::Mmap, None), (false, true));
        assert_eq!(arena_of("_PyObject_ArenaMmap", Domain::Malloc, Some(PYTHON)), (false, true));
    }
}
