//! Tables of real files against gimli's own look-up of single addresses.

use super::*;
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, LittleEndian, RegisterRule, UnwindContext,
    UnwindSection as _, X86_64,
};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use tracer_common::unwind::{cfa, rbp};

/// Addresses looked up in each file, beside those at page borders.
const SAMPLES: u64 = 4000;

fn elf(path: &Path) -> Elf {
    Elf::read(File::open(path).unwrap()).unwrap()
}

/// The file that this process itself maps under a name that begins so.
fn mapped_here(name: &str) -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| {
        Path::new(path).file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
    });
    PathBuf::from(path.unwrap_or_else(|| panic!("{name} is not mapped")))
}

/// What gimli finds in the file's own search table (.eh_frame_hdr), in our words.
struct Oracle<'a> {
    section: rule::Section<'a>,
    header: gimli::ParsedEhFrameHdr<rule::Bytes<'a>>,
    bases: BaseAddresses,
    context: UnwindContext<usize>,
}

impl<'a> Oracle<'a> {
    fn new(elf: &Elf, eh_frame: &'a [u8], header: &'a [u8]) -> Self {
        let svma = |name: &str| elf.section(name).unwrap().svma;
        let bases = BaseAddresses::default()
            .set_eh_frame(svma(".eh_frame"))
            .set_eh_frame_hdr(svma(".eh_frame_hdr"))
            .set_text(svma(".text"));
        let header = EhFrameHdr::new(header, LittleEndian).parse(&bases, 8).unwrap();
        let section = EhFrame::new(eh_frame, LittleEndian);
        Self { section, header, bases, context: UnwindContext::new() }
    }

    /// Whether `rule` is what gimli says about `svma`; `false` for both being silent is a
    /// difference too.
    fn agrees(&mut self, svma: u64, rule: Rule) -> bool {
        let row = self.header.table().unwrap().unwind_info_for_address(
            &self.section,
            &self.bases,
            &mut self.context,
            svma,
            EhFrame::cie_from_offset,
        );
        let Ok(row) = row else {
            return matches!(rule.cfa, cfa::NONE | cfa::FRAME_POINTER);
        };
        let outermost = matches!(row.register(X86_64::RA), Some(RegisterRule::Undefined));
        let ordinary = matches!(row.register(X86_64::RA), Some(RegisterRule::Offset(-8)));
        let cfa_agrees = match row.cfa() {
            _ if outermost => rule.cfa == cfa::OUTERMOST,
            CfaRule::RegisterAndOffset { register, offset } => match rule.cfa {
                cfa::RSP => *register == X86_64::RSP && *offset == i64::from(rule.cfa_offset),
                cfa::RBP => *register == X86_64::RBP && *offset == i64::from(rule.cfa_offset),
                cfa::UNSUPPORTED => {
                    !ordinary || (*register != X86_64::RSP && *register != X86_64::RBP)
                }
                _ => false,
            },
            // Evaluated by gimli on made-up registers and memory.
            CfaRule::Expression(expression) => {
                let expression = expression.get(&self.section).unwrap();
                match evaluate(expression) {
                    Some(address) => rule.cfa != cfa::UNSUPPORTED && address == computed(rule),
                    None => rule.cfa == cfa::UNSUPPORTED,
                }
            }
        };
        let rbp_agrees = match (rule.cfa, row.register(X86_64::RBP)) {
            (cfa::OUTERMOST | cfa::UNSUPPORTED | cfa::SIGNAL, _) => true,
            (_, None | Some(RegisterRule::SameValue)) => rule.rbp == rbp::SAME,
            (_, Some(RegisterRule::Offset(offset))) => {
                rule.rbp == rbp::AT_CFA && offset == i64::from(rule.rbp_offset)
            }
            (_, Some(RegisterRule::Expression(expression))) => {
                let address = evaluate(expression.get(&self.section).unwrap()).unwrap();
                rule.rbp == rbp::AT_RBP
                    && address == RBP.wrapping_add_signed(rule.rbp_offset.into())
            }
            _ => rule.rbp == rbp::UNDEFINED,
        };
        cfa_agrees && rbp_agrees
    }
}

const RSP: u64 = 0x7ffc_0000_1000;
const RBP: u64 = 0x7ffc_0000_2000;
const RIP: u64 = 0x40_100b;

/// Made-up memory: what lies at an address follows from it.
fn memory(address: u64) -> u64 {
    address.rotate_left(17) ^ 0x5555
}

