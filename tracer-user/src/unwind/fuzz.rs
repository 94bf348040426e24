//! Garbage in, a sound table out: damaged files and damaged unwind information.

use super::*;
use crate::fuzz::fuzz;
use crate::work_time::work_time;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Duration;
use tracer_common::unwind::cfa;

/// No damaged input may take longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a sample's head, where its headers are.
const HEAD_BYTES: usize = 1024;

/// A small file that has rules of most kinds: the dynamic loader, else this program.
fn sample() -> Vec<u8> {
    let loader = "/lib64/ld-linux-x86-64.so.2";
    std::fs::read(loader).or_else(|_| std::fs::read("/proc/self/exe")).unwrap()
}

fn read(file: &mut File, bytes: &[u8]) -> Option<Elf> {
    file.set_len(0).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(bytes).unwrap();
    Elf::read(file.try_clone().unwrap()).ok()
}

#[test]
fn a_damaged_file_has_a_sound_table() {
    let mut file = tempfile::tempfile().unwrap();
    let whole = sample();
    fuzz("ELF file", std::slice::from_ref(&whole), |bytes| {
        if let Some(elf) = read(&mut file, bytes) {
            assert!(build(&elf).is_sound());
        }
    });
    // The headers are a hundredth of the file: they have a turn of their own.
    fuzz("ELF headers", &[whole[..HEAD_BYTES].to_vec()], |head| {
        let head = &head[..head.len().min(HEAD_BYTES)];
        if let Some(elf) = read(&mut file, &[head, &whole[head.len()..]].concat()) {
            assert!(build(&elf).is_sound());
        }
    });
}

#[test]
fn damaged_unwind_information_has_a_sound_table() {
    let mut file = tempfile::tempfile().unwrap();
    let elf = read(&mut file, &sample()).unwrap();
    let section = elf.section(".eh_frame").unwrap();
    let whole = elf.section_bytes(section).unwrap();
    fuzz(".eh_frame", &[whole], |bytes| {
        let table = UnwindSource::of(&elf, bytes, section.svma).build();
        assert!(table.is_sound());
        for svma in table.origin_svma.saturating_sub(2)..table.origin_svma + 2000 {
            let _ = table.rule_at(svma);
        }
    });
}

/// Functions at 0x1000 and every 16 bytes behind it that all share one entry with `shared_bytes`
/// of instructions, the dearest there are.
fn with_shared_instructions(shared_bytes: usize, functions: u64) -> Vec<u8> {
    let mut eh_frame: Vec<u8> = Vec::new();
    let mut entry = |id: u32, body: &[u8]| {
        let start = eh_frame.len() as u32;
        eh_frame.extend((body.len() as u32 + 4).to_le_bytes());
        eh_frame.extend((if id == 0 { 0 } else { start + 4 }).to_le_bytes());
        eh_frame.extend(body);
    };
    // Version 1, no augmentation, alignments 1 and -8, return address in 16, CFA = rsp + 8, return
    // address at CFA - 8; then remember_state and restore_state, which copy all rules.
    let mut shared = vec![1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1];
    shared.extend([0x0a, 0x0b].repeat(shared_bytes / 2));
    entry(0, &shared);
    for index in 0..functions {
        entry(1, &[(0x1000 + index * 16).to_le_bytes(), 16_u64.to_le_bytes()].concat());
    }
    eh_frame
}

#[test]
fn functions_that_share_many_instructions_cost_a_bounded_time() {
    const FUNCTIONS: u64 = 5_000;
    for (shared_bytes, max_work_bytes, damaged, cut) in [
        (200, u64::MAX, false, false),
        (900, 1 << 19, false, true),
        (1 << 18, u64::MAX, true, false),
    ] {
        let eh_frame = with_shared_instructions(shared_bytes, FUNCTIONS);
        let source = UnwindSource {
            eh_frame: &eh_frame,
            eh_frame_svma: 0,
            text_svma: None,
            code: 0x1000..0x1000 + FUNCTIONS * 16,
            stubs: Vec::new(),
            has_go_code: false,
            max_work_bytes,
        };
        let began = work_time();
        let table = source.build();
        assert!(table.is_sound());
        assert_eq!(table.flaws, Flaws { damaged, cut }, "{shared_bytes} bytes");
        assert_eq!(table.rule_at(0x1000).unwrap().cfa == cfa::RSP, !damaged);
        let took = work_time().saturating_sub(began);
        assert!(took < PATIENCE, "{took:?}");
    }
}
