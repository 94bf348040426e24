//! Where a jump of the target's code leads: to code of the same file, or through the procedure
//! linkage table to a function by name.

use crate::target::elf::Elf;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use std::collections::HashMap;

/// Longest stub: endbr64, and a jump with its prefix.
const MAX_STUB_BYTES: u64 = 16;

/// Where a jump leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An address of the same file.
    Code(u64),
    /// A function that the dynamic linker finds by this name.
    Import(String),
    /// Through a pointer that is set at run time.
    Unknown,
}

/// Jumps of one file.
pub struct Jumps<'a> {
    elf: &'a Elf,
    imports: HashMap<u64, String>,
    /// Stubs of the procedure linkage table.
    linkage: Vec<std::ops::Range<u64>>,
}

impl<'a> Jumps<'a> {
    /// Of this file.
    pub fn of(elf: &'a Elf) -> Self {
        let linkage = elf
            .sections
            .iter()
            .filter(|section| section.name.starts_with(".plt"))
            .map(|section| section.svma..section.svma.saturating_add(section.length_bytes))
            .collect();
        Self { elf, imports: elf.imports(), linkage }
    }

    /// Where an unconditional or conditional jump, or a call, leads.
    pub fn destination(&self, jump: &Instruction) -> Destination {
        match jump.flow_control() {
            FlowControl::UnconditionalBranch
            | FlowControl::ConditionalBranch
            | FlowControl::Call => {
                let target = jump.near_branch_target();
                if self.linkage.iter().any(|stub| stub.contains(&target)) {
                    // A stub of the table is one jump through its slot.
                    return match self.stub(target) {
                        Some(Destination::Import(name)) => Destination::Import(name),
                        _ => Destination::Unknown,
                    };
                }
                Destination::Code(target)
            }
            FlowControl::IndirectBranch | FlowControl::IndirectCall
                if jump.is_ip_rel_memory_operand() =>
            {
                match self.imports.get(&jump.ip_rel_memory_address()) {
                    Some(name) => Destination::Import(name.clone()),
                    None => Destination::Unknown,
                }
            }
            _ => Destination::Unknown,
        }
    }

    /// Where the function at `svma` leads when it is nothing but a jump; `None` when it is more.
    pub fn stub(&self, svma: u64) -> Option<Destination> {
        let code = self.elf.bytes_at_svma(svma, MAX_STUB_BYTES)?;
        let mut decoder = Decoder::with_ip(64, &code, svma, DecoderOptions::NONE);
        let mut first = decoder.decode();
        if first.mnemonic() == Mnemonic::Endbr64 {
            first = decoder.decode();
        }
        match first.flow_control() {
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                Some(self.destination(&first))
            }
            _ => None,
        }
    }
}
