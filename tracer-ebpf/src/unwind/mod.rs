//! Stacks: the native walk and the interpreter's, side by side. User space merges them, since it
//! knows where the interpreter's loop is.

pub mod native;
mod python;

use crate::{
    process,
    registers::Registers,
    thread::{self, ThreadState},
};

/// Beginning of every hash.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Walks the stack of the current thread into `thread.stack` and gives it its identity.
#[inline(always)]
pub fn walk(thread: &mut ThreadState, registers: Registers, domain: u32) {
    let stack = &mut thread.stack;
    stack.header.tid = thread::current_tid();
    stack.domain = domain;
    stack.image = u32::from(thread.image);
    let seed = mix(SEED, u64::from(domain) | (u64::from(stack.image) << 32));
    let Some(process) = process::entry(thread.process) else { return };
    let hash = native::walk(stack, process, registers, seed);
    let hash = python::walk(thread, &process.python, hash);
    // 0 and 1 have a meaning of their own.
    thread.stack.stack_hash = if hash < 2 { hash + 2 } else { hash };
}

/// Adds a word to a hash: multiply and fold, so that every bit of the word reaches the low half.
#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    product ^ (product >> 32)
}
