//! What a `ScopeInfo` says of its function: its names, and where it stands in its script.

use super::heap::{Heap, pointer, small_integer};
use super::objects::ObjectLayout;
use super::text::text;

/// Longest name that is read, in characters.
pub(super) const MAX_NAME_CHARACTERS: usize = 1024;
/// Local variables of one function that are skipped.
const MAX_LOCALS: u64 = 1 << 20;
/// From this many on, V8 keeps the names of local variables in a table of their own.
const MAX_INLINE_LOCALS: u64 = 75;

/// Bits of the flags: kind of scope, and which optional parts there are.
const SCOPE_TYPE: u32 = 15;
const HAS_CLASS_VARIABLE: u32 = 1 << 10;
const HAS_FUNCTION_NAME: u32 = 3 << 12;
const HAS_INFERRED_NAME: u32 = 1 << 14;
/// Kind of function, in the flags.
const FUNCTION_KIND_SHIFT: u32 = 17;
const FUNCTION_KIND: u32 = 31;

/// What V8 calls the functions that it makes of the fields of a class, by their kind: they have no
/// names of their own, and newer versions infer that of the class.
fn initializer(flags: u32) -> Option<&'static str> {
    match flags >> FUNCTION_KIND_SHIFT & FUNCTION_KIND {
        24 => Some("<instance_members_initializer>"),
        25 | 26 => Some("<static_initializer>"),
        _ => None,
    }
}

/// The parts that lead to a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    /// The function's own name, else the one that V8 has inferred; `None` where there is neither.
    pub(super) name: Option<String>,
    /// Offset in the script at which the function begins, in characters.
    pub(super) start: Option<u32>,
}

impl Scope {
    /// Reads the `ScopeInfo` at `address`. What cannot be read is left out.
    pub(super) fn read(heap: &Heap, objects: &ObjectLayout, address: u64) -> Self {
        Self::try_read(heap, objects, address).unwrap_or_default()
    }

    fn try_read(heap: &Heap, objects: &ObjectLayout, address: u64) -> Option<Self> {
        let [_map, flags, _parameters, locals, start, _end] = heap.words(address)?;
        // A small integer until V8 13, a half word since.
        let flags = if flags as u32 != 0 { flags as u32 } else { (flags >> 32) as u32 };
        let locals = u64::try_from(small_integer(locals)?).ok().filter(|n| *n <= MAX_LOCALS)?;
        let mut slot = u64::from(objects.scope_variables);
        if objects.has_fixed_positions && flags & SCOPE_TYPE == objects.module_scope {
            slot += 1;
        }
        let word = |slot: u64| heap.word(address + 8 + 8 * slot);
        let has_table =
            locals >= MAX_INLINE_LOCALS && text(heap, word(slot)?, MAX_NAME_CHARACTERS).is_none();
        slot += locals + if has_table { 1 } else { locals };
        slot += u64::from(flags & HAS_CLASS_VARIABLE != 0);
        let mut name = initializer(flags).map(str::to_owned);
        if flags & HAS_FUNCTION_NAME != 0 {
            name = name.or_else(|| word(slot).and_then(|word| name_in(heap, word)));
            slot += 2;
        }
        if flags & HAS_INFERRED_NAME != 0 {
            name = name.or_else(|| word(slot).and_then(|word| name_in(heap, word)));
            slot += 1;
        }
        let start = if objects.has_fixed_positions { Some(start) } else { word(slot) };
        let start = start.and_then(small_integer).and_then(|start| u32::try_from(start).ok());
        Some(Self { name, start })
    }
}

/// The name that a word of a `SharedFunctionInfo` or `ScopeInfo` stands for, if it is one.
pub(super) fn name_in(heap: &Heap, word: u64) -> Option<String> {
    pointer(word)?;
    text(heap, word, MAX_NAME_CHARACTERS).filter(|name| !name.is_empty())
}
