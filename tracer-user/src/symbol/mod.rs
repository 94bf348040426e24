//! From addresses to names: raw stacks become stacks that people read. Native frames are named
//! late, from files kept open; Python and JavaScript frames at once, while what they run is there.

mod allowance;
mod debug_info;
mod former;
mod javascript;
mod merge;
mod native;

use crate::runtime::Runtimes;
use crate::runtime::node::NodeRuntime;
use crate::runtime::python::code::CodeObject;
use crate::runtime::python::{CodeReader, PythonRuntime};
use crate::same::Same;
use crate::stack::{Frame, FrameKind, RawStack, Stack, StackId, WalkEnd};
use crate::target::Target;
use crate::warning::Warning;
pub use debug_info::DebugInfo;
use javascript::JavaScript;
pub use javascript::{NAMED as JS_NAMED, is_unnamed as is_unnamed_js, no_counts as no_js_counts};
pub use merge::ARENA_FRAME;
use merge::{Place, PythonSlot};
use native::Native;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tracer_common::record::PythonFrame;

/// Python frames of the stacks that were observed are kept for this many stacks, the bound of
/// the stack table being far below.
const MAX_OBSERVED: usize = 1 << 20;

/// What [`Resolver::observe`] noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The address space was read again and has new code: the kernel side's code ranges are out
    /// of date (see `target::code_ranges` and [`Resolver::target`]).
    pub mappings_changed: bool,
    /// What could not be opened in it.
    pub warnings: Vec<Warning>,
}

/// A mapped code file, for the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedMapping {
    /// First address.
    pub start_avma: u64,
    /// First address behind it.
    pub end_avma: u64,
    /// File offset of the first address.
    pub file_offset: u64,
    /// File as the target sees it.
    pub path: PathBuf,
    /// Build ID, lower-case hex.
    pub build_id: Option<String>,
}

/// Names the stacks of one target.
#[derive(Debug)]
pub struct Resolver {
    native: Native,
    python: Option<PythonRuntime>,
    reader: Option<CodeReader>,
    /// Of the process that it was forked from: what the two have in common can be read there when
    /// a short life is over.
    parent: Option<CodeReader>,
    observed: HashMap<StackId, Vec<PythonName>>,
    /// One frame for all stacks that stand at the same place, with the code object that it was made
    /// of: looking a line up takes longer than all else.
    frames: HashMap<(u64, i32), (Arc<CodeObject>, Same<Frame>)>,
    doubts: Doubts,
    javascript: JavaScript,
}

/// What new stacks showed of an interpreter whose memory is not what it should be.
#[derive(Clone, Copy, Debug, Default)]
struct Doubts {
    /// Frames whose code object is none (any more).
    no_code: u64,
    /// Stacks whose Python frames contradict themselves.
    bad_stacks: u64,
}

/// What became of a recorded Python frame.
#[derive(Clone, Debug)]
enum PythonName {
    /// It has a name.
    Named(Same<Frame>),
    /// It stands for no function that Python would show.
    Hidden,
    /// The code of a module, which ran once, while it was imported, and was freed then.
    Imported,
    /// There is no code object where it points.
    NoCode,
}

/// What of Python's own machinery runs the code of a module that is imported.
const RUNS_MODULES: (&str, &str) = ("_call_with_frames_removed", "<frozen importlib._bootstrap>");

/// Tells code that is gone because its module is imported by now from what should be there: its
/// caller is the machinery of imports, whose functions themselves do not go.
fn told_by_callers(names: &mut [PythonName]) {
    let mut is_import = false;
    for name in names.iter_mut().rev() {
        is_import = match name {
            // Between the two is nothing but what the interpreter enters by.
            PythonName::Hidden => continue,
            // The bodies of its classes went with it.
            PythonName::NoCode if is_import => {
                *name = PythonName::Imported;
                true
            }
            PythonName::Named(frame) => {
                (frame.function.as_str(), frame.file.as_deref())
                    == (RUNS_MODULES.0, Some(RUNS_MODULES.1))
            }
            PythonName::NoCode | PythonName::Imported => false,
        };
    }
}

impl Resolver {
    /// For process `tgid`, as `target` was discovered, with the runtimes in it.
    pub fn new(tgid: u32, target: &Target, runtimes: Runtimes) -> Self {
        Self::sharing(&Rc::default(), tgid, target, runtimes)
    }

