//! Stacks: the native walk and the interpreter's, side by side. User space merges them, since it
//! knows where the interpreter's loop is.
//!
//! What takes long to verify stands in functions of their own with global linkage
//! (`slot_of_call`, `walk_stack`, `walk_once`, `take_frame`, `take_js_frame`, `walk_python`,
//! `first_frame`, `read_frame`, `find_rule`, `fill_window`, `pending_return`, `note_word`, `notes_hold`,
//! `native_holds`, `read_piece`): the verifier looks at such a function once and not at each of its calls.

pub mod js;
pub mod memory;
pub mod native;
mod notes;
mod python;
mod rule;
mod step;
mod trampoline;
pub mod window;

use crate::{account, counters, maps::STACKS, process, registers::Registers, thread::ThreadState};
use core::ptr;
use notes::Notes;
use tracer_common::counter::Counter;

/// Beginning of every hash.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Walks the stack of the current thread into `thread.stack` and gives it its identity.
#[inline(always)]
pub fn walk(thread: &mut ThreadState, registers: Registers, domain: u32) {
    thread.frame = registers;
    thread.stack.domain = domain;
    python::find_first(thread);
    walk_from(thread, None);
}

/// The same for a thread whose `frame`, `stack.domain` and `python_first` are set; what the walk
/// depends on is noted in `notes`.
#[inline(always)]
fn walk_from(thread: &mut ThreadState, notes: Option<&mut Notes>) {
    let notes = notes.map_or(ptr::null_mut(), ptr::from_mut);
    walk_stack(thread, notes);
}

/// The body of [`walk_from`]. The result means nothing: the verifier wants one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_stack(thread: *mut ThreadState, notes: *mut Notes) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    counters::count(Counter::StacksWalked);
    let stack = &mut thread.stack;
    stack.header.tid = thread.tid;
    stack.image = u32::from(thread.image);
    js::begin(thread);
    let Registers { ip, sp, bp } = thread.frame;
    walk_once(thread, notes);
    // What is sent to user space has been read just now. A stack that is new takes a slot, whether
    // it can be kept or not: when all are taken nothing is sent any more, and each is new for ever.
    if thread.js_remembered > 0
        && STACKS.get_ptr(thread.stack.stack_hash).is_none()
        && account::has_slots()
    {
        js::forget(thread);
        thread.frame = Registers { ip, sp, bp };
        walk_once(thread, notes);
    }
    counters::count_walk(Counter::NativeWalksBottom, thread.stack.native_end);
    counters::count_walk(Counter::PythonWalksBottom, thread.stack.python_end);
    0
}

/// Walks both stacks and mixes their hash. The result means nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_once(thread: *mut ThreadState, notes: *mut Notes) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    // SAFETY: null, or a part of the current thread's memory.
    if let Some(notes) = unsafe { notes.as_mut() } {
        notes::begin(notes);
    }
    let stack = &thread.stack;
    let seed = mix(SEED, u64::from(stack.domain) | (u64::from(stack.image) << 32));
    thread.stack.stack_hash = native::walk(thread, notes, seed);
    // SAFETY: as above.
    if let Some(notes) = unsafe { notes.as_mut() } {
        notes::begin_python(notes);
    }
    walk_python(thread, notes);
    let hash = thread.stack.stack_hash;
    // 0 and 1 have a meaning of their own.
    thread.stack.stack_hash = if hash < 2 { hash + 2 } else { hash };
    0
}

/// Walks the interpreter's frames into `thread.stack`. A function of its own so that its variables
/// and those of the native walk need not both fit onto the 512 bytes that programs have. The
/// result means nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_python(thread: *mut ThreadState, notes: *mut Notes) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    let Some(process) = process::entry(thread.process) else { return 0 };
    let hash = thread.stack.stack_hash;
    thread.stack.stack_hash = python::walk(thread, &process.python, notes, hash);
    0
}

/// Adds a word to a hash: multiply and fold, so that every bit of the word reaches the low half.
#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    product ^ (product >> 32)
}
