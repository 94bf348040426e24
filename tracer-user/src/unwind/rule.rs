//! From a row of call frame information to a rule that the kernel side can follow.

use gimli::{
    CfaRule, EhFrame, EndianSlice, LittleEndian, Operation, Reader as _, Register, RegisterRule,
    UnwindExpression, UnwindTableRow, X86_64,
};
use tracer_common::unwind::{Rule, cfa, rbp};

/// Bytes read here.
pub type Bytes<'a> = EndianSlice<'a, LittleEndian>;
/// A section read here.
pub type Section<'a> = EhFrame<Bytes<'a>>;

/// Encoding of all expressions in .eh_frame of 64-bit files.
const ENCODING: gimli::Encoding =
    gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };
/// Where rsp is in the kernel's `sigcontext`, in bytes.
const SIGCONTEXT_RSP: i64 = 120;
/// The expression that linkers write for a procedure linkage table, around its one number:
/// `rsp + 8 + (((rip & 15) >= N) << 3)`, N a `DW_OP_lit`.
const PLT_HEAD: [u8; 6] = [0x77, 8, 0x80, 0, 0x3f, 0x1a];
const PLT_TAIL: [u8; 4] = [0x2a, 0x33, 0x24, 0x22];
/// `DW_OP_lit0`.
const LIT0: u8 = 0x30;

/// The rule that a row stands for; `is_signal` is what its function's augmentation says.
pub fn of(row: &UnwindTableRow<usize>, section: &Section<'_>, is_signal: bool) -> Rule {
    let unsupported = Rule { cfa: cfa::UNSUPPORTED, ..Rule::default() };
    let Some(frame) = frame_address(row.cfa(), section, is_signal) else { return unsupported };
    if frame.cfa == cfa::SIGNAL {
        return frame;
    }
    match row.register(X86_64::RA) {
        Some(RegisterRule::Offset(-8)) => {}
        Some(RegisterRule::Undefined) => return Rule { cfa: cfa::OUTERMOST, ..Rule::default() },
        _ => return unsupported,
    }
    let (rbp, rbp_offset) = frame_pointer(row, section);
    Rule { rbp, rbp_offset, ..frame }
}

/// How the canonical frame address is computed; `None` for what is not walked.
fn frame_address(rule: &CfaRule<usize>, section: &Section<'_>, is_signal: bool) -> Option<Rule> {
    let with = |kind, offset: i64, add: i64| {
        Some(Rule {
            cfa: kind,
            cfa_offset: i32::try_from(offset).ok()?,
            cfa_add: i32::try_from(add).ok()?,
            ..Rule::default()
        })
    };
    let expression = match rule {
        CfaRule::RegisterAndOffset { register: X86_64::RSP, offset } => {
            return with(cfa::RSP, *offset, 0);
        }
        CfaRule::RegisterAndOffset { register: X86_64::RBP, offset } => {
            return with(cfa::RBP, *offset, 0);
        }
        CfaRule::RegisterAndOffset { .. } => return None,
        CfaRule::Expression(expression) => expression,
    };
    let bytes = expression.get(section).ok()?.0;
    if let Some(number) = bytes.slice().strip_prefix(&PLT_HEAD)
        && let [literal, tail @ ..] = number
        && tail == PLT_TAIL
    {
        let number = literal.checked_sub(LIT0).filter(|number| *number < 16)?;
        return with(cfa::PLT, i64::from(number), 0);
    }
    match dereference(bytes)? {
        (X86_64::RSP, offset, 0) if is_signal => {
            with(cfa::SIGNAL, offset.checked_sub(SIGCONTEXT_RSP)?, 0)
        }
        _ if is_signal => None,
        (X86_64::RSP, offset, add) => with(cfa::DEREF_RSP, offset, add),
        (X86_64::RBP, offset, add) => with(cfa::DEREF_RBP, offset, add),
        _ => None,
    }
}

/// An expression of the form `*(register + offset) + add`.
fn dereference(mut bytes: Bytes<'_>) -> Option<(Register, i64, i64)> {
    let mut next =
        || (!bytes.is_empty()).then(|| Operation::parse(&mut bytes, ENCODING)).transpose().ok();
    let Some(Operation::RegisterOffset { register, offset, .. }) = next()? else { return None };
    let Some(Operation::Deref { size: 8, space: false, .. }) = next()? else { return None };
    let add = match next()? {
        None => 0,
        Some(Operation::PlusConstant { value }) => i64::try_from(value).ok()?,
        Some(Operation::UnsignedConstant { value }) => match next()? {
            Some(Operation::Plus) => i64::try_from(value).ok()?,
            _ => return None,
        },
        Some(_) => return None,
    };
    next()?.is_none().then_some((register, offset, add))
}

/// How the caller's rbp is found: one of [`rbp`], and its offset.
fn frame_pointer(row: &UnwindTableRow<usize>, section: &Section<'_>) -> (u16, i32) {
    let found = match row.register(X86_64::RBP) {
        None | Some(RegisterRule::SameValue) => Some((rbp::SAME, 0)),
        Some(RegisterRule::Offset(offset)) => Some((rbp::AT_CFA, offset)),
        Some(RegisterRule::Expression(expression)) => {
            saved_by_rbp(&expression, section).map(|offset| (rbp::AT_RBP, offset))
        }
        Some(_) => None,
    };
    found
        .and_then(|(kind, offset)| Some((kind, i32::try_from(offset).ok()?)))
        .unwrap_or((rbp::UNDEFINED, 0))
}

/// Offset of an expression of the form `rbp + offset`.
fn saved_by_rbp(expression: &UnwindExpression<usize>, section: &Section<'_>) -> Option<i64> {
    let mut bytes = expression.get(section).ok()?.0;
    match Operation::parse(&mut bytes, ENCODING).ok()? {
        Operation::RegisterOffset { register: X86_64::RBP, offset, .. } if bytes.is_empty() => {
            Some(offset)
        }
        _ => None,
    }
}
