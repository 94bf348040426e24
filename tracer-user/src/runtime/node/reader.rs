//! Names of JavaScript frames, from outside: which function, which line, and what was inlined.
//! Functions are remembered by address and cookie, so that a name stays known when the garbage
//! collector has moved its function, and is not given to what lies there then.

use super::NodeRuntime;
use super::builtins::BuiltinCode;
use super::compiled::{Compiled, Finder, Header};
use super::function::{Function, Shared};
use super::heap::Heap;
use super::name::{JsFailure, JsName};
use super::objects::ObjectLayout;
use super::path::{display_path, eval_path};
use super::positions::{BytecodeSizes, Position, bytecode_at, position_at};
use super::script::{Place, Script};
use super::source_map::SourceMaps;
use crate::stack::Generated;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use tracer_common::v8::{JS_BUILTIN, JS_COMPILED, JS_INTERPRETED, JsFrame};

/// Functions, scripts and code objects that are remembered: how many of each, and how many bytes
/// of their texts and tables.
const MAX_CACHED: usize = 100_000;
const MAX_CACHED_BYTES: usize = 256 << 20;
/// Functions that were inlined into one another around one place.
const MAX_INLINE_DEPTH: usize = 64;
/// Texts of `eval` inside one another that are told.
const MAX_EVAL_DEPTH: usize = 3;
/// What a function without a name is called.
const ANONYMOUS: &str = "<anonymous>";
/// What it is called in the text of an `eval`.
const EVAL: &str = "eval";

type Key = (u64, u32);

/// Reads the functions of one process, and remembers them.
#[derive(Debug)]
pub struct JsReader {
    heap: Heap,
    objects: ObjectLayout,
    sizes: Option<Arc<BytecodeSizes>>,
    builtins: Option<Arc<BuiltinCode>>,
    spans: Vec<Range<u64>>,
    functions: HashMap<Key, Arc<Function>>,
    scripts: HashMap<(u64, i32), Arc<Script>>,
    code: BTreeMap<u64, (Header, Arc<Code>)>,
    finder: Finder,
    maps: SourceMaps,
    cached_bytes: usize,
}

/// Compiled code with the functions that were inlined into it, which may move later.
#[derive(Debug)]
struct Code {
    compiled: Compiled,
    function: Option<Arc<Function>>,
    inlined: Vec<Option<Arc<Function>>>,
}

impl JsReader {
    /// For process `tgid`, which runs `runtime`.
    pub fn new(tgid: u32, runtime: &NodeRuntime) -> Self {
        Self {
            heap: Heap::new(tgid),
            objects: runtime.objects,
            sizes: runtime.bytecode_sizes.clone(),
            builtins: runtime.builtins.clone(),
            spans: Vec::new(),
            functions: HashMap::new(),
            scripts: HashMap::new(),
            code: BTreeMap::new(),
            finder: Finder::default(),
            maps: SourceMaps::new(tgid),
            cached_bytes: 0,
        }
    }

    /// Says where the built-in code is mapped now ([`NodeRuntime::builtin_spans`]).
    pub fn set_builtin_spans(&mut self, spans: Vec<Range<u64>>) {
        self.spans = spans;
    }

    /// The compilers, by V8's numbers, whose code was met.
    #[cfg(test)]
    pub(super) fn code_kinds(&self) -> std::collections::BTreeSet<u32> {
        self.code.values().map(|(header, _)| header.kind()).collect()
    }

    /// What stood at `frame`, whose return address was `return_avma`: the function that was
    /// running, and behind it those it was inlined into.
    ///
    /// # Errors
    /// [`JsFailure`], for counting.
    ///
    /// # Cost
    /// Two to four reads of the target for what is known, some dozens for what is not; the first
    /// frame of a script also reads the ends of its lines, and its source map.
    pub fn read(&mut self, frame: &JsFrame, return_avma: u64) -> Result<Vec<JsName>, JsFailure> {
        let function = match frame.shared_avma {
            0 => Err(JsFailure::NotAFunction),
            address => self.function(address, Some(frame.cookie)),
        };
        match frame.kind {
            JS_INTERPRETED => {
                let function = function?;
                let first = i64::from(self.objects.bytecode_data) - 1;
                let offset = u32::try_from(i64::from(frame.position) - first).ok();
                let position = offset.and_then(|offset| {
                    function.position_of_bytecode(&self.heap, &self.objects, offset)
                });
                Ok(vec![self.name(&function, position)])
            }
            JS_COMPILED => self.read_compiled(function, return_avma),
            JS_BUILTIN => {
                let function = function?;
                Ok(vec![self.name_builtin(&function, return_avma)])
            }
            _ => Err(JsFailure::UnknownKind),
        }
    }

