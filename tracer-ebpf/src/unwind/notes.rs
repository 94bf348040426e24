//! What a walk depended on: the words of the target that it read, in the order in which it read
//! them, and from which pieces of memory. Where all of them are as they were, a walk that begins
//! alike ends alike, since each of its steps follows from the words before it.
//!
//! The interpreter's words are compared first, from the innermost frame on: stacks that begin alike
//! in Python mostly differ there, while what lies between them and the allocator is the same code.

use super::window;
use crate::thread::ThreadState;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::ffi::c_void;
use tracer_common::record::STACK_WORDS;

/// Words of one walk that are noted: 30 native frames take 60 at most, 20 Python frames 60 more. A
/// walk of more is not remembered. With it a thread's memory stays below 32 KiB, the largest
/// power of two that the kernel hands out without looking for long.
pub const WORDS: usize = 150;
/// Pieces of memory of one walk; each costs a read when it is compared. Frame objects of CPython
/// 3.10 and earlier lie anywhere, and take one each.
pub const PIECES: usize = 24;
/// Words that a piece may span: as many as there is scratch memory for while no stack is walked.
const SPAN: u32 = STACK_WORDS as u32;
/// Words between two that were used that a piece may go over. To read a word that is not needed
/// costs less than another read, but pages between may never have been touched.
const GAP: u32 = 128;
/// Words that a piece leaves for those below its first: callee-saved registers lie below their
/// frame's return address.
const BELOW: u32 = 8;
/// The same above, in a piece that goes down: words of one interpreter frame.
const ABOVE: u32 = 16;

/// A piece of the target's memory, as far as the walk used it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Piece {
    /// Target address of its word 0, which need not have been read.
    start: u64,
    /// First and last word that were used.
    first: u32,
    last: u32,
}

/// Which way a walk goes through memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Callers lie above: the native stack.
    Up,
    /// Callers lie below: frames of CPython 3.11 and later.
    Down,
}

/// What one walk depended on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Notes {
    /// Words of the native walk that are noted, from the first place on.
    native_words: u32,
    /// Words of the interpreter's walk, from the last place down: the loops over both then count in
    /// constants, which the verifier can follow.
    python_words: u32,
    /// Pieces that are noted.
    pieces_used: u32,
    /// First piece of the interpreter's walk; [`NOT_BEGUN`] while the native one lasts.
    python_piece: u32,
    /// 1 when there was more than can be noted, or something that words of memory do not tell.
    is_partial: u32,
    /// Zero.
    reserved: u32,
    pieces: [Piece; PIECES],
    values: [u64; WORDS],
    /// Which word of its piece each was; [`BEGINS_PIECE`] is set in the first of each piece.
    places: [u16; WORDS],
    /// Zero.
    padding: u32,
}

/// A word with which a piece begins.
const BEGINS_PIECE: u16 = 1 << 15;
const _: () = assert!(SPAN <= BEGINS_PIECE as u32 && SPAN.is_power_of_two());
const _: () = assert!(WORDS % 4 == 2, "no padding of the compiler's");

/// `python_piece` before the interpreter's walk.
const NOT_BEGUN: u32 = PIECES as u32 + 1;

/// A walk begins.
#[inline(always)]
pub fn begin(notes: &mut Notes) {
    notes.native_words = 0;
    notes.python_words = 0;
    notes.pieces_used = 0;
    notes.is_partial = 0;
    notes.python_piece = NOT_BEGUN;
}

/// The interpreter's walk begins.
#[inline(always)]
pub fn begin_python(notes: &mut Notes) {
    notes.python_piece = notes.pieces_used;
}

/// The walk depends on what is not noted: it can be repeated only by walking.
#[inline(always)]
pub fn give_up(notes: Option<&mut Notes>) {
    if let Some(notes) = notes {
        notes.is_partial = 1;
    }
}

/// Whether the notes are all that the walk depended on.
#[inline(always)]
pub fn are_whole(notes: &Notes) -> bool {
    notes.is_partial == 0
}

/// Notes that a walk that goes `way` has used word `index` of the window, where notes are taken.
#[inline(always)]
pub fn note(thread: &mut ThreadState, notes: Option<&mut Notes>, index: u32, way: Way) {
    if let Some(notes) = notes {
        note_word(thread, notes, index, u32::from(way == Way::Down));
    }
}

