//! What CPython's compiled code tells about its data: small, bounded walks through x86-64 code.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::collections::BTreeMap;

/// Instructions that are followed, over all paths.
const MAX_STEPS: usize = 128;

/// Address (file numbering) of the `Py_tss_t` that `PyGILState_GetThisThreadState` hands to
/// `PyThread_tss_get`, or whose `_key` it loads itself when that call was inlined.
///
/// `code` is the function, at `svma`; `runtime_svma` is `_PyRuntime`, which is what any pointer
/// loaded from the global offset table is taken for.
pub fn key_svma(code: &[u8], svma: u64, runtime_svma: u64) -> Option<u64> {
    let mut paths = vec![(svma, BTreeMap::new())];
    let mut steps = 0;
    while let Some((start, mut known)) = paths.pop() {
        let mut decoder = Decoder::with_ip(64, code, svma, DecoderOptions::NONE);
        decoder.set_position(usize::try_from(start.checked_sub(svma)?).ok()?).ok()?;
        decoder.set_ip(start);
        while decoder.can_decode() && steps < MAX_STEPS {
            steps += 1;
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                break;
            }
            match instruction.flow_control() {
                FlowControl::Next => step(&instruction, &mut known, runtime_svma),
                FlowControl::ConditionalBranch => {
                    let target = instruction.near_branch_target();
                    if target > instruction.ip() && target < svma.saturating_add(code.len() as u64)
                    {
                        paths.push((target, known.clone()));
                    }
                }
                FlowControl::Call
                | FlowControl::IndirectCall
                | FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch => {
                    match known.get(&Register::RDI) {
                        Some(Value::Address(address)) => return Some(*address),
                        // `_key` lies behind `_is_initialized`.
                        Some(Value::WordAt(address)) => return address.checked_sub(4),
                        None => break,
                    }
                }
                _ => break,
            }
        }
    }
    None
}

/// What a register is known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// An address in the file's numbering.
    Address(u64),
    /// The 32-bit word at that address.
    WordAt(u64),
}

fn step(instruction: &Instruction, known: &mut BTreeMap<Register, Value>, runtime_svma: u64) {
    if instruction.op_count() == 0 || instruction.op0_kind() != OpKind::Register {
        return;
    }
    if matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push) {
        return;
    }
    let destination = instruction.op0_register();
    let value = match (instruction.mnemonic(), instruction.op1_kind()) {
        (Mnemonic::Lea, OpKind::Memory) => address_of(instruction, known).map(Value::Address),
        (Mnemonic::Mov, OpKind::Memory) if destination.is_gpr32() => {
            address_of(instruction, known).map(Value::WordAt)
        }
        (Mnemonic::Mov, OpKind::Memory)
            if destination.is_gpr64() && instruction.is_ip_rel_memory_operand() =>
        {
            Some(Value::Address(runtime_svma))
        }
        (Mnemonic::Mov, OpKind::Register) => {
            known.get(&instruction.op1_register().full_register()).copied()
        }
        (Mnemonic::Mov, OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64) => {
            Some(Value::Address(instruction.immediate(1)))
        }
        (Mnemonic::Add, OpKind::Immediate8to64 | OpKind::Immediate32to64) => {
            match known.get(&destination.full_register()) {
                Some(Value::Address(address)) => {
                    Some(Value::Address(address.wrapping_add(instruction.immediate(1))))
                }
                _ => None,
            }
        }
        _ => None,
    };
    match value {
        Some(value) => known.insert(destination.full_register(), value),
        None => known.remove(&destination.full_register()),
    };
}

fn address_of(instruction: &Instruction, known: &BTreeMap<Register, Value>) -> Option<u64> {
    if instruction.is_ip_rel_memory_operand() {
        return Some(instruction.ip_rel_memory_address());
    }
    if instruction.memory_index() != Register::None {
        return None;
    }
    match (instruction.memory_base(), known.get(&instruction.memory_base())) {
        (Register::None, _) => Some(instruction.memory_displacement64()),
        (_, Some(Value::Address(base))) => {
            Some(base.wrapping_add(instruction.memory_displacement64()))
        }
        _ => None,
    }
}

