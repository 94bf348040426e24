//! Which instruction of a function carries the probe. The kernel emulates a few instructions
//! and must single-step all others, which costs 5 to 10 times as much; so the entry block is
//! decoded for the first emulated instruction before which nothing that matters has changed. A
//! no-op of five bytes never carries one ([`is_rewritten`]).

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory,
    Mnemonic, NasmFormatter, OpAccess, Register,
};

/// Bytes from a function's start that are looked at for a place.
const MAX_ENTRY_BYTES: u64 = 64;
/// Longest function that is searched for jumps back into its own entry block, in bytes.
pub const MAX_FUNCTION_BYTES: u64 = 16 << 10;
/// Argument registers, in the order of the calling convention.
const ARGUMENTS: [Register; 5] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8];

/// A place for a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes behind the function's start.
    pub offset: u64,
    /// Whether the kernel emulates the instruction there.
    pub emulated: bool,
    /// The instruction, disassembled.
    pub instruction: String,
    /// Why this one.
    pub reason: String,
}

/// Chooses the place in the function whose first bytes are `code`, at address `svma`, of which
/// `argument_count` arguments are read. At the place the arguments still lie in their registers
/// and rsp still points at the return address, so that a return probe can stand there too.
pub fn choose(code: &[u8], svma: u64, argument_count: usize) -> Place {
    let mut decoder = Decoder::with_ip(64, code, svma, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    // Where the function begins for a probe: the no-ops in front (a patchable entry) may be left
    // out by those who jump to its start.
    let mut first: Option<(u64, String)> = None;
    let stopped = loop {
        if !decoder.can_decode() || decoder.ip().wrapping_sub(svma) >= MAX_ENTRY_BYTES {
            break "the entry block ends".to_owned();
        }
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            break "the bytes behind it are no code".to_owned();
        }
        if is_rewritten(&instruction) {
            continue;
        }
        let offset = instruction.ip().wrapping_sub(svma);
        let start = first.get_or_insert_with(|| (offset, text(&instruction))).0;
        if is_emulated(&instruction) {
            if is_entered_again(code, svma, start, offset) {
                break format!(
                    "the function jumps back to a place before `{}`",
                    text(&instruction)
                );
            }
            let reason = match offset {
                0 => "emulated by the kernel",
                _ => "emulated by the kernel; arguments and stack pointer are untouched before it",
            };
            return Place {
                offset,
                emulated: true,
                instruction: text(&instruction),
                reason: reason.to_owned(),
            };
        }
        if let Some(change) = spoiled(&instruction, &mut info, argument_count) {
            break format!("`{}` behind it {change}", text(&instruction));
        }
    };
    let (offset, instruction) = first.unwrap_or_else(|| (0, "(no code)".to_owned()));
    Place {
        offset,
        emulated: false,
        instruction,
        reason: format!(
            "single-stepped: no emulated instruction can be reached unspoiled ({stopped})"
        ),
    }
}

/// Whether the kernel emulates the instruction when a probe sits on it.
///
/// # Sources
/// `branch_setup_xol_ops` and `push_setup_xol_ops` in Linux arch/x86/kernel/uprobes.c. An
/// operand-size prefix (0x66) makes a branch single-stepped. Longer no-ops are emulated since 6.18
/// and single-stepped before.
pub fn is_emulated(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Push => instruction.op_count() == 1 && instruction.op0_register().is_gpr64(),
        Mnemonic::Nop => {
            matches!(instruction.code(), Code::Nopd | Code::Nopw | Code::Nopq)
                && instruction.len() == 1
        }
        _ => match instruction.code() {
            Code::Jmp_rel8_64 | Code::Jmp_rel32_64 | Code::Call_rel32_64 => true,
            _ => {
                instruction.is_jcc_short_or_near()
                    && !matches!(instruction.mnemonic(), Mnemonic::Jrcxz | Mnemonic::Jecxz)
            }
        },
    }
}

/// Whether Linux 6.18 and later replace the probed instruction by a call of a page that they map
/// for it. A child of fork gets the call and not the page, and dies of its next allocation.
///
/// # Sources
/// `can_optimize` and `uprobe_trampoline` (VM_DONTCOPY) in Linux arch/x86/kernel/uprobes.c,
/// `insn_is_nop` in alternative.c: any five bytes that do nothing, a `lea` of a register to itself
/// included. Seen on 6.18.44.
fn is_rewritten(instruction: &Instruction) -> bool {
    let does_nothing = match instruction.mnemonic() {
        Mnemonic::Nop | Mnemonic::Fnop => true,
        Mnemonic::Lea => instruction.op0_register() == instruction.memory_base(),
        Mnemonic::Mov | Mnemonic::Xchg => {
            instruction.op0_register() != Register::None
                && instruction.op0_register() == instruction.op1_register()
        }
        _ => false,
    };
    instruction.len() == 5 && does_nothing
}

/// What the instruction destroys of what the probe needs; `None` when it may be passed.
fn spoiled(
    instruction: &Instruction,
    info: &mut InstructionInfoFactory,
    argument_count: usize,
) -> Option<String> {
    if instruction.flow_control() != FlowControl::Next {
        return Some("leaves the entry block".to_owned());
    }
    let info = info.info(instruction);
    for used in info.used_registers() {
        let writes = matches!(
            used.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        let register = used.register().full_register();
        if writes && register == Register::RSP {
            return Some("moves the stack pointer".to_owned());
        }
        if writes && ARGUMENTS.iter().take(argument_count).any(|argument| *argument == register) {
            return Some("overwrites an argument".to_owned());
        }
    }
    None
}

/// Whether the function jumps to an address between its start (behind it) and the place, that
/// included: the probe would fire more than once a call. A jump to the start is a new call.
fn is_entered_again(code: &[u8], svma: u64, start: u64, offset: u64) -> bool {
    Decoder::with_ip(64, code, svma, DecoderOptions::NONE)
        .into_iter()
        .filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            )
        })
        .any(|instruction| {
            (start + 1..=offset).contains(&instruction.near_branch_target().wrapping_sub(svma))
        })
}

