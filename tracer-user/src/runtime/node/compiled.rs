//! Compiled code: which code object holds an address, and what it says of its source. The code may
//! be freed and its place used again at any time, so what is remembered is compared before use.

use super::function::{MAX_TABLE_BYTES, bytecode_array, bytecode_positions};
use super::heap::{ARRAY_DATA, Heap, pointer, small_integer, weak_pointer};
use super::objects::ObjectLayout;
use super::positions::Position;
use std::collections::HashSet;

/// How far before an address its code may begin, in bytes.
const MAX_DISTANCE: u64 = 1 << 20;
/// Bytes that are read at once, on the way back.
const STEP_BYTES: u64 = 4096;
/// Words on the way that look like pointers and are followed.
const MAX_CANDIDATES: usize = 256;
/// Words of a `Code` that are read.
const WORDS: usize = 8;
/// Longest code that is believed, in bytes.
const MAX_CODE_BYTES: u32 = 64 << 20;
/// Longest bytecode that is read, in bytes.
const MAX_BYTECODE_BYTES: usize = 4 << 20;
/// Most functions inlined into one, and most places where.
const MAX_INLINED: usize = 4096;
/// The bits of `Code.flags` that say which compiler made it.
const KIND: u32 = 15;
/// `InstructionStream.code`, in bytes.
const STREAM_CODE: u64 = 8;
/// `SharedFunctionInfoWrapper.shared_info`, in bytes.
const WRAPPED: u64 = 8;

/// A code object, as it is at the moment: equal ones are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Address of the `Code`.
    address: u64,
    /// First instruction.
    pub(super) start_avma: u64,
    /// Length of the instructions, in bytes.
    length_bytes: u32,
    flags: u32,
    /// Deoptimization data, or bytecode; a word of the heap.
    deoptimization: u64,
    /// Table of positions; a word of the heap.
    table: u64,
}

impl Header {
    /// The header of the `Code` at `address`.
    pub(super) fn read(heap: &Heap, objects: &ObjectLayout, address: u64) -> Option<Self> {
        let words: [u64; WORDS] = heap.words(address)?;
        (heap.type_of_map(words[0])? == objects.types.code).then_some(())?;
        let at = |offset: u32| words.get(offset as usize / 8).copied();
        let half = |offset: u32| at(offset).map(|word| (word >> (8 * (offset & 4))) as u32);
        let start_avma = if objects.types.instruction_stream == 0 {
            address + u64::from(objects.code_start)
        } else {
            at(objects.code_start)?
        };
        Some(Self {
            address,
            start_avma,
            length_bytes: half(objects.code_size)?,
            flags: half(objects.code_flags)?,
            deoptimization: at(objects.code_deoptimization)?,
            table: at(objects.code_deoptimization + 8)?,
        })
    }

    /// Whether it is at the moment as it was.
    pub(super) fn is_current(&self, heap: &Heap, objects: &ObjectLayout) -> bool {
        Self::read(heap, objects, self.address).as_ref() == Some(self)
    }

    /// Whether a call that returns to `return_avma` is in it.
    pub(super) fn holds(&self, return_avma: u64) -> bool {
        self.length_bytes <= MAX_CODE_BYTES
            && return_avma
                .checked_sub(self.start_avma)
                .is_some_and(|distance| (1..=u64::from(self.length_bytes)).contains(&distance))
    }

    /// Which compiler made it, as V8 numbers them.
    pub(super) fn kind(&self) -> u32 {
        self.flags & KIND
    }
}

/// Finds the code objects that hold addresses.
#[derive(Debug, Default)]
pub(super) struct Finder {
    /// Maps of objects that begin code, as first words have them: one for each heap.
    maps: Vec<u64>,
}

/// Most maps that are remembered.
const MAX_MAPS: usize = 16;

impl Finder {
    /// The code object that holds a call that returns to `return_avma`: the nearest before it.
    ///
    /// # Cost
    /// A read for each 4 KiB of code before the address, and some for what looks like an object;
    /// one to three are usual.
    pub(super) fn find(
        &mut self,
        heap: &Heap,
        objects: &ObjectLayout,
        return_avma: u64,
    ) -> Option<Header> {
        let mut end = return_avma.checked_add(7)? & !7;
        let last = end.saturating_sub(MAX_DISTANCE);
        let mut others = HashSet::new();
        while end > last {
            let start = (end - 1) & !(STEP_BYTES - 1);
            let words = heap.word_list(start, ((end - start) / 8) as usize)?;
            for (index, word) in words.iter().enumerate().rev() {
                if pointer(*word).is_none() || others.contains(word) {
                    continue;
                }
                if !self.maps.contains(word) {
                    if !self.is_map_of_code(heap, objects, *word) {
                        if others.len() >= MAX_CANDIDATES {
                            return None;
                        }
                        others.insert(*word);
                        continue;
                    }
                    if self.maps.len() >= MAX_MAPS {
                        self.maps.clear();
                    }
                    self.maps.push(*word);
                }
                let found = header_at(heap, objects, start + 8 * index as u64);
                if let Some(header) = found.filter(|header| header.holds(return_avma)) {
                    return Some(header);
                }
            }
            end = start;
        }
        None
    }

    fn is_map_of_code(&self, heap: &Heap, objects: &ObjectLayout, word: u64) -> bool {
        let wanted = match objects.types.instruction_stream {
            0 => objects.types.code,
            stream => stream,
        };
        heap.type_of_map(word) == Some(wanted)
    }
}

