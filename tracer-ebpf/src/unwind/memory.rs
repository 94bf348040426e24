//! The memory of recent stacks: most allocations of a thread repeat a stack that it walked a moment
//! ago. What such a walk depended on is kept (`notes`) beside what it came to, so that a stack that
//! is as it was costs neither a walk, nor a hash, nor a look-up of the stack table.
//!
//! Sound, not likely: a remembered stack is taken only where the walk would come to the same. The
//! same are the registers it began with, the thread's innermost Python frame, every word that it
//! read, and the `cache_salt` of the process, which changes whenever code ranges, unwind tables or
//! layouts do. Walks that depended on more (JavaScript frames, which move; pending return probes,
//! whose addresses are with the task; code that may become known) are not remembered.

use super::{
    SEED, mix,
    notes::{self, Notes},
    python, window,
};
use crate::{
    account::{self, Booked},
    counters,
    maps::{BLANK_MEMORY, MEMORIES},
    process,
    regime::Births,
    registers::Registers,
    thread::ThreadState,
};
use tracer_common::{
    counter::Counter,
    python::{PYTHON_NONE, PythonLayout},
    record::walk_end,
    slot::UNATTRIBUTED_SLOTS,
};

/// Stacks that a thread remembers, a power of two. The brief list is searched from the latest on, so
/// stacks that take turns in one order are found at once.
const STACKS: usize = 16;
/// A thread is given its memory at its walk of this number, so that threads of short life need
/// none; where there is no room it asks again after [`ASKING_WALKS`].
const FIRST_WALKS: u32 = 16;
/// A power of two.
const ASKING_WALKS: u32 = 1024;

/// A stack, and what its walk depended on.
#[repr(C)]
#[derive(Clone, Copy)]
struct Remembered {
    /// Where the walk began.
    from: Registers,
    /// `cache_salt` of the process before the walk.
    salt: u64,
    /// Of `python::first_frame`.
    python_first: u64,
    /// The stack's identity.
    stack_hash: u64,
    /// The slot in which it was booked last.
    slot: u32,
    /// Epoch of that slot.
    epoch: u32,
    /// `Control.stacks_removed` before the slot was looked up.
    stacks_removed: u32,
    /// Domain of the stack.
    domain: u32,
    /// Frames that its regime allowed.
    max_frames: u32,
    reserved: u32,
    /// How the walks ended, one of `walk_end` each.
    native_end: u32,
    python_end: u32,
    notes: Notes,
}

/// What a thread remembers.
#[repr(C)]
pub struct Memory {
    /// Which stack was found or written last.
    latest: u32,
    /// Which is overwritten next.
    next: u32,
    /// Mixed from what the stacks begin with; 0 is none.
    tags: [u64; STACKS],
    stacks: [Remembered; STACKS],
}

/// What a call has in common with a remembered one before a word is read.
#[derive(Clone, Copy)]
struct Beginning {
    from: Registers,
    salt: u64,
    python_first: u64,
    domain: u32,
    max_frames: u32,
    tag: u64,
}

/// The slot in which the stack of the current thread books a birth now: by memory, or by a walk.
#[inline(always)]
pub fn slot(thread: &mut ThreadState, registers: Registers, domain: u32) -> u32 {
    let Registers { ip, sp, bp } = registers;
    slot_of_call(thread, ip, sp, bp, domain)
}

/// The body of [`slot`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn slot_of_call(
    thread: *mut ThreadState,
    ip: u64,
    sp: u64,
    bp: u64,
    domain: u32,
) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    thread.frame = Registers { ip, sp, bp };
    thread.stack.domain = domain;
    python::find_first(thread);
    let Some(memory) = of_thread(thread) else {
        super::walk_from(thread, None);
        return account::slot_of_stack(thread).slot;
    };
    let Some(beginning) = beginning(thread, domain) else { return thread.births.regime };
    if let Some(slot) = recall(thread, memory, &beginning) {
        return slot;
    }
    thread.frame = beginning.from;
    walk_and_remember(thread, memory, &beginning)
}

/// The memory of the current thread; `None` where it has none (yet).
#[inline(always)]
fn of_thread(thread: &mut ThreadState) -> Option<&'static mut Memory> {
    let tid = thread.tid;
    if thread.has_memory == 0 {
        if thread.walks & (ASKING_WALKS - 1) != FIRST_WALKS {
            return None;
        }
        MEMORIES.insert(tid, BLANK_MEMORY.get(0)?, 0).ok()?;
        thread.has_memory = 1;
    }
    let memory = MEMORIES.get_ptr_mut(tid)?;
    // SAFETY: the entry belongs to the current thread, which is stopped in this probe; nobody else
    // touches it, and it is removed only when the thread ends or calls exec.
    Some(unsafe { &mut *memory })
}

