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
            let e = LittleEndian;
            let entries = slice_from_bytes::<elf::Rela64<LittleEndian>>(&raw, raw.len() / 24);
            let names = slice_from_bytes::<elf::Sym64<LittleEndian>>(&table, table.len() / 24);
            let (Ok((entries, _)), Ok((names, _))) = (entries, names) else { continue };
            for entry in entries {
                let info = entry.r_info.get(e);
                let kind = info as u32;
                if kind != elf::R_X86_64_JUMP_SLOT.0 && kind != elf::R_X86_64_GLOB_DAT.0 {
                    continue;
                }
                let symbol = names.get((info >> 32) as usize);
                let name = symbol.and_then(|s| text_at(&strings, s.st_name.get(e) as usize));
                if let Some(name) = name.filter(|name| name.len() <= MAX_NAME_BYTES) {
                    if found.len() >= MAX_IMPORTS {
                        return found;
                    }
                    found.insert(entry.r_offset.get(e), name.to_owned());
                }
            }
        }
        found
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
}
