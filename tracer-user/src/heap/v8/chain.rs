//! Ways from a root to objects, each kept once and normalised: entries of an array, a Map or a
//! large object are one way, and so is a list of any length whose members hold each other alike.

use super::columns::{EdgeKind, MAX_NAME, Snapshot};
use std::collections::HashMap;

/// What a function holds without a name of its own there.
const SCOPE: &str = " scope";

/// Number of a way; that of its last step.
pub(super) type ChainIndex = u32;

/// Ways that are told apart.
const MAX_CHAINS: usize = 1 << 19;
/// Steps of a way; what is held through more is told as held through so many.
const MAX_STEPS: u16 = 48;
/// Steps that are written, from the root and from the object.
const WRITTEN: (usize, usize) = (2, 8);
/// Characters of a property's name; it may be data.
const MAX_KEY_CHARS: usize = 24;
/// Objects with a property of one name that make it the program's own: a dictionary has each key
/// once, and hardly a program has so many dictionaries with the same keys. With less, keys are told;
/// with more, fields of objects of which there are few are not.
const MANY_OBJECTS: u8 = 8;
/// Hexadecimal digits in a row that are no word.
const HEXADECIMAL_CHARS: usize = 8;
/// Constructor of objects that are written as literals, and serve as dictionaries.
const PLAIN: &str = "Object";

/// Who holds, in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A group of roots, by its name.
    Root(u32),
    /// An object, by its constructor.
    Object(u32),
    Function(u32),
    /// A table or scope of the holder in the step before.
    Its,
}

/// By what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    /// Being a root.
    Itself,
    /// An entry.
    Entry,
    Property(u32),
    Variable(u32),
    /// A field of V8's own.
    Field(u32),
    /// The value of a WeakMap, by being its key.
    Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Step {
    before: ChainIndex,
    holder: Holder,
    by: By,
    /// Whether it is taken again and again.
    repeated: bool,
}

/// All ways.
#[derive(Debug)]
pub(super) struct Chains {
    steps: Vec<(Step, u16)>,
    known: HashMap<Step, ChainIndex>,
    /// By name: how many objects have a property of it; empty until it is counted.
    objects_with: Vec<u8>,
}

/// A way that begins anywhere: there were too many.
pub(super) const TOO_MANY: ChainIndex = 0;
/// From a global object.
pub(super) const GLOBAL: ChainIndex = 1;

impl Chains {
    pub(super) fn new() -> Self {
        let nothing = |name| Step {
            before: TOO_MANY,
            holder: Holder::Root(name),
            by: By::Itself,
            repeated: false,
        };
        // Their names are never looked up.
        let steps = vec![(nothing(u32::MAX), 0), (nothing(u32::MAX - 1), 0)];
        Self { steps, known: HashMap::new(), objects_with: Vec::new() }
    }

    /// Learns which names of properties are the program's own: those of variables, which only code
    /// gives, and those that many objects have. Where it is not done, none is when keys are hidden.
    ///
    /// # Cost
    /// A look at each edge, and a byte for each string.
    pub(super) fn learn_names(&mut self, snapshot: &Snapshot) {
        self.objects_with = vec![0; snapshot.texts.len()];
        for edge in snapshot.nodes().flat_map(|node| snapshot.edges(node)) {
            let Some(count) = self.objects_with.get_mut(edge.name as usize) else { continue };
            match edge.kind {
                EdgeKind::Property => *count = count.saturating_add(1),
                EdgeKind::Context => *count = MANY_OBJECTS.max(*count),
                _ => {}
            }
        }
    }

    /// Whether a property is not told when keys are hidden.
    fn hides(&self, snapshot: &Snapshot, name: u32, of_plain: bool) -> bool {
        let text = snapshot.texts.get(name);
        let is_many = self.objects_with.get(name as usize).is_some_and(|n| *n >= MANY_OBJECTS);
        !is_identifier(text) || looks_like_data(text) || of_plain && !is_many
    }

