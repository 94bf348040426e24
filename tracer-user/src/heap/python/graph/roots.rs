//! What holds objects and is none: modules that are loaded, frames that run, threads.

use super::edges;
use super::label::{Edge, Label};
use super::view::View;
use crate::heap::python::{ObjectIndex, Shape};
use crate::runtime::python::PythonRuntime;
use crate::target::Target;
use std::fmt;

/// More interpreters, threads and frames than these are not followed.
const MOST_INTERPRETERS: usize = 64;
const MOST_THREADS: usize = 4096;
const MOST_FRAMES: usize = 4096;
/// `owner` of frames: a generator's, and up to this one ordinary ones.
const OWNED_BY_GENERATOR: u8 = 1;
const OWNED_BY_OBJECT: u8 = 2;

/// Names a static variable by an address in it.
pub type NameStatic = dyn Fn(u64) -> Option<String>;

/// Where to begin.
#[derive(Default)]
pub struct Roots {
    /// `_PyRuntime`; 0 where it is not known.
    pub runtime_avma: u64,
    /// Registers of stopped threads, any words.
    pub registers: Vec<u64>,
    /// Names static variables, if that can be had.
    pub name_static: Option<Box<NameStatic>>,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("runtime_avma", &self.runtime_avma).finish_non_exhaustive()
    }
}

impl Roots {
    /// Those of the CPython in a target.
    ///
    /// # Cost
    /// Looks up one symbol.
    pub fn of(target: &Target, python: &PythonRuntime) -> Self {
        let runtime_avma = target
            .files
            .values()
            .find(|file| file.display_path == python.module)
            .and_then(|file| {
                let symbol = file.elf.find_symbols(&["_PyRuntime"]).first().copied().flatten()?;
                Some(symbol.svma.wrapping_add(target.bias_of(file)?))
            });
        Self { runtime_avma: runtime_avma.unwrap_or(0), ..Self::default() }
    }
}

/// A holder that is no object, or an object that needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Root {
    /// A module, or the frame or generator that a thread runs.
    Object(ObjectIndex),
    /// A variable of a frame that a thread runs: its code, and which.
    Frame(u64, Label),
    /// The state of a thread.
    Thread,
    /// A static variable at this address.
    Static(u64),
    /// The stack of a thread.
    Stack(u32),
    /// A register.
    Register,
    /// Memory that no object owns.
    Memory,
    /// Not known: it misses references.
    Unknown,
}

/// Modules that are loaded, `__main__` first; all module objects where the list is not found.
pub(super) fn modules(view: &View) -> Vec<ObjectIndex> {
    let all: Vec<ObjectIndex> = (0..view.objects.all().len() as u32)
        .map(ObjectIndex)
        .filter(|index| view.kind(*index).is_some_and(|kind| kind.shape == Shape::Module))
        .collect();
    let loaded = loaded(view, &all);
    let mut modules = if loaded.is_empty() { all } else { loaded };
    modules.sort_by_key(|index| view.module_name(*index).as_deref() != Some("__main__"));
    modules
}

/// Values of `sys.modules`.
fn loaded(view: &View, modules: &[ObjectIndex]) -> Vec<ObjectIndex> {
    let mut loaded = Vec::new();
    for index in modules {
        if view.module_name(*index).as_deref() != Some("sys") {
            continue;
        }
        let mut list = None;
        let Some(namespace) = namespace(view, *index) else { continue };
        edges::each(view, namespace, &mut |edge: Edge| {
            if let Label::Value(key) = edge.label
                && view.text(key).as_deref() == Some("modules")
            {
                list = view.find(edge.target);
            }
        });
        let Some(list) = list else { continue };
        edges::each(view, list, &mut |edge: Edge| {
            if let Label::Value(_) = edge.label
                && let Some(module) = view.find(edge.target)
                && view.kind(module).is_some_and(|kind| kind.shape == Shape::Module)
            {
                loaded.push(module);
            }
        });
    }
    loaded
}

/// asyncio's lists of the task that each loop runs at this moment. A task is held otherwise, and so
/// is what it works on: a way through whatever happens to run says little.
pub(super) fn running_tasks(view: &View, modules: &[ObjectIndex]) -> Vec<ObjectIndex> {
    let mut lists = Vec::new();
    for module in modules {
        if !matches!(view.module_name(*module).as_deref(), Some("_asyncio" | "asyncio.tasks")) {
            continue;
        }
        let Some(namespace) = namespace(view, *module) else { continue };
        edges::each(view, namespace, &mut |edge: Edge| {
            if let Label::Value(key) = edge.label
                && view.text(key).as_deref() == Some("_current_tasks")
            {
                lists.extend(view.find(edge.target));
            }
        });
    }
    lists.dedup();
    lists
}

fn namespace(view: &View, module: ObjectIndex) -> Option<ObjectIndex> {
    let place = view.object(module).avma.checked_add(view.layout.small.module_dict)?;
    view.find(view.word(place))
}

/// States of all threads.
pub(super) fn threads(view: &View, runtime_avma: u64) -> Vec<u64> {
    let places = &view.layout.state;
    if runtime_avma == 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut interpreter = view.word(runtime_avma.saturating_add(places.interpreters));
    for _ in 0..MOST_INTERPRETERS {
        if interpreter == 0 {
            break;
        }
        let mut thread = view.word(interpreter.saturating_add(places.threads));
        while thread != 0 && found.len() < MOST_THREADS && !found.contains(&thread) {
            found.push(thread);
            thread = view.word(thread.saturating_add(places.next_thread));
        }
        let next = places.next_interpreter;
        interpreter = next.map_or(0, |next| view.word(interpreter.saturating_add(next)));
    }
    found
}

/// What the frames of a thread hold: which frame from the innermost, a root and a reference each.
pub(super) fn frames(view: &View, thread: u64, visit: &mut impl FnMut(usize, Root, Edge)) {
    let (state, places) = (&view.layout.state, &view.layout.frame);
    let mut frame = view.word(thread.saturating_add(state.frame));
    if let Some(offset) = state.cframe_frame {
        frame = view.word(frame.saturating_add(offset));
    }
    for depth in 0..MOST_FRAMES {
        if frame == 0 {
            return;
        }
        match places.owner.map(|owner| view.byte(frame.saturating_add(owner))) {
            // It is an object.
            None => {
                if let Some(object) = view.find(frame) {
                    visit(depth, Root::Object(object), Edge::stray(frame, Label::Inside));
                }
            }
            Some(OWNED_BY_GENERATOR) => {
                let generator = frame.saturating_sub(places.generator_frame);
                if let Some(object) = view.find(generator) {
                    visit(depth, Root::Object(object), Edge::stray(generator, Label::Inside));
                }
            }
            Some(0 | OWNED_BY_OBJECT) => {
                let code = view.word(frame.saturating_add(places.code)) & !3;
                edges::interpreter_frame(view, frame, &mut |edge: Edge| {
                    visit(depth, Root::Frame(code, edge.label), edge);
                });
            }
            Some(_) => {}
        }
        frame = view.word(frame.saturating_add(places.previous));
    }
}

/// Words of a thread's state.
pub(super) fn thread_words(view: &View, thread: u64) -> impl Iterator<Item = u64> {
    view.words(thread, view.layout.state.thread_bytes / 8)
}