/// The body of [`note`]. The result means nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_word(
    thread: *mut ThreadState,
    notes: *mut Notes,
    index: u32,
    goes_down: u32,
) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    // SAFETY: null, or a part of the current thread's memory.
    let Some(notes) = (unsafe { notes.as_mut() }) else { return 0 };
    let index = index & (window::WORDS as u32 - 1);
    let (native, python) = (notes.native_words, notes.python_words);
    let is_native = notes.python_piece == NOT_BEGUN;
    let number = if is_native { native } else { WORDS as u32 - 1 - python } as usize;
    let pieces = notes.pieces_used as usize;
    let is_full = native + python >= WORDS as u32;
    let (Some(value), Some(place), false) =
        (notes.values.get_mut(number), notes.places.get_mut(number), is_full)
    else {
        notes.is_partial = 1;
        return 0;
    };
    *value = window::at(thread, index);
    let address = thread.window_start.wrapping_add(8 * u64::from(index));
    let begins_python = !is_native && python == 0;
    match notes.pieces.get_mut(pieces.wrapping_sub(1)) {
        Some(piece) if !begins_python && reaches(piece, address) => {
            let at = place_in(piece, address);
            piece.first = piece.first.min(at);
            piece.last = piece.last.max(at);
            *place = at as u16;
        }
        _ => {
            let Some(piece) = notes.pieces.get_mut(pieces) else {
                notes.is_partial = 1;
                return 0;
            };
            let at = if goes_down == 0 { BELOW } else { SPAN - ABOVE };
            let start = address.wrapping_sub(8 * u64::from(at));
            *piece = Piece { start, first: at, last: at };
            *place = at as u16 | BEGINS_PIECE;
            notes.pieces_used = pieces as u32 + 1;
        }
    }
    if is_native {
        notes.native_words = native + 1;
    } else {
        notes.python_words = python + 1;
    }
    0
}

/// Whether a piece has a place for the word at `address`, not far from those that were used. Does
/// not hand the place on: carried from here to the branches of [`note_word`], it takes a register
/// from the number of pieces, whose bounds the verifier of Linux 6.1 forgets on the stack.
#[inline(always)]
fn reaches(piece: &Piece, address: u64) -> bool {
    let offset = address.wrapping_sub(piece.start);
    let at = (offset / 8) as u32;
    offset < 8 * u64::from(SPAN)
        && offset & 7 == 0
        && at.saturating_add(GAP) >= piece.first
        && at <= piece.last.saturating_add(GAP)
}

/// Which word of a piece that [`reaches`] it is the one at `address`.
#[inline(always)]
fn place_in(piece: &Piece, address: u64) -> u32 {
    (address.wrapping_sub(piece.start) / 8) as u32 & (SPAN - 1)
}

/// Whether each word that was noted is as it was; 1 if so. Reads the pieces into the words of
/// `thread.stack`, which is free while nothing is walked.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn notes_hold(thread: *mut ThreadState, notes: *const Notes) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    // SAFETY: null, or a part of the current thread's memory.
    let Some(notes) = (unsafe { notes.as_ref() }) else { return 0 };
    thread.piece = notes.python_piece;
    for step in 0..WORDS {
        if step as u32 >= notes.python_words {
            break;
        }
        if !holds(thread, notes, WORDS - 1 - step) {
            return 0;
        }
    }
    thread.piece = 0;
    native_holds(thread, notes)
}

/// Whether the words of the native walk are as they were; 1 if so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn native_holds(thread: *mut ThreadState, notes: *const Notes) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    // SAFETY: null, or a part of the current thread's memory.
    let Some(notes) = (unsafe { notes.as_ref() }) else { return 0 };
    for number in 0..WORDS {
        if number as u32 >= notes.native_words {
            break;
        }
        if !holds(thread, notes, number) {
            return 0;
        }
    }
    1
}

/// Whether a word is as it was.
#[inline(always)]
fn holds(thread: &mut ThreadState, notes: &Notes, number: usize) -> bool {
    let place = notes.places[number];
    if place & BEGINS_PIECE != 0 && read_piece(thread, notes) == 0 {
        return false;
    }
    let at = u32::from(place & !BEGINS_PIECE).wrapping_sub(thread.held_first);
    thread.stack.words[at as usize & (STACK_WORDS - 1)] == notes.values[number]
}

/// The stack has changed since words of it were compared.
#[inline(always)]
pub fn begin_comparing(thread: &mut ThreadState) {
    thread.held_start = 0;
    thread.held_first = u32::MAX;
    thread.held_last = 0;
}

/// Reads the next piece, where it is not there yet: stacks of one place mostly lie in the same
/// pieces, and one read serves all of them. 1 if that worked. A function of its own, which keeps
/// its place in memory, so that the verifier sees each round of the loop around it as the one
/// before.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_piece(thread: *mut ThreadState, notes: *const Notes) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    // SAFETY: null, or a part of the current thread's memory.
    let Some(notes) = (unsafe { notes.as_ref() }) else { return 0 };
    let Some(piece) = notes.pieces.get(thread.piece as usize) else { return 0 };
    thread.piece += 1;
    let Piece { start, mut first, mut last } = *piece;
    if thread.held_start == start {
        if thread.held_first <= first && thread.held_last >= last {
            return 1;
        }
        first = first.min(thread.held_first);
        last = last.max(thread.held_last);
    }
    let bytes = last.wrapping_sub(first).wrapping_add(1).wrapping_mul(8).min(8 * SPAN);
    let place = (&raw mut thread.stack.words).cast::<c_void>();
    let from = start.wrapping_add(8 * u64::from(first)) as *const c_void;
    // SAFETY: there is room for as many bytes; the helper checks the address.
    if unsafe { bpf_probe_read_user(place, bytes, from) } != 0 {
        begin_comparing(thread);
        return 0;
    }
    thread.held_start = start;
    thread.held_first = first;
    thread.held_last = last;
    1
}
