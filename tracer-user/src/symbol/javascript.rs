//! Names of JavaScript frames: read when a stack is first seen, while the functions are where the
//! kernel side saw them, and put in the place of the native frames that they run in.

use super::MAX_OBSERVED;
use super::allowance::{Allowance, JAVASCRIPT};
use crate::runtime::node::{JsFailure, JsName, JsReader, NodeRuntime};
use crate::same::Same;
use crate::stack::{Frame, FrameKind, RawStack, StackId};
use crate::target::Target;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;
use tracer_common::v8::{JS_BUILTIN, JsFrame};

/// How the name of a JavaScript frame begins that has none.
const UNNAMED: &str = "[js 0x";
/// Bytes of the frames that stacks of one target are kept with; stacks that come when there are more
/// are named when they are told, as far as that is possible then.
const MAX_HELD_BYTES: usize = 256 << 20;
/// In the counts of [`JavaScript::counts`]: frames that have names.
pub const NAMED: &str = "named";
/// The same: frames that have the line at which their function begins, since V8 tells
/// no place for such a call (it was interrupted), or the code was gone when it was looked at.
pub const LINE_OF_FUNCTION: &str = "line_of_function";

/// Whether a frame is JavaScript's and could not be named.
pub fn is_unnamed(kind: FrameKind, function: &str) -> bool {
    kind == FrameKind::Js && function.starts_with(UNNAMED)
}

/// Counts of frames by result, all of them zero.
pub fn no_counts() -> BTreeMap<&'static str, u64> {
    let failures = JsFailure::ALL.iter().map(|failure| failure.name());
    [NAMED, LINE_OF_FUNCTION].into_iter().chain(failures).map(|name| (name, 0)).collect()
}

/// The functions that run in one native frame, or why they have no names.
type Named = Result<Arc<Functions>, JsFailure>;

/// The functions that run in one native frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Functions {
    /// Innermost first.
    frames: Vec<Same<Frame>>,
    /// Whether all their lines are those that were executing.
    are_exact: bool,
}

/// The functions of one native frame, and their lines, take this much beside the frames.
const FUNCTIONS_BYTES: usize = size_of::<Functions>() + size_of::<Place>() + size_of::<Named>();

/// Names the JavaScript frames of one target.
#[derive(Debug)]
pub struct JavaScript {
    runtime: Option<NodeRuntime>,
    reader: Option<JsReader>,
    /// Of the process that it was forked from: what the two have in common can be read there when
    /// a short life is over.
    parent: Option<JsReader>,
    observed: HashMap<StackId, Vec<Named>>,
    /// What was read last at each place, so that stacks share it.
    places: HashMap<Place, Named>,
    /// All frames, so that equal ones are one.
    frames: HashSet<Same<Frame>>,
    held_bytes: usize,
    allowance: Allowance,
    counts: BTreeMap<&'static str, u64>,
}

impl Default for JavaScript {
    fn default() -> Self {
        Self {
            runtime: None,
            reader: None,
            parent: None,
            observed: HashMap::new(),
            places: HashMap::new(),
            frames: HashSet::new(),
            held_bytes: 0,
            allowance: Allowance::new(JAVASCRIPT, Instant::now()),
            counts: BTreeMap::new(),
        }
    }
}

/// A frame, and its return address.
type Place = (JsFrame, u64);

impl JavaScript {
    /// The Node.js in process `tgid` was found, or is better known now.
    pub fn set_runtime(&mut self, runtime: Option<NodeRuntime>, tgid: u32, target: &Target) {
        let walked = runtime.as_ref().filter(|runtime| runtime.is_walked());
        self.reader = walked.map(|runtime| JsReader::new(tgid, runtime));
        self.runtime = runtime;
        self.set_mappings(target);
    }

    /// The target is a fork of process `tgid`, with the same addresses.
    pub fn set_parent(&mut self, tgid: u32, target: &Target) {
        let walked = self.runtime.as_ref().filter(|runtime| runtime.is_walked());
        self.parent = walked.map(|runtime| JsReader::of_parent(tgid, runtime));
        self.set_mappings(target);
    }

