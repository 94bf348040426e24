//! What a file calls through its procedure linkage table: which slot of the global offset table
//! stands for which symbol.

use super::{Elf, raw::text_at};
use object::LittleEndian;
use object::elf;
use object::pod::slice_from_bytes;
use std::collections::HashMap;

/// Most slots that are named, and the longest name that is kept, in bytes: each relocation of a
/// file may have a slot of its own and the same long name. The names that are looked for are
/// short.
const MAX_IMPORTS: usize = 65_536;
const MAX_NAME_BYTES: usize = 256;

impl Elf {
    /// Names of the functions that a dynamic linker enters into slots, by the slot's address in
    /// the file's own numbering. At most 65,536, and none of more than 256 bytes.
    ///
    /// # Cost
    /// Reads the dynamic symbols and relocations whole.
    pub fn imports(&self) -> HashMap<u64, String> {
        let mut found = HashMap::new();
        let relocations = self.sections.iter().filter(|section| section.kind == elf::SHT_RELA.0);
        for section in relocations {
            let Some(symbols) = self.sections.get(section.link) else { continue };
            if symbols.kind != elf::SHT_DYNSYM.0 {
                continue;
            }
            let strings = self.sections.get(symbols.link).and_then(|s| self.section_bytes(s));
            let (Some(raw), Some(table), Some(strings)) =
                (self.section_bytes(section), self.section_bytes(symbols), strings)
            else {
                continue;
            };
            let entries = slice_from_bytes::<elf::Rela64<LittleEndian>>(&raw, raw.len() / 24);
            let names = slice_from_bytes::<elf::Sym64<LittleEndian>>(&table, table.len() / 24);
            let (Ok((entries, _)), Ok((names, _))) = (entries, names) else { continue };
            enter(&mut found, entries, names, &strings);
        }
        found
    }
}

fn enter(
    found: &mut HashMap<u64, String>,
    entries: &[elf::Rela64<LittleEndian>],
    symbols: &[elf::Sym64<LittleEndian>],
    strings: &[u8],
) {
    let e = LittleEndian;
    for entry in entries {
        if found.len() >= MAX_IMPORTS {
            return;
        }
        let info = entry.r_info.get(e);
        let kind = info as u32;
        if kind != elf::R_X86_64_JUMP_SLOT.0 && kind != elf::R_X86_64_GLOB_DAT.0 {
            continue;
        }
        let symbol = symbols.get((info >> 32) as usize);
        let name = symbol.and_then(|s| text_at(strings, s.st_name.get(e) as usize));
        if let Some(name) = name.filter(|name| name.len() <= MAX_NAME_BYTES) {
            found.insert(entry.r_offset.get(e), name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn this_program_imports_from_its_libc() {
        let image = Elf::read(File::open("/proc/self/exe").unwrap()).unwrap();
        let imports = image.imports();
        assert!(imports.values().any(|name| name == "malloc"), "{}", imports.len());
    }

    #[test]
    fn slots_and_names_are_bounded() {
        let strings = [b"\0malloc\0".as_slice(), &[b'x'; 3000], b"\0"].concat();
        let symbol = |name: u32| [name.to_le_bytes().as_slice(), &[0; 20]].concat();
        let symbols = [symbol(1), symbol(8), symbol(8 + 3000 - MAX_NAME_BYTES as u32)].concat();
        let (symbols, _) = slice_from_bytes(&symbols, 3).unwrap();
        let slots = |count: u64, symbol: u64| -> Vec<u8> {
            let info = symbol << 32 | u64::from(elf::R_X86_64_JUMP_SLOT.0);
            (0..count).flat_map(|slot| [slot * 8, info, 0].map(u64::to_le_bytes).concat()).collect()
        };
        let named = |count: u64, symbol: u64| {
            let raw = slots(count, symbol);
            let (entries, _) = slice_from_bytes(&raw, count as usize).unwrap();
            let mut found = HashMap::new();
            enter(&mut found, entries, symbols, &strings);
            found
        };
        assert_eq!(named(2, 0), HashMap::from([(0, "malloc".into()), (8, "malloc".into())]));
        assert_eq!(named(2, 1).len(), 0, "3000 bytes");
        assert_eq!(named(2, 2)[&8].len(), MAX_NAME_BYTES);
        assert_eq!(named(2, 9).len(), 0, "no such symbol");
        assert_eq!(named(MAX_IMPORTS as u64 * 2, 0).len(), MAX_IMPORTS);
    }
}
