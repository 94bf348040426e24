//! The Python walk: from the thread's pointer to its thread state, and along its frames.
//!
//! The thread is stopped in a probe, so the chain is consistent; its memory is hostile input all
//! the same, so every read may fail, the walk is bounded, and a chain that bites its tail is called
//! what it is.

use super::{
    mix,
    notes::{self, Notes, Way},
    window,
};
use crate::{configuration::config, process, thread::ThreadState};
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use tracer_common::{
    limits::MAX_PYTHON_FRAMES,
    python::{INSTR_POINTER, NO_OFFSET, PYTHON_NONE, PythonLayout, TSS_GLIBC},
    record::{PythonFrame, STACK_WORDS, walk_end},
};

/// Words of a frame object that are read in one go (up to 3.10).
const FRAME_WORDS: usize = 14;
/// The same of an interpreter frame (3.11 and later): it may end where its page does, so no more
/// is read than the smallest one has.
const SLIM_FRAME_WORDS: usize = 10;
/// Tags that code references of 3.14 and later carry in their low bits.
const TAGS: u64 = 7;
/// pthread keys that live in the thread descriptor itself (glibc, PTHREAD_KEY_2NDLEVEL_SIZE).
const FIRST_LEVEL_KEYS: u32 = 32;
/// `struct pthread.specific_1stblock` (glibc 2.34 and later, x86-64), in bytes.
const GLIBC_FIRST_BLOCK: u64 = 0x310;
/// `struct pthread.specific`, in bytes.
const GLIBC_BLOCKS: u64 = 0x510;
/// `struct pthread.tsd` (musl, x86-64), in bytes.
const MUSL_TSD: u64 = 0x80;
/// Where the thread descriptor has its table of thread-local blocks (glibc and musl, x86-64).
const DTV: u64 = 8;

/// Fills the Python half of `thread.stack`; returns the hash with its frames mixed in.
#[inline(always)]
pub fn walk(
    thread: &mut ThreadState,
    layout: &PythonLayout,
    notes: *mut Notes,
    mut hash: u64,
) -> u64 {
    thread.stack.python_count = 0;
    let mut frame = thread.python_first;
    if is_end(frame) {
        thread.stack.python_end = frame as u32;
        return hash;
    }
    // It was found a moment ago, by a layout that has just gone.
    if layout.kind == PYTHON_NONE {
        thread.stack.python_end = walk_end::BAD_INTERPRETER_STATE;
        return hash;
    }
    let mut end = walk_end::TOO_DEEP;
    let mut taken = 0;
    // A chain that comes back to a frame it has passed never ends: each power of two a frame is
    // remembered, and meeting it again proves the circle.
    let mut passed = 0;
    for index in 0..MAX_PYTHON_FRAMES {
        if frame == 0 {
            end = walk_end::BOTTOM;
            break;
        }
        if index as u32 >= thread.births.max_frames {
            break;
        }
        if frame == passed {
            end = walk_end::BAD_INTERPRETER_STATE;
            break;
        }
        if index & (index + 1) == 0 {
            passed = frame;
        }
        if read_frame(thread, thread.process, frame, notes) == 0 {
            end = walk_end::UNREADABLE;
            break;
        }
        let seen = thread.python_frame;
        let place = thread.words_used as usize;
        // The last word stays free: the length of a record is bounded by a mask.
        if place + 2 >= STACK_WORDS {
            break;
        }
        let [code, rest] = seen.to_words();
        thread.stack.words[place & (STACK_WORDS - 1)] = code;
        thread.stack.words[(place + 1) & (STACK_WORDS - 1)] = rest;
        thread.words_used = place as u32 + 2;
        taken = index + 1;
        hash = mix(mix(hash, seen.code_avma), u64::from(seen.instr_offset as u32));
        frame = thread.python_previous;
    }
    thread.stack.python_count = taken as u32;
    thread.stack.python_end = end;
    hash
}

