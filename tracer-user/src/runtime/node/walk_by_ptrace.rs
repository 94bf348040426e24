//! The walk that the kernel side does, done from outside for tests: registers by ptrace, then
//! frame pointers upwards, and of each frame what a record has of it.

use super::heap::{Heap, pointer, small_integer};
use super::{JsReader, NodeRuntime};
use crate::target::discover;
use std::mem::MaybeUninit;
use std::ops::Range;
use tracer_common::v8::{JS_BUILTIN, JS_COMPILED, JS_INTERPRETED, JsFrame, cookie};

/// How far into the stack the first frame pointer is searched, in bytes: the system call's own
/// functions keep none.
const SEARCH_BYTES: u64 = 16 << 10;
/// Frames of a stack, at most.
const MAX_FRAMES: usize = 300;

/// Stack and frame pointer of the first thread of a process, which is stopped for a moment.
fn pointers(tgid: u32) -> (u64, u64) {
    let pid = libc::pid_t::try_from(tgid).unwrap();
    let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of these requests writes to memory of this process.
    let stopped = unsafe {
        libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) == 0
            && libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none) == 0
            && libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) == pid
    };
    assert!(stopped, "ptrace: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel writes one `user_regs_struct` to `registers`, which is as large.
    let read = unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, none, registers.as_mut_ptr()) };
    // SAFETY: lets go of the process; writes to no memory of this one.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, none, none) };
    assert_eq!(read, 0);
    // SAFETY: was zeroed, and any bytes are a value of it.
    let registers = unsafe { registers.assume_init() };
    (registers.rsp, registers.rbp)
}

/// Frame pointers from `first` up, each with the return address of what it called.
fn chain(heap: &Heap, first: u64) -> Vec<(u64, u64)> {
    let mut frames = Vec::new();
    let (mut frame_pointer, mut called) = (first, 0);
    while frames.len() < MAX_FRAMES {
        frames.push((frame_pointer, called));
        let Some([next, return_avma]) = heap.words(frame_pointer) else { break };
        if next <= frame_pointer || next - frame_pointer > 1 << 20 || return_avma < 4096 {
            break;
        }
        (frame_pointer, called) = (next, return_avma);
    }
    frames
}

/// The JavaScript frames of the first thread of a process, innermost first, each with its return
/// address.
fn js_frames(tgid: u32, runtime: &NodeRuntime, builtins: &[Range<u64>]) -> Vec<(JsFrame, u64)> {
    let heap = Heap::new(tgid);
    let (stack_pointer, frame_pointer) = pointers(tgid);
    let starts = (stack_pointer..stack_pointer + SEARCH_BYTES).step_by(8);
    let longest = std::iter::once(frame_pointer)
        .chain(starts)
        .map(|start| chain(&heap, start))
        .find(|frames| frames.len() > 12)
        .expect("a chain of frame pointers");
    let frames = longest.iter().enumerate().filter_map(|(index, (frame_pointer, called))| {
        js_frame(&heap, (runtime, builtins), *frame_pointer, *called, index as u32)
            .map(|frame| (frame, *called))
    });
    frames.collect()
}

fn js_frame(
    heap: &Heap,
    (runtime, builtins): (&NodeRuntime, &[Range<u64>]),
    frame_pointer: u64,
    pc: u64,
    native_index: u32,
) -> Option<JsFrame> {
    let (layout, types) = (&runtime.layout, runtime.objects.types);
    let slot = |offset: i32| heap.word(frame_pointer.checked_add_signed(i64::from(offset))?);
    pointer(slot(layout.fp_context)?)?;
    let function = pointer(slot(layout.fp_function)?)?;
    if !(2060..2090).contains(&heap.type_of(function)?) {
        return None;
    }
    let shared =
        heap.object(heap.word(function + u64::from(layout.function_shared))?, types.shared)?;
    let cookie = cookie(
        heap.word(shared + u64::from(layout.shared_name))?,
        heap.word(shared + u64::from(layout.shared_script))?,
    );
    let is_builtin = builtins.iter().any(|span| span.contains(&pc));
    let offset = slot(layout.fp_bytecode_array)
        .filter(|word| heap.object(*word, types.bytecode_array).is_some())
        .and_then(|_| small_integer(slot(layout.fp_bytecode_offset)?));
    let (kind, position) = match (is_builtin, offset) {
        (true, Some(offset)) => (JS_INTERPRETED, offset),
        (true, None) => (JS_BUILTIN, 0),
        (false, _) => (JS_COMPILED, 0),
    };
    Some(JsFrame { shared_avma: shared, cookie, position, kind, native_index })
}

/// A frame of the stack, and what it was named.
#[derive(Debug)]
pub(super) struct Named {
    /// The frame.
    pub(super) frame: JsFrame,
    /// The functions at it.
    pub(super) names: Vec<super::JsName>,
}

impl Named {
    /// On one line.
    pub(super) fn describe(&self) -> String {
        let names = self.names.iter().map(|name| format!("{} {:?}", name.function, name.line));
        let (kind, position) = (self.frame.kind, self.frame.position);
        format!("kind {kind} position {position}: {}", names.collect::<Vec<_>>().join(" < "))
    }
}

/// The stack of the first thread, named.
pub(super) fn named_stack(tgid: u32, runtime: &NodeRuntime, reader: &mut JsReader) -> Vec<Named> {
    let (target, _) = discover(tgid).unwrap();
    let builtins = runtime.builtin_spans(&target);
    reader.set_builtin_spans(builtins.clone());
    js_frames(tgid, runtime, &builtins)
        .into_iter()
        .map(|(frame, return_avma)| {
            let names = reader.read(&frame, return_avma);
            let names = names.unwrap_or_else(|failure| panic!("{frame:x?}: {failure:?}"));
            Named { frame, names }
        })
        .collect()
}
