//! ELF files of the target: headers, segments, sections, symbols, build IDs. Reads only what is
//! asked for, since some files are larger than the memory that is left; interprets no code.

mod imports;
mod raw;

use object::LittleEndian;
use object::elf;
use object::pod::{from_bytes, slice_from_bytes};
use raw::{build_id_in, bytes_at, machine_name, read_sections, text_at};
use std::fs::File;
use std::ops::Range;

/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;
/// Largest number of program or section headers that is believed.
const MAX_HEADERS: usize = 65_535;

/// Why a file could not be read as ELF.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It is something else.
    #[error("it is not an ELF file")]
    NotElf,
    /// It is ELF, but not for 64-bit x86.
    #[error("it is built for {0}, and outlive traces 64-bit x86 code only")]
    OtherMachine(String),
    /// It contradicts itself.
    #[error("its {0} is damaged")]
    Damaged(&'static str),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// A loaded segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address in the file's own numbering.
    pub svma: u64,
    /// Where its bytes begin in the file.
    pub file_offset: u64,
    /// Bytes in the file.
    pub file_bytes: u64,
    /// Bytes in memory: those behind the file's begin as zero (.bss).
    pub memory_bytes: u64,
    /// Holds code.
    pub executable: bool,
    /// Holds variables.
    pub writable: bool,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name, such as `.eh_frame`.
    pub name: String,
    /// `SHT_*`.
    pub kind: u32,
    /// Address in the file's own numbering.
    pub svma: u64,
    /// Where its bytes begin in the file.
    pub file_offset: u64,
    /// Length in bytes.
    pub length_bytes: u64,
    /// Index of the section that belongs to it (a symbol table's strings).
    pub link: usize,
}

/// A symbol that the file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Address in the file's own numbering.
    pub svma: u64,
    /// Length in bytes; 0 where the file does not say.
    pub length_bytes: u64,
    /// `STT_*`.
    pub kind: u8,
    /// Visible to other files or at least other translation units (not `static`).
    pub global: bool,
}

/// Which symbol table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// What the dynamic linker sees.
    Dynamic,
    /// What a debugger sees; absent from stripped files.
    Full,
}

/// An ELF file, open, with its headers read.
#[derive(Debug)]
pub struct Elf {
    file: File,
    /// Loaded segments, in file order.
    pub segments: Vec<Segment>,
    /// Sections, in file order.
    pub sections: Vec<Section>,
    /// Build ID, lower-case hex.
    pub build_id: Option<String>,
    /// Whether a dynamic linker loads it (an executable that has none is static).
    pub has_interpreter: bool,
    /// Whether it has dynamic information.
    pub is_dynamic: bool,
}

