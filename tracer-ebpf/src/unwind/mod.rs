//! Stacks: the native walk and the interpreter's, side by side. User space merges them, since it
//! knows where the interpreter's loop is.

pub mod native;
mod python;

use crate::{
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
    stack.generation = u32::from(crate::account::generation());
    let seed = mix(SEED, u64::from(domain) | (u64::from(stack.generation) << 32));
    let hash = native::walk(stack, registers, seed);
    let hash = python::walk(thread, hash);
    // 0 and 1 have a meaning of their own.
    thread.stack.stack_hash = if hash < 2 { hash + 2 } else { hash };
}

/// Adds a word to a hash: multiply and fold, so that every bit of the word reaches the low half.
#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    product ^ (product >> 32)
}
