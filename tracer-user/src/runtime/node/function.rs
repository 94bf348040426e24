//! Functions: a `SharedFunctionInfo`, what it is called, and where its bytecode comes from.

use super::heap::{Heap, pointer, small_integer};
use super::objects::ObjectLayout;
use super::scope::{Scope, name_in};
use super::script::Script;
use std::sync::{Arc, OnceLock};
use tracer_common::v8::cookie;

/// Longest table of source positions that is read, in bytes.
pub(super) const MAX_TABLE_BYTES: usize = 4 << 20;
/// Words of a `SharedFunctionInfo` that are read: up to its script.
const WORDS: usize = 6;
/// `InterpreterData.bytecode_array`, in bytes.
const INTERPRETER_BYTECODE: u64 = 8;
/// `DebugInfo.script`, in bytes.
const DEBUG_SCRIPT: u64 = 24;

/// A `SharedFunctionInfo` as it is at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    address: u64,
    words: [u64; WORDS],
}

impl Shared {
    /// The words at `address`, whatever they are.
    pub(super) fn read(heap: &Heap, address: u64) -> Option<Self> {
        Some(Self { address, words: heap.words(address)? })
    }

    /// Whether it is one.
    pub(super) fn is_sound(&self, heap: &Heap, objects: &ObjectLayout) -> bool {
        heap.type_of_map(self.words[0]) == Some(objects.types.shared)
    }

    /// What tells it from another that takes its place.
    pub(super) fn cookie(&self, objects: &ObjectLayout) -> u32 {
        cookie(self.at(objects.shared_name), self.at(objects.shared_script))
    }

    /// Address of its script.
    pub(super) fn script(&self, heap: &Heap, objects: &ObjectLayout) -> Option<u64> {
        let word = self.at(objects.shared_script);
        heap.object(word, objects.types.script).or_else(|| {
            let debug_info = heap.object(word, objects.types.debug_info)?;
            heap.object(heap.word(debug_info + DEBUG_SCRIPT)?, objects.types.script)
        })
    }

    /// Whether it is part of V8: its code is a number.
    fn is_builtin(&self, objects: &ObjectLayout) -> bool {
        let is_number = |at: u32| small_integer(self.at(at)).is_some_and(|number| number >= 0);
        is_number(8) && (!objects.has_untrusted_data || is_number(16))
    }

    /// Address of its bytecode, as the interpreter runs it or baseline code was made from.
    fn bytecode(&self, heap: &Heap, objects: &ObjectLayout) -> Option<u64> {
        let word = self.at(8);
        let address = pointer(word)?;
        if heap.type_of(address)? == objects.types.code {
            let behind = heap.word(address + u64::from(objects.code_deoptimization))?;
            return bytecode_array(heap, objects, behind);
        }
        bytecode_array(heap, objects, word)
    }

    fn at(&self, offset: u32) -> u64 {
        self.words.get(offset as usize / 8).copied().unwrap_or(0)
    }
}

/// The bytecode array that `word` points to, perhaps by way of an `InterpreterData`.
pub(super) fn bytecode_array(heap: &Heap, objects: &ObjectLayout, word: u64) -> Option<u64> {
    let address = pointer(word)?;
    let type_number = heap.type_of(address)?;
    if type_number == objects.types.interpreter_data {
        let inner = heap.word(address + INTERPRETER_BYTECODE)?;
        return heap.object(inner, objects.types.bytecode_array);
    }
    (type_number == objects.types.bytecode_array).then_some(address)
}

/// The table of source positions of the bytecode at `address`; V8 may leave it out until it needs
/// it.
pub(super) fn bytecode_positions(
    heap: &Heap,
    objects: &ObjectLayout,
    address: u64,
) -> Option<Vec<u8>> {
    let word = heap.word(address + u64::from(objects.bytecode_positions))?;
    let types = [objects.types.byte_array, objects.types.trusted_byte_array];
    heap.byte_array(word, &types, MAX_TABLE_BYTES)
}

/// What names a function.
#[derive(Debug)]
pub(super) struct Function {
    /// Address of its `SharedFunctionInfo`.
    pub(super) address: u64,
    /// Its own name, or the one that V8 has inferred.
    pub(super) name: Option<String>,
    /// What told it from others when it was read.
    pub(super) cookie: u32,
    /// Its script, and where that is.
    pub(super) script: Option<(u64, Arc<Script>)>,
    /// Offset in the script at which it begins.
    pub(super) start: Option<u32>,
    /// Part of V8.
    pub(super) is_builtin: bool,
    positions: OnceLock<Vec<u8>>,
}

impl Function {
    /// Reads the function of `shared`, all but its script ([`Self::with_script`]).
    pub(super) fn read(heap: &Heap, objects: &ObjectLayout, shared: &Shared) -> Self {
        let name_or_scope = shared.at(objects.shared_name);
        let scope = heap
            .object(name_or_scope, objects.types.scope)
            .map(|address| Scope::read(heap, objects, address));
        let (name, start) = match scope {
            Some(scope) => (scope.name, scope.start),
            None => (name_in(heap, name_or_scope), None),
        };
        Self {
            address: shared.address,
            name,
            cookie: shared.cookie(objects),
            script: None,
            start,
            is_builtin: shared.is_builtin(objects),
            positions: OnceLock::new(),
        }
    }

    /// The function with its script, and where that is.
    pub(super) fn with_script(self, script: Option<(u64, Arc<Script>)>) -> Self {
        let is_builtin = script.is_none() && self.is_builtin;
        Self { script, is_builtin, ..self }
    }

    /// Whether it is still where it was read, as far as can be seen.
    pub(super) fn is_there(&self, heap: &Heap, objects: &ObjectLayout) -> bool {
        self.now(heap, objects).is_some()
    }

    fn now(&self, heap: &Heap, objects: &ObjectLayout) -> Option<Shared> {
        Shared::read(heap, self.address)
            .filter(|now| now.cookie(objects) == self.cookie && now.is_sound(heap, objects))
    }

    /// Its table of source positions; `None` also when something else is in its place, before the
    /// table was read or meanwhile.
    ///
    /// # Cost
    /// Reads the table the first time; every time while V8 has none.
    pub(super) fn positions(&self, heap: &Heap, objects: &ObjectLayout) -> Option<&[u8]> {
        if let Some(table) = self.positions.get() {
            return Some(table);
        }
        let shared = self.now(heap, objects)?;
        let table = bytecode_positions(heap, objects, shared.bytecode(heap, objects)?)?;
        self.is_there(heap, objects).then_some(())?;
        Some(self.positions.get_or_init(|| table))
    }

    /// Bytes of it, its texts and tables, without its script's; more once a table was needed.
    pub(super) fn held_bytes(&self) -> usize {
        let name = self.name.as_ref().map_or(0, String::len);
        size_of::<Self>() + name + self.positions.get().map_or(0, Vec::len)
    }
}
