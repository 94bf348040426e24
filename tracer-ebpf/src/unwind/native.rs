//! The native walk: from the allocator's caller outwards, a frame at a time, each by the rule
//! that holds at its instruction.

use super::{
    mix,
    rule::{self, Number},
    step, trampoline, window,
};
use crate::{process, registers::Registers, thread::ThreadState};
use tracer_common::{
    limits::MAX_NATIVE_FRAMES, process::ProcessEntry, record::walk_end, slot::walk,
};

/// Fills the native half of `thread.stack`; returns the hash with its frames mixed in.
#[inline(always)]
pub fn walk(
    thread: &mut ThreadState,
    process: &ProcessEntry,
    registers: Registers,
    mut hash: u64,
) -> u64 {
    window::forget(thread);
    let index_of_process = thread.process;
    let salt = process.cache_salt;
    thread.frame = registers;
    let mut end = walk_end::TOO_DEEP;
    let mut taken = 0;
    for index in 0..MAX_NATIVE_FRAMES {
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
                // The allocator's caller is kept whatever it is.
                if index != 0 {
                    break;
                }
            }
        }
        thread.stack.native[index] = ip;
        taken = index + 1;
        hash = mix(hash, ip);
        if number >= rule::HIDDEN {
            break;
        }
        let reason = step::to_caller(thread, number);
        if reason != step::WENT_ON {
            end = reason;
            break;
        }
    }
    thread.stack.native_count = taken as u32;
    thread.stack.native_end = end;
    hash
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