impl Elf {
    /// Reads the headers of `file`.
    ///
    /// # Errors
    /// [`ElfError`]; a file for another machine is told apart from one that is no ELF.
    pub fn read(file: File) -> Result<Self, ElfError> {
        let length = file.metadata()?.len();
        let head = bytes_at(&file, 0, length.min(64))?;
        if head.len() < 20 || head[..4] != elf::ELFMAG {
            return Err(ElfError::NotElf);
        }
        let machine = u16::from_le_bytes([head[18], head[19]]);
        if head[4] != elf::ELFCLASS64.0
            || head[5] != elf::ELFDATA2LSB.0
            || machine != elf::EM_X86_64.0
        {
            return Err(ElfError::OtherMachine(machine_name(head[4], machine)));
        }
        let (header, _) = from_bytes::<elf::FileHeader64<LittleEndian>>(&head)
            .map_err(|()| ElfError::Damaged("header"))?;
        let e = LittleEndian;
        let (segment_count, section_count) =
            (usize::from(header.e_phnum.get(e)), usize::from(header.e_shnum.get(e)));
        let segments_raw = bytes_at(&file, header.e_phoff.get(e), (segment_count * 56) as u64)?;
        let (program_headers, _) =
            slice_from_bytes::<elf::ProgramHeader64<LittleEndian>>(&segments_raw, segment_count)
                .map_err(|()| ElfError::Damaged("program header table"))?;
        let mut image = Self {
            segments: Vec::new(),
            sections: Vec::new(),
            build_id: None,
            has_interpreter: false,
            is_dynamic: false,
            file,
        };
        for segment in program_headers {
            match segment.p_type.get(e) {
                elf::PT_LOAD => image.segments.push(Segment {
                    svma: segment.p_vaddr.get(e),
                    file_offset: segment.p_offset.get(e),
                    file_bytes: segment.p_filesz.get(e),
                    memory_bytes: segment.p_memsz.get(e),
                    executable: segment.p_flags.get(e).0 & elf::PF_X.0 != 0,
                    writable: segment.p_flags.get(e).0 & elf::PF_W.0 != 0,
                }),
                elf::PT_INTERP => image.has_interpreter = true,
                elf::PT_DYNAMIC => image.is_dynamic = true,
                elf::PT_NOTE if image.build_id.is_none() => {
                    let notes = bytes_at(
                        &image.file,
                        segment.p_offset.get(e),
                        segment.p_filesz.get(e).min(1 << 20),
                    );
                    image.build_id = notes.ok().and_then(|notes| build_id_in(&notes));
                }
                _ => {}
            }
        }
        // A file without (whole) section headers is still mapped and run: it only has no names.
        image.sections = read_sections(
            &image.file,
            header.e_shoff.get(e),
            section_count.min(MAX_HEADERS),
            usize::from(header.e_shstrndx.get(e).0),
        )
        .unwrap_or_default();
        Ok(image)
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Bytes of a section; `None` when it has none in the file or too many.
    pub fn section_bytes(&self, section: &Section) -> Option<Vec<u8>> {
        if section.kind == elf::SHT_NOBITS.0 {
            return None;
        }
        bytes_at(&self.file, section.file_offset, section.length_bytes).ok()
    }

    /// Calls `visit` with every symbol the file defines in one table.
    ///
    /// # Cost
    /// Reads both tables whole; 5-20 ms for the largest files seen (100,000 symbols).
    pub fn visit_symbols(&self, table: Table, mut visit: impl FnMut(&str, Symbol)) {
        let kind = match table {
            Table::Dynamic => elf::SHT_DYNSYM.0,
            Table::Full => elf::SHT_SYMTAB.0,
        };
        let Some(section) = self.sections.iter().find(|section| section.kind == kind) else {
            return;
        };
        let Some(strings) =
            self.sections.get(section.link).and_then(|strings| self.section_bytes(strings))
        else {
            return;
        };
        let Some(raw) = self.section_bytes(section) else { return };
        let Ok((symbols, _)) = slice_from_bytes::<elf::Sym64<LittleEndian>>(&raw, raw.len() / 24)
        else {
            return;
        };
        let e = LittleEndian;
        for symbol in symbols {
            if symbol.st_shndx.get(e) == elf::SHN_UNDEF {
                continue;
            }
            let Some(name) = text_at(&strings, symbol.st_name.get(e) as usize) else { continue };
            let binding = symbol.st_bind();
            visit(
                name,
                Symbol {
                    svma: symbol.st_value.get(e),
                    length_bytes: symbol.st_size.get(e),
                    kind: symbol.st_type().0,
                    global: binding != elf::STB_LOCAL,
                },
            );
        }
    }

    /// The symbols of `names` that the file defines, dynamic ones first, in the order of `names`.
    pub fn find_symbols(&self, names: &[&str]) -> Vec<Option<Symbol>> {
        let mut found = vec![None; names.len()];
        for table in [Table::Dynamic, Table::Full] {
            self.visit_symbols(table, |name, symbol| {
                if let Some(at) = names.iter().position(|wanted| *wanted == name) {
                    found[at].get_or_insert(symbol);
                }
            });
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        found
    }

    /// File offset of an address in the file's own numbering.
    pub fn file_offset_of(&self, svma: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|segment| {
                svma.checked_sub(segment.svma).is_some_and(|delta| delta < segment.file_bytes)
            })
            .and_then(|segment| segment.file_offset.checked_add(svma - segment.svma))
    }

    /// Address, in the file's own numbering, of a file offset; code segments win where segments
    /// overlap in the file.
    pub fn svma_of(&self, file_offset: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            file_offset
                .checked_sub(segment.file_offset)
                .is_some_and(|delta| delta < segment.file_bytes)
        };
        self.segments
            .iter()
            .filter(holds)
            .max_by_key(|segment| segment.executable)
            .and_then(|segment| segment.svma.checked_add(file_offset - segment.file_offset))
    }