fn text(instruction: &Instruction) -> String {
    let mut output = String::new();
    NasmFormatter::new().format(instruction, &mut output);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(claim: &str, code: &[u8], argument_count: usize, expected: (u64, bool)) {
        let place = choose(code, 0x1000, argument_count);
        assert_eq!((place.offset, place.emulated), expected, "{claim}: {place:?}");
    }

    #[test]
    fn the_first_emulated_instruction_is_chosen_while_nothing_has_changed() {
        check("push at +0", &[0x41, 0x54, 0x55], 1, (0, true));
        check("glibc 2.36 free: test; je", &[0x48, 0x85, 0xff, 0x74, 0x10, 0x55], 1, (3, true));
        check(
            "glibc 2.36 free, near je",
            &[0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0, 0, 0x55],
            1,
            (3, true),
        );
        check("glibc 2.43 malloc: test; js", &[0x48, 0x85, 0xff, 0x78, 0x20], 1, (3, true));
        check(
            "glibc 2.43 calloc: mov; mul; jo",
            &[0x48, 0x89, 0xf8, 0x48, 0xf7, 0xe6, 0x70, 0x10],
            2,
            (6, true),
        );
        check(
            "glibc 2.43 realloc: mov; test; je",
            &[0x48, 0x89, 0xf8, 0x48, 0x85, 0xff, 0x74, 0x10],
            2,
            (6, true),
        );
        check("CET: endbr64; push", &[0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x57], 2, (4, true));
        check("musl: endbr64; jmp", &[0xf3, 0x0f, 0x1e, 0xfa, 0xe9, 1, 2, 3, 0], 1, (4, true));
        check("rip-relative compare; push", &[0x80, 0x3d, 1, 2, 3, 0, 0, 0x41, 0x54], 3, (7, true));
        check("call at +4", &[0xf3, 0x0f, 0x1e, 0xfa, 0xe8, 0, 0, 0, 0], 1, (4, true));
    }

    #[test]
    fn a_spoiled_entry_falls_back_to_the_first_instruction() {
        check("rsp moved", &[0x48, 0x83, 0xec, 0x58, 0x74, 0x01], 1, (0, false));
        check("argument overwritten", &[0x48, 0x89, 0xf7, 0x55], 1, (0, false));
        check("lower half of an argument overwritten", &[0x31, 0xff, 0x55], 1, (0, false));
        check(
            "mul destroys rdx, the third argument",
            &[0x48, 0x89, 0xf0, 0x48, 0xf7, 0xe2, 0x70, 0x05],
            3,
            (0, false),
        );
        check("system call", &[0xb8, 0x0b, 0, 0, 0, 0x0f, 0x05, 0x55], 2, (0, false));
        check("return", &[0x31, 0xc0, 0xc3, 0x55], 1, (0, false));
        check("memory push", &[0xff, 0x37, 0x55], 1, (0, false));
        check("indirect jump", &[0xff, 0x25, 0, 0, 0, 0], 1, (0, false));
        check("no code", &[], 1, (0, false));
        check("garbage", &[0x06, 0x06], 1, (0, false));
    }

    #[test]
    fn a_no_op_of_five_bytes_never_carries_a_probe() {
        const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];
        let check = |claim, behind: &[u8], expected| {
            check(claim, &[&NOP[..], behind].concat(), 1, expected);
        };
        check("push behind it", &[0x55], (5, true));
        check("another, then push", &[0x0f, 0x1f, 0x44, 0, 0, 0x55], (10, true));
        check("mov, then push", &[0x48, 0x89, 0xf8, 0x55], (8, true));
        check("nothing emulated", &[0x48, 0x83, 0xec, 0x58, 0xc3], (5, false));
        check("a jump back behind it is a new call", &[0x55, 0xeb, 0xfd], (5, true));
        check("a jump to itself", &[0x48, 0x85, 0xff, 0x74, 0x10, 0xeb, 0xf9], (8, true));
        // 5: test rdi,rdi  8: je  10: jmp 8
        check("a loop over the place", &[0x48, 0x85, 0xff, 0x74, 0x10, 0xeb, 0xfc], (5, false));
        super::tests::check(
            "endbr64 in front",
            &[0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0, 0x55],
            1,
            (9, true),
        );
        super::tests::check("lea as a no-op", &[0x48, 0x8d, 0x74, 0x26, 0, 0x55], 1, (5, true));
        super::tests::check("other no-ops are passed", &[0x0f, 0x1f, 0x40, 0, 0x55], 1, (4, true));
    }

    #[test]
    fn a_jump_back_into_the_entry_block_forbids_the_place() {
        // 0: test rdi,rdi  3: je +5  5: dec rax  8: jmp 3
        check(
            "loop over the place",
            &[0x48, 0x85, 0xff, 0x74, 0x05, 0x48, 0xff, 0xc8, 0xeb, 0xf9],
            1,
            (0, false),
        );
        // 8: jmp 0 is a tail call of itself: a new call.
        check(
            "jump to the very start",
            &[0x48, 0x85, 0xff, 0x74, 0x05, 0x48, 0xff, 0xc8, 0xeb, 0xf6],
            1,
            (3, true),
        );
    }

    #[test]
    fn every_length_of_every_pattern_decodes_without_panic() {
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0, 0, 0x55];
        for length in 0..code.len() {
            let _ = choose(&code[..length], u64::MAX - 4, 5);
        }
    }
}
