//! A way to be held as a person writes it.

use super::alike::{From, WayIndex, Ways};
use super::label::Label;
use super::roots::{NameStatic, Root};
use super::traits::{Special, last_name};
use super::view::View;
use crate::heap::python::{ObjectIndex, Shape};
use crate::printable::printable;

/// Steps that are shown; of longer chains the middle is left out.
const MOST_STEPS: usize = 24;

/// A chain in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// From the root to the last holder, and what it holds by.
    pub steps: Vec<String>,
    /// What kind the root is.
    pub root: &'static str,
}

/// Says names.
pub(super) struct Speaker<'s, 'a> {
    pub view: &'s View<'a>,
    pub ways: &'s Ways,
    pub hide_keys: bool,
    /// Names static variables.
    pub name_static: Option<&'s NameStatic>,
}

impl Speaker<'_, '_> {
    /// The chain of a way.
    pub fn words(&self, way: WayIndex) -> Words {
        let mut chain = Vec::new();
        let mut from = From::Way(way);
        let mut root = Root::Unknown;
        while chain.len() <= 100_000 {
            match from {
                From::Root(found) => {
                    root = found;
                    break;
                }
                From::Way(index) => {
                    let Some(way) = self.ways.get(index) else { break };
                    chain.push(way);
                    from = way.from;
                }
            }
        }
        chain.reverse();
        let (mut current, mut kind) = self.root(root, chain.first().map(|way| way.sample));
        let is_named = matches!(root, Root::Object(index) if self.shape(index) == Shape::Module);
        let mut steps = Vec::new();
        let mut first = 0;
        if let Some(at) = self.class_at(&chain, is_named) {
            (first, kind) = (at, "class");
            current = self.holder(chain[at].sample);
        } else if !is_named && let Some(at) = self.task_at(&chain) {
            (first, kind) = (at, "coroutine");
            current = self.holder(chain[at].sample);
        }
        for pair in chain.get(first..).unwrap_or_default().windows(2) {
            let (holder, held) = (pair[0], pair[1]);
            let is_run = self.shape(holder.sample) == Shape::Future
                && self.shape(held.sample) == Shape::Generator;
            // The coroutine of a task: the task is called by its name.
            let label = if is_run { String::new() } else { self.label(held.label, held.differs) };
            // A variable's name is not that of the object in it.
            let is_said = std::ptr::eq(holder, chain[first])
                && (first > 0 || matches!(root, Root::Object(_)));
            if !is_said && !self.is_transparent(holder.sample, holder.label) {
                let text = self.holder(holder.sample);
                if current != text {
                    steps.push(std::mem::replace(&mut current, text));
                }
            }
            current.push_str(&label);
        }
        steps.push(current);
        if steps.len() > MOST_STEPS {
            let left_out = steps.len() - MOST_STEPS;
            let middle = MOST_STEPS / 2;
            steps.splice(middle..=middle + left_out, [format!("({} more)", left_out + 1)]);
        }
        Words { steps, root: kind }
    }

    fn shape(&self, index: ObjectIndex) -> Shape {
        self.view.kind(index).map(|kind| kind.shape).unwrap_or_default()
    }

    fn special(&self, index: ObjectIndex) -> Special {
        let kind = self.view.object(index).kind;
        self.view.traits.get(kind.0 as usize).map(|it| it.special).unwrap_or_default()
    }

    /// Where to begin instead of at the root: the last class that a chain of modules and classes
    /// leads to, if something other follows.
    fn class_at(&self, chain: &[&super::alike::Way], is_named: bool) -> Option<usize> {
        if !is_named {
            return None;
        }
        let mut class = None;
        for (at, way) in chain.iter().enumerate() {
            match self.shape(way.sample) {
                Shape::Type => class = Some(at),
                Shape::Module => {}
                _ if way.label == Label::Namespace => {}
                _ => break,
            }
        }
        class.filter(|at| at + 1 < chain.len())
    }

    /// The last task, else the last coroutine or generator.
    fn task_at(&self, chain: &[&super::alike::Way]) -> Option<usize> {
        let holders = chain.len().saturating_sub(1);
        let is =
            |shape: Shape| chain[..holders].iter().rposition(|way| self.shape(way.sample) == shape);
        is(Shape::Future).or_else(|| is(Shape::Generator)).filter(|at| *at > 0)
    }

