//! The Python walk: from the thread's pointer to its thread state, and along its frames.
//!
//! The thread is stopped in a probe, so the chain is consistent; its memory is hostile input all
//! the same, so every read may fail and the walk is bounded.

use super::mix;
use crate::{configuration::config, thread::ThreadState};
use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user};
use tracer_common::{
    config::{PYTHON_NONE, TSS_GLIBC},
    limits::MAX_PYTHON_FRAMES,
    record::{PythonFrame, walk_end},
};

/// Words of a frame that are read in one go.
const FRAME_WORDS: usize = 12;
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
pub fn walk(thread: &mut ThreadState, mut hash: u64) -> u64 {
    thread.stack.python_count = 0;
    thread.stack.python_end = walk_end::ABSENT;
    if config!(python.kind) == PYTHON_NONE {
        return hash;
    }
    let Some(mut frame) = innermost_frame() else { return hash };
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
        let code_avma = word(thread, config!(python.frame_code));
        let instr = word(thread, config!(python.frame_instr));
        let entry_offset = config!(python.frame_entry);
        let entry = word(thread, entry_offset) >> (8 * (entry_offset & 7)) & 0xff;
        let is_entry = u32::from(entry == u64::from(config!(python.frame_entry_value)));
        let seen =
            PythonFrame { code_avma, instr_offset: instr.wrapping_sub(code_avma) as i32, is_entry };
        thread.stack.python[index] = seen;
        taken = index + 1;
        hash = mix(mix(hash, code_avma), u64::from(seen.instr_offset as u32));
        frame = word(thread, config!(python.frame_previous));
    }
    thread.stack.python_count = taken as u32;
    thread.stack.python_end = end;
    hash
}

/// The word of the frame just read that holds byte `offset`.
#[inline(always)]
fn word(thread: &ThreadState, offset: u32) -> u64 {
    thread.words[(offset as usize / 8) & 15]
}

/// The innermost frame of the current thread; `None` where it runs no Python.
#[inline(always)]
fn innermost_frame() -> Option<u64> {
    let state = thread_state()?;
    let cframe = read(state + u64::from(config!(python.tstate_cframe)))?;
    if cframe == 0 {
        return None;
    }
    read(cframe + u64::from(config!(python.cframe_frame))).filter(|frame| *frame != 0)
}

/// `PyThreadState` of the current thread, through its pthread key: valid with the GIL held and
/// released.
#[inline(always)]
fn thread_state() -> Option<u64> {
    // SAFETY: returns the current task, which is alive.
    let task = unsafe { bpf_get_current_task() };
    let slot = task + u64::from(config!(kernel.task_fsbase));
    // SAFETY: the helper checks the address.
    let fs = unsafe { bpf_probe_read_kernel(slot as *const u64) }.ok()?;
    // Py_tss_t: is_initialized, then the key.
    let tss = read(config!(python.tss_avma))?;
    let key = (tss >> 32) as u32;
    if tss as u32 == 0 || fs == 0 || key >= 1024 {
        return None;
    }
    let state = if config!(python.how) == TSS_GLIBC {
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
