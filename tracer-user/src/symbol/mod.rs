//! From addresses to names: raw stacks become stacks that people read. Native frames are named
//! late, from files kept open; Python frames at once, while the code objects still exist.

mod merge;
mod native;

use crate::runtime::python::{CodeReader, PythonRuntime};
use crate::stack::{Frame, FrameKind, RawStack, Stack, StackId};
use crate::target::Target;
use crate::warning::Warning;
use merge::PythonSlot;
use native::Native;
use std::collections::HashMap;
use std::path::PathBuf;
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
    observed: HashMap<StackId, Vec<Option<Arc<Frame>>>>,
    /// One frame for all stacks that stand at the same place, validated when read.
    frames: HashMap<(u64, i32), Arc<Frame>>,
}

impl Resolver {
    /// For process `tgid`, as `target` was discovered, with the CPython in it.
    pub fn new(tgid: u32, target: &Target, python: Option<PythonRuntime>) -> Self {
        let reader = python
            .as_ref()
            .filter(|runtime| runtime.is_walked())
            .map(|runtime| CodeReader::new(tgid, runtime));
        Self {
            native: Native::new(target.clone()),
            python,
            reader,
            parent: None,
            observed: HashMap::new(),
            frames: HashMap::new(),
        }
    }

    /// The target is a fork of process `tgid`, with the same addresses.
    pub fn forked_from(mut self, tgid: u32) -> Self {
        let walked = self.python.as_ref().filter(|runtime| runtime.is_walked());
        self.parent = walked.map(|runtime| CodeReader::new(tgid, runtime));
        self
    }

    /// Reads what a new stack refers to while it still exists: Python code objects, and the
    /// address space when an address is not in it. To be called once for every new stack, soon.
    pub fn observe(&mut self, raw: &RawStack) -> Observed {
        let frames: Vec<_> = raw.python.iter().map(|frame| self.python_frame(frame)).collect();
        if !frames.is_empty() && self.observed.len() < MAX_OBSERVED {
            self.observed.insert(raw.id, frames);
        }
        self.native.learn(&raw.native)
    }

    /// Reads the address space again, so that code that was mapped since is known.
    pub fn look_again(&mut self) -> Observed {
        self.native.look_again()
    }

    /// The stack as people read it. Works after the target has ended.
    ///
    /// # Cost
    /// Files' symbols and line tables are read when first needed (up to seconds for the largest);
    /// a named address is remembered.
    pub fn resolve(&mut self, raw: &RawStack) -> Stack {
        let known =
            self.observed.get(&raw.id).filter(|frames| frames.len() == raw.python.len()).cloned();
        let frames = known
            .unwrap_or_else(|| raw.python.iter().map(|frame| self.python_frame(frame)).collect());
        let has_shims = self.python.as_ref().is_some_and(PythonRuntime::has_entry_shims);
        let python: Vec<PythonSlot> = raw
            .python
            .iter()
            .zip(frames)
            .map(|(record, frame)| {
                let is_entry = record.is_entry != 0;
                let is_shim = is_entry && has_shims;
                PythonSlot {
                    frame: (!is_shim).then(|| {
                        frame.map_or_else(|| unreadable(record), |frame| (*frame).clone())
                    }),
                    is_entry,
                }
            })
            .collect();
        let runtime = self.python.as_ref();
        let native: Vec<merge::NativeSlot> = raw
            .native
            .iter()
            .map(|return_avma| {
                let avma = return_avma.saturating_sub(1);
                let is_eval = runtime.is_some_and(|runtime| {
                    runtime.eval_ranges.iter().any(|(start, end)| (*start..*end).contains(&avma))
                });
                merge::NativeSlot { frames: self.native.name(avma), is_eval }
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

    /// The code files in the address space, so that a recording can be named elsewhere.
    pub fn mappings_for_capture(&self) -> Vec<CapturedMapping> {
        self.native.captured()
    }

    fn python_frame(&mut self, record: &PythonFrame) -> Option<Arc<Frame>> {
        let code_avma = record.code_avma;
        let own = self.reader.as_mut()?.read(code_avma);
        let object = own.or_else(|| self.parent.as_mut()?.read(code_avma))?;
        let line = object.line(record.instr_offset);
        let key = (record.code_avma, record.instr_offset);
        if let Some(frame) = self.frames.get(&key)
            && frame.function == object.qualname
            && frame.line == line
            && frame.file.as_deref() == Some(&object.filename)
        {
            return Some(Arc::clone(frame));
        }
        let frame = Arc::new(Frame {
            kind: FrameKind::Python,
            function: object.qualname.clone(),
            file: Some(object.filename.clone()),
            line,
            module: None,
            build_id: None,
            offset: object.bytecode_offset(record.instr_offset),
        });
        if self.frames.len() >= MAX_OBSERVED {
            self.frames.clear();
        }
        self.frames.insert(key, Arc::clone(&frame));
        Some(frame)
    }
}

/// A Python frame whose code object could not be read (any more).
fn unreadable(record: &PythonFrame) -> Frame {
    Frame {
        kind: FrameKind::Python,
        function: format!("[python code {:#x}]", record.code_avma),
        file: None,
        line: None,
        module: None,
        build_id: None,
        offset: None,
    }
}

#[cfg(test)]
mod tests;
