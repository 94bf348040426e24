//! How the target's code can be walked: by frame pointers, or not yet. Decided per file from
//! its unwind tables.

use super::elf::Elf;
use super::{MappedFile, Target};
use crate::warning::Warning;
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, LittleEndian, RegisterRule, UnwindContext,
    UnwindSection, X86_64,
};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tracer_common::limits::MAX_CODE_RANGES;
use tracer_common::slot::{CodeRange, walk};

/// Time given to one file's tables; what was seen by then decides (node has 100,000 functions).
const TIME_LIMIT: Duration = Duration::from_millis(300);
/// Functions between two looks at the clock.
const CLOCK_STRIDE: usize = 1024;

/// Executable ranges of `target`, sorted, not overlapping, each with the way to walk it;
/// neighbours of one file are one range.
///
/// # Cost
/// Reads the unwind tables of every mapped file: 5-20 ms for libc and Python, at most 0.3 s for
/// a file.
pub fn stable_exec_mappings(target: &Target) -> (Vec<CodeRange>, Vec<Warning>) {
    let mut kinds = BTreeMap::new();
    let mut ranges: Vec<(CodeRange, Option<super::FileId>)> = Vec::new();
    for mapping in target.mappings.iter().filter(|mapping| mapping.executable) {
        let walk = match target.file_of(mapping) {
            Some(file) => *kinds.entry(file.id).or_insert_with(|| walk_kind(file)),
            None if mapping.file.is_some() || mapping.is_special() => walk::NONE,
            // Code of a JIT: those in use (V8, HotSpot, LuaJIT's exits) keep frame pointers.
            None => walk::FRAME_POINTER,
        };
        let last_id = mapping.file;
        match ranges.last_mut() {
            Some((last, id))
                if last.end_avma == mapping.start_avma && last.walk == walk && *id == last_id =>
            {
                last.end_avma = mapping.end_avma
            }
            _ => ranges.push((
                CodeRange {
                    start_avma: mapping.start_avma,
                    end_avma: mapping.end_avma,
                    walk,
                    ..CodeRange::default()
                },
                last_id,
            )),
        }
    }
    let mut warnings = Vec::new();
    if ranges.len() > MAX_CODE_RANGES {
        warnings.push(Warning::new(
            "too-many-code-ranges",
            format!("The process has {} executable ranges and {MAX_CODE_RANGES} are followed; stacks through the others end early.", ranges.len()),
            "",
        ));
        // Files first: JIT ranges are the many and the short-lived.
        ranges.sort_by_key(|(range, id)| (id.is_none(), range.start_avma));
        ranges.truncate(MAX_CODE_RANGES);
        ranges.sort_by_key(|(range, _)| range.start_avma);
    }
    (ranges.into_iter().map(|(range, _)| range).collect(), warnings)
}

/// How a file's code is walked.
fn walk_kind(file: &MappedFile) -> u32 {
    // The dynamic linker of musl is its libc, and has next to no tables; nor frame pointers.
    match frame_pointer_share(&file.elf) {
        Some(share) if share >= 0.5 => walk::FRAME_POINTER,
        Some(_) => walk::NONE,
        // No tables at all: Go's compiler keeps frame pointers, hand-written assembly does not.
        None if file.elf.section(".gopclntab").is_some() => walk::FRAME_POINTER,
        None => walk::NONE,
    }
}