/// Reads the frame at `frame` and puts what is kept of it, and its caller, into the thread's
/// scratch memory; 0 where it cannot be read. `process` is an index in the process table.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_frame(
    thread: *mut ThreadState,
    process: u32,
    frame: u64,
    notes: *mut Notes,
) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    let Some(process) = process::entry(process) else { return 0 };
    let layout = &process.python;
    let is_slim = layout.instr_form == INSTR_POINTER;
    let bytes = 8 * if is_slim { SLIM_FRAME_WORDS } else { FRAME_WORDS } as u64;
    // Interpreter frames lie one behind the other, the caller's below; frame objects anywhere.
    if !window::holds(thread, frame, bytes) {
        let worked = if is_slim {
            window::fill_down(thread, frame, bytes)
        } else {
            window::fill_with(thread, frame, bytes)
        };
        if !worked {
            return 0;
        }
    }
    thread.python_first_word = (frame.wrapping_sub(thread.window_start) / 8) as u32;
    thread.python_frame = describe(thread, layout);
    thread.python_previous = word(thread, layout.frame_previous);
    // SAFETY: null, or a part of the current thread's memory.
    let mut notes = unsafe { notes.as_mut() };
    let way = if is_slim { Way::Down } else { Way::Up };
    // How it was entered is no part of a stack's identity.
    for offset in [layout.frame_code, layout.frame_instr, layout.frame_previous] {
        let index = thread.python_first_word.wrapping_add(offset / 8);
        notes::note(thread, notes.as_deref_mut(), index, way);
    }
    1
}

/// What is kept of the frame just read.
#[inline(always)]
fn describe(thread: &ThreadState, layout: &PythonLayout) -> PythonFrame {
    let code_avma = word(thread, layout.frame_code) & !TAGS;
    let instr = word(thread, layout.frame_instr);
    let instr_offset = if layout.instr_form == INSTR_POINTER {
        instr.wrapping_sub(code_avma) as i32
    } else {
        (instr >> (8 * (layout.frame_instr & 7))) as i32
    };
    let is_entry = if layout.frame_entry == NO_OFFSET {
        1
    } else {
        let marker = word(thread, layout.frame_entry) >> (8 * (layout.frame_entry & 7)) & 0xff;
        u32::from(marker == u64::from(layout.frame_entry_value))
    };
    PythonFrame { code_avma, instr_offset, is_entry }
}

/// The word of the frame just read that holds byte `offset`.
#[inline(always)]
fn word(thread: &ThreadState, offset: u32) -> u64 {
    window::at(thread, thread.python_first_word.wrapping_add(offset / 8))
}

/// Puts the address of the thread's innermost frame into `python_first`, or how the walk ends where
/// there is none ([`is_end`]).
#[inline(always)]
pub fn find_first(thread: &mut ThreadState) {
    thread.python_first = match process::entry(thread.process) {
        Some(process) if process.python.kind != PYTHON_NONE => first_frame(thread.process),
        _ => u64::from(walk_end::ABSENT),
    };
}

/// Whether what [`find_first`] has found is one of `walk_end`: no frame lies on the first page.
#[inline(always)]
pub fn is_end(first: u64) -> bool {
    first < 4096
}

/// The innermost frame of the current thread, which runs process `process` of the table.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_frame(process: u32) -> u64 {
    let Some(process) = process::entry(process) else { return u64::from(walk_end::ABSENT) };
    match innermost_frame(&process.python) {
        Ok(frame) if is_end(frame) => u64::from(walk_end::UNREADABLE),
        Ok(frame) => frame,
        Err(end) => u64::from(end),
    }
}

/// The innermost frame of the current thread; else how the walk ends.
#[inline(always)]
fn innermost_frame(layout: &PythonLayout) -> Result<u64, u32> {
    let state = thread_state(layout)?;
    let unreadable = walk_end::UNREADABLE;
    let mut frame = window::lone_word(state + u64::from(layout.tstate_frame)).ok_or(unreadable)?;
    if layout.cframe_frame != NO_OFFSET && frame != 0 {
        frame = window::lone_word(frame + u64::from(layout.cframe_frame)).ok_or(unreadable)?;
    }
    if frame == 0 { Err(walk_end::ABSENT) } else { Ok(frame) }
}