    /// A root, and of which kind it is.
    fn root(&self, root: Root, first: Option<ObjectIndex>) -> (String, &'static str) {
        match root {
            Root::Object(index) => {
                let kind = match self.shape(index) {
                    Shape::Module => "module",
                    Shape::Generator => "coroutine",
                    _ => "frame",
                };
                (self.holder(first.unwrap_or(index)), kind)
            }
            Root::Frame(code, label) => {
                let name = self.view.code_name(code).unwrap_or_else(|| "?".to_owned());
                (format!("frame {name}(){}", self.label(label, false)), "frame")
            }
            Root::Thread => ("thread state".to_owned(), "thread"),
            Root::Static(avma) => {
                let name = self.name_static.and_then(|name| name(avma));
                let name = name
                    .map_or("C static".to_owned(), |name| format!("static {}", printable(&name)));
                (name, "c-static")
            }
            Root::Stack(_) => ("C stack".to_owned(), "c-stack"),
            Root::Register => ("register".to_owned(), "c-stack"),
            Root::Memory => ("C heap".to_owned(), "c-heap"),
            Root::Unknown => ("?".to_owned(), "unknown"),
        }
    }

    /// Whether a holder is no step of its own: what it holds is told with what holds it.
    fn is_transparent(&self, index: ObjectIndex, label: Label) -> bool {
        let Some(kind) = self.view.kind(index) else { return false };
        match kind.shape {
            // Classes of somebody's own, as a named tuple, have names that say something.
            Shape::Dict | Shape::List | Shape::Tuple | Shape::Set | Shape::Deque => {
                !kind.name.contains('.') || kind.name.starts_with("collections.")
            }
            Shape::Cell | Shape::Traceback => true,
            _ if label == Label::Namespace => true,
            Shape::Other => matches!(
                self.special(index),
                Special::LruLink | Special::HamtPairs | Special::HamtRoot | Special::HamtArray
            ),
            _ => false,
        }
    }

    /// What a holder is called.
    fn holder(&self, index: ObjectIndex) -> String {
        let view = self.view;
        let Some(kind) = view.kind(index) else { return "?".to_owned() };
        let short = printable(last_name(&kind.name));
        let code = || {
            let name = view.code_of(index).and_then(|code| view.code_name(code));
            name.unwrap_or_else(|| "?".to_owned())
        };
        match kind.shape {
            Shape::Module => view.module_name(index).unwrap_or(short),
            Shape::Type => {
                let avma = view.object(index).avma;
                let named = view.types.iter().find(|info| info.avma == avma);
                named.map_or(short, |info| printable(&info.name))
            }
            Shape::Function => view.function_name(index).unwrap_or(short),
            Shape::LruCache => {
                let function = view.find(view.word(view.object(index).avma.saturating_add(88)));
                let name = function.and_then(|function| view.function_name(function));
                name.unwrap_or(short)
            }
            Shape::Frame => format!("frame {}()", code()),
            Shape::Generator => format!("{short} {}()", code()),
            Shape::Future => match view.coroutine_of(index) {
                Some(coroutine) => {
                    let code = view.code_of(coroutine).and_then(|code| view.code_name(code));
                    format!("task {}()", code.unwrap_or_else(|| "?".to_owned()))
                }
                None => short,
            },
            _ => short,
        }
    }

    fn label(&self, label: Label, differs: bool) -> String {
        match label {
            Label::Namespace | Label::Inside => String::new(),
            Label::Attribute(name) => {
                format!(".{}", self.view.text(name).unwrap_or_else(|| "?".to_owned()))
            }
            Label::Value(_) if differs || self.hide_keys => "[*]".to_owned(),
            Label::Value(key) => {
                format!("[{}]", self.view.key(key).unwrap_or_else(|| "*".to_owned()))
            }
            Label::Item(_) if differs => "[*]".to_owned(),
            Label::Item(index) => format!("[{index}]"),
            Label::Key => "{*}".to_owned(),
            Label::Member(kind, member) => {
                let info = self.view.type_at(kind);
                let member = info.and_then(|info| info.members.get(member as usize));
                format!(".{}", member.map_or("?", |member| &member.name))
            }
            Label::Field(name) => format!(".{name}"),
            Label::Offset(offset) => format!(".<+{offset}>"),
            Label::Local(code, index) => match self.view.local_name(code, u64::from(index)) {
                Some(name) => format!(" local '{name}'"),
                None => " local".to_owned(),
            },
            Label::Temporary => " temporary".to_owned(),
            Label::Closure(_) => String::new(),
            Label::FreeVariable(code, index) => match self.view.free_name(code, u64::from(index)) {
                Some(name) => format!(" closure '{name}'"),
                None => " closure".to_owned(),
            },
            Label::ThreadDicts => ".<threads>".to_owned(),
            Label::Memory => ".<C data>".to_owned(),
            Label::Type => ".__class__".to_owned(),
        }
    }
}
