//! JavaScript frames: what the slots of a native frame say of the function that runs in it.
//!
//! JavaScript runs in native frames with frame pointers, so the native walk comes to them by
//! itself; here is only asked which of them are, and whose. Naming is user space's business. The
//! thread is stopped in a probe; its memory is hostile input all the same.

use super::{
    SEED, mix,
    notes::{self, Notes},
    rule::{self, Number},
    step, window,
};
use crate::{process, thread::ThreadState};
use aya_ebpf::helpers::generated;
use core::ffi::c_void;
use tracer_common::{
    record::STACK_WORDS,
    v8::{
        HAS_JS, JS_BUILTIN, JS_COMPILED, JS_INTERPRETED, JsFrame, SHARED_BYTES, SHARED_DATA,
        V8Layout, cookie,
    },
};

/// Low bits of a tagged word: a small integer has the lowest clear, a pointer has these two.
const TAG_BITS: u64 = 3;
/// [`TAG_BITS`] of a pointer.
const POINTER_TAG: u64 = 1;
/// A small integer is the upper half of its word.
const SMALL_INTEGER_SHIFT: u32 = 32;
/// No object lies below: programs map nothing there.
const LOWEST_OBJECT: u64 = 0x1_0000;

/// Functions that a thread remembers, a power of two.
pub const MEMORY: usize = 64;
/// Walks after which they are read anew, a power of two.
const MEMORY_WALKS: u32 = 256;

/// A JavaScript function that was read lately, under the code that it runs: two reads of memory a
/// frame would take longer than all else of a walk. Which function code belongs to changes when
/// the garbage collector frees the code and other code takes its place, so it is not remembered for
/// long, and never for a stack that is new.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Memory {
    /// Mixed from the return address, the bytecode, and when it was read; 0 is none.
    key: u64,
    /// As in [`JsFrame`].
    shared_avma: u64,
    /// As in [`JsFrame`].
    cookie: u32,
    /// 1 where it runs bytecode, or code made of it.
    has_bytecode: u32,
}

/// A walk begins.
#[inline(always)]
pub fn begin(thread: &mut ThreadState) {
    thread.walks = thread.walks.wrapping_add(1);
    thread.js_remembered = 0;
}

/// Nothing is remembered any more.
#[inline(always)]
pub fn forget(thread: &mut ThreadState) {
    thread.walks = thread.walks.wrapping_add(MEMORY_WALKS);
    thread.js_remembered = 0;
}

/// Looks whether JavaScript runs in `thread.frame`, whose return address was put into the stack
/// just now and has rule `number`; if so, says whose behind it. Functions move, so such a walk is
/// not remembered.
#[inline(always)]
pub fn look(thread: &mut ThreadState, number: Number, notes: Option<&mut Notes>) {
    // Its own code, or code that belongs to no file.
    if number == rule::V8 || number == rule::FRAME_POINTER {
        notes::give_up(notes);
        take_js_frame(thread, u32::from(number == rule::V8));
    }
}

/// The body of [`look`], in code that may run JavaScript. The result means nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_js_frame(thread: *mut ThreadState, is_builtin: u32) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    let Some(process) = process::entry(thread.process) else { return 0 };
    if let Some(frame) = frame(thread, &process.v8, is_builtin != 0) {
        append(thread, frame);
    }
    0
}

/// The JavaScript frame in `thread.frame`, where there is one.
#[inline(always)]
fn frame(thread: &mut ThreadState, layout: &V8Layout, is_builtin: bool) -> Option<JsFrame> {
    let registers = thread.frame;
    step::believe_frame_pointer(&registers).ok()?;
    let base = registers.bp;
    // A small integer says which kind of frame it is that is no function's.
    object(slot(thread, base, layout.fp_context)?)?;
    let function = object(slot(thread, base, layout.fp_function)?)?;
    let mut bytecode = 0;
    let mut offset = None;
    if is_builtin {
        bytecode = slot(thread, base, layout.fp_bytecode_array)?;
        if object(bytecode).is_some() {
            offset = small_integer(slot(thread, base, layout.fp_bytecode_offset)?);
        }
    }
    let found = if is_builtin && offset.is_none() {
        // Its code may serve several functions.
        read_function(thread, layout, function, 0)
    } else {
        let time = u64::from(thread.walks / MEMORY_WALKS);
        let key = mix(mix(mix(SEED, thread.frame.ip), bytecode), time) | 1;
        let known = thread.js_memory[place_of(key)];
        if known.key == key {
            thread.js_remembered += 1;
            known
        } else {
            let found = read_function(thread, layout, function, key);
            thread.js_memory[place_of(key)] = found;
            found
        }
    };
    let (kind, position) = match offset {
        // What a function of V8's own keeps in these slots may look like it.
        Some(offset) if found.has_bytecode != 0 => (JS_INTERPRETED, offset),
        _ if is_builtin => (JS_BUILTIN, 0),
        _ => (JS_COMPILED, 0),
    };
    let Memory { shared_avma, cookie, .. } = found;
    Some(JsFrame { shared_avma, cookie, position, kind, native_index: 0 })
}