/// The address that an expression yields; `None` when it asks for registers that are not kept
/// (assembly in OpenSSL's leaves).
fn evaluate(expression: gimli::Expression<rule::Bytes<'_>>) -> Option<u64> {
    let encoding = gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };
    let mut evaluation = expression.evaluation(encoding);
    let mut state = evaluation.evaluate().unwrap();
    loop {
        state = match state {
            gimli::EvaluationResult::Complete => break,
            gimli::EvaluationResult::RequiresRegister { register, .. } => {
                let value = match register {
                    X86_64::RSP => RSP,
                    X86_64::RBP => RBP,
                    X86_64::RA => RIP,
                    _ => return None,
                };
                evaluation.resume_with_register(gimli::Value::Generic(value)).unwrap()
            }
            gimli::EvaluationResult::RequiresMemory { address, .. } => {
                evaluation.resume_with_memory(gimli::Value::Generic(memory(address))).unwrap()
            }
            other => panic!("{other:?}"),
        };
    }
    match evaluation.result()[0].location {
        gimli::Location::Address { address } => Some(address),
        ref other => panic!("{other:?}"),
    }
}

/// The canonical frame address as the contract of `tracer_common::unwind` says.
fn computed(rule: Rule) -> u64 {
    let offset = i64::from(rule.cfa_offset);
    let add = i64::from(rule.cfa_add);
    match rule.cfa {
        cfa::PLT => RSP + 8 + (u64::from((RIP & 15) >= offset as u64) << 3),
        cfa::DEREF_RSP => memory(RSP.wrapping_add_signed(offset)).wrapping_add_signed(add),
        cfa::DEREF_RBP => memory(RBP.wrapping_add_signed(offset)).wrapping_add_signed(add),
        // rsp in the sigcontext.
        cfa::SIGNAL => memory(RSP.wrapping_add_signed(offset + 120)),
        other => panic!("{other}"),
    }
}

/// Compares the table of a file with gimli; how many rules of each kind were compared.
fn check(path: &Path) -> [usize; 10] {
    check_elf(&path.display().to_string(), &elf(path))
}

fn check_elf(name: &str, elf: &Elf) -> [usize; 10] {
    let table = build(elf);
    assert!(table.is_sound(), "{name}");
    assert_eq!(table.flaws, Flaws::default(), "{name}");
    let bytes = |name: &str| elf.section_bytes(elf.section(name).unwrap()).unwrap();
    let (eh_frame, header) = (bytes(".eh_frame"), bytes(".eh_frame_hdr"));
    let mut oracle = Oracle::new(elf, &eh_frame, &header);
    let code = elf.code_svmas();
    assert_eq!(table.origin_svma, code.start);
    let length = code.end - code.start;
    let borders = (0..table.page_count() as u64).flat_map(|page| {
        let border = code.start + (page << PAGE_SHIFT);
        [border.saturating_sub(1), border, border + 1]
    });
    // A fixed step that shares no factor with the length visits all parts of the file.
    let samples = (0..SAMPLES).map(|index| code.start + index * 0x9e37_79b1 % length);
    // Where rows begin is where mistakes show.
    let starts: Vec<u64> = (0..table.page_count())
        .flat_map(|page| {
            let rows = table.pages[page] as usize..table.pages[page + 1] as usize;
            let step = (rows.len() / 40).max(1);
            let base = code.start + ((page as u64) << PAGE_SHIFT);
            table.rows[rows]
                .iter()
                .step_by(step)
                .map(move |row| base + u64::from(unpack_row(*row).0))
        })
        .flat_map(|svma| [svma.saturating_sub(1), svma])
        .collect();
    let mut kinds = [0; 10];
    for svma in borders.chain(samples).chain(starts).filter(|svma| code.contains(svma)) {
        let rule = table.rule_at(svma).unwrap();
        kinds[usize::from(rule.cfa)] += 1;
        assert!(oracle.agrees(svma, rule), "{name} at {svma:#x}: {rule:?}");
    }
    kinds
}

#[test]
fn libc_is_described_as_gimli_reads_it() {
    let path = mapped_here("libc.so");
    let kinds = check(&path);
    assert!(kinds[usize::from(cfa::RSP)] > 1000 && kinds[usize::from(cfa::RBP)] > 10, "{kinds:?}");
    let elf = elf(&path);
    let table = build(&elf);
    let signal = Rule { cfa: cfa::SIGNAL, cfa_offset: 40, ..Rule::default() };
    assert!(table.rules.contains(&signal), "no signal frame");
    assert!(table.rules.iter().any(|rule| rule.cfa == cfa::PLT && rule.cfa_offset == 11));
    assert!(table.rules.iter().any(|rule| rule.cfa == cfa::OUTERMOST));
    // It is built without frame pointers.
    assert_eq!(table.rules[0], Rule::default());
}

#[test]
fn the_systems_python_is_described_as_gimli_reads_it() {
    let path = Path::new("/usr/bin/python3.11");
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return;
    }
    let kinds = check(path);
    assert!(kinds[usize::from(cfa::RSP)] > 5000, "{kinds:?}");
    // Frames of this size do not fit 16 bits.
    assert!(build(&elf(path)).rules.iter().any(|rule| rule.cfa_offset > 65_535));
}