/// Share of the described code, by bytes of functions, that sets up rbp as its frame pointer;
/// `None` when nothing is described. Stubs (the PLT) and dead ends (`_start`) say nothing about
/// a compiler's habit and are left out.
pub fn frame_pointer_share(elf: &Elf) -> Option<f64> {
    let section = elf.section(".eh_frame")?;
    let bytes = elf.section_bytes(section)?;
    let eh_frame = EhFrame::new(&bytes, LittleEndian);
    let mut bases = BaseAddresses::default().set_eh_frame(section.svma);
    if let Some(text) = elf.section(".text") {
        bases = bases.set_text(text.svma);
    }
    let stubs: Vec<_> = elf
        .sections
        .iter()
        .filter(|section| section.name.starts_with(".plt"))
        .map(|section| section.svma..section.svma.saturating_add(section.length_bytes))
        .collect();
    let (mut with, mut all) = (0u64, 0u64);
    let mut cies = HashMap::new();
    let mut context = UnwindContext::new();
    let mut entries = eh_frame.entries(&bases);
    let started = Instant::now();
    let mut count = 0usize;
    // A damaged table ends the walk: what was read so far decides.
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        count += 1;
        if count.is_multiple_of(CLOCK_STRIDE) && started.elapsed() > TIME_LIMIT {
            break;
        }
        let parsed = partial.parse(|section, bases, offset| match cies.get(&offset) {
            Some(cie) => Ok(Clone::clone(cie)),
            None => section.cie_from_offset(bases, offset).inspect(|cie| {
                cies.insert(offset, cie.clone());
            }),
        });
        let Ok(fde) = parsed else { continue };
        if stubs.iter().any(|stub| stub.contains(&fde.initial_address())) {
            continue;
        }
        let Ok(mut rows) = fde.rows(&eh_frame, &bases, &mut context) else { continue };
        let mut keeps = false;
        let mut is_outermost = false;
        while let Ok(Some(row)) = rows.next_row() {
            keeps |= matches!(row.cfa(), CfaRule::RegisterAndOffset { register, .. } if *register == X86_64::RBP);
            is_outermost |= matches!(row.register(X86_64::RA), Some(RegisterRule::Undefined));
        }
        if !is_outermost {
            all = all.saturating_add(fde.len());
            with = with.saturating_add(if keeps { fde.len() } else { 0 });
        }
    }
    (all > 0).then(|| with as f64 / all as f64)
}

/// The functions (by unwind table) that hold the given addresses, each with how many of them it
/// holds; file numbering.
pub fn functions_holding(elf: &Elf, svmas: &[u64]) -> Vec<((u64, u64), usize)> {
    let Some(section) = elf.section(".eh_frame") else { return Vec::new() };
    let Some(bytes) = elf.section_bytes(section) else { return Vec::new() };
    let eh_frame = EhFrame::new(&bytes, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.svma);
    let mut sorted = svmas.to_vec();
    sorted.sort_unstable();
    let mut found = Vec::new();
    let mut entries = eh_frame.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(fde) = partial.parse(EhFrame::cie_from_offset) else { continue };
        let (start, end) = (fde.initial_address(), fde.initial_address().saturating_add(fde.len()));
        let inside = sorted
            .partition_point(|svma| *svma < end)
            .saturating_sub(sorted.partition_point(|svma| *svma < start));
        if inside > 0 {
            found.push(((start, end), inside));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::Command;

    /// A C program's share, compiled with `flag`; `None` where there is no compiler.
    fn compiled_share(flag: &str) -> Option<f64> {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("small.c");
        std::fs::write(&source, "#include <stdlib.h>\nint work(int n){ volatile char *p = malloc(n); p[0] = 1; free((void*)p); return n; }\nint main(int c, char **v){ (void)v; return work(c) == 3; }\n").unwrap();
        let program = folder.path().join("small");
        let status =
            Command::new("cc").args(["-O2", flag, "-o"]).arg(&program).arg(&source).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no C compiler");
            return None;
        }
        frame_pointer_share(&Elf::read(File::open(&program).unwrap()).unwrap())
    }

    #[test]
    fn even_a_tiny_program_shows_whether_it_keeps_frame_pointers() {
        if let (Some(with), Some(without)) =
            (compiled_share("-fno-omit-frame-pointer"), compiled_share("-fomit-frame-pointer"))
        {
            assert!(with >= 0.5, "{with}");
            assert!(without < 0.5, "{without}");
        }
    }
}