/// `PyThreadState` of the current thread; else how the walk ends. The one of the GIL's holder
/// first, which is right in sub-interpreters; it is null without the GIL (or another thread's),
/// when the thread's own one serves.
#[inline(always)]
fn thread_state(layout: &PythonLayout) -> Result<u64, u32> {
    let fsbase = config!(kernel.task_fsbase) as usize;
    // SAFETY: the current task is alive, and the verifier knows its type: it lets nothing be read
    // where there is no number. A load like any other, where a helper takes tens of nanoseconds.
    let fs = unsafe { bpf_get_current_task_btf().byte_add(fsbase).cast::<u64>().read_volatile() };
    if fs == 0 {
        return Err(walk_end::ABSENT);
    }
    // A thread state of another thread where only this thread's can be: the word is damaged.
    let mut end = walk_end::ABSENT;
    if layout.current_avma != 0
        && let Some(state) = window::lone_word(layout.current_avma)
        && is_own(layout, state, fs)
    {
        return Ok(state);
    }
    let has_tls = layout.tls_offset != 0 || layout.tls_module != 0;
    if has_tls && let Some(block) = tls_block(layout, fs) {
        match window::lone_word(block.wrapping_add_signed(layout.tls_offset)) {
            Some(state) if state != 0 => {
                if is_own(layout, state, fs) {
                    return Ok(state);
                }
                end = walk_end::BAD_INTERPRETER_STATE;
            }
            _ => {}
        }
        if layout.gilstate_tls_offset != 0
            && let Some(state) =
                window::lone_word(block.wrapping_add_signed(layout.gilstate_tls_offset))
            && state != 0
        {
            if is_own(layout, state, fs) {
                return Ok(state);
            }
            end = walk_end::BAD_INTERPRETER_STATE;
        }
    }
    if layout.tss_avma != 0
        && let Some(state) = state_by_key(layout, fs)
    {
        if is_own(layout, state, fs) {
            return Ok(state);
        }
        end = walk_end::BAD_INTERPRETER_STATE;
    }
    Err(end)
}

/// Whether a thread state is that of the thread whose descriptor is at `fs`.
#[inline(always)]
fn is_own(layout: &PythonLayout, state: u64, fs: u64) -> bool {
    layout.tstate_thread_id == NO_OFFSET
        || window::lone_word(state.wrapping_add(u64::from(layout.tstate_thread_id))) == Some(fs)
}

/// What thread-local offsets are relative to: the thread pointer, or the thread's block of a
/// module, which may not exist (yet).
#[inline(always)]
fn tls_block(layout: &PythonLayout, fs: u64) -> Option<u64> {
    if layout.tls_module == 0 {
        return Some(fs);
    }
    let dtv = window::lone_word(fs + DTV)?;
    let module = u64::from(layout.tls_module);
    // glibc: {block, to be freed} an entry, the number of entries two words before the first;
    // musl: a word an entry, the number of entries in the first.
    let (count_at, entry_at) = if layout.how == TSS_GLIBC {
        (dtv.wrapping_sub(16), dtv.wrapping_add(16 * module))
    } else {
        (dtv, dtv.wrapping_add(8 * module))
    };
    if window::lone_word(count_at)? < module {
        return None;
    }
    // glibc marks a block that was never used with all ones.
    window::lone_word(entry_at).filter(|block| *block != 0 && *block != u64::MAX)
}

/// Through the pthread key: valid with the GIL held and released.
#[inline(always)]
fn state_by_key(layout: &PythonLayout, fs: u64) -> Option<u64> {
    // Py_tss_t: is_initialized, then the key.
    let tss = window::lone_word(layout.tss_avma)?;
    let key = (tss >> 32) as u32;
    if tss as u32 == 0 || key >= 1024 {
        return None;
    }
    let state = if layout.how == TSS_GLIBC {
        let (block, index) = if key < FIRST_LEVEL_KEYS {
            (fs + GLIBC_FIRST_BLOCK, key)
        } else {
            let block =
                window::lone_word(fs + GLIBC_BLOCKS + 8 * u64::from(key / FIRST_LEVEL_KEYS))?;
            (block, key % FIRST_LEVEL_KEYS)
        };
        window::lone_word(block + 16 * u64::from(index) + 8)?
    } else {
        let block = window::lone_word(fs + MUSL_TSD)?;
        window::lone_word(block + 8 * u64::from(key))?
    };
    (state != 0).then_some(state)
}
