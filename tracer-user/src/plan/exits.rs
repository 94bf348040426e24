//! Where a function returns: every return instruction that its calls can end at, those of the
//! functions that it ends in by a jump included. For functions that may throw, and so may not
//! carry a return probe.

use super::jump::{Destination, Jumps};
use crate::target::elf::Elf;
use crate::target::function_table::FunctionTable;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    Register,
};

/// Functions that are followed, and return instructions that are believed, before it is given up.
const MAX_FUNCTIONS: usize = 32;
const MAX_EXITS: usize = 64;
/// Longest function that is decoded, in bytes.
const MAX_FUNCTION_BYTES: u64 = 64 << 10;
/// Beginnings of the names of functions that never return.
const NEVER_RETURN: [&str; 6] = [
    "abort",
    "__cxa_throw",
    "__cxa_rethrow",
    "_Unwind_Resume",
    "_ZSt17__throw_bad_alloc",
    "_ZSt9terminate",
];

/// How the calls of a function end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// Addresses of return instructions, sorted.
    pub svmas: Vec<u64>,
    /// It does nothing before it calls, or ends in, a function that is probed: it is seen through
    /// that one.
    pub passes_on: bool,
}

/// What the walk needs to know of a file.
pub struct Code<'a> {
    /// The file.
    pub elf: &'a Elf,
    /// Its jumps.
    pub jumps: &'a Jumps<'a>,
    /// Its functions.
    pub functions: &'a FunctionTable,
    /// Address of a function that the file itself defines.
    pub defined: &'a dyn Fn(&str) -> Option<u64>,
    /// Whether the function at an address is probed and settles its calls itself.
    pub settles: &'a dyn Fn(u64) -> bool,
}

/// The exits of the function at `svma`, `length_bytes` long by its symbol.
///
/// # Errors
/// A clause that says which exit cannot be told.
pub fn find(code: &Code<'_>, svma: u64, length_bytes: u64) -> Result<Exits, String> {
    let mut exits = Exits::default();
    let first = code
        .functions
        .holding(svma)
        .filter(|(start, _)| *start == svma)
        .unwrap_or((svma, svma.saturating_add(length_bytes)));
    let mut ranges = vec![first];
    let mut next = 0;
    while let Some(range) = ranges.get(next).copied() {
        let is_own = next == 0;
        next += 1;
        for target in walk(code, range, is_own, &mut exits)? {
            let known = |(start, end): &(u64, u64)| (*start..*end).contains(&target);
            if ranges.iter().any(known) {
                continue;
            }
            if ranges.len() >= MAX_FUNCTIONS {
                return Err("it ends in too many other functions".into());
            }
            let found = code.functions.holding(target);
            ranges.push(found.ok_or("it ends in code that no table describes")?);
        }
        if exits.svmas.len() > MAX_EXITS {
            return Err("it returns in too many places".into());
        }
    }
    exits.svmas.sort_unstable();
    exits.svmas.dedup();
    if exits.svmas.is_empty() && !exits.passes_on {
        return Err("it has no return instruction".into());
    }
    Ok(exits)
}

/// Takes the exits of one range; returns the places outside it that it jumps to.
fn walk(
    code: &Code<'_>,
    (start, end): (u64, u64),
    is_own: bool,
    exits: &mut Exits,
) -> Result<Vec<u64>, String> {
    let length = end.saturating_sub(start);
    if length == 0 || length > MAX_FUNCTION_BYTES {
        return Err("its length is not known or not plausible".into());
    }
    let bytes = code.elf.bytes_at_svma(start, length).ok_or("its code cannot be read")?;
    let mut targets = Vec::new();
    let mut info = InstructionInfoFactory::new();
    // Whether nothing but preparation has come so far.
    let mut is_prologue = is_own;
    for instruction in Decoder::with_ip(64, &bytes, start, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return Err("its code cannot be decoded".into());
        }
        if instruction.mnemonic() == Mnemonic::Ret {
            exits.svmas.push(instruction.ip());
            is_prologue = false;
            continue;
        }
        is_prologue &= !stores(&instruction, &mut info);
        let flow = instruction.flow_control();
        let is_jump = matches!(
            flow,
            FlowControl::UnconditionalBranch
                | FlowControl::ConditionalBranch
                | FlowControl::IndirectBranch
        );
        if !is_jump && flow != FlowControl::Call && flow != FlowControl::IndirectCall {
            continue;
        }
        let target = match code.jumps.destination(&instruction) {
            Destination::Code(target) => Some(target),
            Destination::Import(name) => match (code.defined)(&name) {
                Some(target) => Some(target),
                None if !is_jump || NEVER_RETURN.iter().any(|end| name.starts_with(end)) => None,
                None => return Err(format!("it ends in {name}, outside of its file")),
            },
            Destination::Unknown if is_jump => return Err("it ends in a computed jump".into()),
            Destination::Unknown => None,
        };
        let Some(target) = target else { continue };
        if (code.settles)(target) && target != start {
            exits.passes_on |= is_prologue;
        } else if is_jump && !(start..end).contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// Whether it writes to memory other than the stack.
fn stores(instruction: &Instruction, info: &mut InstructionInfoFactory) -> bool {
    info.info(instruction).used_memory().iter().any(|memory| {
        let writes = matches!(
            memory.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        writes && memory.base() != Register::RSP
    })
}

#[cfg(test)]
mod tests;