    /// As [`Self::new`], one of many that map the same files.
    pub fn sharing(
        debug_info: &Rc<DebugInfo>,
        tgid: u32,
        target: &Target,
        runtimes: Runtimes,
    ) -> Self {
        let mut resolver = Self {
            native: Native::new(target.clone(), Rc::clone(debug_info)),
            python: None,
            reader: None,
            parent: None,
            observed: HashMap::new(),
            frames: HashMap::new(),
            doubts: Doubts::default(),
            javascript: JavaScript::default(),
        };
        resolver.set_python(tgid, runtimes.python);
        resolver.set_node(tgid, runtimes.node);
        resolver
    }

    /// The CPython in process `tgid` was found (later than the process was).
    pub fn set_python(&mut self, tgid: u32, python: Option<PythonRuntime>) {
        self.reader = python
            .as_ref()
            .filter(|runtime| runtime.is_walked())
            .map(|runtime| CodeReader::new(tgid, runtime));
        self.python = python;
    }

    /// The Node.js in process `tgid` was found, or is better known now.
    pub fn set_node(&mut self, tgid: u32, node: Option<NodeRuntime>) {
        self.javascript.set_runtime(node, tgid, self.native.target());
    }

    /// Reads the code objects that new stacks name, the newest stacks first: they may die within
    /// the time that it takes to look at the others. To be called before [`Self::observe`].
    pub fn read_ahead<'a>(&mut self, stacks: impl DoubleEndedIterator<Item = &'a RawStack>) {
        let Some(reader) = &mut self.reader else { return };
        let frames = stacks.rev().flat_map(|raw| &raw.python);
        reader.read_batch(frames.map(|frame| frame.code_avma));
    }

    /// The target is a fork of process `tgid`, with the same addresses.
    pub fn forked_from(mut self, tgid: u32) -> Self {
        let walked = self.python.as_ref().filter(|runtime| runtime.is_walked());
        self.parent = walked.map(|runtime| CodeReader::new(tgid, runtime));
        self.javascript.set_parent(tgid, self.native.target());
        self
    }

    /// Reads what a new stack refers to while it still exists: Python code objects,
    /// JavaScript functions, and the address space when an address is not in it. To be called once for every new stack, soon.
    pub fn observe(&mut self, raw: &RawStack) -> Observed {
        let names = self.python_names(raw);
        let is_no_code = |name: &&PythonName| matches!(name, PythonName::NoCode);
        self.doubts.no_code += names.iter().filter(is_no_code).count() as u64;
        self.doubts.bad_stacks += u64::from(raw.python_end == WalkEnd::BadInterpreterState);
        if !names.is_empty() && self.observed.len() < MAX_OBSERVED {
            self.observed.insert(raw.id, names);
        }
        // What is mapped first: a name may depend on where V8's own code lies.
        let observed = self.native.learn(&raw.native);
        self.after(&observed);
        self.javascript.observe(raw);
        observed
    }

    /// Reads the address space again, so that code that was mapped since is known.
    pub fn look_again(&mut self) -> Observed {
        let observed = self.native.look_again();
        self.after(&observed);
        observed
    }

    fn after(&mut self, observed: &Observed) {
        if observed.mappings_changed {
            self.javascript.set_mappings(self.native.target());
        }
    }

    /// Whether stacks led to code that is still unknown, for want of time to read the address space.
    pub fn is_behind(&self) -> bool {
        self.native.is_behind()
    }

    /// The target has ended, or runs another image, and all its stacks were observed: what serves
    /// to observe more is let go.
    pub fn settle(&mut self) {
        self.reader = None;
        self.parent = None;
        self.frames = HashMap::new();
        self.javascript.settle();
    }

    /// The stack as people read it. Works after the target has ended.
    ///
    /// # Cost
    /// Files' symbols and line tables are read when first needed (up to seconds for the largest);
    /// a named address is remembered.
    pub fn resolve(&mut self, raw: &RawStack) -> Stack {
        let known =
            self.observed.get(&raw.id).filter(|names| names.len() == raw.python.len()).cloned();
        let names = known.unwrap_or_else(|| self.python_names(raw));
        let python: Vec<PythonSlot> = raw
            .python
            .iter()
            .zip(names)
            .map(|(record, name)| PythonSlot {
                frame: match name {
                    PythonName::Named(frame) => Some(frame),
                    PythonName::Hidden => None,
                    PythonName::Imported => Some(imported().into()),
                    PythonName::NoCode => Some(unreadable(record).into()),
                },
                is_entry: record.is_entry != 0,
            })
            .collect();
        let javascript = self.javascript.frames(raw);
        let runtime = self.python.as_ref();
        let native: Vec<merge::NativeSlot> = (0_u32..)
            .zip(&raw.native)
            .map(|(index, return_avma)| {
                let avma = return_avma.saturating_sub(1);
                let place = match runtime {
                    Some(runtime) if runtime.eval.is_loop(avma) => Place::Loop,
                    Some(runtime) if runtime.eval.is_handler(avma) => Place::Handler,
                    _ => Place::Elsewhere,
                };
                let frames = self.native.name(avma);
                let frames = match javascript.get(&index) {
                    Some((frame, named)) => {
                        javascript::in_place_of(frames, *return_avma, frame, named)
                    }
                    None if self.javascript.is_unknown() && self.native.is_anonymous(avma) => {
                        vec![javascript::unnamed(*return_avma).into()]
                    }
                    None => frames,
                };
                merge::NativeSlot { frames, place }
            })
            .collect();
        let module = runtime.map(|runtime| runtime.module.display().to_string());
        let (frames, truncated) = merge::merge(
            &native,
            raw.native_end,
            &python,
            raw.python_end,
            raw.domain,
            module.as_deref(),
        );
        Stack { id: raw.id, domain: raw.domain, frames, truncated }
    }

    /// The target as it is known now, mappings refreshed.
    pub fn target(&self) -> &Target {
        self.native.target()
    }

    /// The CPython in the target.
    pub fn python(&self) -> Option<&PythonRuntime> {
        self.python.as_ref()
    }

    /// The Node.js in the target.
    pub fn node(&self) -> Option<&NodeRuntime> {
        self.javascript.runtime()
    }

    /// Distinct JavaScript frames by result: [`JS_NAMED`], or the name of a failure.
    pub fn js_counts(&self) -> &BTreeMap<&'static str, u64> {
        self.javascript.counts()
    }

    /// The code files in the address space, so that a recording can be named elsewhere.
    pub fn mappings_for_capture(&self) -> Vec<CapturedMapping> {
        self.native.captured()
    }

    /// How many frames and stacks of the interpreter could not be believed; `None` when all could.
    pub fn doubts(&self) -> Option<Warning> {
        let Doubts { no_code, bad_stacks } = self.doubts;
        if no_code == 0 && bad_stacks == 0 {
            return None;
        }
        Some(Warning::new(
            "python-doubtful",
            format!(
                "{no_code} Python frames point to no code object (any more) and appear as [python code ...]; the Python frames of {bad_stacks} stacks contradict themselves and are left out."
            ),
            "A few are code that lived for a moment only; many mean that something overwrites the interpreter's memory.",
        ))
    }

    fn python_names(&mut self, raw: &RawStack) -> Vec<PythonName> {
        let mut names: Vec<_> = raw.python.iter().map(|frame| self.python_name(frame)).collect();
        told_by_callers(&mut names);
        names
    }

    fn python_name(&mut self, record: &PythonFrame) -> PythonName {
        let has_shims = self.python.as_ref().is_some_and(PythonRuntime::has_entry_shims);
        if record.is_entry != 0 && has_shims {
            return PythonName::Hidden;
        }
        let code_avma = record.code_avma;
        let own = self.reader.as_mut().and_then(|reader| reader.read(code_avma));
        let object = own.or_else(|| self.parent.as_mut().and_then(|reader| reader.read(code_avma)));
        match object {
            None => PythonName::NoCode,
            Some(object) if object.is_internal => PythonName::Hidden,
            Some(object) => PythonName::Named(self.python_frame(record, &object)),
        }
    }

    fn python_frame(&mut self, record: &PythonFrame, object: &Arc<CodeObject>) -> Same<Frame> {
        let key = (record.code_avma, record.instr_offset);
        if let Some((made_of, frame)) = self.frames.get(&key)
            && Arc::ptr_eq(made_of, object)
        {
            return frame.clone();
        }
        let frame = Same::from(Frame {
            kind: FrameKind::Python,
            function: object.qualname.clone(),
            file: Some(object.filename.clone()),
            line: object.line(record.instr_offset),
            module: None,
            build_id: None,
            offset: object.bytecode_offset(record.instr_offset),
            generated: None,
            line_is_of_function: false,
        });
        if self.frames.len() >= MAX_OBSERVED {
            self.frames.clear();
        }
        self.frames.insert(key, (Arc::clone(object), frame.clone()));
        frame
    }
}

/// The code of a module that was gone when its stack was looked at; which one it was is not known.
fn imported() -> Frame {
    Frame::bare(FrameKind::Python, "<module> [imported, gone]".to_owned())
}

/// A Python frame whose code object could not be read (any more).
fn unreadable(record: &PythonFrame) -> Frame {
    Frame::bare(FrameKind::Python, format!("[python code {:#x}]", record.code_avma))
}

#[cfg(test)]
mod tests;