    /// What a group of roots holds.
    pub(super) fn root(&mut self, name: u32) -> ChainIndex {
        self.intern(Step {
            before: TOO_MANY,
            holder: Holder::Root(name),
            by: By::Itself,
            repeated: false,
        })
    }

    /// One step on.
    pub(super) fn on(&mut self, before: ChainIndex, holder: Holder, by: By) -> ChainIndex {
        if before == TOO_MANY {
            return TOO_MANY;
        }
        let (last, steps) = self.steps[before as usize];
        if last.holder == holder && last.by == by && holder != Holder::Its {
            return self.intern(Step { repeated: true, ..last });
        }
        if steps >= MAX_STEPS {
            return before;
        }
        self.intern(Step { before, holder, by, repeated: false })
    }

    fn intern(&mut self, step: Step) -> ChainIndex {
        if let Some(known) = self.known.get(&step) {
            return *known;
        }
        if self.steps.len() >= MAX_CHAINS {
            return TOO_MANY;
        }
        let steps = match step.before {
            TOO_MANY => 0,
            before => self.steps[before as usize].1,
        };
        let index = self.steps.len() as ChainIndex;
        self.steps.push((step, steps.saturating_add(1)));
        self.known.insert(step, index);
        index
    }

    /// A way as people would write it, without the object at its end, and the kind of its root.
    pub(super) fn write(
        &self,
        snapshot: &Snapshot,
        chain: ChainIndex,
        hide_keys: bool,
    ) -> (Vec<String>, &'static str) {
        let (written, root) = self.write_whole(snapshot, chain, hide_keys);
        (shortened(written), root)
    }

    /// The same with all its steps.
    pub(super) fn write_whole(
        &self,
        snapshot: &Snapshot,
        chain: ChainIndex,
        hide_keys: bool,
    ) -> (Vec<String>, &'static str) {
        let mut steps = Vec::new();
        let mut at = chain;
        while at != TOO_MANY && at != GLOBAL {
            let (step, _) = self.steps[at as usize];
            steps.push(step);
            at = step.before;
        }
        steps.reverse();
        let root = match steps.first() {
            _ if chain == TOO_MANY => "v8-unknown",
            _ if at == GLOBAL => "v8-global",
            Some(Step { holder: Holder::Root(name), .. }) => {
                kind_of_root(snapshot.texts.get(*name))
            }
            _ => "v8-root",
        };
        let mut written: Vec<String> = Vec::new();
        if at == GLOBAL {
            written.push("(global)".to_owned());
        }
        // Whether the holder, or what a table belongs to, may be a dictionary.
        let mut of_plain = false;
        for (place, step) in steps.iter().enumerate() {
            if step.holder != Holder::Its {
                of_plain = matches!(step.holder, Holder::Object(name) if snapshot.texts.get(name) == PLAIN);
            }
            let by = match step.by {
                By::Property(name) if hide_keys && self.hides(snapshot, name, of_plain) => {
                    "[*]".to_owned()
                }
                by => written_by(snapshot, by),
            };
            let again = if step.repeated { " (repeatedly)" } else { "" };
            let holder = match step.holder {
                Holder::Root(name) => root_name(snapshot.texts.get(name)).to_owned(),
                Holder::Object(name) if at == GLOBAL && place == 0 && is_global(snapshot, name) => {
                    written.clear();
                    "(global)".to_owned()
                }
                Holder::Object(name) => snapshot.texts.get(name).to_owned(),
                Holder::Function(name) => match snapshot.texts.get(name) {
                    "" => "(anonymous function)".to_owned(),
                    name => format!("{name}()"),
                },
                Holder::Its => {
                    let before = written.pop().unwrap_or_default();
                    // The field that led to the table says less than what is in it.
                    let before = before.strip_suffix("[*]").unwrap_or(&before);
                    let before = before.strip_suffix(SCOPE).unwrap_or(before);
                    written.push(format!("{before}{by}"));
                    continue;
                }
            };
            written.push(format!("{holder}{by}{again}"));
        }
        (written, root)
    }
}