/// Targets of direct jumps that leave the function `code` at `svma`.
pub fn jumps_out(code: &[u8], svma: u64) -> Vec<u64> {
    let inside = svma..svma.saturating_add(code.len() as u64);
    Decoder::with_ip(64, code, svma, DecoderOptions::NONE)
        .into_iter()
        .filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            )
        })
        .map(|instruction| instruction.near_branch_target())
        .filter(|target| !inside.contains(target))
        .collect()
}

/// Numbers in `code` that may be addresses of data: immediates, what `lea` computes, and the
/// bases of indexed operands.
pub fn constants(code: &[u8], svma: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for instruction in &mut Decoder::with_ip(64, code, svma, DecoderOptions::NONE) {
        for operand in 0..instruction.op_count() {
            match instruction.op_kind(operand) {
                OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64 => {
                    found.push(instruction.immediate(operand));
                }
                OpKind::Memory if instruction.is_ip_rel_memory_operand() => {
                    found.push(instruction.ip_rel_memory_address());
                }
                OpKind::Memory if instruction.memory_index() != Register::None => {
                    found.push(instruction.memory_displacement64());
                }
                _ => {}
            }
        }
    }
    found.retain(|number| *number >= 0x1000);
    found.sort_unstable();
    found.dedup();
    found
}

