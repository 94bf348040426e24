//! Reads a whole .eh_frame. It is the target's: every count, length and amount of work is bounded,
//! and what overlaps is settled the same way each time.

use super::builder::Builder;
use super::rule::{self, Section};
use super::{MAX_TABLE_ROWS, UnwindTable};
use crate::target::elf::Elf;
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, CommonInformationEntry, EhFrame, EhFrameOffset, LittleEndian,
    UnwindContext, UnwindSection as _, X86_64,
};
use std::collections::HashMap;
use std::ops::Range;
use tracer_common::unwind::{Rule, cfa, rbp};

/// Largest .eh_frame that is read, in bytes; Chromium's, the largest known, has 30 MB.
pub const MAX_SECTION_BYTES: u64 = 128 << 20;
/// Functions in one file; the largest files known have a million.
const MAX_FUNCTIONS: usize = 1 << 22;
/// Bytes of call frame instructions that are carried out for one file, those that functions share
/// counted each time: a forged file could share long ones among very many functions. With the
/// dearest instructions there are, this many take seven seconds.
const MAX_WORK_BYTES: u64 = 64 << 20;
/// Bytes that functions may share.
const MAX_SHARED_BYTES: usize = 1024;
/// Share of the described code above which a file is taken to keep frame pointers throughout.
const KEEPS_FRAME_POINTERS: f64 = 0.5;

type Bytes<'a> = rule::Bytes<'a>;
type Cie<'a> = CommonInformationEntry<Bytes<'a>>;

/// What of a file a table is made from.
#[derive(Debug)]
pub struct UnwindSource<'a> {
    /// The section's bytes.
    pub eh_frame: &'a [u8],
    /// Where it is loaded, in the file's own numbering.
    pub eh_frame_svma: u64,
    /// Where .text is loaded.
    pub text_svma: Option<u64>,
    /// The addresses that hold code.
    pub code: Range<u64>,
    /// Stubs between files, whose habits say nothing about the compiler's.
    pub stubs: Vec<Range<u64>>,
    /// Code without unwind information keeps frame pointers, whatever the rest does.
    pub has_go_code: bool,
    /// Bytes of call frame instructions that are carried out at most.
    pub max_work_bytes: u64,
}

/// A function: where it begins and ends, and where it is described.
struct Described {
    svmas: Range<u64>,
    place: EhFrameOffset,
}

/// Bytes of functions that keep frame pointers, and of all.
#[derive(Default)]
struct Habit {
    with: u64,
    all: u64,
}

impl<'a> UnwindSource<'a> {
    /// Of an ELF file whose .eh_frame has the given bytes and address.
    pub fn of(elf: &Elf, eh_frame: &'a [u8], eh_frame_svma: u64) -> Self {
        let is_stub = |name: &str| name.starts_with(".plt");
        Self {
            eh_frame,
            eh_frame_svma,
            text_svma: elf.section(".text").map(|text| text.svma),
            code: elf.code_svmas(),
            stubs: elf
                .sections
                .iter()
                .filter(|section| is_stub(&section.name))
                .map(|section| section.svma..section.svma.saturating_add(section.length_bytes))
                .collect(),
            has_go_code: elf.section(".gopclntab").is_some(),
            max_work_bytes: MAX_WORK_BYTES,
        }
    }

    /// The table.
    pub fn build(&self) -> UnwindTable {
        let section = EhFrame::new(self.eh_frame, LittleEndian);
        let mut bases = BaseAddresses::default().set_eh_frame(self.eh_frame_svma);
        if let Some(text) = self.text_svma {
            bases = bases.set_text(text);
        }
        let mut builder = Builder::new(self.code.clone());
        let mut cies = HashMap::new();
        let mut functions = self.functions(&section, &bases, &mut cies, &mut builder);
        // Of functions that overlap the one that begins first counts, then the one described first.
        functions.sort_by_key(|function| (function.svmas.start, function.place.0));
        let habit = self.write_rows(&section, &bases, &mut cies, &functions, &mut builder);
        let keeps = habit.all > 0 && habit.with as f64 >= KEEPS_FRAME_POINTERS * habit.all as f64;
        let gap = if keeps || self.has_go_code { by_frame_pointer() } else { Rule::default() };
        builder.finish(gap)
    }