    /// Address, in the file's own numbering, of the first byte of a mapping of code that begins
    /// at `file_offset`. A mapping begins at a page border, which may lie before its segment.
    pub fn code_svma_of(&self, file_offset: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            let first = segment.file_offset & !(PAGE_BYTES - 1);
            segment.executable
                && file_offset >= first
                && file_offset < segment.file_offset.saturating_add(segment.file_bytes)
        };
        let segment = self.segments.iter().find(holds)?;
        Some(segment.svma.wrapping_sub(segment.file_offset).wrapping_add(file_offset))
    }

    /// From the first to the last address of code, in the file's own numbering; empty when there
    /// is none.
    pub fn code_svmas(&self) -> Range<u64> {
        let code = || self.segments.iter().filter(|segment| segment.executable);
        let start = code().map(|segment| segment.svma).min().unwrap_or(0);
        let end = code().map(|segment| segment.svma.saturating_add(segment.file_bytes)).max();
        start..end.unwrap_or(0).max(start)
    }

    /// Up to `length_bytes` bytes at an address in the file's own numbering.
    pub fn bytes_at_svma(&self, svma: u64, length_bytes: u64) -> Option<Vec<u8>> {
        let segment = self.segments.iter().find(|segment| {
            svma.checked_sub(segment.svma).is_some_and(|delta| delta < segment.file_bytes)
        })?;
        let left = segment.file_bytes - (svma - segment.svma);
        bytes_at(
            &self.file,
            segment.file_offset.checked_add(svma - segment.svma)?,
            length_bytes.min(left),
        )
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn own_image() -> Elf {
        Elf::read(File::open("/proc/self/exe").unwrap()).unwrap()
    }

    #[test]
    fn this_program_has_code_sections_symbols_and_an_interpreter() {
        let image = own_image();
        assert!(image.segments.iter().any(|segment| segment.executable));
        assert!(image.has_interpreter && image.is_dynamic);
        let main = image.find_symbols(&["main", "no such symbol"]);
        assert!(main[0].is_some() && main[1].is_none());
        let svma = main[0].unwrap().svma;
        assert_eq!(image.svma_of(image.file_offset_of(svma).unwrap()), Some(svma));
    }

    #[test]
    fn a_mapping_begins_at_the_page_border_before_its_segment() {
        let mut image = own_image();
        let segment = |svma, file_offset, file_bytes, executable| Segment {
            svma,
            file_offset,
            file_bytes,
            memory_bytes: file_bytes,
            executable,
            writable: false,
        };
        image.segments = vec![segment(0, 0, 0x1234, false), segment(0x3234, 0x1234, 0x800, true)];
        assert_eq!(image.code_svma_of(0x1000), Some(0x3000));
        assert_eq!(image.code_svma_of(0x1a33), Some(0x3a33));
        assert_eq!(image.code_svma_of(0x1a34), None);
        assert_eq!(image.code_svma_of(0xfff), None);
        assert_eq!(image.code_svmas(), 0x3234..0x3a34);
    }

    #[test]
    fn a_cut_file_is_an_error_or_poorer_but_no_panic() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for length in (0..256).chain((256..whole.len().min(1 << 20)).step_by(65_537)) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&whole[..length]).unwrap();
            if let Ok(image) = Elf::read(file) {
                image.visit_symbols(Table::Dynamic, |_, _| {});
            }
        }
    }

    #[test]
    fn a_program_for_another_machine_is_named_as_such() {
        let mut head = std::fs::read("/proc/self/exe").unwrap()[..64].to_vec();
        (head[4], head[18]) = (1, 3);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&head).unwrap();
        let error = Elf::read(file).unwrap_err().to_string();
        assert!(error.contains("32-bit x86"), "{error}");
    }
}