#[inline(always)]
fn beginning(thread: &ThreadState, domain: u32) -> Option<Beginning> {
    let process = process::entry(thread.process)?;
    // Before anything that it vouches for.
    // SAFETY: an aligned field of an entry of the map.
    let salt = unsafe { (&raw const process.cache_salt).read_volatile() };
    let (from, python_first) = (thread.frame, thread.python_first);
    // Calls from one place in Python differ in the innermost frame's instruction alone.
    let place = (from.ip ^ u64::from(domain), from.sp, from.bp ^ salt);
    let tag = mix(mix(mix(SEED, place.0), place.1), place.2);
    let tag = mix(tag, python_first ^ innermost_instruction(&process.python, python_first)) | 1;
    Some(Beginning { from, salt, python_first, domain, max_frames: thread.births.max_frames, tag })
}

/// What only serves to tell stacks apart at once; what they are is told by the words.
#[inline(always)]
fn innermost_instruction(layout: &PythonLayout, first: u64) -> u64 {
    if layout.kind == PYTHON_NONE || python::is_end(first) {
        return 0;
    }
    window::lone_word(first.wrapping_add(u64::from(layout.frame_instr & !7))).unwrap_or(0)
}

/// Looks whether a remembered stack is that of the call; if so, counts it as walked and says in
/// which slot it books now.
#[inline(always)]
fn recall(thread: &mut ThreadState, memory: &mut Memory, call: &Beginning) -> Option<u32> {
    notes::begin_comparing(thread);
    let latest = memory.latest;
    for step in 0..STACKS as u32 {
        let number = (latest.wrapping_add(step)) as usize & (STACKS - 1);
        if memory.tags[number] != call.tag {
            continue;
        }
        let stack = &mut memory.stacks[number];
        let is_alike = stack.from.ip == call.from.ip
            && stack.from.sp == call.from.sp
            && stack.from.bp == call.from.bp
            && stack.salt == call.salt
            && stack.python_first == call.python_first
            && stack.domain == call.domain
            && stack.max_frames == call.max_frames;
        if is_alike && notes::notes_hold(thread, &raw const stack.notes) != 0 {
            memory.latest = number as u32;
            return book(stack, &thread.births);
        }
    }
    None
}

/// The slot in which a remembered stack books now; `None` where it has left the table.
#[inline(always)]
fn book(stack: &mut Remembered, births: &Births) -> Option<u32> {
    let stacks_removed = account::stacks_removed()?;
    if stack.epoch != births.epoch || stack.stacks_removed != stacks_removed {
        let Booked { slot, epoch } = account::slot_in_table(stack.stack_hash, births)?;
        stack.slot = slot;
        stack.epoch = epoch;
        stack.stacks_removed = stacks_removed;
    }
    counters::count_walk(Counter::NativeWalksBottom, stack.native_end);
    counters::count_walk(Counter::PythonWalksBottom, stack.python_end);
    Some(stack.slot)
}

/// Walks, books, and remembers what may be remembered.
#[inline(always)]
fn walk_and_remember(thread: &mut ThreadState, memory: &mut Memory, call: &Beginning) -> u32 {
    let number = memory.next as usize & (STACKS - 1);
    memory.tags[number] = 0;
    let stack = &mut memory.stacks[number];
    super::walk_from(thread, Some(&mut stack.notes));
    // Before the look-up that it vouches for.
    let removals = account::stacks_removed();
    let booked = account::slot_of_stack(thread);
    let Some(stacks_removed) = removals else { return booked.slot };
    let (native_end, python_end) = (thread.stack.native_end, thread.stack.python_end);
    if booked.slot < UNATTRIBUTED_SLOTS
        || !notes::are_whole(&stack.notes)
        || !may_be_repeated(native_end)
        || !may_be_repeated(python_end)
    {
        return booked.slot;
    }
    stack.from = call.from;
    stack.salt = call.salt;
    stack.python_first = call.python_first;
    stack.domain = call.domain;
    stack.max_frames = call.max_frames;
    stack.stack_hash = thread.stack.stack_hash;
    stack.slot = booked.slot;
    stack.epoch = booked.epoch;
    stack.stacks_removed = stacks_removed;
    stack.native_end = native_end;
    stack.python_end = python_end;
    memory.tags[number] = call.tag;
    memory.latest = number as u32;
    memory.next = number as u32 + 1;
    booked.slot
}

/// Whether a walk that ended so ends so again, if it reads the same words.
#[inline(always)]
fn may_be_repeated(end: u32) -> bool {
    // Memory may become readable, code known, a return probe may go.
    !matches!(end, walk_end::UNREADABLE | walk_end::UNKNOWN_CODE | walk_end::TRAMPOLINE)
}
