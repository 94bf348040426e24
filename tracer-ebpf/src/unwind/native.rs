//! The native walk: from the allocator's caller outwards, a frame at a time, each by the rule
//! that holds at its instruction.

use super::{
    js, mix,
    rule::{self, Number},
    step, trampoline, window,
};
use crate::{process, registers::Registers, thread::ThreadState};
use tracer_common::{
    limits::MAX_NATIVE_FRAMES,
    record::walk_end,
    slot::walk,
    v8::{HAS_JS, V8_NONE},
};

/// [`take_frame`]: the caller's frame is next.
const WENT_ON: u32 = step::WENT_ON;

/// Fills the native half of `thread.stack`; returns the hash with its frames mixed in.
#[inline(always)]
pub fn walk(thread: &mut ThreadState, registers: Registers, hash: u64) -> u64 {
    window::forget(thread);
    thread.frame = registers;
    // The allocator's caller is kept whatever it is.
    thread.is_certain = 1;
    thread.stack.stack_hash = hash;
    thread.stack.native_count = 0;
    thread.words_used = 0;
    thread.stack.native_end = walk_end::TOO_DEEP;
    for index in 0..MAX_NATIVE_FRAMES as u32 {
        if index >= thread.max_frames {
            break;
        }
        let end = take_frame(thread, index);
        if end != WENT_ON {
            thread.stack.native_end = end;
            break;
        }
    }
    thread.stack.stack_hash
}

/// Puts `thread.frame` into the stack as number `index`, and the caller's registers into its
/// place; or says why the walk ends here (one of `walk_end`).
///
/// A function of its own because the verifier of Linux 6.1 knows no better than to go through
/// every path of a loop's body anew in each round, when that body calls other functions.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_frame(thread: *mut ThreadState, index: u32) -> u32 {
    // SAFETY: null, or the state of the current thread, which nobody else touches.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return walk_end::UNREADABLE };
    let Some(process) = process::entry(thread.process) else { return walk_end::UNREADABLE };
    let (index_of_process, salt) = (thread.process, process.cache_salt);
    let mut end = WENT_ON;
    let mut ip = thread.frame.ip;
    // The call's last byte: what follows a call may belong to another row, or function.
    let mut number = rule::number(index_of_process, salt, ip.wrapping_sub(1));
    if number >= rule::HIDDEN {
        // The return address was read from the word below the stack pointer.
        let pending = trampoline::pending_return(thread.frame.sp.wrapping_sub(8));
        if pending != 0 {
            ip = pending;
            thread.frame.ip = ip;
            number = rule::number(index_of_process, salt, ip.wrapping_sub(1));
        }
        if number >= rule::HIDDEN {
            end = hidden(number);
            // An address that a frame pointer led to may be anything; one that a table led to is
            // kept, so that user space can look what was mapped there.
            if thread.is_certain == 0 {
                return end;
            }
        }
    }
    let place = thread.words_used;
    let Some(word) = thread.stack.words.get_mut(place as usize) else {
        return walk_end::TOO_DEEP;
    };
    // What is no address at all may have the bit that announces a JavaScript frame.
    *word = ip & !HAS_JS;
    thread.words_used = place + 1;
    thread.stack.native_count = index + 1;
    thread.stack.stack_hash = mix(thread.stack.stack_hash, ip);
    if end != WENT_ON {
        return end;
    }
    if process.v8.kind != V8_NONE {
        js::look(thread, number);
    }
    // V8's own code is known to keep frame pointers.
    thread.is_certain = u32::from(number < rule::FIRST_OF_RANGE || number == rule::V8);
    step::to_caller(thread, number)
}

/// Why a walk ends at an address that has no rule.
#[inline(always)]
fn hidden(number: Number) -> u32 {
    if number == rule::TRAMPOLINE { walk_end::TRAMPOLINE } else { walk_end::UNKNOWN_CODE }
}

/// Whether an address lies in code of the process that is known, the kernel's page for return
/// probes aside.
#[inline(always)]
pub fn is_known_code(process: u32, pc: u64) -> bool {
    process::entry(process)
        .and_then(|process| rule::range_of(process, pc))
        .is_some_and(|range| range.walk != walk::TRAMPOLINE)
}