/// Leaves steps in the middle of a long way out, and says how many.
pub(super) fn shortened(mut written: Vec<String>) -> Vec<String> {
    let (first, last) = WRITTEN;
    if written.len() > first + last + 1 {
        let left_out = written.len() - first - last;
        written.splice(first..first + left_out, [format!("... {left_out} more")]);
    }
    written
}

/// By what an edge of an object or table holds.
pub(super) fn by_edge(kind: EdgeKind, name: u32, is_large: bool, snapshot: &Snapshot) -> By {
    match kind {
        EdgeKind::Property if !is_large => By::Property(name.min(MAX_NAME)),
        EdgeKind::Context => By::Variable(name),
        EdgeKind::Internal if snapshot.texts.is_ephemeron(name) => By::Key,
        EdgeKind::Internal => By::Field(name),
        _ => By::Entry,
    }
}

fn written_by(snapshot: &Snapshot, by: By) -> String {
    match by {
        By::Itself => String::new(),
        By::Entry => "[*]".to_owned(),
        By::Property(name) => match snapshot.texts.get(name) {
            name if is_identifier(name) => format!(".{}", cut(name)),
            // A symbol is a name of the program's.
            name if name.starts_with("<symbol ") => format!("[{}]", cut(name)),
            name => format!("['{}']", cut(name)),
        },
        By::Variable(name) => format!(" variable {}", snapshot.texts.get(name)),
        By::Key => ", key of a WeakMap".to_owned(),
        By::Field(name) => match snapshot.texts.get(name) {
            // Tables, and fields by their numbers.
            "table" | "elements" | "properties" => "[*]".to_owned(),
            "context" => SCOPE.to_owned(),
            name if name.bytes().all(|byte| byte.is_ascii_digit()) => "[*]".to_owned(),
            name => format!(".{name}"),
        },
    }
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(MAX_KEY_CHARS) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// Whether a name that reads like an identifier may be data all the same: a long one, or an
/// identifier of a session or user. Some names of programs are taken for such (`base64`).
fn looks_like_data(name: &str) -> bool {
    let is_long = name.chars().nth(MAX_KEY_CHARS).is_some();
    let is_hexadecimal =
        name.len() >= HEXADECIMAL_CHARS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_long || is_hexadecimal || name.chars().any(char::is_numeric)
}

fn is_identifier(name: &str) -> bool {
    let is_first = |c: char| c.is_alphabetic() || matches!(c, '_' | '$' | '#');
    name.starts_with(is_first)
        && name.chars().skip(1).all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
}

fn is_global(snapshot: &Snapshot, name: u32) -> bool {
    let name = snapshot.texts.get(name);
    name == "global" || name.starts_with("global ") || name.starts_with("Object / ")
}

fn kind_of_root(name: &str) -> &'static str {
    match name {
        "(Stack roots)" | "(Handle scope)" | "(Thread manager)" => "v8-stack",
        "(Global handles)" | "(Eternal handles)" | "(Traced handles)" => "v8-handle",
        "(Micro tasks)" => "v8-task",
        name if !name.starts_with('(') => "v8-native",
        _ => "v8-root",
    }
}

/// What V8 calls a group of roots, in words.
fn root_name(name: &str) -> &str {
    match name {
        "(Stack roots)" | "(Handle scope)" => "(stack)",
        "(Global handles)" | "(Eternal handles)" | "(Traced handles)" => "(native code)",
        "(Micro tasks)" => "(microtasks)",
        "" => "(roots)",
        name => name,
    }
}

/// Groups of roots by which programs hold something; the others are V8's own.
pub(super) fn is_of_programs(name: &str) -> bool {
    kind_of_root(name) != "v8-root"
}
