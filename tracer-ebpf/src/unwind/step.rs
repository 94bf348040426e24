//! From a frame to its caller's, by a rule.

use super::{
    notes::Notes,
    rule::{self, Number},
    window,
};
use crate::{maps::RULES, registers::Registers, thread::ThreadState};
use tracer_common::{
    limits::{MAX_FRAME_BYTES, MAX_TABLE_FRAME_BYTES},
    record::walk_end,
    unwind::{Rule, cfa, rbp},
};

/// `sigcontext` (x86-64): the interrupted frame pointer, stack pointer and instruction, in bytes.
const SIGCONTEXT_BP: u64 = 80;
const SIGCONTEXT_SP: u64 = 120;
const SIGCONTEXT_IP: u64 = 128;

/// A frame pointer that is lost: never aligned, so never followed.
const LOST: u64 = 1;

/// How code that keeps frame pointers is left, once its frame pointer is believed.
const BY_FRAME_POINTER: Rule =
    Rule { cfa: cfa::RBP, rbp: rbp::AT_CFA, cfa_offset: 16, cfa_add: 0, rbp_offset: -16 };

/// [`to_caller`]: the caller's registers are in `thread.frame`.
pub const WENT_ON: u32 = u32::MAX;

/// Puts the caller's registers into `thread.frame`, or says why the walk ends here (one of
/// `walk_end`). The instruction pointer is a return address; of a frame that a signal
/// interrupted, its instruction plus one, so that one less is always an address of the code that
/// runs.
#[inline(always)]
pub fn to_caller(thread: &mut ThreadState, notes: Option<&mut Notes>, number: Number) -> u32 {
    match leave(thread, notes, number) {
        Ok(caller) => {
            thread.frame = caller;
            WENT_ON
        }
        Err(reason) => reason,
    }
}

#[inline(always)]
fn leave(
    thread: &mut ThreadState,
    mut notes: Option<&mut Notes>,
    number: Number,
) -> Result<Registers, u32> {
    let frame = thread.frame;
    let rule = match number {
        rule::FRAME_POINTER | rule::V8 => Rule { cfa: cfa::FRAME_POINTER, ..Rule::default() },
        rule::NO_WAY => return Err(walk_end::NO_FRAME_POINTER),
        rule::NOT_COVERED => return Err(walk_end::NO_UNWIND_INFO),
        _ => *RULES.get(number).ok_or(walk_end::NO_UNWIND_INFO)?,
    };
    match rule.cfa {
        cfa::OUTERMOST => Err(walk_end::BOTTOM),
        cfa::NONE => Err(walk_end::NO_UNWIND_INFO),
        cfa::SIGNAL => interrupted(thread, notes, &rule, &frame),
        cfa::FRAME_POINTER => {
            believe_frame_pointer(&frame)?;
            pop(thread, notes, &BY_FRAME_POINTER, &frame, frame.bp.wrapping_add(16))
        }
        _ => {
            let cfa = frame_address(thread, notes.as_deref_mut(), &rule, &frame)?;
            pop(thread, notes, &rule, &frame, cfa)
        }
    }
}

/// The canonical frame address: the caller's stack pointer.
#[inline(always)]
fn frame_address(
    thread: &mut ThreadState,
    notes: Option<&mut Notes>,
    rule: &Rule,
    frame: &Registers,
) -> Result<u64, u32> {
    let offset = i64::from(rule.cfa_offset);
    let cfa = match rule.cfa {
        cfa::RSP => frame.sp.wrapping_add_signed(offset),
        cfa::RBP => frame.bp.wrapping_add_signed(offset),
        cfa::PLT => {
            let pushed = (frame.ip.wrapping_sub(1) & 15) as i64 >= offset;
            frame.sp.wrapping_add(if pushed { 16 } else { 8 })
        }
        cfa::DEREF_RSP | cfa::DEREF_RBP => {
            let base = if rule.cfa == cfa::DEREF_RSP { frame.sp } else { frame.bp };
            window::word(thread, notes, base.wrapping_add_signed(offset))?
                .wrapping_add_signed(i64::from(rule.cfa_add))
        }
        _ => return Err(walk_end::UNSUPPORTED_RULE),
    };
    // Each frame lies above the last one, within reason.
    if cfa.wrapping_sub(frame.sp).wrapping_sub(8) > MAX_TABLE_FRAME_BYTES {
        return Err(walk_end::BAD_STACK_POINTER);
    }
    Ok(cfa)
}

/// A frame pointer is followed only when it can be one.
#[inline(always)]
pub fn believe_frame_pointer(frame: &Registers) -> Result<(), u32> {
    if frame.bp == 0 {
        return Err(walk_end::BOTTOM);
    }
    if frame.bp & 7 != 0 || frame.bp.wrapping_sub(frame.sp) > MAX_FRAME_BYTES {
        return Err(walk_end::BAD_FRAME_POINTER);
    }
    Ok(())
}

/// Returns to the caller of a frame whose canonical frame address is known.
#[inline(always)]
fn pop(
    thread: &mut ThreadState,
    mut notes: Option<&mut Notes>,
    rule: &Rule,
    frame: &Registers,
    cfa: u64,
) -> Result<Registers, u32> {
    let ip = window::word(thread, notes.as_deref_mut(), cfa.wrapping_sub(8))?;
    if ip == 0 {
        return Err(walk_end::BOTTOM);
    }
    let offset = i64::from(rule.rbp_offset);
    let bp = match rule.rbp {
        rbp::SAME => frame.bp,
        rbp::AT_CFA => window::word(thread, notes, cfa.wrapping_add_signed(offset))?,
        rbp::AT_RBP => window::word(thread, notes, frame.bp.wrapping_add_signed(offset))?,
        _ => LOST,
    };
    Ok(Registers { ip, sp: cfa, bp })
}

/// Goes on where a signal interrupted: its frame may be on another stack.
#[inline(always)]
fn interrupted(
    thread: &mut ThreadState,
    mut notes: Option<&mut Notes>,
    rule: &Rule,
    frame: &Registers,
) -> Result<Registers, u32> {
    let context = frame.sp.wrapping_add_signed(i64::from(rule.cfa_offset));
    let ip = window::word(thread, notes.as_deref_mut(), context.wrapping_add(SIGCONTEXT_IP))?;
    let sp = window::word(thread, notes.as_deref_mut(), context.wrapping_add(SIGCONTEXT_SP))?;
    let bp = window::word(thread, notes, context.wrapping_add(SIGCONTEXT_BP))?;
    Ok(Registers { ip: ip.wrapping_add(1), sp, bp })
}