    /// All functions that lie in the code, in the order of their description.
    fn functions(
        &self,
        section: &Section<'a>,
        bases: &BaseAddresses,
        cies: &mut HashMap<usize, Cie<'a>>,
        builder: &mut Builder,
    ) -> Vec<Described> {
        let mut functions = Vec::new();
        let mut entries = section.entries(bases);
        for _ in 0..MAX_FUNCTIONS {
            let partial = match entries.next() {
                Ok(None) => return functions,
                Ok(Some(CieOrFde::Cie(_))) => continue,
                Ok(Some(CieOrFde::Fde(partial))) => partial,
                Err(_) => {
                    builder.note_damage();
                    return functions;
                }
            };
            let place = EhFrameOffset(partial.offset());
            match partial.parse(|section, bases, at| cie(section, bases, at, cies)) {
                Ok(fde) => {
                    let start = fde.initial_address();
                    let svmas = start..start.saturating_add(fde.len());
                    if svmas.start < self.code.end && svmas.end > self.code.start {
                        functions.push(Described { svmas, place });
                    }
                }
                Err(_) => builder.note_damage(),
            }
        }
        builder.unread_from(self.code.start);
        functions
    }

    /// Writes the rows of `functions`, which are sorted, and the gaps between them.
    fn write_rows(
        &self,
        section: &Section<'a>,
        bases: &BaseAddresses,
        cies: &mut HashMap<usize, Cie<'a>>,
        functions: &[Described],
        builder: &mut Builder,
    ) -> Habit {
        let mut habit = Habit::default();
        let mut context = UnwindContext::new();
        let mut covered_to = self.code.start;
        let mut work_bytes = 0_u64;
        for function in functions {
            if function.svmas.end <= covered_to {
                continue;
            }
            let start = function.svmas.start.max(covered_to);
            if start > covered_to {
                builder.gap_from(covered_to);
            }
            covered_to = function.svmas.end;
            let Ok(fde) = section.fde_from_offset(bases, function.place, |section, bases, at| {
                cie(section, bases, at, cies)
            }) else {
                builder.damage_from(start);
                continue;
            };
            work_bytes += (fde.entry_len() + fde.cie().entry_len()) as u64;
            if work_bytes > self.max_work_bytes || builder.is_full() {
                builder.unread_from(start);
                return habit;
            }
            let Ok(mut rows) = fde.rows(section, bases, &mut context) else {
                builder.damage_from(start);
                continue;
            };
            let is_signal = fde.is_signal_trampoline();
            let (mut keeps, mut is_outermost) = (false, false);
            let mut reached = start;
            for _ in 0..MAX_TABLE_ROWS {
                let row = match rows.next_row() {
                    Ok(Some(row)) => row,
                    Ok(None) => break,
                    Err(_) => {
                        builder.damage_from(reached);
                        break;
                    }
                };
                let end = row.end_address().min(function.svmas.end);
                if row.start_address() >= end || end <= reached {
                    continue;
                }
                let rule = rule::of(row, section, is_signal);
                keeps |= is_by_rbp(row.cfa());
                is_outermost |= rule.cfa == cfa::OUTERMOST;
                builder.rule_from(row.start_address().max(reached), rule);
                reached = end;
            }
            // Dead ends (`_start`) and stubs have no frame pointer in any file.
            if !is_outermost && !self.is_stub(function.svmas.start) {
                let bytes = function.svmas.end - function.svmas.start;
                habit.all = habit.all.saturating_add(bytes);
                habit.with = habit.with.saturating_add(if keeps { bytes } else { 0 });
            }
        }
        builder.gap_from(covered_to);
        habit
    }

    fn is_stub(&self, svma: u64) -> bool {
        self.stubs.iter().any(|stub| stub.contains(&svma))
    }
}

/// The rule for code that keeps frame pointers, once its prologue is over.
fn by_frame_pointer() -> Rule {
    Rule { cfa: cfa::FRAME_POINTER, rbp: rbp::AT_CFA, cfa_offset: 16, cfa_add: 0, rbp_offset: -16 }
}

fn is_by_rbp(rule: &CfaRule<usize>) -> bool {
    matches!(rule, CfaRule::RegisterAndOffset { register: X86_64::RBP, .. })
}

/// What functions share, parsed once.
fn cie<'a>(
    section: &Section<'a>,
    bases: &BaseAddresses,
    at: EhFrameOffset,
    cies: &mut HashMap<usize, Cie<'a>>,
) -> gimli::Result<Cie<'a>> {
    if let Some(cie) = cies.get(&at.0) {
        return Ok(cie.clone());
    }
    let cie = section.cie_from_offset(bases, at)?;
    if cie.entry_len() > MAX_SHARED_BYTES {
        return Err(gimli::Error::UnexpectedEof(gimli::ReaderOffsetId(at.0 as u64)));
    }
    cies.insert(at.0, cie.clone());
    Ok(cie)
}