    /// `target` is what is mapped now.
    pub fn set_mappings(&mut self, target: &Target) {
        let Some(runtime) = &self.runtime else { return };
        for reader in [&mut self.reader, &mut self.parent].into_iter().flatten() {
            reader.set_builtin_spans(runtime.builtin_spans(target));
        }
    }

    /// The Node.js in the target.
    pub fn runtime(&self) -> Option<&NodeRuntime> {
        self.runtime.as_ref()
    }

    /// Reads the names of a new stack's frames.
    pub fn observe(&mut self, raw: &RawStack) {
        let is_full = self.observed.len() >= MAX_OBSERVED || self.held_bytes >= MAX_HELD_BYTES;
        if raw.js.is_empty() || is_full {
            return;
        }
        let names: Vec<Named> = raw.js.iter().map(|frame| self.name(frame, raw)).collect();
        self.held_bytes += size_of::<(StackId, Vec<Named>)>() + names.len() * size_of::<Named>();
        self.observed.insert(raw.id, names);
    }

    /// Nothing more will be observed.
    pub fn settle(&mut self) {
        self.reader = None;
        self.parent = None;
        self.places = HashMap::new();
        self.frames = HashSet::new();
    }

    /// Distinct JavaScript frames by result: [`NAMED`], or the name of a failure.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// The frames of a stack, by the index of the native frame that they stand for; see
    /// [`in_place_of`].
    pub fn frames(&mut self, raw: &RawStack) -> HashMap<u32, (JsFrame, Named)> {
        let known = self.observed.get(&raw.id).filter(|names| names.len() == raw.js.len());
        let names = match known {
            Some(names) => names.clone(),
            None => raw.js.iter().map(|frame| self.name(frame, raw)).collect(),
        };
        let frames = raw.js.iter().zip(names);
        frames.map(|(frame, named)| (frame.native_index, (*frame, named))).collect()
    }

    /// Whether code that belongs to no file is JavaScript whose frames cannot be told from others.
    pub fn is_unknown(&self) -> bool {
        self.runtime.as_ref().is_some_and(|runtime| !runtime.is_walked())
    }

    fn name(&mut self, frame: &JsFrame, raw: &RawStack) -> Named {
        let return_avma = raw.native.get(frame.native_index as usize).copied().unwrap_or(0);
        let mut read = Err(JsFailure::Unreadable);
        for reader in [&mut self.reader, &mut self.parent].into_iter().flatten() {
            reader.set_has_time(self.allowance.is_left(Instant::now()));
            read = reader.read(frame, return_avma);
            let took = reader.learning_time();
            if !took.is_zero() {
                self.allowance.spend(took, Instant::now());
            }
            if read.is_ok() {
                break;
            }
        }
        // Where it stands in the stack makes it no other frame.
        let place = (JsFrame { native_index: 0, ..*frame }, return_avma);
        let named = read.map(|names| self.functions(names));
        let before = self.places.get(&place);
        // Code that is gone by now was there when another stack led to it.
        if let Some(before) = before
            && (*before == named || result_of(before) == NAMED && result_of(&named) != NAMED)
        {
            return before.clone();
        }
        if let Some(before) = before {
            *self.counts.entry(result_of(before)).or_default() -= 1;
        }
        *self.counts.entry(result_of(&named)).or_default() += 1;
        if self.places.len() >= MAX_OBSERVED || self.held_bytes >= MAX_HELD_BYTES {
            self.places.clear();
        }
        self.held_bytes += FUNCTIONS_BYTES;
        self.places.insert(place, named.clone());
        named
    }

    fn functions(&mut self, names: Vec<JsName>) -> Arc<Functions> {
        let are_exact = names.iter().all(|name| name.is_exact);
        let frames = names.into_iter().map(|name| self.shared(frame_of(name))).collect();
        Arc::new(Functions { frames, are_exact })
    }

    /// The frame that all have that are equal to `frame`.
    fn shared(&mut self, frame: Frame) -> Same<Frame> {
        if let Some(known) = self.frames.get(&frame) {
            return known.clone();
        }
        if self.held_bytes >= MAX_HELD_BYTES {
            // Those that stacks are kept with stay with these, and count.
            self.frames.clear();
        }
        let frame = Same::from(frame);
        self.held_bytes += held_bytes(&frame);
        self.frames.insert(frame.clone());
        frame
    }
}