    fn read_compiled(
        &mut self,
        function: Result<Arc<Function>, JsFailure>,
        return_avma: u64,
    ) -> Result<Vec<JsName>, JsFailure> {
        let found = self.code_at(return_avma);
        let Some((header, code)) = found else {
            return match function {
                Ok(function) => Ok(vec![self.name(&function, None)]),
                Err(JsFailure::NotAFunction) => Err(JsFailure::NoCode),
                Err(failure) => Err(failure),
            };
        };
        let function = function.or_else(|failure| code.function.clone().ok_or(failure))?;
        // The return address is that of the next instruction, perhaps of another place.
        let offset = (return_avma - header.start_avma).saturating_sub(1) as u32;
        let form = self.objects.position_form;
        match &code.compiled {
            Compiled::Baseline { lengths, bytecodes, positions } => {
                // Another function's code lies here now.
                let own = function.positions(&self.heap, &self.objects);
                if own.is_none_or(|own| own != positions) {
                    return Ok(vec![self.name(&function, None)]);
                }
                let bytecode = self
                    .sizes
                    .as_ref()
                    .and_then(|sizes| bytecode_at(lengths, bytecodes, sizes, offset));
                let position = bytecode.and_then(|at| position_at(positions, form, at));
                Ok(vec![self.name(&function, position)])
            }
            Compiled::Optimised { positions, calls, exits_offset, .. } => {
                // Another function's code lies here now; or this was given up meanwhile.
                let is_other =
                    code.function.as_ref().is_none_or(|own| own.address != function.address);
                if is_other || offset >= *exits_offset {
                    return Ok(vec![self.name(&function, None)]);
                }
                let mut position = position_at(positions, form, offset);
                let mut names = Vec::new();
                while let Some((index, place)) =
                    position.and_then(|place| Some((place.inlining()?, place)))
                {
                    let Some(call) = calls.get(index) else { break };
                    let callee = match call.function {
                        Some(index) => code.inlined.get(index).cloned().flatten(),
                        None => Some(Arc::clone(&function)),
                    };
                    names.extend(callee.map(|callee| self.name(&callee, Some(place))));
                    // Calls are numbered outermost first: anything else would be a circle.
                    let is_outer = call.position.inlining().is_none_or(|outer| outer < index);
                    if !is_outer || names.len() >= MAX_INLINE_DEPTH {
                        break;
                    }
                    position = Some(call.position);
                }
                names.push(self.name(&function, position));
                Ok(names)
            }
        }
    }

    /// The function at `address`; with a cookie, that which was there when the cookie was made.
    fn function(&mut self, address: u64, cookie: Option<u32>) -> Result<Arc<Function>, JsFailure> {
        let now = Shared::read(&self.heap, address).ok_or(JsFailure::Unreadable);
        let known = cookie.and_then(|cookie| self.functions.get(&(address, cookie)).cloned());
        let now = match now {
            Ok(now) => now,
            Err(failure) => return known.ok_or(failure),
        };
        let cookie_now = now.cookie(&self.objects);
        if cookie.is_some_and(|cookie| cookie != cookie_now) {
            return known.ok_or(match now.is_sound(&self.heap, &self.objects) {
                true => JsFailure::Moved,
                false => JsFailure::NotAFunction,
            });
        }
        let key = (address, cookie_now);
        let script = now.script(&self.heap, &self.objects);
        let id = script.and_then(|script| Script::read_id(&self.heap, script));
        let known = known.or_else(|| self.functions.get(&key).cloned());
        if let Some(known) = known
            && known.script.as_ref().map(|(_, script)| script.id) == id
        {
            return Ok(known);
        }
        if !now.is_sound(&self.heap, &self.objects) {
            return Err(JsFailure::NotAFunction);
        }
        let script = script.and_then(|address| Some((address, self.script(address)?)));
        let function = Arc::new(Function::read(&self.heap, &self.objects, &now, script));
        self.make_room(function.held_bytes());
        self.functions.insert(key, Arc::clone(&function));
        Ok(function)
    }

    fn script(&mut self, address: u64) -> Option<Arc<Script>> {
        let id = Script::read_id(&self.heap, address)?;
        if let Some(known) = self.scripts.get(&(address, id)) {
            return Some(Arc::clone(known));
        }
        let script = Arc::new(Script::read(&self.heap, &self.objects, address)?);
        self.make_room(script.held_bytes());
        self.scripts.insert((address, script.id), Arc::clone(&script));
        Some(script)
    }

    fn code_at(&mut self, return_avma: u64) -> Option<(Header, Arc<Code>)> {
        let nearest = self.code.range(..return_avma).next_back().map(|(_, known)| known.clone());
        if let Some((header, code)) = nearest
            && header.holds(return_avma)
        {
            if header.is_current(&self.heap, &self.objects) {
                return Some((header, code));
            }
            self.code.remove(&header.start_avma);
        }
        let header = self.finder.find(&self.heap, &self.objects, return_avma)?;
        let compiled = Compiled::read(&self.heap, &self.objects, &header)?;
        let (mut function, mut inlined) = (None, Vec::new());
        if let Compiled::Optimised { function: own, inlined: addresses, .. } = &compiled {
            function = own.and_then(|address| self.function(address, None).ok());
            inlined = addresses
                .iter()
                .map(|address| address.and_then(|address| self.function(address, None).ok()))
                .collect();
        }
        self.make_room(compiled.held_bytes());
        let code = Arc::new(Code { compiled, function, inlined });
        self.code.insert(header.start_avma, (header, Arc::clone(&code)));
        Some((header, code))
    }

