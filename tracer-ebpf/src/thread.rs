//! The call in flight of each thread. A call counts once however many allocator functions call
//! one another inside it: only the outermost is followed, told from inner ones by the stack
//! pointer.

use crate::{
    alloc::put_old_block_back,
    counters::count,
    maps::{BLANK_THREAD, THREADS},
    process,
    regime::Births,
    registers::Registers,
    unwind::{
        js::{MEMORY, Memory},
        native, window,
    },
};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use tracer_common::{
    counter::Counter,
    record::{NewStack, PythonFrame},
    slot::LiveBlock,
    thread::{FIRST_MAPPING_CALL, LAST_MAPPING_CALL},
    v8::SHARED_BYTES,
};

/// What a call in flight is; 0 is none.
pub mod call {
    /// Any function whose result is the block.
    pub const ALLOCATE: u32 = 1;
    /// realloc, reallocarray.
    pub const REALLOCATE: u32 = 2;
    /// posix_memalign: the block is in the out-parameter.
    pub const POSIX_MEMALIGN: u32 = 3;
    /// mmap.
    pub const MMAP: u32 = 4;
    /// mremap.
    pub const MREMAP: u32 = 5;
    /// brk.
    pub const BRK: u32 = 6;
    /// sbrk.
    pub const SBRK: u32 = 7;
    /// operator new and its kin, which throw where they fail.
    pub const NEW: u32 = 8;
    /// xallocx: the block stays where it is, and the result is its new size.
    pub const RESIZE: u32 = 9;
    /// realloc that frees the old block where it fails (reallocf).
    pub const REALLOCATE_OR_FREE: u32 = 10;
    /// An object of Python's own allocator.
    pub const PYTHON_ALLOCATE: u32 = 11;
    /// Its realloc.
    pub const PYTHON_REALLOCATE: u32 = 12;
}

// User space reads which call is in flight (`tracer_common::thread`).
const _: () = assert!(core::mem::offset_of!(ThreadState, call) == 0);
const _: () = assert!(call::MMAP == FIRST_MAPPING_CALL && call::SBRK == LAST_MAPPING_CALL);

/// A thread's call in flight and its scratch memory.
#[repr(C)]
pub struct ThreadState {
    /// One of [`call`], or 0.
    pub call: u32,
    /// 1 when `old_block` is valid, 2 when only its size is.
    pub has_old_block: u16,
    /// Number of the image that the thread runs; it ends with the thread's state at an exec.
    pub image: u16,
    /// Index of its process in the process table.
    pub process: u32,
    /// Scratch: 1 when no frame pointer, which may be anything, led to `frame`.
    pub is_certain: u16,
    /// 1 when there is a memory of recent stacks.
    pub has_memory: u16,
    /// Stack pointer at the call's entry: the address of its return address.
    pub sp: u64,
    /// Requested bytes (mapping calls: length).
    pub size_bytes: u64,
    /// realloc, mremap: the old address. posix_memalign: where the result goes. brk: the old break.
    pub old_address: u64,
    /// mremap: the old length in bytes. xallocx: bytes beyond those asked for. mmap: protection
    /// (low half) and flags (high half).
    pub old_length: u64,
    /// What was freed last, while nothing has been allocated since: one free may be made of
    /// layers, each with a probe of its own (`_PyObject_Free`, then libc's free).
    pub freed_address: u64,
    /// realloc: the live-map entry of the old block, taken out while the call runs.
    pub old_block: LiveBlock,
    /// How the birth that is being settled is booked.
    pub births: Births,
    /// Scratch: the Python frame that the walk has come to.
    pub python_frame: PythonFrame,
    /// Scratch: its caller.
    pub python_previous: u64,
    /// Scratch: the innermost Python frame, or how the walk ends where there is none.
    pub python_first: u64,
    /// Scratch: word of `window` with which the Python frame begins.
    pub python_first_word: u32,
    /// Scratch: number of the piece of memory that is compared next.
    pub piece: u32,
    /// Scratch: words of `stack` that are used.
    pub words_used: u32,
    /// Number of the thread in the initial PID namespace: a look-up needs no helper for it.
    pub tid: u32,
    /// Scratch: which words of which piece are there to be compared.
    pub held_start: u64,
    /// The first of them.
    pub held_first: u32,
    /// The last of them.
    pub held_last: u32,
    /// Scratch: registers of the frame that the walk has come to.
    pub frame: Registers,
    /// Scratch: target address of the first word of `window`.
    pub window_start: u64,
    /// Scratch: bytes of `window` that are valid.
    pub window_bytes: u64,
    /// Scratch: what the JavaScript function that the walk has come to says of itself.
    pub js_shared: [u64; SHARED_BYTES as usize / 8],
    /// Walks of this thread: after so many, what is remembered of JavaScript is forgotten.
    pub walks: u32,
    /// Scratch: JavaScript frames of the stack that were remembered, not read.
    pub js_remembered: u32,
    /// JavaScript functions that were read lately.
    pub js_memory: [Memory; MEMORY],
    /// Scratch: a piece of the target's stack.
    pub window: [u64; window::WORDS],
    /// Scratch: the stack that is being walked.
    pub stack: NewStack,
}

/// Number of the current thread in the initial PID namespace.
#[inline(always)]
pub fn current_tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// The state of the current thread, where it has one.
#[inline(always)]
fn find(tid: u32) -> Option<&'static mut ThreadState> {
    let state = THREADS.get_ptr_mut(tid)?;
    // SAFETY: the entry belongs to the current thread, which is stopped in this probe; nobody
    // else touches it, and it is removed only when the thread ends or calls exec.
    Some(unsafe { &mut *state })
}

