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
    first: u16,
    last: u16,
    /// Number of the first word noted that is of another piece.
    end: u32,
}

/// What one walk depended on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Notes {
    /// Words that are noted.
    words: u32,
    /// Pieces that are noted.
    pieces: u16,
    /// 1 when there was more than can be noted, or something that words of memory do not tell.
    is_partial: u16,
    piece: [Piece; PIECES],
    values: [u64; WORDS],
    /// Which word of its window each was.
    places: [u8; WORDS],
}
const _: () = assert!(window::WORDS <= u8::MAX as usize);

/// A walk begins.
#[inline(always)]
pub fn begin(notes: &mut Notes) {
    notes.words = 0;
    notes.pieces = 0;
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
    let number = notes.words as usize;
    let start = thread.window_start;
    let mut piece = notes.pieces as usize;
    let is_known = match notes.piece.get(piece.wrapping_sub(1)) {
        Some(last) => last.start == start,
        None => false,
    };
    if is_known {
        piece = piece.wrapping_sub(1);
    }
    let (Some(value), Some(place)) = (notes.values.get_mut(number), notes.places.get_mut(number))
    else {
        notes.is_partial = 1;
        return 0;
    };
    let Some(piece) = notes.piece.get_mut(piece) else {
        notes.is_partial = 1;
        return 0;
    };
    *value = window::at(thread, index);
    *place = index as u8;
    notes.words = number as u32 + 1;
    let index = index as u16;
    if !is_known {
        *piece = Piece { start, first: index, last: index, end: number as u32 + 1 };
        notes.pieces += 1;
        return 0;
    }
    piece.end = number as u32 + 1;
    if index < piece.first {
        piece.first = index;
    }
    if index > piece.last {
        piece.last = index;
    }
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
    let mut from = 0;
    for number in 0..PIECES as u32 {
        if number >= u32::from(notes.pieces) {
            break;
        }
        let Some(piece) = notes.piece.get(number as usize) else { return 0 };
        let Piece { start, first, last, end } = *piece;
        if !window::read_part(thread, start, u32::from(first), u32::from(last))
            || words_hold(thread, notes, from, end) == 0
        {
            return 0;
        }
        from = end;
    }
    1
}

/// Whether the words of one piece, from number `from` to before `to`, are those of the window.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn words_hold(
    thread: *const ThreadState,
    notes: *const Notes,
    from: u32,
    to: u32,
) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_ref() }) else { return 0 };
    // SAFETY: null, or a part of the current thread's memory.
    let Some(notes) = (unsafe { notes.as_ref() }) else { return 0 };
    let mut number = from as usize;
    for _ in 0..WORDS {
        if number >= to as usize {
            return 1;
        }
        let (Some(value), Some(place)) = (notes.values.get(number), notes.places.get(number))
        else {
            return 0;
        };
        if window::at(thread, u32::from(*place)) != *value {
            return 0;
        }
        number += 1;
    }
    u32::from(number >= to as usize)
}