fn result_of(named: &Named) -> &'static str {
    match named {
        Ok(functions) if functions.are_exact => NAMED,
        Ok(_) => LINE_OF_FUNCTION,
        Err(failure) => failure.name(),
    }
}

fn frame_of(name: JsName) -> Frame {
    Frame {
        file: name.file,
        line: name.line,
        generated: name.generated,
        line_is_of_function: !name.is_exact,
        ..Frame::bare(FrameKind::Js, name.function)
    }
}

fn held_bytes(frame: &Frame) -> usize {
    let generated = frame.generated.as_ref().map_or(0, |place| place.file.len());
    let texts = frame.function.len() + frame.file.as_ref().map_or(0, String::len) + generated;
    size_of::<Frame>() + texts
}

/// A JavaScript frame without a name.
pub fn unnamed(return_avma: u64) -> Frame {
    // As `UNNAMED` has it.
    Frame::bare(FrameKind::Js, format!("[js {return_avma:#x}]"))
}

/// What people read in the place of a native frame in which JavaScript runs. Code of V8's own keeps
/// the name that its file gives it, where the function has none.
pub fn in_place_of(
    native: Vec<Same<Frame>>,
    return_avma: u64,
    frame: &JsFrame,
    named: &Named,
) -> Vec<Same<Frame>> {
    match named {
        Ok(functions) if !functions.frames.is_empty() => functions.frames.clone(),
        _ if frame.kind == JS_BUILTIN => native,
        _ => vec![unnamed(return_avma).into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::v8::{JS_COMPILED, JS_INTERPRETED};

    fn named(names: &[&str]) -> Named {
        let frames = names
            .iter()
            .map(|name| Same::from(Frame::bare(FrameKind::Js, (*name).to_owned())))
            .collect();
        Ok(Arc::new(Functions { frames, are_exact: true }))
    }

    #[test]
    fn javascript_stands_where_its_native_frame_was() {
        let failed: Named = Err(JsFailure::Unreadable);
        let check = |claim: &str, kind, name: &Named, expected: &[(FrameKind, &str)]| {
            let native = Frame {
                kind: FrameKind::Native,
                ..Frame::bare(FrameKind::Js, "Builtins_X".to_owned())
            };
            let frame = JsFrame { kind, ..JsFrame::default() };
            let frames = in_place_of(vec![native.into()], 0x1234, &frame, name);
            let frames: Vec<_> =
                frames.iter().map(|frame| (frame.kind, frame.function.as_str())).collect();
            assert_eq!(frames, expected, "{claim}");
        };
        let js = FrameKind::Js;
        check("interpreted", JS_INTERPRETED, &named(&["load"]), &[(js, "load")]);
        check(
            "what was inlined comes first",
            JS_COMPILED,
            &named(&["push", "remember", "tick"]),
            &[(js, "push"), (js, "remember"), (js, "tick")],
        );
        check("a function of V8's own", JS_BUILTIN, &named(&["map"]), &[(js, "map")]);
        check("compiled code without a name", JS_COMPILED, &failed, &[(js, "[js 0x1234]")]);
        check("interpreted without a name", JS_INTERPRETED, &failed, &[(js, "[js 0x1234]")]);
        check(
            "V8's own keeps its symbol",
            JS_BUILTIN,
            &failed,
            &[(FrameKind::Native, "Builtins_X")],
        );
        check("no name at all", JS_COMPILED, &named(&[]), &[(js, "[js 0x1234]")]);
    }

    #[test]
    fn only_nameless_javascript_is_unnamed() {
        assert!(is_unnamed(FrameKind::Js, &unnamed(0x7f00_1234).function));
        assert!(!is_unnamed(FrameKind::Js, "load"));
        assert!(!is_unnamed(FrameKind::Native, &unnamed(0x7f00_1234).function));
    }

    #[test]
    fn counts_name_every_result() {
        let counts = no_counts();
        assert_eq!(counts.len(), 2 + JsFailure::ALL.len());
        assert!(counts.contains_key(NAMED) && counts.values().all(|count| *count == 0));
    }
}