/// Puts a call of the current thread in flight; `None`, and counted, when it runs inside another
/// one or cannot be followed.
#[inline(always)]
pub fn begin(call: u32, sp: u64) -> Option<&'static mut ThreadState> {
    let thread = match find_or_make(current_tid()) {
        Ok(thread) => thread,
        Err(counter) => {
            count(counter);
            return None;
        }
    };
    if thread.is_nested(sp) {
        count(Counter::NestedCalls);
        return None;
    }
    thread.call = call;
    thread.sp = sp;
    thread.freed_address = 0;
    Some(thread)
}

/// The image of the current thread, when it is outside every call in flight; inside one that call
/// books what happens, and `None` is counted.
#[inline(always)]
pub fn image_outside_calls(sp: u64) -> Option<u16> {
    outside_calls(sp).map(|(image, _)| image)
}

#[inline(always)]
fn outside_calls(sp: u64) -> Option<(u16, Option<&'static mut ThreadState>)> {
    let Some(thread) = find(current_tid()) else {
        let found = process::current();
        if found.is_none() {
            count(Counter::UnknownProcess);
        }
        return found.map(|(_, entry)| (entry.image as u16, None));
    };
    if thread.is_nested(sp) {
        count(Counter::NestedCalls);
        return None;
    }
    Some((thread.image, Some(thread)))
}

/// A free that begins outside every call in flight.
pub struct Freeing {
    /// Image of the thread.
    pub image: u16,
    /// The thread freed this address a moment ago: an inner layer of the same free, unless the
    /// block is live.
    pub again: bool,
}

/// Tells what a free of `address` is, and notes it; `None` as for [`image_outside_calls`].
#[inline(always)]
pub fn begin_free(sp: u64, address: u64) -> Option<Freeing> {
    let (image, thread) = outside_calls(sp)?;
    let Some(thread) = thread else { return Some(Freeing { image, again: false }) };
    let again = thread.freed_address == address;
    thread.freed_address = address;
    Some(Freeing { image, again })
}

/// Takes the call in flight of the current thread, if it is one that is settled by a probe on the
/// function's exit and that exit is its own.
#[inline(always)]
pub fn end_at_exit(sp_after_return: u64) -> Option<(&'static mut ThreadState, u32)> {
    let thread = find(current_tid())?;
    // The exit may be shared with a function that has a return probe: that one is settled there,
    // since the return address on the stack is the trampoline's now.
    if thread.call != call::NEW {
        return None;
    }
    let call = thread.finish(sp_after_return)?;
    Some((thread, call))
}

/// An exception is raised by a frame at `sp`: a call in flight that can throw ends with it.
#[inline(always)]
pub fn abandon(sp: u64) {
    if let Some(thread) = find(current_tid())
        && thread.call == call::NEW
        && sp < thread.sp
    {
        thread.call = 0;
        count(Counter::FailedAllocations);
    }
}

/// The state of the current thread, where it has one, whatever is in flight.
#[inline(always)]
pub fn present() -> Option<&'static mut ThreadState> {
    find(current_tid())
}

/// Takes the call in flight of the current thread, if the return that leaves the stack pointer at
/// `sp_after_return` is its own.
#[inline(always)]
pub fn end(sp_after_return: u64) -> Option<(&'static mut ThreadState, u32)> {
    let thread = find(current_tid())?;
    let call = thread.finish(sp_after_return)?;
    Some((thread, call))
}

/// The state of the current thread, made where it has none.
#[inline(always)]
fn find_or_make(tid: u32) -> Result<&'static mut ThreadState, Counter> {
    if let Some(state) = find(tid) {
        return Ok(state);
    }
    let (index, entry) = process::current().ok_or(Counter::UnknownProcess)?;
    let blank = BLANK_THREAD.get(0).ok_or(Counter::ThreadTableFull)?;
    THREADS.insert(tid, blank, 0).map_err(|_| Counter::ThreadTableFull)?;
    let thread = find(tid).ok_or(Counter::ThreadTableFull)?;
    thread.tid = tid;
    thread.process = index;
    thread.image = entry.image as u16;
    Ok(thread)
}

impl ThreadState {
    /// Whether a function entered with stack pointer `sp` runs inside the call in flight. A call
    /// in flight that cannot have been returned from by now is given up and counted.
    #[inline(always)]
    fn is_nested(&mut self, sp: u64) -> bool {
        if self.call == 0 {
            return false;
        }
        if sp < self.sp {
            return true;
        }
        // The same return-address slot: either a tail call from inside the call in flight (the
        // slot then holds the return probe's trampoline) or a new call after a return that was
        // not seen (then it holds an address of the program).
        if sp == self.sp {
            // SAFETY: the helper checks the address.
            let slot = unsafe { bpf_probe_read_user(sp as *const u64) };
            if let Ok(return_address) = slot
                && !native::is_known_code(self.process, return_address)
            {
                return true;
            }
        }
        // One that throws has no return to miss; entered again at the same place, it has been left
        // by a jump to another function of the allocator, which books the block.
        let throws = self.call == call::NEW;
        self.call = 0;
        put_old_block_back(self);
        if !throws {
            count(Counter::ReturnsMissed);
        } else if sp != self.sp {
            count(Counter::FailedAllocations);
        }
        false
    }

    /// Takes the call in flight, if this return is its own.
    #[inline(always)]
    fn finish(&mut self, sp_after_return: u64) -> Option<u32> {
        if self.call == 0 || sp_after_return != self.sp.wrapping_add(8) {
            return None;
        }
        let call = self.call;
        self.call = 0;
        Some(call)
    }
}
