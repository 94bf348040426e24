//! What a walk depended on: the words of the target that it read, in the order in which it read
//! them, and from which pieces of memory. Where all of them are as they were, a walk that begins
//! alike ends alike, since each of its steps follows from the words before it.

use super::window;
use crate::thread::ThreadState;

/// Words of one walk that are noted: 30 native frames take 60 at most, 20 Python frames 60 more. A
/// walk of more is not remembered. With it a thread's memory stays below 32 KiB, the largest
/// power of two that the kernel hands out without looking for long.
pub const WORDS: usize = 168;
/// Pieces of memory of one walk; each costs a read when it is compared. Frame objects of CPython
/// 3.10 and earlier lie anywhere, and take one each.
pub const PIECES: usize = 24;

/// A piece of the target's memory: a window, as far as the walk used it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Piece {
    /// Target address of the window.
    start: u64,
    /// First and last word of the window that were used.
    first: u32,
    last: u32,
}

/// What one walk depended on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Notes {
    /// Words that are noted.
    words: u32,
    /// Pieces that are noted.
    pieces_used: u16,
    /// 1 when there was more than can be noted, or something that words of memory do not tell.
    is_partial: u16,
    pieces: [Piece; PIECES],
    values: [u64; WORDS],
    /// Which word of its window each was; [`BEGINS_PIECE`] is set in the first of each piece.
    places: [u8; WORDS],
}

/// A word with which a piece begins.
const BEGINS_PIECE: u8 = 1 << 7;
const _: () = assert!(window::WORDS <= BEGINS_PIECE as usize);

/// A walk begins.
#[inline(always)]
pub fn begin(notes: &mut Notes) {
    notes.words = 0;
    notes.pieces_used = 0;
    notes.is_partial = 0;
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

/// Notes that the walk has used word `index` of the window, where notes are taken.
#[inline(always)]
pub fn note(thread: &mut ThreadState, notes: Option<&mut Notes>, index: u32) {
    if let Some(notes) = notes {
        note_word(thread, notes, index);
    }
}

/// The body of [`note`]. The result means nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_word(thread: *mut ThreadState, notes: *mut Notes, index: u32) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    // SAFETY: null, or a part of the current thread's memory.
    let Some(notes) = (unsafe { notes.as_mut() }) else { return 0 };
    let index = index & (window::WORDS as u32 - 1);
    let (number, pieces) = (notes.words as usize, notes.pieces_used as usize);
    let (Some(value), Some(place)) = (notes.values.get_mut(number), notes.places.get_mut(number))
    else {
        notes.is_partial = 1;
        return 0;
    };
    *value = window::at(thread, index);
    *place = index as u8;
    let start = thread.window_start;
    match notes.pieces.get_mut(pieces.wrapping_sub(1)) {
        Some(piece) if piece.start == start => {
            piece.first = piece.first.min(index);
            piece.last = piece.last.max(index);
        }
        _ => {
            *place |= BEGINS_PIECE;
            let Some(piece) = notes.pieces.get_mut(pieces) else {
                notes.is_partial = 1;
                return 0;
            };
            *piece = Piece { start, first: index, last: index };
            notes.pieces_used = pieces as u16 + 1;
        }
    }
    notes.words = number as u32 + 1;
    0
}

/// Whether each word that was noted is as it was; 1 if so. Reads the pieces into the window of the
/// thread, whose own bounds mean nothing afterwards.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn notes_hold(thread: *mut ThreadState, notes: *const Notes) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    // SAFETY: null, or a part of the current thread's memory.
    let Some(notes) = (unsafe { notes.as_ref() }) else { return 0 };
    thread.piece = 0;
    for number in 0..WORDS {
        if number as u32 >= notes.words {
            break;
        }
        let place = notes.places[number];
        if place & BEGINS_PIECE != 0 && read_piece(thread, notes) == 0 {
            return 0;
        }
        if window::at(thread, u32::from(place)) != notes.values[number] {
            return 0;
        }
    }
    1
}

/// The stack has changed since words of it were compared.
#[inline(always)]
pub fn begin_comparing(thread: &mut ThreadState) {
    thread.held_start = 0;
    thread.held_first = u32::MAX;
    thread.held_last = 0;
}

/// Reads the next piece into the window, where it is not there yet: stacks of one place mostly lie
/// in the same pieces, and one read serves all of them. 1 if that worked. A function of its own, which keeps its
/// place in memory, so that the verifier sees each round of the loop around it as the one before.
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
    if !window::read_part(thread, start, first, last) {
        begin_comparing(thread);
        return 0;
    }
    thread.held_start = start;
    thread.held_first = first;
    thread.held_last = last;
    1
}
