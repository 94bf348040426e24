//! The target's registers at a probe (x86-64 System V calling convention).

use aya_ebpf::{
    helpers::bpf_probe_read_user,
    programs::{ProbeContext, RetProbeContext},
};

/// What the programs need of them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Registers {
    /// Instruction pointer; at a return probe the address that is returned to.
    pub ip: u64,
    /// Stack pointer; at a return probe already above the return address.
    pub sp: u64,
    /// Frame pointer.
    pub bp: u64,
}

/// Registers at a return probe, and the function's result.
#[inline(always)]
pub fn at_return(ctx: &RetProbeContext) -> (Registers, u64) {
    // SAFETY: the context of a kprobe-type program is the thread's pt_regs.
    let regs = unsafe { &*ctx.regs };
    (Registers { ip: regs.rip, sp: regs.rsp, bp: regs.rbp }, regs.rax)
}

/// Registers as [`at_return`] has them, and the function's result, at a probe that stands on a
/// return instruction; `None` when the return address cannot be read.
#[inline(always)]
pub fn at_exit(ctx: &ProbeContext) -> Option<(Registers, u64)> {
    // SAFETY: the context of a kprobe-type program is the thread's pt_regs.
    let regs = unsafe { &*ctx.regs };
    // SAFETY: the helper checks the address.
    let ip = unsafe { bpf_probe_read_user(regs.rsp as *const u64) }.ok()?;
    Some((Registers { ip, sp: regs.rsp.wrapping_add(8), bp: regs.rbp }, regs.rax))
}

/// Stack pointer and the first four arguments at an entry probe. The probe's instruction is
/// chosen so that neither has changed since the call.
#[inline(always)]
pub fn at_entry(ctx: &ProbeContext) -> (u64, [u64; 4]) {
    // SAFETY: the context of a kprobe-type program is the thread's pt_regs.
    let regs = unsafe { &*ctx.regs };
    (regs.rsp, [regs.rdi, regs.rsi, regs.rdx, regs.rcx])
}