/// Addresses (file numbering) of the 64-bit words that the function `code` at `svma` reads or
/// jumps through at fixed places, in the order of its instructions.
pub fn words_read(code: &[u8], svma: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for instruction in Decoder::with_ip(64, code, svma, DecoderOptions::NONE) {
        let has_memory =
            (0..instruction.op_count()).any(|index| instruction.op_kind(index) == OpKind::Memory);
        if !has_memory || instruction.mnemonic() == Mnemonic::Lea {
            continue;
        }
        let fixed = instruction.is_ip_rel_memory_operand()
            || instruction.memory_base() == Register::None
                && instruction.memory_index() == Register::None
                && instruction.segment_prefix() == Register::None;
        let address = instruction.memory_displacement64();
        if fixed && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// Instructions behind the loading of an address in which its comparison is looked for.
const COMPARED_WITHIN: usize = 8;

/// Whether code at `svma` compares something with one of the addresses `wanted`: with the address
/// itself (programs at a fixed address), or with a register into which it has just been loaded.
pub fn compares_with(code: &[u8], svma: u64, wanted: &[u64]) -> bool {
    let word =
        |at: usize| Some(u32::from_le_bytes(code.get(at..at.checked_add(4)?)?.try_into().ok()?));
    (2..code.len().saturating_sub(3)).any(|at| {
        let Some(value) = word(at) else { return false };
        let behind = svma.wrapping_add(at as u64 + 4);
        let relative = behind.wrapping_add(value as i32 as u64);
        let is_load = code[at - 2] == 0x8d && code[at - 1] & 0xc7 == 0x05;
        is_load && wanted.contains(&relative) && is_compared_behind(code, svma, at)
            || wanted.contains(&u64::from(value)) && is_compared_immediate(code, svma, at, value)
    })
}

/// Whether a comparison has its immediate operand at `at`.
fn is_compared_immediate(code: &[u8], svma: u64, at: usize, value: u32) -> bool {
    (2..=9).filter(|before| *before <= at).any(|before| {
        let start = at - before;
        let ip = svma.wrapping_add(start as u64);
        let instruction =
            Decoder::with_ip(64, &code[start..at + 4], ip, DecoderOptions::NONE).decode();
        instruction.mnemonic() == Mnemonic::Cmp
            && instruction.len() == before + 4
            && instruction.op1_kind() != OpKind::Register
            && instruction.immediate(1) == u64::from(value)
    })
}

/// Whether the register that the `lea` with its displacement at `at` loads is compared soon.
fn is_compared_behind(code: &[u8], svma: u64, at: usize) -> bool {
    let Some(start) = at.checked_sub(3) else { return false };
    let ip = svma.wrapping_add(start as u64);
    let mut decoder = Decoder::with_ip(64, &code[start..], ip, DecoderOptions::NONE);
    let load = decoder.decode();
    if load.mnemonic() != Mnemonic::Lea || !load.op0_register().is_gpr64() {
        return false;
    }
    let register = load.op0_register();
    decoder.into_iter().take(COMPARED_WITHIN).any(|instruction| {
        instruction.mnemonic() == Mnemonic::Cmp
            && (0..instruction.op_count()).any(|index| {
                instruction.op_kind(index) == OpKind::Register
                    && instruction.op_register(index) == register
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNTIME: u64 = 0x54_e540;

    #[test]
    fn a_shared_build_passes_the_address() {
        // mov rax,[rip+..]; cmp qword [rax+0x248],0; je +15; lea rdi,[rax+0x250]; jmp plt
        let code = [
            0x48, 0x8b, 0x05, 0x09, 0xd8, 0x1a, 0x00, 0x48, 0x83, 0xb8, 0x48, 0x02, 0, 0, 0, 0x74,
            0x0f, 0x48, 0x8d, 0xb8, 0x50, 0x02, 0, 0, 0xe9, 0, 0, 0, 0, 0x0f, 0x1f, 0x00, 0x31,
            0xc0, 0xc3,
        ];
        assert_eq!(key_svma(&code, 0x29_6520, RUNTIME), Some(RUNTIME + 0x250));
        for length in 0..code.len() {
            let _ = key_svma(&code[..length], 0x29_6520, RUNTIME);
        }
    }

    #[test]
    fn a_call_of_is_created_comes_first_in_3_12() {
        // mov rax,[rip+..]; push rbx; lea rbx,[rax+0x608]; mov rdi,rbx; call
        let code = [
            0x48, 0x8b, 0x05, 0xc9, 0xc0, 0x26, 0, 0x53, 0x48, 0x8d, 0x98, 0x08, 0x06, 0, 0, 0x48,
            0x89, 0xdf, 0xe8, 0, 0, 0, 0,
        ];
        assert_eq!(key_svma(&code, 0x2d_7c30, RUNTIME), Some(RUNTIME + 0x608));
    }

    #[test]
    fn an_lto_build_loads_the_key_itself() {
        // cmp qword [rip+..],0; je far; mov edi,[rip+0x563d50]; jmp plt
        let code = [
            0x48, 0x83, 0x3d, 0x50, 0x3d, 0x56, 0, 0, 0x0f, 0x84, 0x1f, 0xc8, 0xf2, 0xff, 0x8b,
            0x3d, 0x50, 0x3d, 0x56, 0, 0xe9, 0, 0, 0, 0,
        ];
        assert_eq!(key_svma(&code, 0x4f_7c30, 0xa5_b740), Some(0xa5_b994 - 4));
    }

    #[test]
    fn code_that_says_nothing_yields_nothing() {
        assert_eq!(key_svma(&[0x31, 0xc0, 0xc3], 0, RUNTIME), None);
        assert_eq!(key_svma(&[], 0, RUNTIME), None);
        assert_eq!(key_svma(&[0xeb, 0xfe], 0, RUNTIME), None);
        assert_eq!(jumps_out(&[0x74, 0x10, 0xeb, 0xfc], 0x1000), vec![0x1012]);
        // jmp [rax*8+0xa0d3c0]; mov qword [rbp-0x1a0],0xc12140; lea rax,[rip+0x2000]
        let code = [
            0xff, 0x24, 0xc5, 0xc0, 0xd3, 0xa0, 0, 0x48, 0xc7, 0x85, 0x60, 0xfe, 0xff, 0xff, 0x40,
            0x21, 0xc1, 0, 0x48, 0x8d, 0x05, 0, 0x20, 0, 0,
        ];
        assert_eq!(constants(&code, 0x1000), vec![0x3019, 0xa0_d3c0, 0xc1_2140]);
    }
}
