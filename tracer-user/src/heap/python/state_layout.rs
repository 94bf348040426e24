//! Where an interpreter keeps its threads and frames: by version, and from 3.13 on as it says itself.
//!
//! # Sources
//! CPython 3.8-3.12 Include/cpython/pystate.h, Include/internal/pycore_interp.h, pycore_runtime.h;
//! 3.13 Include/internal/pycore_runtime.h; 3.14, 3.15 Include/internal/pycore_debug_offsets.h.

use super::layout::HeapLayout;
use crate::heap::Image;
use crate::runtime::memory::u64_in;

/// Longest offset that the interpreter is believed to keep anything at, in bytes.
const MAX_OFFSET: u64 = 1 << 20;

/// From `_PyRuntime` to the frames of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StateLayout {
    /// In `_PyRuntime`: the first interpreter.
    pub interpreters: u64,
    /// In an interpreter: the next one (where it is known), its first thread state, `sys.modules`,
    /// `sys` and `builtins` dicts.
    pub next_interpreter: Option<u64>,
    pub threads: u64,
    pub modules: u64,
    pub sys_dict: u64,
    pub builtins: u64,
    /// In a thread state.
    pub next_thread: u64,
    /// What pthread_self() is there.
    pub thread_id: u64,
    /// Its TID, as the process sees it; from 3.11.
    pub native_thread_id: Option<u64>,
    /// `threading.local` values and the like.
    pub thread_dict: u64,
    pub context: u64,
    /// The exception in flight, and the innermost item of the stack of handled ones.
    pub current_exception: u64,
    pub exception_info: u64,
    pub async_exception: u64,
    /// The frame that runs (up to 3.10 a frame object; 3.11, 3.12: pointer to what holds it).
    pub frame: u64,
    /// 3.11, 3.12: offset of the frame in what `frame` points to.
    pub cframe_frame: Option<u64>,
    /// From 3.11: memory of frames (a list of chunks: previous, size, top, data), its top.
    pub stack_chunk: Option<u64>,
    /// How long a thread state is.
    pub thread_bytes: u64,
}

/// Interpreters of 3.13 and later say where most of it is (`_Py_DebugOffsets`): what stands here
/// for them is of one build.
pub(super) fn state(minor: u8) -> StateLayout {
    let old = StateLayout {
        interpreters: 32,
        // It is the first word.
        next_interpreter: Some(0),
        threads: 8,
        modules: if minor == 8 { 56 } else { 856 },
        sys_dict: if minor == 8 { 72 } else { 872 },
        builtins: if minor == 8 { 80 } else { 880 },
        next_thread: 8,
        thread_id: 176,
        native_thread_id: None,
        thread_dict: 152,
        context: 240,
        current_exception: 96,
        exception_info: 144,
        async_exception: 168,
        frame: 24,
        cframe_frame: None,
        stack_chunk: None,
        thread_bytes: if minor == 10 { 280 } else { 264 },
    };
    match minor {
        ..=10 => old,
        11 => StateLayout {
            interpreters: 40,
            threads: 16,
            modules: 888,
            sys_dict: 904,
            builtins: 912,
            thread_id: 152,
            native_thread_id: Some(160),
            thread_dict: 128,
            context: 224,
            current_exception: 104,
            exception_info: 120,
            async_exception: 144,
            frame: 56,
            cframe_frame: Some(8),
            stack_chunk: Some(296),
            thread_bytes: 360,
            ..old
        },
        12 => StateLayout {
            interpreters: 40,
            next_interpreter: None,
            threads: 72,
            modules: 944,
            sys_dict: 352,
            builtins: 360,
            thread_id: 136,
            native_thread_id: Some(144),
            thread_dict: 112,
            context: 208,
            current_exception: 96,
            exception_info: 104,
            async_exception: 128,
            frame: 56,
            cframe_frame: Some(0),
            stack_chunk: Some(232),
            thread_bytes: 288,
            ..old
        },
        _ => {
            // 3.15 has three words more before what a thread is known by.
            let later = if minor >= 15 { 24 } else { 0 };
            StateLayout {
                interpreters: 632,
                next_interpreter: Some(7264),
                threads: 7344,
                modules: 7656,
                sys_dict: 7640,
                builtins: 7648,
                thread_id: 152 + later,
                native_thread_id: Some(160 + later),
                thread_dict: 128 + later,
                context: 208 + later,
                current_exception: 112 + later,
                exception_info: 120 + later,
                async_exception: 144 + later,
                frame: 72,
                stack_chunk: Some(232 + later),
                thread_bytes: 304,
                ..old
            }
        }
    }
}

/// What `_Py_DebugOffsets` says of interpreters and threads; its words are in the order of the
/// minor version.
pub(super) fn said_state(
    layout: &HeapLayout,
    runtime_avma: u64,
    image: &Image,
) -> Option<StateLayout> {
    let said = image.bytes(runtime_avma, 48 * 8)?;
    if said.get(..8)? != b"xdebugpy" {
        return None;
    }
    let word = |index: usize| u64_in(said, 8 * index);
    let [_, _, _, _, major, minor, _, _] = word(1)?.to_be_bytes();
    if (major, minor) != (layout.version.major, layout.version.minor) {
        return None;
    }
    let offset =
        |index: usize| word(index).filter(|offset| *offset < MAX_OFFSET && offset % 8 == 0);
    // The group of the interpreter begins at word 6; `threads_main` is new in 3.14.
    let main = usize::from(minor >= 14);
    // size, previous, next, interpreter, current frame.
    let thread = if minor >= 14 { 22 } else { 19 };
    // Two words more in 3.15: the base frame, and what profilers keep.
    let identity = if minor >= 15 { thread + 8 } else { thread + 5 };
    Some(StateLayout {
        interpreters: offset(5)?,
        next_interpreter: Some(offset(8)?),
        threads: offset(9)?,
        modules: offset(11 + main)?,
        sys_dict: offset(12 + main)?,
        builtins: offset(13 + main)?,
        next_thread: offset(thread + 2)?,
        frame: offset(thread + 4)?,
        thread_id: offset(identity)?,
        native_thread_id: Some(offset(identity + 1)?),
        stack_chunk: Some(offset(identity + 2)?),
        ..layout.state
    })
}