/// Where a function is remembered.
#[inline(always)]
fn place_of(key: u64) -> usize {
    (key >> 32) as usize & (MEMORY - 1)
}

/// What is kept of the function at `function`; nothing of one that cannot be read.
#[inline(always)]
fn read_function(thread: &mut ThreadState, layout: &V8Layout, function: u64, key: u64) -> Memory {
    let unknown = Memory { key: 0, shared_avma: 0, cookie: 0, has_bytecode: 1 };
    let shared = window::lone_word(function + u64::from(layout.function_shared)).and_then(object);
    let Some(shared_avma) = shared else { return unknown };
    let Some(words) = read_shared(thread, layout, shared_avma) else { return unknown };
    let cookie = cookie(words.name, words.script);
    Memory { key, shared_avma, cookie, has_bytecode: (words.data & 1) as u32 }
}

/// Puts a JavaScript frame behind the return address that was put into the stack last.
#[inline(always)]
fn append(thread: &mut ThreadState, frame: JsFrame) {
    let place = thread.words_used as usize;
    // A plain comparison, which the verifiers of Linux 6.1 and 6.12 understand.
    if place + 2 >= STACK_WORDS {
        return;
    }
    let [first, second] = frame.to_words();
    let words = &mut thread.stack.words;
    words[(place - 1) & (STACK_WORDS - 1)] |= HAS_JS;
    words[place & (STACK_WORDS - 1)] = first;
    words[(place + 1) & (STACK_WORDS - 1)] = second;
    thread.words_used = place as u32 + 2;
    thread.stack.stack_hash = mix(mix(thread.stack.stack_hash, first), second);
}

/// What is kept of a `SharedFunctionInfo`.
struct Shared {
    data: u64,
    name: u64,
    script: u64,
}

/// Reads it, in one go.
#[inline(always)]
fn read_shared(thread: &mut ThreadState, layout: &V8Layout, shared: u64) -> Option<Shared> {
    let (name, script) = (layout.shared_name, layout.shared_script);
    let last = if name > script { name } else { script };
    // No further than its last word that is wanted: memory may end behind it.
    let bytes = last.wrapping_sub(SHARED_DATA).wrapping_add(8).min(SHARED_BYTES);
    let place = (&raw mut thread.js_shared).cast::<c_void>();
    let from = (shared + u64::from(SHARED_DATA)) as *const c_void;
    // SAFETY: the place has room for `bytes`; the helper checks the address.
    if unsafe { generated::bpf_probe_read_user(place, bytes, from) } != 0 {
        return None;
    }
    let word = |offset: u32| {
        let index = offset.wrapping_sub(SHARED_DATA) / 8;
        thread.js_shared[index as usize & (thread.js_shared.len() - 1)]
    };
    Some(Shared { data: word(SHARED_DATA), name: word(name), script: word(script) })
}

/// A slot of the frame whose frame pointer is `base`.
#[inline(always)]
fn slot(thread: &mut ThreadState, base: u64, offset: i32) -> Option<u64> {
    window::word(thread, None, base.wrapping_add_signed(i64::from(offset))).ok()
}

/// Address of the object that a tagged word points to.
#[inline(always)]
fn object(word: u64) -> Option<u64> {
    let address = word & !TAG_BITS;
    (word & TAG_BITS == POINTER_TAG && address >= LOWEST_OBJECT).then_some(address)
}

/// The small integer that a tagged word is.
#[inline(always)]
fn small_integer(word: u64) -> Option<i32> {
    (word & 1 == 0).then_some((word >> SMALL_INTEGER_SHIFT) as i32)
}