    /// Forgets everything when it has become too much.
    fn make_room(&mut self, bytes: usize) {
        let counts = [self.functions.len(), self.scripts.len(), self.code.len()];
        if self.cached_bytes + bytes > MAX_CACHED_BYTES
            || counts.iter().any(|count| *count >= MAX_CACHED)
        {
            self.functions.clear();
            self.scripts.clear();
            self.code.clear();
            self.cached_bytes = 0;
        }
        self.cached_bytes += bytes;
    }

    fn name(&mut self, function: &Function, position: Option<Position>) -> JsName {
        let offset = position.and_then(Position::script_offset);
        let name = function.name.clone();
        let Some((address, script)) = &function.script else {
            return JsName {
                function: name.unwrap_or_else(|| ANONYMOUS.into()),
                file: None,
                line: None,
                generated: None,
                is_builtin: function.is_builtin,
                is_exact: true,
            };
        };
        let exact = offset.and_then(|offset| script.place(offset));
        let place = exact.or_else(|| script.place(function.start?));
        let file = self.file_of(script, MAX_EVAL_DEPTH);
        let unnamed = if script.eval_origin.is_some() { EVAL } else { ANONYMOUS };
        let key = (*address, script.id);
        let original = place.and_then(|at| self.maps.original(&self.heap, key, script, at));
        let mut found = JsName {
            function: name.unwrap_or_else(|| unnamed.into()),
            file,
            line: place.map(|place| place.line),
            generated: None,
            is_builtin: false,
            is_exact: exact.is_some(),
        };
        if let Some(original) = original {
            let (file, line) =
                (found.file.replace(original.file), found.line.replace(original.line));
            found.generated = file.zip(line).map(|(file, line)| Generated { file, line });
        }
        found
    }

    /// A built-in function: its own name with that of its class, where the file has symbols
    /// (`ArrayMap` for `map`).
    fn name_builtin(&mut self, function: &Function, return_avma: u64) -> JsName {
        let offset = self
            .spans
            .iter()
            .find_map(|span| span.contains(&return_avma).then(|| return_avma - span.start));
        let builtins = self.builtins.clone();
        let symbol =
            offset.and_then(|offset| builtins.as_ref()?.function_at(offset.checked_sub(1)?));
        let mut name = self.name(function, None);
        name.is_builtin = true;
        match (&function.name, symbol) {
            (Some(own), Some(symbol)) => name.function = with_class(own, symbol),
            (None, Some(symbol)) => name.function = symbol.to_owned(),
            _ => {}
        }
        name
    }

    fn file_of(&mut self, script: &Script, depth: usize) -> Option<String> {
        if let Some(name) = &script.name {
            return Some(display_path(name));
        }
        let Some((word, at)) = script.eval_origin.filter(|_| depth > 0) else {
            return script.eval_origin.map(|_| "[eval]".to_owned());
        };
        let origin =
            super::heap::pointer(word).and_then(|address| self.function(address, None).ok());
        let Some(origin) = origin else { return Some("[eval]".into()) };
        let offset = match u32::try_from(at) {
            Ok(offset) => Some(offset),
            Err(_) => origin
                .position_of_bytecode(&self.heap, &self.objects, at.unsigned_abs())
                .and_then(Position::script_offset),
        };
        let outer = origin.script.as_ref().map(|(_, script)| Arc::clone(script));
        let line = outer.as_ref().and_then(|outer| outer.place(offset?));
        let file = outer.and_then(|outer| self.file_of(&outer, depth - 1));
        let function = origin.name.as_deref().unwrap_or(ANONYMOUS);
        Some(eval_path(function, file.as_deref(), line.map(|Place { line, .. }| line)))
    }
}

/// `Array.map` for `map` in `ArrayMap` or `ArrayPrototypeMap`.
fn with_class(own: &str, symbol: &str) -> String {
    let split = symbol.len().checked_sub(own.len()).filter(|at| symbol.is_char_boundary(*at));
    let Some((class, last)) = split.map(|at| symbol.split_at(at)) else { return own.to_owned() };
    let class = class.strip_suffix("Prototype").unwrap_or(class);
    if class.is_empty() || !last.eq_ignore_ascii_case(own) {
        return own.to_owned();
    }
    format!("{class}.{own}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_functions_have_the_name_of_their_class() {
        for (own, symbol, expected) in [
            ("map", "ArrayMap", "Array.map"),
            ("next", "GeneratorPrototypeNext", "Generator.next"),
            ("forEach", "ArrayForEach", "Array.forEach"),
            ("then", "PromisePrototypeThen", "Promise.then"),
            ("sort", "InterpreterEntryTrampoline", "sort"),
            ("Array", "Array", "Array"),
            ("größer", "ß", "größer"),
        ] {
            assert_eq!(with_class(own, symbol), expected);
        }
    }
}
