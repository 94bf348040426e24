//! Where CPython keeps words that belong to a thread, or to whoever holds the GIL, as the code of
//! its own small getters tells: short, bounded walks through x86-64 code.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::ops::Range;

/// Instructions of a getter that are looked at.
const MAX_STEPS: usize = 24;

/// How code reaches a thread-local word; addresses in the file's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadLocal {
    /// At that distance from the thread pointer (static builds).
    Fixed(i64),
    /// The distance is the word at that address.
    OffsetAt(u64),
    /// `__tls_get_addr` is given the pair of module and offset at that address; what it returns is
    /// read at the displacement.
    Pair {
        /// The pair.
        svma: u64,
        /// What is added to the answer.
        displacement: i64,
    },
    /// A descriptor at that address: a function, and its argument, which is the distance where the
    /// block is static.
    Descriptor(u64),
}

/// The thread-local word that the function `code` at `svma` returns.
pub fn thread_local(code: &[u8], svma: u64) -> Option<ThreadLocal> {
    let mut pair = None;
    let mut called = None;
    let mut offset_at = None;
    for instruction in steps(code, svma) {
        match instruction.flow_control() {
            FlowControl::Call => {
                called = Some(pair?);
            }
            FlowControl::IndirectCall => {
                // call *(%rax): a descriptor's function.
                return pair.map(ThreadLocal::Descriptor);
            }
            FlowControl::Return => break,
            _ => {}
        }
        if instruction.op_count() < 2 || instruction.op1_kind() != OpKind::Memory {
            continue;
        }
        let base = instruction.memory_base();
        match instruction.mnemonic() {
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                pair = Some(instruction.ip_rel_memory_address());
            }
            Mnemonic::Mov if instruction.segment_prefix() == Register::FS => {
                return match (base, offset_at) {
                    (Register::None, _) => {
                        let distance = instruction.memory_displacement32().cast_signed();
                        Some(ThreadLocal::Fixed(i64::from(distance)))
                    }
                    (_, Some(address)) => Some(ThreadLocal::OffsetAt(address)),
                    _ => None,
                };
            }
            Mnemonic::Mov if instruction.is_ip_rel_memory_operand() => {
                offset_at = Some(instruction.ip_rel_memory_address());
            }
            Mnemonic::Mov if base == Register::RAX => {
                let displacement = instruction.memory_displacement64().cast_signed();
                return called.map(|svma| ThreadLocal::Pair { svma, displacement });
            }
            _ => {}
        }
    }
    None
}

/// Address of the word inside `runtime` (`_PyRuntime`) that the function `code` at `svma` returns.
/// A pointer loaded from elsewhere is taken for that of `_PyRuntime` itself, from the global
/// offset table.
pub fn word_of_runtime(code: &[u8], svma: u64, runtime: Range<u64>) -> Option<u64> {
    let mut base = None;
    for instruction in steps(code, svma) {
        if instruction.flow_control() != FlowControl::Next {
            return None;
        }
        if instruction.mnemonic() != Mnemonic::Mov || instruction.op1_kind() != OpKind::Memory {
            continue;
        }
        let destination = instruction.op0_register();
        let address = if instruction.is_ip_rel_memory_operand() {
            instruction.ip_rel_memory_address()
        } else if Some(instruction.memory_base()) == base {
            runtime.start.wrapping_add(instruction.memory_displacement64())
        } else {
            continue;
        };
        if runtime.contains(&address) {
            return (destination == Register::RAX).then_some(address);
        }
        base = Some(destination);
    }
    None
}

fn steps(code: &[u8], svma: u64) -> impl Iterator<Item = Instruction> {
    let mut decoder = Decoder::with_ip(64, code, svma, DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
        .take_while(|instruction| !instruction.is_invalid())
        .take(MAX_STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(claim: &str, code: &[u8], expected: Option<ThreadLocal>) {
        assert_eq!(thread_local(code, 0x1000), expected, "{claim}");
        for length in 0..code.len() {
            let _ = thread_local(&code[..length], 0x1000);
        }
    }

    #[test]
    fn every_model_of_thread_local_storage_is_recognised() {
        check(
            "a static build: endbr64; mov rax,fs:-0x18; ret",
            &[0xf3, 0x0f, 0x1e, 0xfa, 0x64, 0x48, 0x8b, 0x04, 0x25, 0xe8, 0xff, 0xff, 0xff, 0xc3],
            Some(ThreadLocal::Fixed(-0x18)),
        );
        // sub rsp,8; data16 lea rdi,[rip+0x100]; data16 data16 rex.W call; mov rax,[rax]; ...
        let mut general = vec![
            0x48, 0x83, 0xec, 0x08, 0x66, 0x48, 0x8d, 0x3d, 0x00, 0x01, 0, 0, 0x66, 0x66, 0x48,
            0xe8, 0, 0, 0, 0, 0x48, 0x8b, 0x00, 0x48, 0x83, 0xc4, 0x08, 0xc3,
        ];
        let pair = |displacement| ThreadLocal::Pair { svma: 0x110c, displacement };
        check("a library", &general, Some(pair(0)));
        general.splice(20..23, [0x48, 0x8b, 0x40, 0x08]);
        check("a library with one block for all", &general, Some(pair(8)));
        check(
            "initial-exec: mov rax,[rip+0x10]; mov rax,fs:[rax]; ret",
            &[0x48, 0x8b, 0x05, 0x10, 0, 0, 0, 0x64, 0x48, 0x8b, 0x00, 0xc3],
            Some(ThreadLocal::OffsetAt(0x1017)),
        );
        check(
            "a descriptor: lea rax,[rip+0x10]; call [rax]; mov rax,fs:[rax]; ret",
            &[0x48, 0x8d, 0x05, 0x10, 0, 0, 0, 0xff, 0x10, 0x64, 0x48, 0x8b, 0x00, 0xc3],
            Some(ThreadLocal::Descriptor(0x1017)),
        );
        check("nothing", &[0x31, 0xc0, 0xc3], None);
        check("a pointer chase that is no thread-local", &[0x48, 0x8b, 0x00, 0xc3], None);
    }

    #[test]
    fn the_word_of_the_runtime_is_found_with_and_without_a_table() {
        let runtime = 0x54_e540..0x57_7060;
        let shared = [0x48, 0x8b, 0x05, 0x09, 0xd8, 0x1a, 0, 0x48, 0x8b, 0x80, 0x40, 2, 0, 0, 0xc3];
        assert_eq!(word_of_runtime(&shared, 0x29_5ac0, runtime.clone()), Some(0x54_e780));
        let direct = [0x48, 0x8b, 0x05, 0xb9, 0xe3, 0x41, 0, 0xc3];
        assert_eq!(word_of_runtime(&direct, 0x63_d5c0, 0xa5_b740..0xa8_4260), Some(0xa5_b980));
        assert_eq!(word_of_runtime(&shared[..7], 0x29_5ac0, runtime.clone()), None);
        assert_eq!(word_of_runtime(&[0x31, 0xc0, 0xc3], 0, runtime), None);
    }
}
