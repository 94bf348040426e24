//! Tables of an ELF file, byte by byte; every offset and length is checked against the file.

use super::{ElfError, Section};
use object::LittleEndian;
use object::elf;
use object::pod::slice_from_bytes;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Largest section that is read, in bytes: node's symbol and string tables have 20 MB.
const MAX_SECTION_BYTES: u64 = 256 << 20;
/// Longest symbol name that is looked at, in bytes.
const MAX_NAME_BYTES: usize = 4096;
/// As much of a section's name as is kept, in bytes: many sections may share one long name.
const MAX_SECTION_NAME_BYTES: usize = 64;

pub(super) fn bytes_at(file: &File, offset: u64, length_bytes: u64) -> Result<Vec<u8>, ElfError> {
    if length_bytes > MAX_SECTION_BYTES
        || offset
            .checked_add(length_bytes)
            .is_none_or(|end| end > file.metadata().map_or(0, |m| m.len()))
    {
        return Err(ElfError::Damaged("table of contents"));
    }
    let mut bytes = vec![0; length_bytes as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

pub(super) fn read_sections(
    file: &File,
    offset: u64,
    count: usize,
    names_index: usize,
) -> Result<Vec<Section>, ElfError> {
    let raw = bytes_at(file, offset, (count * 64) as u64)?;
    let (headers, _) = slice_from_bytes::<elf::SectionHeader64<LittleEndian>>(&raw, count)
        .map_err(|()| ElfError::Damaged("section header table"))?;
    let e = LittleEndian;
    let names = match headers.get(names_index) {
        Some(names) => bytes_at(file, names.sh_offset.get(e), names.sh_size.get(e))?,
        None => Vec::new(),
    };
    Ok(headers
        .iter()
        .map(|header| Section {
            name: section_name(&names, header.sh_name.get(e) as usize),
            kind: header.sh_type.get(e).0,
            svma: header.sh_addr.get(e),
            file_offset: header.sh_offset.get(e),
            length_bytes: header.sh_size.get(e),
            link: header.sh_link.get(e) as usize,
        })
        .collect())
}

fn section_name(names: &[u8], at: usize) -> String {
    let name = text_at(names, at).unwrap_or_default();
    let mut end = name.len().min(MAX_SECTION_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

pub(super) fn text_at(strings: &[u8], at: usize) -> Option<&str> {
    let tail = strings.get(at..)?;
    let length = tail.iter().take(MAX_NAME_BYTES).position(|byte| *byte == 0)?;
    std::str::from_utf8(&tail[..length]).ok().filter(|text| !text.is_empty())
}

/// The GNU build ID in the bytes of a note segment.
pub(super) fn build_id_in(mut notes: &[u8]) -> Option<String> {
    let word = |bytes: &[u8], at: usize| {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    loop {
        let (name_bytes, value_bytes, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let value_at = 12usize.checked_add(name_bytes.checked_next_multiple_of(4)?)?;
        let value = notes.get(value_at..value_at.checked_add(value_bytes)?)?;
        if kind == 3 && notes.get(12..16) == Some(b"GNU\0") && value_bytes <= 64 {
            return Some(value.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = notes.get(value_at.checked_add(value_bytes.checked_next_multiple_of(4)?)?..)?;
    }
}

pub(super) fn machine_name(class: u8, machine: u16) -> String {
    let name = match machine {
        3 => "x86",
        40 => "ARM",
        62 => "x86-64",
        183 => "AArch64",
        243 => "RISC-V",
        21 => "PowerPC64",
        22 => "s390",
        _ => return format!("machine number {machine}"),
    };
    format!("{}-bit {name}", if class == 1 { 32 } else { 64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_section_name_is_cut_between_characters() {
        let names = format!("\0.text\0{}\0x{}\0", "ä".repeat(100), "ä".repeat(100));
        assert_eq!(section_name(names.as_bytes(), 1), ".text");
        assert_eq!(section_name(names.as_bytes(), 7), "ä".repeat(32));
        assert_eq!(section_name(names.as_bytes(), 208), format!("x{}", "ä".repeat(31)));
        assert_eq!(section_name(names.as_bytes(), 1000), "");
    }

    #[test]
    fn a_build_id_is_found_behind_other_notes() {
        let mut notes = vec![4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0];
        notes.extend(b"GNU\0\x01\x02\x03\x04");
        notes.extend([4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        notes.extend(b"GNU\0\xab\xcd\0\0");
        assert_eq!(build_id_in(&notes).as_deref(), Some("abcd"));
        for length in 0..notes.len() - 2 {
            assert_eq!(build_id_in(&notes[..length]), None);
        }
    }
}
