//! The native walk: by frame pointers, and only through code that is known to keep them.
//!
//! A table-driven walk (rows from .eh_frame) joins here: one more value of
//! `tracer_common::slot::walk`.

use super::mix;
use crate::{maps::CODE_RANGES, process, registers::Registers};
use aya_ebpf::helpers::bpf_probe_read_user;
use tracer_common::{
    limits::{CODE_RANGE_SEARCH_STEPS, MAX_CODE_RANGES, MAX_FRAME_BYTES, MAX_NATIVE_FRAMES},
    process::ProcessEntry,
    record::{NewStack, walk_end},
    slot::{CodeRange, walk},
};

/// Fills the native half of `stack`; returns the hash with its frames mixed in.
#[inline(always)]
pub fn walk(
    stack: &mut NewStack,
    process: &ProcessEntry,
    registers: Registers,
    mut hash: u64,
) -> u64 {
    let Registers { ip: mut pc, mut sp, mut bp } = registers;
    let mut range = CodeRange::default();
    let mut end = walk_end::TOO_DEEP;
    let mut taken = 0;
    for index in 0..MAX_NATIVE_FRAMES {
        // Neighbouring frames mostly lie in one file.
        if pc.wrapping_sub(range.start_avma) >= range.end_avma.wrapping_sub(range.start_avma) {
            match find(process, pc) {
                Some(found) => range = found,
                None => {
                    end = walk_end::UNKNOWN_CODE;
                    // The allocator's caller is kept whatever it is.
                    if index != 0 {
                        break;
                    }
                }
            }
        }
        stack.native[index] = pc;
        taken = index + 1;
        hash = mix(hash, pc);
        if end == walk_end::UNKNOWN_CODE {
            break;
        }
        if range.walk != walk::FRAME_POINTER {
            end = walk_end::NO_FRAME_POINTER;
            break;
        }
        if bp == 0 {
            end = walk_end::BOTTOM;
            break;
        }
        if bp & 7 != 0 || bp.wrapping_sub(sp) > MAX_FRAME_BYTES {
            end = walk_end::BAD_FRAME_POINTER;
            break;
        }
        // SAFETY: the helper checks the address.
        let Ok([next_bp, return_address]) = (unsafe { bpf_probe_read_user(bp as *const [u64; 2]) })
        else {
            end = walk_end::UNREADABLE;
            break;
        };
        if return_address == 0 {
            end = walk_end::BOTTOM;
            break;
        }
        sp = bp + 16;
        bp = next_bp;
        pc = return_address;
    }
    stack.native_count = taken as u32;
    stack.native_end = end;
    hash
}

/// Whether an address lies in code of the process that is known.
#[inline(always)]
pub fn is_known_code(process: u32, pc: u64) -> bool {
    process::entry(process).is_some_and(|process| find(process, pc).is_some())
}

/// The executable range that `pc` lies in: binary search over the ranges of the process.
#[inline(always)]
fn find(process: &ProcessEntry, pc: u64) -> Option<CodeRange> {
    let (first, count) = (process.code_ranges_first, process.code_ranges_count);
    if count > MAX_CODE_RANGES as u32 {
        return None;
    }
    let (mut low, mut high) = (0_u32, count);
    for _ in 0..CODE_RANGE_SEARCH_STEPS {
        if low >= high {
            return None;
        }
        let middle = (low + high) / 2;
        let range = CODE_RANGES.get(first + middle)?;
        if pc < range.start_avma {
            high = middle;
        } else if pc >= range.end_avma {
            low = middle + 1;
        } else {
            return Some(*range);
        }
    }
    None
}