/// A compiled C file; `None` where there is no compiler.
fn compiled(folder: &Path, name: &str, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let (input, program) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&input, source).unwrap();
    let status = Command::new("cc").args(flags).arg("-o").arg(&program).arg(&input).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler");
        return None;
    }
    Some(program)
}

/// Frames of all shapes: variable, realigned, realigned and variable, very large.
const SHAPES: &str = "#include <alloca.h>
#include <string.h>
__attribute__((noinline)) void use(volatile void *p) { *(volatile char *)p = 1; }
__attribute__((noinline)) int variable(int n) { char *p = alloca(n); use(p); return n + p[0]; }
__attribute__((noinline)) int aligned(int n) { __attribute__((aligned(128))) char b[256]; use(b); return n + b[0]; }
__attribute__((noinline)) int both(int a, int b2, int c, int d, int e, int f, int g, int n) {
  __attribute__((aligned(128))) char b[256]; use(b); char *p = alloca(n); use(p); return a + b2 + c + d + e + f + g + b[0] + p[0]; }
__attribute__((noinline)) int large(int n) { char b[3000000]; use(b); return n + b[n]; }
__attribute__((cold, noinline)) int rare(int n) { use(&n); return n; }
int main(int c, char **v) { (void)v; return variable(c) + aligned(c) + both(c, c, c, c, c, c, c, c) + large(c) + (c > 9 ? rare(c) : 0); }
";

#[test]
fn frames_of_all_shapes_are_described() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-O2", "-fomit-frame-pointer", "-fno-stack-clash-protection"];
    let Some(program) = compiled(folder.path(), "shapes", SHAPES, &flags) else { return };
    check(&program);
    let table = build(&elf(&program));
    let has = |wanted: fn(&Rule) -> bool| table.rules.iter().any(wanted);
    assert!(has(|rule| rule.cfa == cfa::RBP && rule.rbp == rbp::AT_CFA), "{:?}", table.rules);
    assert!(has(|rule| rule.cfa == cfa::DEREF_RBP && rule.rbp == rbp::AT_RBP));
    assert!(has(|rule| rule.cfa == cfa::RSP && rule.cfa_offset > 3_000_000));
    assert!(has(|rule| rule.cfa == cfa::OUTERMOST));
    assert_eq!(table.rules[0].cfa, cfa::NONE);
}

#[test]
fn gaps_of_a_file_that_keeps_frame_pointers_are_walked_by_them() {
    let folder = tempfile::tempdir().unwrap();
    for (flag, expected) in
        [("-fno-omit-frame-pointer", cfa::FRAME_POINTER), ("-fomit-frame-pointer", cfa::NONE)]
    {
        let name = format!("gaps{expected}");
        let Some(program) = compiled(folder.path(), &name, SHAPES, &["-O1", flag]) else { return };
        let table = build(&elf(&program));
        assert_eq!(table.rules[0].cfa, expected, "{flag}");
        assert_eq!(table.rule_at(table.origin_svma + 0x1a), table.rule_at(table.origin_svma));
    }
}

#[test]
fn a_static_program_and_a_library_without_a_description_have_tables() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(program) = compiled(folder.path(), "whole", SHAPES, &["-O2", "-static"]) {
        let table = build(&elf(&program));
        assert!(table.is_sound(), "{}", table.rows.len());
        assert_eq!(table.flaws, Flaws::default());
        assert!(table.rows.len() > 5000, "{}", table.rows.len());
        assert!(table.rules.iter().any(|rule| rule.cfa == cfa::SIGNAL));
    }
    let bare = ["-O2", "-shared", "-fPIC", "-nostdlib", "-fno-asynchronous-unwind-tables"];
    let silent = "int f(int n) { return n; }";
    if let Some(library) = compiled(folder.path(), "silent", silent, &bare) {
        let table = build(&elf(&library));
        assert!(table.is_sound());
        assert!(
            table
                .rules
                .iter()
                .all(|rule| matches!(rule.cfa, cfa::NONE | cfa::UNSUPPORTED | cfa::PLT))
        );
    }
}

#[test]
fn every_library_mapped_here_has_a_sound_table() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut paths: Vec<&str> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.starts_with('/') && path.contains(".so"))
        .collect();
    paths.dedup();
    assert!(paths.len() >= 2);
    for path in paths {
        check(Path::new(path));
    }
}

#[test]
fn the_kernels_own_code_is_described() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::Stdio;
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.as_mut().unwrap().write_all(b"ready\n").unwrap();
    BufReader::new(cat.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let (target, _) = crate::target::discover(cat.id()).unwrap();
    cat.kill().unwrap();
    cat.wait().unwrap();
    let vdso = target.vdso.as_deref().expect("a vdso");
    let kinds = check_elf("[vdso]", vdso);
    assert!(kinds[usize::from(cfa::RSP)] > 10, "{kinds:?}");
    let (tables, warnings) = tables_of(&target, &[TableKey::Vdso]);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(tables, [(TableKey::Vdso, build(vdso))]);
}