/// The code of the object at `address`, which has the map of one that begins code.
fn header_at(heap: &Heap, objects: &ObjectLayout, address: u64) -> Option<Header> {
    if objects.types.instruction_stream == 0 {
        return Header::read(heap, objects, address);
    }
    let code = pointer(heap.word(address + STREAM_CODE)?)?;
    Header::read(heap, objects, code)
}

/// An inlined call: where it stands, and which of the inlined functions it enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InlinedCall {
    /// Where the call stands: perhaps in an inlined function itself.
    pub(super) position: Position,
    /// Index of the function; `None` for the outermost one, which calls itself.
    pub(super) function: Option<usize>,
}

/// What code says of its source.
#[derive(Debug)]
pub(super) enum Compiled {
    /// One piece of code for each bytecode.
    Baseline {
        /// Lengths of these pieces.
        lengths: Vec<u8>,
        /// The bytecodes.
        bytecodes: Vec<u8>,
        /// Where these come from.
        positions: Vec<u8>,
    },
    /// Made from several functions, perhaps.
    Optimised {
        /// Where calls come from.
        positions: Vec<u8>,
        /// Address of the outermost function.
        function: Option<u64>,
        /// Addresses of the functions that were inlined, where those still are.
        inlined: Vec<Option<u64>>,
        /// Where they were inlined.
        calls: Vec<InlinedCall>,
        /// Offset of what runs when the code is given up while it waits for a call: the call then
        /// returns there, and its place is not told by the table.
        exits_offset: u32,
    },
}

impl Compiled {
    /// Reads what belongs to the code of `header`.
    pub(super) fn read(heap: &Heap, objects: &ObjectLayout, header: &Header) -> Option<Self> {
        if header.kind() == objects.baseline_kind {
            return read_baseline(heap, objects, header);
        }
        (header.kind() > objects.baseline_kind)
            .then(|| read_optimised(heap, objects, header))
            .flatten()
    }

    /// Bytes of its tables.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Compiled::Baseline { lengths, bytecodes, positions } => {
                lengths.len() + bytecodes.len() + positions.len()
            }
            Compiled::Optimised { positions, inlined, calls, .. } => {
                positions.len() + 16 * inlined.len() + 24 * calls.len()
            }
        }
    }
}

fn byte_array(heap: &Heap, objects: &ObjectLayout, word: u64) -> Option<Vec<u8>> {
    let types = [objects.types.byte_array, objects.types.trusted_byte_array];
    heap.byte_array(word, &types, MAX_TABLE_BYTES)
}

fn read_baseline(heap: &Heap, objects: &ObjectLayout, header: &Header) -> Option<Compiled> {
    let bytecode = bytecode_array(heap, objects, header.deoptimization)?;
    let length = heap.array_length(bytecode).filter(|length| *length <= MAX_BYTECODE_BYTES)?;
    Some(Compiled::Baseline {
        lengths: byte_array(heap, objects, header.table)?,
        bytecodes: heap.bytes(bytecode + u64::from(objects.bytecode_data), length)?,
        positions: bytecode_positions(heap, objects, bytecode)?,
    })
}

fn read_optimised(heap: &Heap, objects: &ObjectLayout, header: &Header) -> Option<Compiled> {
    let positions = byte_array(heap, objects, header.table)?;
    let data = pointer(header.deoptimization)?;
    let indices =
        [objects.inlined_count, objects.literals, objects.function, objects.inlining_positions];
    let length = heap.array_length(data)?;
    if indices.iter().any(|index| *index as usize >= length) {
        return None;
    }
    let element = |index: u32| heap.word(data + ARRAY_DATA + 8 * u64::from(index));
    let count = usize::try_from(small_integer(element(objects.inlined_count)?)?).ok()?;
    let function = element(objects.function).and_then(|word| shared_in(heap, objects, word));
    let (mut inlined, mut calls) = (Vec::new(), Vec::new());
    if count > 0 {
        let literals = pointer(element(objects.literals)?)?;
        if count > heap.array_length(literals)?.min(MAX_INLINED) {
            return None;
        }
        let words = heap.word_list(literals + ARRAY_DATA, count)?;
        inlined = words.iter().map(|word| shared_in(heap, objects, *word)).collect();
        let packed = byte_array(heap, objects, element(objects.inlining_positions)?)?;
        let (entries, _) = packed.as_chunks::<16>();
        calls = entries.iter().take(MAX_INLINED).map(inlined_call).collect();
    }
    // Behind the inlined calls, in all versions.
    let exits = element(objects.inlining_positions + 1).and_then(small_integer);
    let exits_offset = exits.and_then(|exits| u32::try_from(exits).ok()).unwrap_or(u32::MAX);
    Some(Compiled::Optimised { positions, function, inlined, calls, exits_offset })
}

/// An entry of the table of inlined calls: the position, and a 32-bit index that is -1 for none.
fn inlined_call(entry: &[u8; 16]) -> InlinedCall {
    let entry = u128::from_le_bytes(*entry);
    let function = (entry >> 64) as u32 as i32;
    InlinedCall { position: Position(entry as u64), function: usize::try_from(function).ok() }
}

/// The `SharedFunctionInfo` that a literal points to, perhaps weakly or by way of a wrapper.
fn shared_in(heap: &Heap, objects: &ObjectLayout, word: u64) -> Option<u64> {
    let address = weak_pointer(word)?;
    let type_number = heap.type_of(address)?;
    if type_number == objects.types.shared {
        return Some(address);
    }
    let is_wrapper = type_number == objects.types.shared_wrapper && type_number != 0;
    is_wrapper.then(|| heap.object(heap.word(address + WRAPPED)?, objects.types.shared)).flatten()
}
