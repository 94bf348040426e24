//! One stack from two: Python frames take the place of the native frames of the interpreter
//! loop that ran them. Pure.

use crate::same::Same;
use crate::stack::{Domain, Frame, FrameKind, WalkEnd};

/// Functions through which CPython maps an arena (named only in files that are not stripped).
const ARENA_FUNCTIONS: [&str; 3] = ["_PyObject_ArenaMmap", "_PyMem_ArenaAlloc", "new_arena"];
/// The frame that stands for all arenas.
pub const ARENA_FRAME: &str = "[pymalloc arena]";

/// A native return address.
#[derive(Clone, Debug)]
pub struct NativeSlot {
    /// Its frames, innermost (inlined) first.
    pub frames: Vec<Same<Frame>>,
    /// Where it lies.
    pub place: Place,
}

/// Where a native frame's code lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the interpreter loop.
    Loop,
    /// In a function that the loop tail-calls for an instruction: a part of the loop, whose own
    /// frame comes next.
    Handler,
    /// Not in the interpreter loop.
    Elsewhere,
}

/// A recorded Python frame.
#[derive(Clone, Debug)]
pub struct PythonSlot {
    /// `None` for a place-holder that stands for no function.
    pub frame: Option<Same<Frame>>,
    /// C code entered the interpreter with it: the loop's native frame ends here.
    pub is_entry: bool,
}

/// The merged stack, leaf first, and why it is not whole (`None` when it is): both walks have to
/// have come to the bottom, or to have had nothing to walk.
pub fn merge(
    native: &[NativeSlot],
    native_end: WalkEnd,
    python: &[PythonSlot],
    python_end: WalkEnd,
    domain: Domain,
    python_module: Option<&str>,
) -> (Vec<Same<Frame>>, Option<WalkEnd>) {
    if domain == Domain::Mmap
        && let Some(leaf) = native.first()
        && is_arena(&leaf.frames, python_module)
    {
        return (arena(native), None);
    }
    let mut frames = Vec::with_capacity(native.len() + python.len());
    // What contradicts itself is not told as truth.
    let is_bad = python_end == WalkEnd::BadInterpreterState;
    let mut rest = if is_bad { &[] } else { python };
    for slot in native {
        if slot.place == Place::Elsewhere || rest.is_empty() {
            frames.extend(slot.frames.iter().cloned());
            continue;
        }
        if slot.place == Place::Handler {
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
    let truncated = [python_end, native_end].into_iter().find(|end| !end.is_complete());
    (frames, truncated)
}

/// Whether the caller of mmap is pymalloc: an arena serves all small objects to come and must
/// not be charged to whoever happened to ask for the first of them.
fn is_arena(leaf: &[Same<Frame>], python_module: Option<&str>) -> bool {
    let Some(module) = python_module else { return false };
    let in_interpreter = leaf.last().is_some_and(|frame| frame.module.as_deref() == Some(module));
    let is_named = |frame: &Same<Frame>| !frame.function.contains("+0x");
    let is_arena_function =
        |frame: &Same<Frame>| ARENA_FUNCTIONS.iter().any(|name| frame.function.starts_with(name));
    // A file without names cannot tell its callers apart; arenas are by far the most of them.
    in_interpreter && (leaf.iter().any(is_arena_function) || !leaf.iter().any(is_named))
}

fn arena(native: &[NativeSlot]) -> Vec<Same<Frame>> {
    let first = native.first().and_then(|slot| slot.frames.last());
    let frame = Frame {
        module: first.and_then(|frame| frame.module.clone()),
        build_id: first.and_then(|frame| frame.build_id.clone()),
        offset: first.and_then(|frame| frame.offset),
        ..Frame::bare(FrameKind::Native, ARENA_FRAME)
    };
    vec![frame.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTHON: &str = "/lib/libpython3.11.so";

    fn frame(kind: FrameKind, function: &str) -> Frame {
        Frame { module: Some(PYTHON.into()), ..Frame::bare(kind, function) }
    }

    /// `eval` is the loop, `handler` a part of it, anything else a native function.
    fn native(names: &[&str]) -> Vec<NativeSlot> {
        names
            .iter()
            .map(|name| NativeSlot {
                frames: vec![frame(FrameKind::Native, name).into()],
                place: match *name {
                    "eval" => Place::Loop,
                    "handler" => Place::Handler,
                    _ => Place::Elsewhere,
                },
            })
            .collect()
    }

    /// A `*` marks an entry frame, a lone `*` a place-holder.
    fn python(names: &[&str]) -> Vec<PythonSlot> {
        let slot = |name: &&str| {
            let function = name.trim_end_matches('*');
            PythonSlot {
                frame: (!function.is_empty()).then(|| frame(FrameKind::Python, function).into()),
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
        use WalkEnd::{Absent, BadInterpreterState, Bottom, NoFramePointer, TooDeep, Unreadable};
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
            (&["bytes_new", "a", "b", "c"], Some(NoFramePointer)),
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
        check(
            "a loop by tail calls",
            (&["bytes_new", "handler", "eval", "sorted", "handler", "eval", "main"], Bottom),
            (&["a", "b*", "c", "*", "*"], Bottom),
            (&["bytes_new", "a", "b", "sorted", "c", "main"], None),
        );
        check(
            "Python frames that could not be read to the end",
            (&["eval", "main"], Bottom),
            (&["a"], Unreadable),
            (&["a", "main"], Some(Unreadable)),
        );
        check(
            "Python frames that contradict themselves",
            (&["list_append", "eval", "main"], Bottom),
            (&["a", "b", "a", "b"], BadInterpreterState),
            (&["list_append", "eval", "main"], Some(BadInterpreterState)),
        );
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
