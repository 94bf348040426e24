//! The member tables of an interpreter's own types: they say where fields that Python code can see
//! lie in code and frame objects, whatever the build. They lie in the target's memory, so
//! everything is checked.
//!
//! # Sources
//! CPython's Include/cpython/object.h (`PyTypeObject`), Include/structmember.h (`PyMemberDef`).

use super::layout::Layout;
use super::objects::LineForm;
use crate::runtime::memory::{read_vec, u64_in};
use std::collections::HashMap;
use tracer_common::python::INSTR_LASTI;

/// `PyTypeObject.tp_basicsize`.
const BASIC_BYTES: usize = 32;
/// `PyTypeObject.tp_members`.
const MEMBERS: usize = 240;
/// `sizeof(PyMemberDef)`, and its `offset`.
const MEMBER_BYTES: usize = 40;
const MEMBER_OFFSET: usize = 16;
/// Members that are looked at; types have up to 17.
const MAX_MEMBERS: usize = 40;
/// Longest name that matters, with its end.
const NAME_BYTES: usize = 24;
/// No field that matters lies behind this, in bytes.
const MAX_OFFSET: u64 = 504;

/// What a type says of its objects: bytes of one, and where its members lie.
#[derive(Clone, Debug, Default)]
pub struct Members {
    basic_bytes: u64,
    offsets: HashMap<String, u64>,
}

impl Members {
    fn offset(&self, name: &str) -> Option<u64> {
        self.offsets.get(name).copied()
    }
}

/// The table of the type at `type_avma` of process `tgid` (with the GIL: others have other
/// headers).
pub fn read(tgid: u32, type_avma: u64) -> Option<Members> {
    if type_avma == 0 {
        return None;
    }
    let head = read_vec(tgid, type_avma, MEMBERS + 8)?;
    let mut members = Members { basic_bytes: u64_in(&head, BASIC_BYTES)?, offsets: HashMap::new() };
    let table = u64_in(&head, MEMBERS)?;
    for index in 0..MAX_MEMBERS {
        let member = read_vec(tgid, table.checked_add((index * MEMBER_BYTES) as u64)?, 24)?;
        let name_avma = u64_in(&member, 0)?;
        if name_avma == 0 {
            break;
        }
        let offset = u64_in(&member, MEMBER_OFFSET)?;
        if let Some(name) = name_at(tgid, name_avma)
            && offset < MAX_OFFSET
        {
            members.offsets.insert(name, offset);
        }
    }
    (!members.offsets.is_empty()).then_some(members)
}

/// A short C string; longer ones are none that matter.
fn name_at(tgid: u32, avma: u64) -> Option<String> {
    let bytes = read_vec(tgid, avma, NAME_BYTES)?;
    let length = bytes.iter().position(|byte| *byte == 0)?;
    String::from_utf8(bytes[..length].to_vec()).ok()
}

/// Corrects a version's table by what its types say; false, and nothing changed, where they do not
/// say enough.
pub(super) fn apply(layout: &mut Layout, code: &Members, frame: &Members) -> bool {
    let objects = layout.objects;
    let (name, line_table) = match objects.lines {
        LineForm::Deltas => ("co_name", "co_lnotab"),
        LineForm::Ranges => ("co_name", "co_linetable"),
        LineForm::Locations { .. } => ("co_qualname", "co_linetable"),
    };
    let fields = ["co_filename", name, line_table, "co_firstlineno"].map(|name| code.offset(name));
    let [Some(filename), Some(name), Some(line_table), Some(first_line)] = fields else {
        return false;
    };
    let mut corrected = *layout;
    corrected.objects.filename = filename as usize;
    corrected.objects.name = name as usize;
    corrected.objects.line_table = line_table as usize;
    corrected.objects.first_line = first_line as usize;
    if let LineForm::Locations { bytecode } = &mut corrected.objects.lines {
        // The bytecode is what follows the fields.
        if !(64..MAX_OFFSET).contains(&code.basic_bytes) {
            return false;
        }
        *bytecode = code.basic_bytes as i64;
    }
    if corrected.walk.instr_form == INSTR_LASTI {
        let (Some(back), Some(its_code)) = (frame.offset("f_back"), frame.offset("f_code")) else {
            return false;
        };
        let instr = frame.offset("f_lasti").unwrap_or(u64::from(corrected.walk.frame_instr));
        // As far as the kernel side reads a frame.
        let fits = |offset: u64| offset.is_multiple_of(8) && offset <= 104;
        if !fits(back) || !fits(its_code) || !instr.is_multiple_of(4) || instr > 108 {
            return false;
        }
        corrected.walk.frame_previous = back as u32;
        corrected.walk.frame_code = its_code as u32;
        corrected.walk.frame_instr = instr as u32;
    }
    *layout = corrected;
    true
}
