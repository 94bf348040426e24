//! Names of JavaScript frames, from outside: which function, which line, and what was inlined.

use super::NodeRuntime;
use super::builtins::BuiltinCode;
use super::compiled::Compiled;
use super::function::Function;
use super::name::{JsFailure, JsName};
use super::path::{display_path, eval_path};
use super::positions::{BytecodeSizes, Position, bytecode_at, position_at};
use super::remembered::{Code, IsNew, Remembered};
use super::script::{Place, Script};
use super::source_map::SourceMaps;
use crate::stack::Generated;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tracer_common::v8::{JS_BUILTIN, JS_COMPILED, JS_INTERPRETED, JsFrame};

/// Functions that were inlined into one another around one place.
const MAX_INLINE_DEPTH: usize = 64;
/// Texts of `eval` inside one another that are told.
const MAX_EVAL_DEPTH: usize = 3;
/// What a function without a name is called.
const ANONYMOUS: &str = "<anonymous>";
/// What it is called in the text of an `eval`.
const EVAL: &str = "eval";

/// Reads the functions of one process, and remembers them.
#[derive(Debug)]
pub struct JsReader {
    known: Remembered,
    sizes: Option<Arc<BytecodeSizes>>,
    builtins: Option<Arc<BuiltinCode>>,
    spans: Vec<Range<u64>>,
    maps: SourceMaps,
    /// What stood at a frame was this process's: its code now may say what.
    is_own: bool,
}

impl JsReader {
    /// For process `tgid`, which runs `runtime`.
    pub fn new(tgid: u32, runtime: &NodeRuntime) -> Self {
        Self {
            known: Remembered::new(tgid, runtime),
            sizes: runtime.bytecode_sizes.clone(),
            builtins: runtime.builtins.clone(),
            spans: Vec::new(),
            maps: SourceMaps::new(tgid),
            is_own: true,
        }
    }

    /// The same for frames of a fork of process `tgid`, whose functions may have others' code now.
    pub fn of_parent(tgid: u32, runtime: &NodeRuntime) -> Self {
        Self { is_own: false, ..Self::new(tgid, runtime) }
    }

    /// Whether frames from now on may be read when something about them is new; they may at first.
    pub fn set_has_time(&mut self, has_time: bool) {
        self.known.learning.set_has_time(has_time);
    }

    /// What the last frame took because something about it was new.
    pub fn learning_time(&self) -> Duration {
        self.known.learning.took()
    }

    /// Says where the built-in code is mapped now ([`NodeRuntime::builtin_spans`]).
    pub fn set_builtin_spans(&mut self, spans: Vec<Range<u64>>) {
        self.spans = spans;
    }

    /// The compilers, by V8's numbers, whose code was met.
    #[cfg(test)]
    pub(super) fn code_kinds(&self) -> std::collections::BTreeSet<u32> {
        self.known.code_kinds()
    }

    /// What stood at `frame`, whose return address was `return_avma`: the function that was
    /// running, and behind it those it was inlined into.
    ///
    /// # Errors
    /// [`JsFailure`], for counting.
    ///
    /// # Cost
    /// Two to four reads of the target for what is known, some dozens for what is not; the first
    /// frame of a script also reads the ends of its lines, and its source map. Where there is no
    /// time ([`Self::set_has_time`]), what is new fails.
    pub fn read(&mut self, frame: &JsFrame, return_avma: u64) -> Result<Vec<JsName>, JsFailure> {
        self.known.learning.begin();
        let names = self.read_frame(frame, return_avma);
        self.known.learning.end();
        // What was left out for want of time is not known to be missing.
        if self.known.learning.fell_short() { Err(JsFailure::NoTime) } else { names }
    }

    fn read_frame(&mut self, frame: &JsFrame, return_avma: u64) -> Result<Vec<JsName>, JsFailure> {
        let function = match frame.shared_avma {
            0 => Err(JsFailure::NotAFunction),
            address => self.known.function(address, Some(frame.cookie)),
        };
        match frame.kind {
            JS_INTERPRETED => {
                let function = function?;
                let first = i64::from(self.known.objects.bytecode_data) - 1;
                let offset = u32::try_from(i64::from(frame.position) - first).ok();
                let position = offset.and_then(|at| self.known.position_of_bytecode(&function, at));
                Ok(vec![self.name(&function, position)])
            }
            JS_COMPILED => self.read_compiled(frame.cookie, function, return_avma),
            JS_BUILTIN => {
                let function = function?;
                Ok(vec![self.name_builtin(&function, return_avma)])
            }
            _ => Err(JsFailure::UnknownKind),
        }
    }

    fn read_compiled(
        &mut self,
        cookie: u32,
        function: Result<Arc<Function>, JsFailure>,
        return_avma: u64,
    ) -> Result<Vec<JsName>, JsFailure> {
        // The garbage collector may have moved the function since the code was read: its address
        // is in the code as it is now.
        let is_its = |code: &Code, reader: &Self| match (&code.compiled, &function, &code.function)
        {
            (Compiled::Baseline { .. }, ..) => true,
            (_, _, None) => false,
            (_, Ok(function), Some(own)) => own.address == function.address,
            (_, Err(_), Some(own)) => reader.is_proven(own, cookie),
        };
        let mut found = self.known.code_at(return_avma);
        if let Some((header, code, IsNew::No)) = &found
            && !is_its(code, self)
        {
            self.known.forget_code(header);
            found = self.known.code_at(return_avma);
        }
        let Some((header, code, _)) = found else {
            return match function {
                Ok(function) => Ok(vec![self.name(&function, None)]),
                Err(JsFailure::NotAFunction) => Err(JsFailure::NoCode),
                Err(failure) => Err(failure),
            };
        };
        let is_its = is_its(&code, self);
        let function = match (function, &code.function) {
            (Err(_), Some(own)) if is_its => Arc::clone(own),
            (function, _) => function?,
        };
        // The return address is that of the next instruction, perhaps of another place.
        let offset = (return_avma - header.start_avma).saturating_sub(1) as u32;
        let form = self.known.objects.position_form;
        match &code.compiled {
            Compiled::Baseline { lengths, bytecodes, positions } => {
                // Another function's code lies here now.
                let own = self.known.positions(&function);
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
                if !is_its || offset >= *exits_offset {
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

    /// Whether `own`, which the code at a frame belongs to, is what the kernel side saw: its name and
    /// its script are, and so they stay when it is moved.
    fn is_proven(&self, own: &Function, cookie: u32) -> bool {
        self.is_own && own.cookie == cookie && own.is_there(&self.known.heap, &self.known.objects)
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
        let has_map = self.maps.is_known(key) || self.known.learning.may_go_on();
        let place_in_map = place.filter(|_| has_map);
        let original =
            place_in_map.and_then(|at| self.maps.original(&self.known.heap, key, script, at));
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
        // A function that V8 is about to enter (it compiles it) stands at its beginning.
        name.is_exact = true;
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
            super::heap::pointer(word).and_then(|address| self.known.function(address, None).ok());
        let Some(origin) = origin else { return Some("[eval]".into()) };
        let offset = match u32::try_from(at) {
            Ok(offset) => Some(offset),
            Err(_) => self
                .known
                .position_of_bytecode(&origin, at.unsigned_abs())
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
