//! What was read of one process's functions, scripts and compiled code. Functions are remembered by
//! address and cookie, so that a name stays known when the garbage collector has moved its function,
//! and is not given to what lies there then.

use super::NodeRuntime;
use super::compiled::{Compiled, Finder, Header};
use super::function::{Function, Shared};
use super::heap::Heap;
use super::learning::Learning;
use super::name::JsFailure;
use super::objects::ObjectLayout;
use super::positions::{Position, position_at};
use super::script::Script;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Functions, scripts and code objects that are remembered: how many of each, and how many bytes
/// of their texts and tables.
const MAX_CACHED: usize = 100_000;
const MAX_CACHED_BYTES: usize = 256 << 20;
/// How often a function is read that moves away meanwhile.
const FUNCTION_ATTEMPTS: usize = 2;

type Key = (u64, u32);

/// The functions, scripts and code of one process, read when first asked for.
#[derive(Debug)]
pub(super) struct Remembered {
    /// The process.
    pub(super) heap: Heap,
    /// Where its objects keep what.
    pub(super) objects: ObjectLayout,
    /// The time for what is new.
    pub(super) learning: Learning,
    functions: HashMap<Key, Arc<Function>>,
    scripts: HashMap<(u64, i32), Arc<Script>>,
    code: BTreeMap<u64, (Header, Arc<Code>)>,
    finder: Finder,
    cached_bytes: usize,
}

/// Compiled code with the functions that were inlined into it, which may move later.
#[derive(Debug)]
pub(super) struct Code {
    /// What it says of its source.
    pub(super) compiled: Compiled,
    /// The outermost function.
    pub(super) function: Option<Arc<Function>>,
    /// Those that were inlined, where they could be read.
    pub(super) inlined: Vec<Option<Arc<Function>>>,
}

/// Whether code was read just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsNew {
    /// It was.
    Yes,
    /// It was known.
    No,
}

impl Remembered {
    /// Nothing yet of process `tgid`, which runs `runtime`.
    pub(super) fn new(tgid: u32, runtime: &NodeRuntime) -> Self {
        Self {
            heap: Heap::new(tgid),
            objects: runtime.objects,
            learning: Learning::default(),
            functions: HashMap::new(),
            scripts: HashMap::new(),
            code: BTreeMap::new(),
            finder: Finder::default(),
            cached_bytes: 0,
        }
    }

    /// The compilers, by V8's numbers, whose code was met.
    #[cfg(test)]
    pub(super) fn code_kinds(&self) -> std::collections::BTreeSet<u32> {
        self.code.values().map(|(header, _)| header.kind()).collect()
    }

    /// The code of `header` is to be read again.
    pub(super) fn forget_code(&mut self, header: &Header) {
        self.code.remove(&header.start_avma);
    }

    /// Where in its script the bytecode of `function` at `offset` comes from.
    pub(super) fn position_of_bytecode(
        &mut self,
        function: &Function,
        offset: u32,
    ) -> Option<Position> {
        position_at(self.positions(function)?, self.objects.position_form, offset)
    }

    /// A function's table of positions, counted when it is new.
    pub(super) fn positions<'a>(&mut self, function: &'a Function) -> Option<&'a [u8]> {
        let held_bytes = function.held_bytes();
        let table = function.positions(&self.heap, &self.objects);
        match function.held_bytes() - held_bytes {
            0 => {}
            more => self.make_room(more),
        }
        table
    }

    /// The function at `address`; with a cookie, that which was there when the cookie was made.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(super) fn function(
        &mut self,
        address: u64,
        cookie: Option<u32>,
    ) -> Result<Arc<Function>, JsFailure> {
        for _ in 0..FUNCTION_ATTEMPTS {
            if let Some(function) = self.try_function(address, cookie)? {
                return Ok(function);
            }
        }
        Err(JsFailure::Moved)
    }

    /// The same; nothing when another function took its place while it was read.
    fn try_function(
        &mut self,
        address: u64,
        cookie: Option<u32>,
    ) -> Result<Option<Arc<Function>>, JsFailure> {
        let now = Shared::read(&self.heap, address).ok_or(JsFailure::Unreadable);
        let known = cookie.and_then(|cookie| self.functions.get(&(address, cookie)).cloned());
        let now = match now {
            Ok(now) => now,
            Err(failure) => return known.map(Some).ok_or(failure),
        };
        let cookie_now = now.cookie(&self.objects);
        if cookie.is_some_and(|cookie| cookie != cookie_now) {
            return known.map(Some).ok_or(match now.is_sound(&self.heap, &self.objects) {
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
            return Ok(Some(known));
        }
        if !now.is_sound(&self.heap, &self.objects) {
            return Err(JsFailure::NotAFunction);
        }
        if !self.learning.may_go_on() {
            return Err(JsFailure::NoTime);
        }
        // The name first: reading a script takes long, and the function may be moved meanwhile.
        let function = Function::read(&self.heap, &self.objects, &now);
        let script = script.and_then(|address| Some((address, self.script(address)?)));
        if self.learning.fell_short() {
            return Err(JsFailure::NoTime);
        }
        if !function.is_there(&self.heap, &self.objects) {
            return Ok(None);
        }
        let function = Arc::new(function.with_script(script));
        self.make_room(function.held_bytes());
        self.functions.insert(key, Arc::clone(&function));
        Ok(Some(function))
    }

    fn script(&mut self, address: u64) -> Option<Arc<Script>> {
        let id = Script::read_id(&self.heap, address)?;
        if let Some(known) = self.scripts.get(&(address, id)) {
            return Some(Arc::clone(known));
        }
        self.learning.may_go_on().then_some(())?;
        let script = Arc::new(Script::read(&self.heap, &self.objects, address)?);
        self.make_room(script.held_bytes());
        self.scripts.insert((address, script.id), Arc::clone(&script));
        Some(script)
    }

    /// The code that a call which returns to `return_avma` is in.
    pub(super) fn code_at(&mut self, return_avma: u64) -> Option<(Header, Arc<Code>, IsNew)> {
        let nearest = self.code.range(..return_avma).next_back().map(|(_, known)| known.clone());
        if let Some((header, code)) = nearest
            && header.holds(return_avma)
        {
            if header.is_current(&self.heap, &self.objects) {
                return Some((header, code, IsNew::No));
            }
            self.code.remove(&header.start_avma);
        }
        self.learning.may_go_on().then_some(())?;
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
        if self.learning.fell_short() {
            return None;
        }
        self.make_room(size_of::<(Header, Code)>() + compiled.held_bytes());
        let code = Arc::new(Code { compiled, function, inlined });
        self.code.insert(header.start_avma, (header, Arc::clone(&code)));
        Some((header, code, IsNew::Yes))
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
}
