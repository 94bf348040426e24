//! The Python walk: from the thread's pointer to its thread state, and along its frames.
//!
//! The thread is stopped in a probe, so the chain is consistent; its memory is hostile input all
//! the same, so every read may fail and the walk is bounded.

use super::mix;
use crate::{configuration::config, thread::ThreadState};
use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user};
use tracer_common::{
    limits::MAX_PYTHON_FRAMES,
    python::{INSTR_POINTER, NO_OFFSET, PYTHON_NONE, PythonLayout, TSS_GLIBC},
    record::{PythonFrame, walk_end},
};

/// Words of a frame that are read in one go.
const FRAME_WORDS: usize = 14;
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

/// Fills the Python half of `thread.stack`; returns the hash with its frames mixed in.
#[inline(always)]
pub fn walk(thread: &mut ThreadState, layout: &PythonLayout, mut hash: u64) -> u64 {
    thread.stack.python_count = 0;
    thread.stack.python_end = walk_end::ABSENT;
    if layout.kind == PYTHON_NONE {
        return hash;
    }
    let Some(mut frame) = innermost_frame(layout) else { return hash };
    let mut end = walk_end::TOO_DEEP;
    let mut taken = 0;
    for index in 0..MAX_PYTHON_FRAMES {
        if frame == 0 {
            end = walk_end::BOTTOM;
            break;
        }
        // SAFETY: the helper checks the address.
        let Ok(words) = (unsafe { bpf_probe_read_user(frame as *const [u64; FRAME_WORDS]) }) else {
            end = walk_end::UNREADABLE;
            break;
        };
        thread.words[..FRAME_WORDS].copy_from_slice(&words);
        let seen = describe(thread, layout);
        thread.stack.python[index] = seen;
        taken = index + 1;
        hash = mix(mix(hash, seen.code_avma), u64::from(seen.instr_offset as u32));
        frame = word(thread, layout.frame_previous);
    }
    thread.stack.python_count = taken as u32;
    thread.stack.python_end = end;
    hash
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
    thread.words[(offset as usize / 8) & 15]
}

/// The innermost frame of the current thread; `None` where it runs no Python.
#[inline(always)]
fn innermost_frame(layout: &PythonLayout) -> Option<u64> {
    let state = thread_state(layout)?;
    let frame = read(state + u64::from(layout.tstate_frame))?;
    if layout.cframe_frame == NO_OFFSET {
        return (frame != 0).then_some(frame);
    }
    if frame == 0 {
        return None;
    }
    read(frame + u64::from(layout.cframe_frame)).filter(|frame| *frame != 0)
}

/// `PyThreadState` of the current thread. The one of the GIL's holder first, which is right in
/// sub-interpreters; it is null without the GIL, when the thread's own one serves.
#[inline(always)]
fn thread_state(layout: &PythonLayout) -> Option<u64> {
    // SAFETY: returns the current task, which is alive.
    let task = unsafe { bpf_get_current_task() };
    let slot = task + u64::from(config!(kernel.task_fsbase));
    // SAFETY: the helper checks the address.
    let fs = unsafe { bpf_probe_read_kernel(slot as *const u64) }.ok()?;
    if fs == 0 {
        return None;
    }
    let state = current_state(layout, fs)?;
    if layout.tstate_thread_id != NO_OFFSET
        && read(state + u64::from(layout.tstate_thread_id))? != fs
    {
        return None;
    }
    Some(state)
}

#[inline(always)]
fn current_state(layout: &PythonLayout, fs: u64) -> Option<u64> {
    if layout.tls_offset != 0
        && let Some(state) = read(fs.wrapping_add_signed(layout.tls_offset))
        && state != 0
    {
        return Some(state);
    }
    if layout.gilstate_tls_offset != 0 {
        return read(fs.wrapping_add_signed(layout.gilstate_tls_offset)).filter(|s| *s != 0);
    }
    if layout.tss_avma == 0 {
        return None;
    }
    state_by_key(layout, fs)
}

/// Through the pthread key: valid with the GIL held and released.
#[inline(always)]
fn state_by_key(layout: &PythonLayout, fs: u64) -> Option<u64> {
    // Py_tss_t: is_initialized, then the key.
    let tss = read(layout.tss_avma)?;
    let key = (tss >> 32) as u32;
    if tss as u32 == 0 || key >= 1024 {
        return None;
    }
    let state = if layout.how == TSS_GLIBC {
        let (block, index) = if key < FIRST_LEVEL_KEYS {
            (fs + GLIBC_FIRST_BLOCK, key)
        } else {
            let block = read(fs + GLIBC_BLOCKS + 8 * u64::from(key / FIRST_LEVEL_KEYS))?;
            (block, key % FIRST_LEVEL_KEYS)
        };
        read(block + 16 * u64::from(index) + 8)?
    } else {
        let block = read(fs + MUSL_TSD)?;
        read(block + 8 * u64::from(key))?
    };
    (state != 0).then_some(state)
}

/// A word of the target.
#[inline(always)]
fn read(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const u64) }.ok()
}
